#include "backup/source/pgstream.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/lsn.h"
#include "backup/source/pg_internal.h"
#include "backup/source/pgwal.h"

enum {
    SLOT_NAME_MAX = 63,
    READ_SLOT_SINCE = 150000, /* READ_REPLICATION_SLOT */
    LOG_HEADER = 1 + 8 + 8 + 8,
    ALIVE_SIZE = 1 + 8 + 8 + 1,
    STATUS_SIZE = 1 + 8 + 8 + 8 + 8 + 1,
};

#define EPOCH_2000_US INT64_C(946684800000000)

struct pgstream {
    struct pg_conn *conn;
    char *message; /* libpq's; the last one */
};

void pgstream_close(struct pgstream *stream)
{
    if (!stream)
        return;
    PQfreemem(stream->message);
    pg_close(stream->conn);
    free(stream);
}

void pgstream_closep(struct pgstream **stream)
{
    pgstream_close(*stream);
}

static uint64_t load_be64(const char *bytes)
{
    uint64_t value;

    memcpy(&value, bytes, sizeof(value));
    return be64toh(value);
}

static void store_be64(char *bytes, uint64_t value)
{
    value = htobe64(value);
    memcpy(bytes, &value, sizeof(value));
}

static int odd_answer(const char *what, struct err *err)
{
    return err_set(err, ERR_REMOTE, "the server's answer to %s is not understood", what);
}

static int parse_number(const char *text, uint64_t limit, uint64_t *out)
{
    char *end;
    unsigned long long value = strtoull(text, &end, 10);

    *out = value;
    return text[0] >= '0' && text[0] <= '9' && !*end && value > 0 && value <= limit;
}

/* ---- who it is ---- */

static int identify(struct pgstream *stream, struct pgstream_server *out, struct err *err)
{
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;
    uint64_t timeline = 0;
    int r = pg_query(stream->conn, "IDENTIFY_SYSTEM", &rows, err);

    if (r < 0)
        return r;
    if (pg_count(rows) != 1 || PQnfields(rows) < 3 ||
        !parse_number(pg_text(rows, 0, 0), UINT64_MAX, &out->system) ||
        !parse_number(pg_text(rows, 0, 1), UINT32_MAX, &timeline) ||
        !lsn_parse(pg_text(rows, 0, 2), &out->lsn))
        return odd_answer("IDENTIFY_SYSTEM", err);
    out->timeline = (uint32_t)timeline;
    out->version = pg_version(stream->conn);
    return 0;
}

/* "16MB" */
static int segment_size(struct pgstream *stream, uint64_t *out, struct err *err)
{
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;
    int r = pg_query(stream->conn, "SHOW wal_segment_size", &rows, err);
    char *unit;

    if (r < 0)
        return r;
    uint64_t size = pg_count(rows) == 1 ? strtoull(pg_text(rows, 0, 0), &unit, 10) : 0;
    if (size > 0 && size <= 1024)
        *out = strcmp(unit, "GB") == 0 ? size << 30 : strcmp(unit, "MB") == 0 ? size << 20 : 0;
    return pgwal_segment_size_valid(*out) ? 0 : odd_answer("SHOW wal_segment_size", err);
}

static int slots_limited(struct pgstream *stream, bool *out, struct err *err)
{
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;
    int r = pg_query(stream->conn, "SHOW max_slot_wal_keep_size", &rows, err);

    if (r == 0)
        *out = pg_count(rows) == 1 && strcmp(pg_text(rows, 0, 0), "-1") != 0;
    return r;
}

int pgstream_open(const struct pg_server *server, struct pgstream **out,
                  struct pgstream_server *out_server, struct err *err)
{
    CLEANUP(pgstream_closep) struct pgstream *stream = calloc(1, sizeof(*stream));
    struct pgstream_server found = {0};

