/* Rows into tables: COPY from the stored files. */
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

#include "backup/base/cleanup.h"
#include "backup/base/log.h"
#include "backup/base/progress.h"
#include "backup/base/text.h"
#include "backup/source/pgload_internal.h"

enum {
    SQL_MAX = 16 * 1024 * 1024,
    PATH_LIMIT = 8192,
    SHARED_MIN = 96 * 1024 * 1024, /* a smaller file is not worth several connections */
};

/* What the workers share. */
struct rows {
    const struct load *load;
    struct load_shared *shared; /* tables that several of them may load together */
    size_t shared_count;
    pthread_mutex_t lock; /* guards what follows */
    size_t next, next_shared;
    size_t connected;
    int failed, refused; /* refused: a connection; those that are there do without it */
    struct err err, refusal;
};

void pgload_source_clear(struct load_source *source)
{
    if (source->files)
        source->files->close(source->file);
    free(source->piece);
}

int pgload_source_open(const struct load *load, const struct pgload_table *table,
                       struct load_source *out, struct err *err)
{
    CLEANUP(text_clear) struct text path = {.buf.limit = PATH_LIMIT};
    CLEANUP(text_clear) struct text file = {.buf.limit = PATH_LIMIT};

    out->files = &load->options->files;
    text_format(&file, "%s.copy", table->file);
    int r = text_end(&file, err);
    if (r == 0)
        r = pgload_path(load, text_of(&file), &path, err);
    if (r == 0)
        r = out->files->open(out->files->context, text_of(&path), &out->file, &out->size, err);
    if (r == 0 && !(out->piece = malloc(LOAD_PIECE)))
        r = err_set(err, ERR_NOMEM, "no memory for rows");
    return r;
}

int pgload_send(const struct load *load, struct pg_conn *conn, const struct load_source *source,
                size_t from, size_t to, struct err *err)
{
    struct progress *progress = load->options->progress;

    if (progress_cancelled(progress))
        return err_set(err, ERR_CANCELLED, "interrupted");
    int r = to > from ? pg_copy_write(conn, source->piece + from, to - from, err) : 0;
    progress_add(progress, 0, r == 0 ? to - from : 0);
    return r;
}

static int send_all(const struct load *load, struct pg_conn *conn, const struct load_source *source,
                    struct err *err)
{
    int r = 0;

    for (uint64_t at = 0, count; r == 0 && at < source->size; at += count) {
        count = source->size - at < LOAD_PIECE ? source->size - at : LOAD_PIECE;
        r = source->files->read(source->file, at, source->piece, (size_t)count, err);
        if (r == 0)
            r = pgload_send(load, conn, source, 0, (size_t)count, err);
    }
    return r;
}

int pgload_copy_end(struct pg_conn *conn, uint64_t *out_rows, int sent, struct err *err)
{
    struct err unused, *why = sent < 0 ? &unused : err;

    if (sent == -ERR_CANCELLED)
        return sent;
    int r = pg_copy_written(conn, sent < 0 ? "the rows could not be read" : NULL, why);
    int finished = pg_copy_finish(conn, out_rows, r < 0 ? &unused : why);
    return sent < 0 ? sent : r < 0 ? r : finished;
}

int pgload_copy_begin(struct pg_conn *conn, const struct pgload_table *table, const char *qualified,
                      bool freeze, struct err *err)
{
    CLEANUP(text_clear) struct text sql = {.buf.limit = SQL_MAX};

    text_format(&sql, "COPY %s ", qualified);
    text_add(&sql, table->columns);
    text_add(&sql, freeze ? " FROM STDIN WITH (FREEZE)" : " FROM STDIN");
    int r = text_end(&sql, err);
    return r < 0 ? r : pg_copy_begin(conn, text_of(&sql), err);
}

