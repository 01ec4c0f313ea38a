/* COPY in both directions; never waits where an interrupt would not be seen. */
#include <libpq-fe.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>

#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/source/pg_internal.h"

int pg_copy_begin(struct pg_conn *conn, const char *sql, struct err *err)
{
    CLEANUP(pg_clearp) struct pg_result *result = NULL;

    int r = pg_execute(conn, sql, &result, err);
    if (r < 0)
        return r;
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COPY_OUT && status != PGRES_COPY_IN)
        return pg_error(conn, result, err);
    /* Rows that the server is slow to take must not block; all else goes on as before. */
    if (status == PGRES_COPY_IN && PQsetnonblocking(conn, 1) < 0)
        return pg_error(conn, NULL, err);
    return 0;
}

void pg_copy_free(char *row)
{
    PQfreemem(row);
}

/*
 * A server writes 8 KiB at a time.  Whoever sleeps until something is there is woken for each of
 * them, 60,000 times for half a GB, and that costs both sides more than all else that is done with
 * the rows.  So when nothing is there, a long COPY is looked at again after as long as it took so
 * far for some more; not for so much that the server would wait for room meanwhile: a socket of the
 * same machine has some 100 KiB of it.
 */
static void pause_for_more(const struct pg_flow *flow, int fd)
{
    enum { SHORT = 256 * 1024, MORE = 48 * 1024, LEAST_NS = 20 * 1000, MOST_NS = 1000 * 1000 };
    struct pollfd server = {.fd = fd, .events = POLLIN};

    if (flow->bytes < SHORT)
        return;
    int64_t taken = clock_monotonic_ns() - flow->start_ns;
    int64_t pause = (int64_t)((double)taken * MORE / (double)flow->bytes);
    if (pause < LEAST_NS || poll(&server, 1, 0) != 0)
        return;
    const struct timespec moment = {.tv_nsec = pause < MOST_NS ? pause : MOST_NS};
    (void)nanosleep(&moment, NULL);
}

struct pg_flow pg_flow_start(void)
{
    return (struct pg_flow){.start_ns = clock_monotonic_ns()};
}

int pg_copy_read(struct pg_conn *conn, struct pg_flow *flow, char **out, size_t *out_size,
                 struct err *err)
{
    int size, r = 0;

    *out = NULL;
    while (r == 0 && (size = PQgetCopyData(conn, out, 1)) == 0 && PQsocket(conn) >= 0) {
        pause_for_more(flow, PQsocket(conn));
        r = pg_wait(conn, false, err);
    }
    *out_size = r == 0 && size > 0 ? (size_t)size : 0;
    flow->bytes += *out_size;
    return r;
}

static int flush(struct pg_conn *conn, struct err *err)
{
    int left, r = 0;

    while (r == 0 && (left = PQflush(conn)) > 0)
        r = pg_wait(conn, true, err);
    return r == 0 && left < 0 ? pg_error(conn, NULL, err) : r;
}

int pg_copy_write(struct pg_conn *conn, const void *bytes, size_t size, struct err *err)
{
    int put, r = 0;

    while (r == 0 && (put = PQputCopyData(conn, bytes, (int)size)) == 0)
        r = pg_wait(conn, true, err);
    if (r == 0 && put < 0)
        r = pg_error(conn, NULL, err);
    return r < 0 ? r : flush(conn, err);
}

int pg_copy_written(struct pg_conn *conn, const char *refuse, struct err *err)
{
    int put, r = 0;

    while (r == 0 && (put = PQputCopyEnd(conn, refuse)) == 0)
        r = pg_wait(conn, true, err);
    if (r == 0 && put < 0)
        r = pg_error(conn, NULL, err);
    if (r == 0)
        r = flush(conn, err);
    (void)PQsetnonblocking(conn, 0);
    return r;
}

int pg_copy_finish(struct pg_conn *conn, uint64_t *out_rows, struct err *err)
{
    struct pg_result *next = NULL;
    bool whole = false;
    int failed = 0;

    int r = pg_next(conn, &next, err);
    while (r == 0 && next) {
        CLEANUP(pg_clearp) struct pg_result *result = next;
        if (PQresultStatus(result) == PGRES_COMMAND_OK) {
            *out_rows = strtoull(PQcmdTuples(result), NULL, 10);
            whole = true;
        } else if (failed == 0) {
            failed = pg_error(conn, result, err);
        }
        if (PQstatus(conn) == CONNECTION_BAD)
            break;
        r = pg_next(conn, &next, err);
    }
    if (r == 0 && failed == 0 && (!whole || PQstatus(conn) == CONNECTION_BAD))
        failed = pg_error(conn, NULL, err);
    return r < 0 ? r : failed;
}
