#include "backup/source/pgbase.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/lsn.h"
#include "backup/base/progress.h"
#include "backup/source/pg.h"
#include "backup/source/pgbase_internal.h"
#include "backup/source/pgslot.h"

enum {
    COMMAND_SIZE = 1024,
    LABEL_MAX = 200,
    MESSAGES_SINCE = 150000,
    SLOTS_EXPIRE_SINCE = 180000,
    KIB = 1024
};

void pgbase_result_clear(struct pgbase_result *result)
{
    for (size_t i = 0; i < result->tablespace_count; i++)
        free(result->tablespaces[i].location);
    for (size_t i = 0; i < result->damaged_count; i++) {
        free(result->damaged[i].name);
        free(result->damaged[i].text);
    }
    free(result->tablespaces);
    free(result->damaged);
    *result = (struct pgbase_result){0};
}

/* ---- questions and answers ---- */

static int refused(const struct pgbase *base, const PGresult *result, const char *what,
                   struct err *err)
{
    (void)pg_error(base->conn, result, err);
    return err_context(err, "%s", what);
}

int pgbase_next_result(struct pgbase *base, PGresult **out, struct err *err)
{
    int r = 0;

    while (r == 0 && PQisBusy(base->conn))
        r = pgbase_wait(base, err);
    if (r == 0)
        *out = PQgetResult(base->conn);
    return r;
}

static int send(struct pgbase *base, const char *command, struct err *err)
{
    if (!PQsendQuery(base->conn, command))
        return pg_error(base->conn, NULL, err);
    return 0;
}

/* A row of at least `columns` fields that are not null, or an error. */
static int expect_row(const struct pgbase *base, const PGresult *result, int columns,
                      const char *what, struct err *err)
{
    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        return refused(base, result, what, err);
    if (PQntuples(result) != 1 || PQnfields(result) < columns)
        return err_set(err, ERR_REMOTE, "%s: the server's answer is not understood", what);
    return 0;
}

/* One command with an answer of one row; NULL `out`: whatever it is. */
static int ask(struct pgbase *base, const char *command, int columns, PGresult **out,
               struct err *err)
{
    PGresult *more = NULL;
    int r = send(base, command, err);

    if (r == 0)
        r = pgbase_next_result(base, out, err);
    if (r == 0)
        r = expect_row(base, *out, columns, command, err);
    while (r == 0 && (r = pgbase_next_result(base, &more, err)) == 0 && more)
        PQclear(more);
    return r;
}

static int show(struct pgbase *base, const char *name, char *out, size_t size, struct err *err)
{
    CLEANUP(pg_clearp) PGresult *result = NULL;
    char command[COMMAND_SIZE];

    (void)snprintf(command, sizeof(command), "SHOW %s", name);
    int r = ask(base, command, 1, &result, err);
    if (r == 0)
        (void)snprintf(out, size, "%s", PQgetvalue(result, 0, 0));
    return r;
}

static bool read_decimal(const char *text, uint64_t most, uint64_t *out)
{
    char *end;

    if (text[0] < '0' || text[0] > '9' || strlen(text) > 20)
        return false;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return errno == 0 && *end == 0 && *out <= most;
}

/* ---- what the server is ---- */

/* "16MB", "1GB" */
static bool read_size(const char *text, uint64_t *out)
{
    static const struct {
        const char *unit;
        uint64_t factor;
    } units[] = {{"", 1}, {"kB", 1 << 10}, {"MB", 1 << 20}, {"GB", 1 << 30}};
    char *end;
    uint64_t value = strtoull(text, &end, 10);

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (strcmp(end, units[i].unit) == 0 && value > 0 && value <= 1 << 20) {
            *out = value * units[i].factor;
            return true;
        }
    return false;
}

static int ask_system(struct pgbase *base, struct err *err)
{
    CLEANUP(pg_clearp) PGresult *result = NULL;
    struct pgbase_result *out = base->out;
    char text[PGBASE_TEXT_SIZE];

    int r = ask(base, "IDENTIFY_SYSTEM", 3, &result, err);
    if (r == 0 && !read_decimal(PQgetvalue(result, 0, 0), UINT64_MAX, &out->system_id))
        r = err_set(err, ERR_REMOTE, "IDENTIFY_SYSTEM: the server's answer is not understood");
    if (r == 0)
        r = show(base, "server_version", out->version, sizeof(out->version), err);
    if (r == 0)
        r = show(base, "data_checksums", text, sizeof(text), err);
    out->checksums = r == 0 && strcmp(text, "on") == 0;
    if (r == 0)
        r = show(base, "wal_segment_size", text, sizeof(text), err);
    if (r == 0 && !read_size(text, &out->segment_size))
        r = err_set(err, ERR_REMOTE, "wal_segment_size %.30s is not understood", text);
    return r;
}

