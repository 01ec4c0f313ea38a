/* Everything of a database that is not a table's rows. */
#include <fcntl.h>
#include <libpq-fe.h>
#include <libpq/libpq-fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/io.h"
#include "backup/base/progress.h"
#include "backup/base/text.h"
#include "backup/source/pgchild.h"
#include "backup/source/pgload_internal.h"
#include "backup/source/pgsql.h"

enum { PATH_LIMIT = 8192, OBJECT_SLICE = 64 * 1024, NUMBER_SIZE = 16 };

int pgload_path(const struct load *load, const char *file, struct text *out, struct err *err)
{
    text_clear(out);
    text_add(out, load->database->directory);
    text_add(out, "/");
    text_add(out, file);
    return text_end(out, err);
}

int pgload_read(const struct pgload_options *options, const char *path, struct buf *out,
                struct err *err)
{
    const struct pgload_files *files = &options->files;
    struct pgload_file *file = NULL;
    uint64_t size;

    int r = files->open(files->context, path, &file, &size, err);
    if (r == 0 && size > PGLOAD_FILE_MAX)
        r = err_set(err, ERR_TOO_LARGE, "%.100s is too large", path);
    if (r == 0)
        r = buf_reserve(out, (size_t)size + 1, err);
    if (r == 0)
        r = files->read(file, 0, out->data + out->size, (size_t)size, err);
    files->close(file);
    if (r < 0)
        return r;
    out->size += (size_t)size;
    out->data[out->size] = 0;
    return 0;
}

static int read_of(const struct load *load, const char *name, struct buf *out, struct err *err)
{
    CLEANUP(text_clear) struct text path = {.buf.limit = PATH_LIMIT};

    int r = pgload_path(load, name, &path, err);
    return r < 0 ? r : pgload_read(load->options, text_of(&path), out, err);
}

/* pg_restore opens its file by name, each of its workers once more: a file in memory has one. */
static int open_archive(const struct load *load, int *out_fd, struct err *err)
{
    CLEANUP(buf_clear) struct buf archive = {.limit = PGLOAD_FILE_MAX + 1};

    int r = read_of(load, "schema.dump", &archive, err);
    return r < 0 ? r : pgchild_input(archive.data, archive.size, out_fd, err);
}

/* A name as libpq's connection strings quote it. */
static int make_dbname(const struct load *load, struct text *out, struct err *err)
{
    text_add(out, "--dbname=dbname='");
    for (const char *at = load->name; *at; at++) {
        if (*at == '\'' || *at == '\\')
            text_add(out, "\\");
        text_bytes(out, at, 1);
    }
    text_add(out, "'");
    return text_end(out, err);
}

int pgload_section(const struct load *load, enum load_section section, struct err *err)
{
    CLEANUP(text_clear) struct text dbname = {.buf.limit = PATH_LIMIT};
    CLEANUP(closep) int archive = -1;
    char jobs[NUMBER_SIZE + 16];
    bool post = section == LOAD_POST_DATA;

    int r = make_dbname(load, &dbname, err);
    if (r == 0)
        r = open_archive(load, &archive, err);
    if (r < 0)
        return r;
    (void)snprintf(jobs, sizeof(jobs), "--jobs=%u", post ? load->options->jobs : 1);
    const char *const argv[] = {"pg_restore",
                                post ? "--section=post-data" : "--section=pre-data",
                                "--exit-on-error",
                                "--no-password",
                                jobs,
                                text_of(&dbname),
                                PGCHILD_INPUT_NAME,
                                load->no_tablespaces ? "--no-tablespaces" : NULL,
                                NULL};
    const struct pgchild child = {
        .server = &load->options->server,
        .argv = argv,
        .input = archive,
        .progress = load->options->progress,
    };
    return pgchild_run(&child, err);
}

int pgload_sequences(const struct load *load, struct pg_conn *conn, struct err *err)
{
    CLEANUP(buf_clear) struct buf sql = {.limit = PGLOAD_FILE_MAX + 1};

    int r = read_of(load, "sequences.sql", &sql, err);
    if (r == 0 && sql.size > 0)
        r = pg_run(conn, (const char *)sql.data, err);
    return r < 0 ? err_context(err, "sequences") : 0;
}

static int write_object(const struct load *load, struct pg_conn *conn, int object,
                        struct pgload_file *file, uint64_t size, struct err *err)
{
    const struct pgload_files *files = &load->options->files;
    char slice[OBJECT_SLICE];
    int r = 0;

