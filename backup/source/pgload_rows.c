/* Rows into tables: COPY from the stored files. */
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/progress.h"
#include "backup/base/text.h"
#include "backup/source/pgload_internal.h"

enum { SLICE = 1024 * 1024, SQL_MAX = 16 * 1024 * 1024, PATH_LIMIT = 8192 };

/* What the workers share. */
struct rows {
    const struct load *load;
    pthread_mutex_t lock; /* guards what follows */
    size_t next;
    int failed;
    struct err err;
};

/* An open file, and a slice of it in memory. */
struct source {
    const struct pgload_files *files;
    struct pgload_file *file;
    uint64_t size;
    uint8_t *slice;
};

static void source_clear(struct source *source)
{
    source->files->close(source->file);
    free(source->slice);
}

static int send_all(const struct load *load, struct pg_conn *conn, struct source *source,
                    struct err *err)
{
    struct progress *progress = load->options->progress;
    int r = 0;

    for (uint64_t at = 0, count; r == 0 && at < source->size; at += count) {
        count = source->size - at < SLICE ? source->size - at : SLICE;
        if (progress_cancelled(progress))
            return err_set(err, ERR_CANCELLED, "interrupted");
        r = source->files->read(source->file, at, source->slice, (size_t)count, err);
        if (r == 0)
            r = pg_copy_write(conn, source->slice, (size_t)count, err);
        progress_add(progress, 0, r == 0 ? count : 0);
    }
    return r;
}

/* What the server makes of the rows; it has the better word for what went wrong with them. */
static int end_copy(struct pg_conn *conn, uint64_t *out_rows, int sent, struct err *err)
{
    struct err unused, *why = sent < 0 ? &unused : err;

    if (sent == -ERR_CANCELLED)
        return sent;
    int r = pg_copy_written(conn, sent < 0 ? "the rows could not be read" : NULL, why);
    int finished = pg_copy_finish(conn, out_rows, r < 0 ? &unused : why);
    return sent < 0 ? sent : r < 0 ? r : finished;
}

static int start_copy(struct pg_conn *conn, const struct pgload_table *table, const char *qualified,
                      bool freeze, struct err *err)
{
    CLEANUP(text_clear) struct text sql = {.buf.limit = SQL_MAX};

    text_format(&sql, "COPY %s ", qualified);
    text_add(&sql, table->columns);
    text_add(&sql, freeze ? " FROM STDIN WITH (FREEZE)" : " FROM STDIN");
    int r = text_end(&sql, err);
    return r < 0 ? r : pg_copy_begin(conn, text_of(&sql), err);
}

int pgload_rows(const struct load *load, struct pg_conn *conn, const struct pgload_table *table,
                const char *qualified, bool freeze, struct err *err)
{
    CLEANUP(text_clear) struct text path = {.buf.limit = PATH_LIMIT};
    CLEANUP(text_clear) struct text file = {.buf.limit = PATH_LIMIT};
    CLEANUP(source_clear) struct source source = {.files = &load->options->files};
    uint64_t rows = UINT64_MAX;

    text_format(&file, "%s.copy", table->file);
    int r = text_end(&file, err);
    if (r == 0)
        r = pgload_path(load, text_of(&file), &path, err);
    if (r == 0)
        r = source.files->open(source.files->context, text_of(&path), &source.file, &source.size,
                               err);
    if (r == 0 && !(source.slice = malloc(SLICE)))
        r = err_set(err, ERR_NOMEM, "no memory for rows");
    if (r == 0)
        r = start_copy(conn, table, qualified, freeze, err);
    if (r < 0)
        return err_context(err, "%.100s", table->name);
    r = send_all(load, conn, &source, err);
    r = end_copy(conn, &rows, r, err);
    if (r == 0 && rows != table->rows)
        r = err_set(err, ERR_CORRUPT, "%" PRIu64 " rows, and the manifest says %" PRIu64, rows,
                    table->rows);
    progress_add(load->options->progress, r == 0, 0);
    return r < 0 ? err_context(err, "%.100s", table->name) : 0;
}

/* In a transaction in which the table was emptied rows come in frozen, and need no log where the
 * server keeps little of it.  An extension's table has rows of the extension. */
static int load_table(const struct load *load, struct pg_conn *conn,
                      const struct pgload_table *table, struct err *err)
{
    CLEANUP(text_clear) struct text qualified = {.buf.limit = PATH_LIMIT};
    CLEANUP(text_clear) struct text sql = {.buf.limit = PATH_LIMIT};

    text_identifier(&qualified, table->schema);
    text_add(&qualified, ".");
    text_identifier(&qualified, table->name);
    int r = text_end(&qualified, err);
    if (r < 0)
        return r;
    text_format(&sql, table->extension ? "BEGIN" : "BEGIN; TRUNCATE ONLY %s", text_of(&qualified));
    r = text_end(&sql, err);
    if (r == 0)
        r = pg_run(conn, text_of(&sql), err);
    if (r == 0)
        r = pgload_rows(load, conn, table, text_of(&qualified), !table->extension, err);
    return r < 0 ? r : pg_run(conn, "COMMIT", err);
}

static const struct pgload_table *take_table(struct rows *rows)
{
    const struct pgload_database *database = rows->load->database;
    const struct pgload_table *table = NULL;

    pthread_mutex_lock(&rows->lock);
    if (rows->failed == 0 && rows->next < database->table_count)
        table = &database->tables[rows->next++];
    pthread_mutex_unlock(&rows->lock);
    return table;
}

static void *work(void *argument)
{
    struct rows *rows = argument;
    const struct load *load = rows->load;
    const struct pgload_table *table;
    CLEANUP(pg_closep) struct pg_conn *conn = NULL;
    struct err err;

    int r = pg_connect(&load->options->server, load->name, PG_PLAIN, &conn, &err);
    while (r == 0 && (table = take_table(rows)))
        r = load_table(load, conn, table, &err);
    if (r == 0)
        return NULL;
    pthread_mutex_lock(&rows->lock);
    if (rows->failed == 0)
        rows->err = err;
    rows->failed = r;
    pthread_mutex_unlock(&rows->lock);
    return NULL;
}

int pgload_all_rows(const struct load *load, struct err *err)
{
    struct rows rows = {.load = load};
    pthread_t threads[PGLOAD_JOBS_MAX];
    size_t jobs = load->options->jobs, count = 0;

    if (jobs > load->database->table_count)
        jobs = load->database->table_count;
    pthread_mutex_init(&rows.lock, NULL);
    for (; count < jobs && count < PGLOAD_JOBS_MAX; count++)
        if (pthread_create(&threads[count], NULL, work, &rows) != 0)
            break;
    if (count == 0 && jobs > 0)
        (void)work(&rows);
    for (size_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    pthread_mutex_destroy(&rows.lock);
    if (rows.failed < 0)
        *err = rows.err;
    return rows.failed;
}
