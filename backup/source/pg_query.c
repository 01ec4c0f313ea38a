/* Statements, and waiting for what the server makes of them: an interrupt ends both. */
#include <errno.h>
#include <libpq-events.h>
#include <libpq-fe.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

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

/* ---- stopping ---------------------------------------------------------------------------- */

/* PQcancel() connects, for as long as the system takes, so a thread of its own does it: whoever of
 * the two is last frees this. */
struct stopping {
    PGcancel *cancel;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t ended;
    bool has_ended, is_left; /* the thread has; nobody waits any more */
};

static void stopping_free(struct stopping *stopping)
{
    PQfreeCancel(stopping->cancel);
    pthread_cond_destroy(&stopping->ended);
    pthread_mutex_destroy(&stopping->lock);
    free(stopping);
}

static struct stopping *stopping_new(struct pg_conn *conn)
{
    struct stopping *stopping = calloc(1, sizeof(*stopping));
    pthread_condattr_t attributes;

    if (!stopping)
        return NULL;
    pthread_mutex_init(&stopping->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&stopping->ended, &attributes);
    pthread_condattr_destroy(&attributes);
    stopping->cancel = PQgetCancel(conn);
    if (stopping->cancel)
        return stopping;
    stopping_free(stopping);
    return NULL;
}

static void *stop(void *argument)
{
    struct stopping *stopping = argument;
    char text[256];

    (void)PQcancel(stopping->cancel, text, sizeof(text));
    pthread_mutex_lock(&stopping->lock);
    stopping->has_ended = true;
    bool is_mine = stopping->is_left;
    pthread_cond_signal(&stopping->ended);
    pthread_mutex_unlock(&stopping->lock);
    if (is_mine)
        stopping_free(stopping);
    return NULL;
}

static void wait_a_moment(struct stopping *stopping)
{
    int64_t end = clock_monotonic_ns() + STOP_MS * (NS_PER_SECOND / 1000);
    struct timespec until = {.tv_sec = end / NS_PER_SECOND, .tv_nsec = end % NS_PER_SECOND};
    int failed = 0;

    pthread_mutex_lock(&stopping->lock);
    while (!stopping->has_ended && failed == 0)
        failed = pthread_cond_timedwait(&stopping->ended, &stopping->lock, &until);
    bool is_mine = stopping->has_ended;
    stopping->is_left = true;
    pthread_mutex_unlock(&stopping->lock);
    if (is_mine)
        stopping_free(stopping);
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
    struct stopping *stopping = was_stopped(conn) ? NULL : stopping_new(conn);
    pthread_t thread;

    if (!stopping)
        return;
    if (pthread_create(&thread, NULL, stop, stopping) != 0) {
        stopping_free(stopping);
        return;
    }
    pthread_detach(thread);
    wait_a_moment(stopping);
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