    if (!stream)
        return err_set(err, ERR_NOMEM, "out of memory");
    int r = pg_connect(server, NULL, PG_REPLICATION, &stream->conn, err);
    if (r == 0)
        r = identify(stream, &found, err);
    if (r == 0)
        r = segment_size(stream, &found.segment_size, err);
    if (r == 0)
        r = slots_limited(stream, &found.limited, err);
    if (r < 0)
        return r;
    *out_server = found;
    *out = STEAL(stream);
    return 0;
}

/* ---- the slot ---- */

bool pgstream_slot_name_valid(const char *name)
{
    size_t size = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");

    return size > 0 && size <= SLOT_NAME_MAX && name[size] == '\0';
}

static int run_for_slot(struct pgstream *stream, const char *command_before, const char *name,
                        const char *behind, struct pg_result **out, struct err *err)
{
    char command[160];

    (void)snprintf(command, sizeof(command), "%s \"%s\"%s", command_before, name, behind);
    return pg_query(stream->conn, command, out, err);
}

int pgstream_slot_find(struct pgstream *stream, const char *name, struct pgstream_slot *out,
                       struct err *err)
{
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;

    *out = (struct pgstream_slot){0};
    if (pg_version(stream->conn) < READ_SLOT_SINCE)
        return 0;
    int r = run_for_slot(stream, "READ_REPLICATION_SLOT", name, "", &rows, err);
    if (r < 0)
        return r;
    if (pg_count(rows) != 1 || PQnfields(rows) < 3)
        return odd_answer("READ_REPLICATION_SLOT", err);
    out->there = !PQgetisnull(rows, 0, 0);
    if (out->there && strcmp(pg_text(rows, 0, 0), "physical") != 0)
        return err_set(err, ERR_USAGE, "the slot \"%s\" is for logical replication", name);
    if (out->there && !PQgetisnull(rows, 0, 1) && !lsn_parse(pg_text(rows, 0, 1), &out->lsn))
        return odd_answer("READ_REPLICATION_SLOT", err);
    return 0;
}

int pgstream_slot_create(struct pgstream *stream, const char *name, struct err *err)
{
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;

    return run_for_slot(stream, "CREATE_REPLICATION_SLOT", name, " PHYSICAL RESERVE_WAL", &rows,
                        err);
}

int pgstream_slot_drop(struct pgstream *stream, const char *name, struct err *err)
{
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;

    return run_for_slot(stream, "DROP_REPLICATION_SLOT", name, "", &rows, err);
}

int pgstream_history(struct pgstream *stream, uint32_t timeline, struct buf *out, struct err *err)
{
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;
    char command[64];

    (void)snprintf(command, sizeof(command), "TIMELINE_HISTORY %" PRIu32, timeline);
    int r = pg_query(stream->conn, command, &rows, err);
    if (r < 0)
        return r;
    if (pg_count(rows) != 1 || PQnfields(rows) < 2)
        return odd_answer("TIMELINE_HISTORY", err);
    return buf_append(out, pg_text(rows, 0, 1), (size_t)PQgetlength(rows, 0, 1), err);
}

/* ---- the stream ---- */

/* The log, or the slot, that the server does not have any more. */
static int start_error(struct pgstream *stream, const struct pg_result *result, struct err *err)
{
    static const char *const gone[] = {"58P01", "42704", "55000"};
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    int r = pg_error(stream->conn, result, err);

    for (size_t i = 0; state && i < sizeof(gone) / sizeof(gone[0]); i++) {
        if (strcmp(state, gone[i]) != 0)
            continue;
        err->code = ERR_NOT_FOUND;
        return -ERR_NOT_FOUND;
    }
    return r;
}

int pgstream_start(struct pgstream *stream, const char *slot, uint32_t timeline, uint64_t lsn,
                   struct err *err)
{
    char command[160], text[LSN_TEXT_SIZE];

    lsn_format(lsn, text);
    (void)snprintf(command, sizeof(command),
                   "START_REPLICATION SLOT \"%s\" PHYSICAL %s TIMELINE %" PRIu32, slot, text,
                   timeline);
    CLEANUP(pg_clearp) struct pg_result *result = NULL;
    int r = pg_execute(stream->conn, command, &result, err);
    if (r == 0 && PQresultStatus(result) != PGRES_COPY_BOTH)
        r = start_error(stream, result, err);
    return r;
}