/* ---- the backup ---- */

static int begin_backup(struct pgbase *base, struct err *err)
{
    const char *label = base->options->label;
    char command[COMMAND_SIZE];

    /* The server's grammar for replication has no escapes. */
    if (strpbrk(label, "'\\") || strlen(label) > LABEL_MAX)
        return err_set(err, ERR_USAGE, "not a label for a base backup");
    if (base->out->version_number >= MESSAGES_SINCE)
        (void)snprintf(command, sizeof(command),
                       "BASE_BACKUP (LABEL '%s', PROGRESS true, CHECKPOINT 'fast', WAL true, "
                       "WAIT false, MANIFEST 'yes', MANIFEST_CHECKSUMS 'CRC32C', "
                       "VERIFY_CHECKSUMS true, TABLESPACE_MAP true, TARGET 'client')",
                       label);
    else
        (void)snprintf(command, sizeof(command),
                       "BASE_BACKUP LABEL '%s' PROGRESS FAST WAL NOWAIT TABLESPACE_MAP "
                       "MANIFEST 'yes' MANIFEST_CHECKSUMS 'CRC32C'",
                       label);
    return send(base, command, err);
}

/* Where the backup starts or ends. */
static int read_position(struct pgbase *base, const char *what, uint64_t *out_lsn,
                         uint32_t *out_timeline, struct err *err)
{
    CLEANUP(pg_clearp) PGresult *result = NULL;
    uint64_t timeline;

    int r = pgbase_next_result(base, &result, err);
    if (r == 0)
        r = expect_row(base, result, 2, what, err);
    if (r < 0)
        return r;
    if (!lsn_parse(PQgetvalue(result, 0, 0), out_lsn) ||
        !read_decimal(PQgetvalue(result, 0, 1), UINT32_MAX, &timeline) || timeline == 0)
        return err_set(err, ERR_REMOTE, "%s: the server's answer is not understood", what);
    *out_timeline = (uint32_t)timeline;
    return 0;
}

static int take_tablespace(struct pgbase_result *out, const PGresult *rows, int row,
                           struct err *err)
{
    const char *location = PQgetvalue(rows, row, 1);
    uint64_t oid = 0, size = 0;

    if (!PQgetisnull(rows, row, 2) &&
        !read_decimal(PQgetvalue(rows, row, 2), UINT64_MAX / KIB, &size))
        return err_set(err, ERR_REMOTE, "tablespaces: the server's answer is not understood");
    size *= KIB;
    if (PQgetisnull(rows, row, 0)) {
        out->size = size;
        return 0;
    }
    if (!read_decimal(PQgetvalue(rows, row, 0), UINT32_MAX, &oid) || location[0] != '/')
        return err_set(err, ERR_REMOTE, "tablespaces: the server's answer is not understood");
    struct pgbase_tablespace *space = &out->tablespaces[out->tablespace_count];
    *space = (struct pgbase_tablespace){(uint32_t)oid, strdup(location), size, false};
    if (!space->location)
        return err_set(err, ERR_NOMEM, "no memory for a tablespace");
    out->tablespace_count++;
    return 0;
}

static int read_tablespaces(struct pgbase *base, PGresult **out_rows, struct err *err)
{
    struct pgbase_result *out = base->out;

    int r = pgbase_next_result(base, out_rows, err);
    if (r < 0)
        return r;
    int count = PQntuples(*out_rows);
    if (PQresultStatus(*out_rows) != PGRES_TUPLES_OK)
        return refused(base, *out_rows, "tablespaces", err);
    if (PQnfields(*out_rows) < 3 || count < 1 || count > PGBASE_TABLESPACES_MAX)
        return err_set(err, ERR_REMOTE, "tablespaces: the server's answer is not understood");
    out->tablespaces = calloc((size_t)count, sizeof(*out->tablespaces));
    if (!out->tablespaces)
        return err_set(err, ERR_NOMEM, "no memory for tablespaces");
    for (int i = 0; r == 0 && i < count; i++)
        r = take_tablespace(out, *out_rows, i, err);
    return r;
}