/* A table is loaded. */
static int count_rows(const struct load *load, const struct pgload_table *table, uint64_t rows,
                      struct err *err)
{
    progress_add(load->options->progress, rows == table->rows, 0);
    if (rows == table->rows)
        return 0;
    return err_set(err, ERR_CORRUPT, "%.100s: %" PRIu64 " rows, and the manifest says %" PRIu64,
                   table->name, rows, table->rows);
}

int pgload_rows(const struct load *load, struct pg_conn *conn, const struct pgload_table *table,
                const char *qualified, bool freeze, struct err *err)
{
    CLEANUP(pgload_source_clear) struct load_source source = {0};
    uint64_t rows = UINT64_MAX;

    int r = pgload_source_open(load, table, &source, err);
    if (r == 0)
        r = pgload_copy_begin(conn, table, qualified, freeze, err);
    if (r < 0)
        return err_context(err, "%.100s", table->name);
    r = send_all(load, conn, &source, err);
    r = pgload_copy_end(conn, &rows, r, err);
    return r < 0 ? err_context(err, "%.100s", table->name) : count_rows(load, table, rows, err);
}

int pgload_qualify(const struct pgload_table *table, struct text *out, struct err *err)
{
    text_identifier(out, table->schema);
    text_add(out, ".");
    text_identifier(out, table->name);
    return text_end(out, err);
}

/* In a transaction in which the table was emptied rows come in frozen, and need no log where the
 * server keeps little of it.  An extension's table has rows of the extension. */