static int wait_for_bytes(struct pgstream *stream, int64_t deadline_ns, int stop_fd,
                          bool *out_ready, struct err *err)
{
    struct pollfd wanted[2] = {{PQsocket(stream->conn), POLLIN, 0}, {stop_fd, POLLIN, 0}};
    int64_t left = deadline_ns - clock_monotonic_ns();
    int milliseconds = left <= 0                   ? 0
                       : left > 60 * NS_PER_SECOND ? 60000
                                                   : (int)(left / 1000000 + 1);
    int got = poll(wanted, stop_fd >= 0 ? 2 : 1, milliseconds);

    if (got < 0 && errno != EINTR)
        return err_sys(err, "poll");
    *out_ready = got > 0 && wanted[0].revents != 0;
    if (*out_ready && !PQconsumeInput(stream->conn))
        return pg_error(stream->conn, NULL, err);
    return 0;
}

static int end_of_copy(struct pgstream *stream, struct pgstream_message *out, struct err *err)
{
    CLEANUP(pg_clearp) struct pg_result *result = PQgetResult(stream->conn);
    ExecStatusType status = PQresultStatus(result);

    if (status == PGRES_FATAL_ERROR)
        return start_error(stream, result, err);
    if (!result || pg_is_lost(stream->conn))
        return pg_error(stream->conn, NULL, err);
    if (status != PGRES_COPY_IN) /* it sent all it had, and ends */
        return err_set(err, ERR_REMOTE, "the server was stopped");
    out->event = PGSTREAM_TIMELINE_END;
    return 0;
}

static int take_message(const char *message, int size, struct pgstream_message *out,
                        struct err *err)
{
    if (size >= LOG_HEADER && message[0] == 'w') {
        out->event = PGSTREAM_LOG;
        out->lsn = load_be64(message + 1);
        out->server_lsn = load_be64(message + 9);
        out->bytes = (const uint8_t *)message + LOG_HEADER;
        out->count = (size_t)(size - LOG_HEADER);
        return 0;
    }
    if (size >= ALIVE_SIZE && message[0] == 'k') {
        out->event = PGSTREAM_ALIVE;
        out->server_lsn = load_be64(message + 1);
        out->answer = message[ALIVE_SIZE - 1] != 0;
        return 0;
    }
    return odd_answer("START_REPLICATION", err);
}

int pgstream_next(struct pgstream *stream, int64_t deadline_ns, int stop_fd,
                  struct pgstream_message *out, struct err *err)
{
    bool ready = true;

    *out = (struct pgstream_message){0};
    while (ready) {
        PQfreemem(stream->message);
        stream->message = NULL;
        int size = PQgetCopyData(stream->conn, &stream->message, 1);
        if (size > 0)
            return take_message(stream->message, size, out, err);
        if (size == -1)
            return end_of_copy(stream, out, err);
        if (size < -1)
            return pg_error(stream->conn, NULL, err);
        int r = wait_for_bytes(stream, deadline_ns, stop_fd, &ready, err);
        if (r < 0)
            return r;
    }
    return 0;
}

int pgstream_confirm(struct pgstream *stream, uint64_t lsn, struct err *err)
{
    char status[STATUS_SIZE] = {'r'};
    int64_t now_us = clock_system()->now_ns(clock_system()) / 1000 - EPOCH_2000_US;

    store_be64(status + 1, lsn); /* written */
    store_be64(status + 9, lsn); /* durable */
    store_be64(status + 17, 0);  /* applied: nothing is */
    store_be64(status + 25, (uint64_t)now_us);
    if (PQputCopyData(stream->conn, status, STATUS_SIZE) <= 0 || PQflush(stream->conn) < 0)
        return pg_error(stream->conn, NULL, err);
    return 0;
}