static void tell_size(const struct pgbase *base)
{
    struct progress *progress = base->options->progress;
    uint64_t sum = base->out->size;

    for (size_t i = 0; i < base->out->tablespace_count; i++)
        sum += base->out->tablespaces[i].size;
    if (progress)
        atomic_fetch_add(&progress->bytes_total, sum);
}

/* The next result has to be the beginning of a COPY. */
static int expect_copy(struct pgbase *base, struct err *err)
{
    CLEANUP(pg_clearp) PGresult *result = NULL;
    int r = pgbase_next_result(base, &result, err);

    if (r == 0 && PQresultStatus(result) != PGRES_COPY_OUT)
        return refused(base, result, "base backup", err);
    return r;
}

/* Servers up to 14: a COPY for each row, then one for the manifest. */
static int read_copies(struct pgbase *base, const PGresult *rows, struct err *err)
{
    size_t space = 0;
    int r = 0;

    for (int i = 0; r == 0 && i < PQntuples(rows); i++) {
        bool is_base = PQgetisnull(rows, i, 0);
        r = expect_copy(base, err);
        if (r == 0)
            r = pgbase_read_tar(base, is_base ? NULL : &base->out->tablespaces[space], err);
        space += !is_base;
    }
    if (r == 0)
        r = expect_copy(base, err);
    return r < 0 ? r : pgbase_read_manifest(base, err);
}

static int read_archives(struct pgbase *base, const PGresult *rows, struct err *err)
{
    if (base->out->version_number < MESSAGES_SINCE)
        return read_copies(base, rows, err);
    int r = expect_copy(base, err);
    return r < 0 ? r : pgbase_read_messages(base, err);
}

/* A stream that stops short: what the server says of it is the better word. */
static int tell_cause(struct pgbase *base, struct err *err)
{
    CLEANUP(pg_clearp) PGresult *result = NULL;
    struct err unused;

    if (pgbase_next_result(base, &result, &unused) == 0 &&
        PQresultStatus(result) == PGRES_FATAL_ERROR)
        return refused(base, result, "base backup", err);
    return -(int)err->code;
}

/* The end: an error that only says once more what the warnings said is none. */
static int read_end(struct pgbase *base, struct err *err)
{
    PGresult *next = NULL;
    int r = 0, failed = 0;

    while ((r = pgbase_next_result(base, &next, err)) == 0 && next) {
        CLEANUP(pg_clearp) PGresult *result = next;
        const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
        bool pages = state && strcmp(state, "XX001") == 0 && base->out->damaged_count > 0;

        if (PQresultStatus(result) == PGRES_FATAL_ERROR && !pages && failed == 0)
            failed = refused(base, result, "base backup", err);
    }
    if (r == 0 && base->no_memory)
        return err_set(err, ERR_NOMEM, "no memory for the names of damaged files");
    return r < 0 ? r : failed;
}

static int back_up(struct pgbase *base, struct err *err)
{
    CLEANUP(pg_clearp) PGresult *rows = NULL;
    struct pgbase_result *out = base->out;

    int r = begin_backup(base, err);
    if (r == 0)
        r = read_position(base, "base backup", &out->start_lsn, &out->start_timeline, err);
    if (r == 0)
        r = read_tablespaces(base, &rows, err);
    if (r < 0)
        return r;
    tell_size(base);
    r = read_archives(base, rows, err);
    if (r == 0)
        r = pgbase_put_empty(base, err);
    if (r == -ERR_REMOTE)
        return tell_cause(base, err);
    if (r == 0)
        r = read_position(base, "end of the base backup", &out->end_lsn, &out->end_timeline, err);
    return r < 0 ? r : read_end(base, err);
}

int pgbase_run(struct pg_conn *conn, const struct pgbase_options *options,
               struct pgbase_result *out, struct err *err)
{
    struct pgbase_result result = {0};
    struct pgbase base = {.conn = conn, .options = options, .out = &result};
    PQnoticeReceiver before = PQsetNoticeReceiver(conn, pgbase_notice, &base);

    result.version_number = pg_version(conn);
    int r = ask_system(&base, err);
    if (r == 0)
        r = pgslot_make(conn, true, options->note, options->context, err);
    if (r == 0)
        r = back_up(&base, err);
    PQsetNoticeReceiver(conn, before, NULL);
    if (r < 0)
        pgbase_result_clear(&result);
    else
        *out = result;
    return r;
}
