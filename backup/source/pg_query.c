/* Statements, and waiting for what the server makes of them: an interrupt ends both. */
#include <errno.h>
#include <libpq-events.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>

#include "backup/base/aside.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/progress.h"
#include "backup/source/pg_internal.h"

enum { WAIT_MS = 250, STOP_MS = 500 };

/* A connection has a place for what belongs to it under the address of such a function. */
static int on_event(PGEventId id, void *event, void *context)
{
    (void)id;
    (void)event;
    (void)context;
    return 1;
}

int pg_watch(struct pg_conn *conn, struct progress *progress, struct err *err)
{
    if (!progress)
        return 0;
    if (!PQregisterEventProc(conn, on_event, "yester", NULL) ||
        !PQsetInstanceData(conn, on_event, progress))
        return err_set(err, ERR_NOMEM, "no memory for a connection");
    return 0;
}

void pg_unwatch(struct pg_conn *conn)
{
    (void)PQsetInstanceData(conn, on_event, NULL);
}

/* ---- stopping ---------------------------------------------------------------------------- */

/* PQcancel() connects, for as long as the system takes. */
struct stopping {
    struct aside aside;
    PGcancel *cancel;
};

static void stop(struct aside *aside)
{
    char text[256];

    (void)PQcancel(((struct stopping *)aside)->cancel, text, sizeof(text));
}

static void stopping_free(struct aside *aside)
{
    struct stopping *stopping = (struct stopping *)aside;

    PQfreeCancel(stopping->cancel);
    free(stopping);
}

/* Under the address of this one, that a connection was stopped. */
static int on_stopped(PGEventId id, void *event, void *context)
{
    return on_event(id, event, context);
}

static bool was_stopped(struct pg_conn *conn)
{
    if (PQinstanceData(conn, on_stopped))
        return true;
    if (PQregisterEventProc(conn, on_stopped, "yester: stopped", NULL))
        (void)PQsetInstanceData(conn, on_stopped, conn);
    return false;
}

void pg_stop(struct pg_conn *conn)
{
    struct stopping *stopping = was_stopped(conn) ? NULL : calloc(1, sizeof(*stopping));
    struct err ignored;

    if (!stopping)
        return;
    stopping->cancel = PQgetCancel(conn);
    if (!stopping->cancel ||
        aside_begin(&stopping->aside, stop, stopping_free, "to stop the server", &ignored) < 0) {
        stopping_free(&stopping->aside);
        return;
    }
    (void)aside_wait(&stopping->aside, STOP_MS * (NS_PER_SECOND / 1000));
    aside_leave(&stopping->aside);
}

/* ---- statements -------------------------------------------------------------------------- */

int pg_wait(struct pg_conn *conn, bool writing, struct err *err)
{
    short events = writing ? POLLIN | POLLOUT : POLLIN;
    struct pollfd server = {.fd = PQsocket(conn), .events = events};

    if (progress_cancelled(PQinstanceData(conn, on_event))) {
        pg_stop(conn);
        return err_set(err, ERR_CANCELLED, "interrupted");
    }
    if (server.fd < 0)
        return err_set(err, ERR_REMOTE, "the connection to the server is gone");
    int got = poll(&server, 1, WAIT_MS);
    if (got < 0 && errno != EINTR)
        return err_sys(err, "poll");
    /* What was wrong with the connection is told by the statement that it fails. */
    if (got > 0 && (server.revents & ~POLLOUT))
        (void)PQconsumeInput(conn);
    return 0;
}

int pg_next(struct pg_conn *conn, struct pg_result **out, struct err *err)
{
    int r = 0;

    /* Without a connection the result says what became of it. */
    while (r == 0 && PQsocket(conn) >= 0 && PQisBusy(conn))
        r = pg_wait(conn, false, err);
    if (r == 0)
        *out = PQgetResult(conn);
    return r;
}

static bool begins_copy(const struct pg_result *result)
{
    ExecStatusType status = PQresultStatus(result);

    return status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH;
}

/* What a statement that was sent (or not: `sent`) comes to. */
static int last_result(struct pg_conn *conn, int sent, struct pg_result **out, struct err *err)
{
    CLEANUP(pg_clearp) struct pg_result *last = NULL;
    struct pg_result *next = NULL;

    if (!sent)
        return pg_error(conn, NULL, err);
    int r = pg_next(conn, &next, err);
    while (r == 0 && next) {
        PQclear(last);
        last = next;
        if (begins_copy(last) || PQstatus(conn) == CONNECTION_BAD)
            break;
        r = pg_next(conn, &next, err);
    }
    if (r == 0)
        *out = STEAL(last);
    return r;
}

int pg_execute(struct pg_conn *conn, const char *sql, struct pg_result **out, struct err *err)
{
    return last_result(conn, PQsendQuery(conn, sql), out, err);
}

static int check(struct pg_conn *conn, const struct pg_result *result, struct err *err)
{
    ExecStatusType status = PQresultStatus(result);

    if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK)
        return 0;
    return pg_error(conn, result, err);
}

int pg_query(struct pg_conn *conn, const char *sql, struct pg_result **out, struct err *err)
{
    CLEANUP(pg_clearp) struct pg_result *result = NULL;

    int r = pg_execute(conn, sql, &result, err);
    if (r == 0)
        r = check(conn, result, err);
    if (r == 0)
        *out = STEAL(result);
    return r;
}

int pg_run(struct pg_conn *conn, const char *sql, struct err *err)
{
    CLEANUP(pg_clearp) struct pg_result *result = NULL;

    return pg_query(conn, sql, &result, err);
}

int pg_query_with(struct pg_conn *conn, const char *sql, const char *const *values, size_t count,
                  struct pg_result **out, struct err *err)
{
    CLEANUP(pg_clearp) struct pg_result *result = NULL;
    int sent = PQsendQueryParams(conn, sql, (int)count, NULL, values, NULL, NULL, 0);

    int r = last_result(conn, sent, &result, err);
    if (r == 0)
        r = check(conn, result, err);
    if (r == 0)
        *out = STEAL(result);
    return r;
}