    for (uint64_t at = 0, count; r == 0 && at < size; at += count) {
        count = size - at < sizeof(slice) ? size - at : sizeof(slice);
        if (progress_cancelled(load->options->progress))
            return err_set(err, ERR_CANCELLED, "interrupted");
        r = files->read(file, at, slice, (size_t)count, err);
        if (r == 0 && lo_write(conn, object, slice, (size_t)count) != (int)count)
            r = pg_error(conn, NULL, err);
    }
    return r;
}

static int load_object(const struct load *load, struct pg_conn *conn, const char *number,
                       struct err *err)
{
    const struct pgload_files *files = &load->options->files;
    CLEANUP(text_clear) struct text path = {.buf.limit = PATH_LIMIT};
    struct pgload_file *file = NULL;
    char name[64];
    uint64_t size;

    (void)snprintf(name, sizeof(name), "large_objects/%.15s", number);
    int r = pgload_path(load, name, &path, err);
    if (r == 0)
        r = files->open(files->context, text_of(&path), &file, &size, err);
    if (r == 0) {
        int object = lo_open(conn, (Oid)strtoul(number, NULL, 10), INV_WRITE);
        r = object < 0 ? pg_error(conn, NULL, err)
                       : write_object(load, conn, object, file, size, err);
        if (object >= 0)
            (void)lo_close(conn, object);
    }
    files->close(file);
    return r < 0 ? err_context(err, "large object %.15s", number) : 0;
}

/* Its statements make each object; its content follows at once. */
static int run_objects(const struct load *load, struct pg_conn *conn, char *sql, struct err *err)
{
    static const char make[] = "SELECT pg_catalog.lo_create(";
    const char *at = sql, *statement, *rest;
    size_t size;
    int r = 0;

    while (r == 0 && pgsql_next(&at, &statement, &size)) {
        sql[(statement - sql) + (ptrdiff_t)size] = 0;
        r = pg_run(conn, statement, err);
        if (r == 0 && pgsql_begins(statement, size, make, &rest)) {
            char number[NUMBER_SIZE] = {0};
            (void)snprintf(number, sizeof(number), "%.*s", (int)strspn(rest, "0123456789"), rest);
            r = load_object(load, conn, number, err);
        }
    }
    return r;
}

int pgload_objects(const struct load *load, struct pg_conn *conn, struct err *err)
{
    CLEANUP(buf_clear) struct buf sql = {.limit = PGLOAD_FILE_MAX + 1};

    int r = read_of(load, "large_objects/objects.sql", &sql, err);
    if (r == -ERR_NOT_FOUND)
        return 0; /* there are none */
    if (r == 0)
        r = pg_run(conn, "BEGIN", err);
    if (r == 0)
        r = run_objects(load, conn, (char *)sql.data, err);
    return r < 0 ? r : pg_run(conn, "COMMIT", err);
}

/* One that reads another that is not filled yet comes after it. */
int pgload_views(const struct load *load, struct pg_conn *conn, struct err *err)
{
    const struct pgload_database *database = load->database;
    CLEANUP(text_clear) struct text sql = {.buf.limit = PATH_LIMIT};
    bool *done = calloc(database->view_count + 1, sizeof(*done));
    size_t left = database->view_count, before = left + 1;
    int r = done ? 0 : err_set(err, ERR_NOMEM, "no memory for views");

    while (r == 0 && left > 0 && left < before) {
        before = left;
        for (size_t i = 0; i < database->view_count; i++) {
            if (done[i])
                continue;
            text_clear(&sql);
            text_format(&sql, "REFRESH MATERIALIZED VIEW %s", database->views[i]);
            if (text_end(&sql, err) == 0 && pg_run(conn, text_of(&sql), err) == 0)
                done[i] = true;
            left -= done[i];
        }
    }
    free(done);
    /* *err is of the last one that could not be filled. */
    return r < 0 ? r : left > 0 ? err_context(err, "materialised views") : 0;
}

int pgload_properties(const struct load *load, struct pg_conn *conn, struct err *err)
{
    static const char mark[] = ":\"DBNAME\"";
    CLEANUP(buf_clear) struct buf stored = {.limit = PGLOAD_FILE_MAX + 1};
    CLEANUP(text_clear) struct text sql = {.buf.limit = PGLOAD_FILE_MAX};
    const char *at, *next;

    int r = read_of(load, "database.sql", &stored, err);
    if (r < 0)
        return r;
    for (at = (const char *)stored.data; (next = strstr(at, mark)); at = next + sizeof(mark) - 1) {
        text_bytes(&sql, at, (size_t)(next - at));
        text_identifier(&sql, load->name);
    }
    text_add(&sql, at);
    r = text_end(&sql, err);
    if (r == 0)
        r = pg_run(conn, text_of(&sql), err);
    return r < 0 ? err_context(err, "settings and rights of the database") : 0;
}