static int load_table(const struct load *load, struct pg_conn *conn,
                      const struct pgload_table *table, struct err *err)
{
    CLEANUP(text_clear) struct text qualified = {.buf.limit = PATH_LIMIT};
    CLEANUP(text_clear) struct text sql = {.buf.limit = PATH_LIMIT};

    int r = pgload_qualify(table, &qualified, err);
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

/* ---- workers ---- */

static bool is_shared(const struct rows *rows, const struct pgload_table *table)
{
    for (size_t i = 0; i < rows->shared_count; i++)
        if (rows->shared[i].table == table)
            return true;
    return false;
}

static const struct pgload_table *take_table(struct rows *rows)
{
    const struct pgload_database *database = rows->load->database;
    const struct pgload_table *table = NULL;

    pthread_mutex_lock(&rows->lock);
    while (rows->next < database->table_count && is_shared(rows, &database->tables[rows->next]))
        rows->next++;
    if (rows->failed == 0 && rows->next < database->table_count)
        table = &database->tables[rows->next++];
    pthread_mutex_unlock(&rows->lock);
    return table;
}

/* One that nobody has begun. */
static struct load_shared *take_shared(struct rows *rows)
{
    pthread_mutex_lock(&rows->lock);
    bool any = rows->failed == 0 && rows->next_shared < rows->shared_count;
    struct load_shared *shared = any ? &rows->shared[rows->next_shared++] : NULL;
    pthread_mutex_unlock(&rows->lock);
    return shared;
}

/* Who has no table of his own any more helps with those that are shared. */
static int work_all(struct rows *rows, struct pg_conn *conn, struct err *err)
{
    const struct pgload_table *table;
    struct load_shared *shared;
    int r = 0;

    while (r == 0 && (shared = take_shared(rows)))
        r = pgload_slices(shared, conn, err);
    while (r == 0 && (table = take_table(rows)))
        r = load_table(rows->load, conn, table, err);
    for (size_t i = 0; r == 0 && i < rows->shared_count; i++)
        r = pgload_slices(&rows->shared[i], conn, err);
    return r;
}

static void note_failure(struct rows *rows, int r, const struct err *err)
{
    pthread_mutex_lock(&rows->lock);
    if (rows->failed == 0) {
        rows->err = *err;
        rows->failed = r;
    }
    pthread_mutex_unlock(&rows->lock);
    for (size_t i = 0; i < rows->shared_count; i++)
        pgload_slices_stop(&rows->shared[i]);
}

static void note_connection(struct rows *rows, int r, const struct err *err)
{
    pthread_mutex_lock(&rows->lock);
    if (r == 0) {
        rows->connected++;
    } else if (rows->refused == 0) {
        rows->refused = r;
        rows->refusal = *err;
    }
    pthread_mutex_unlock(&rows->lock);
    if (r < 0)
        log_debug("a connection to load with: %s", err->text);
}

static void *work(void *argument)
{
    struct rows *rows = argument;
    const struct load *load = rows->load;
    CLEANUP(pg_closep) struct pg_conn *conn = NULL;
    struct err err;

    int r = pg_connect(&load->options->server, load->name, PG_PLAIN, &conn, &err);
    note_connection(rows, r, &err);
    if (r == 0 && (r = work_all(rows, conn, &err)) < 0)
        note_failure(rows, r, &err);
    return NULL;
}

static void run_workers(struct rows *rows, size_t jobs)
{
    pthread_t threads[PGLOAD_JOBS_MAX];
    size_t count = 0;

    for (; count < jobs && count < PGLOAD_JOBS_MAX; count++)
        if (pthread_create(&threads[count], NULL, work, rows) != 0)
            break;
    if (count == 0 && jobs > 0)
        (void)work(rows);
    for (size_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

/*
 * A table for all connections together: one that would keep a connection busy when all others are
 * done.  Its rows come in another order than they were in, and not frozen: so no others, and none
 * on a server that keeps no log of what is made and filled in one transaction.
 */
static void find_shared(struct rows *rows, size_t jobs, const struct pg_server *server)
{
    const struct pgload_database *database = rows->load->database;
    CLEANUP(pg_closep) struct pg_conn *conn = NULL;
    CLEANUP(pg_clearp) struct pg_result *level = NULL;
    struct err ignored;
    uint64_t all = 0;

    for (size_t i = 0; i < database->table_count; i++)
        all += database->tables[i].bytes;
    for (size_t i = 0; jobs > 1 && rows->shared && i < database->table_count; i++) {
        const struct pgload_table *table = &database->tables[i];
        if (table->extension || table->bytes < SHARED_MIN || table->bytes < all / jobs)
            continue;
        rows->shared[rows->shared_count++] = (struct load_shared){
            .load = rows->load,
            .table = table,
            .lock = PTHREAD_MUTEX_INITIALIZER,
            .changed = PTHREAD_COND_INITIALIZER,
            .wanted = 1,
        };
    }
    if (rows->shared_count > 0 &&
        (pg_connect(server, rows->load->name, PG_PLAIN, &conn, &ignored) < 0 ||
         pg_query(conn, "SELECT current_setting('wal_level') = 'minimal'", &level, &ignored) < 0 ||
         pg_is_true(level, 0, 0)))
        rows->shared_count = 0;
}

int pgload_all_rows(const struct load *load, struct err *err)
{
    struct rows rows = {.load = load};
    size_t jobs = load->options->jobs, tables = load->database->table_count;

    jobs = jobs < PGLOAD_JOBS_MAX ? jobs : PGLOAD_JOBS_MAX;
    pthread_mutex_init(&rows.lock, NULL);
    rows.shared = calloc(tables + 1, sizeof(*rows.shared));
    find_shared(&rows, jobs, &load->options->server);
    run_workers(&rows, jobs < tables || rows.shared_count > 0 ? jobs : tables);
    pthread_mutex_destroy(&rows.lock);
    if (rows.failed == 0 && rows.connected == 0 && rows.refused < 0) {
        rows.failed = rows.refused;
        rows.err = rows.refusal;
    }
    if (rows.failed < 0)
        *err = rows.err;
    for (size_t i = 0; rows.failed == 0 && i < rows.shared_count; i++)
        rows.failed = count_rows(load, rows.shared[i].table, rows.shared[i].rows, err);
    free(rows.shared);
    return rows.failed;
}
