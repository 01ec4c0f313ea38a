/* One table: COPY's rows straight into the sink, and as CSV beside it. */
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/progress.h"
#include "backup/source/pgcsv.h"
#include "backup/source/pgdump_internal.h"

static const char head_sql[] = "SET client_encoding = 'UTF8';\n"
                               "SET standard_conforming_strings = on;\n"
                               "SET DateStyle = ISO;\n"
                               "SET IntervalStyle = postgres;\n"
                               "SET row_security = off;\n"
                               "SELECT pg_catalog.set_config('search_path', '', false);\n\n";
enum { GIVEN_UP = 1 };

static const char tail_sql[] = "\\.\n";

/* A table that is being copied. */
struct copying {
    struct dump_database *database;
    struct pg_conn *conn;
    struct dump_table *table;
    struct sink_file *file;
    struct sink_file *csv_file; /* NULL: not wanted */
    struct pgcsv csv;
    bool source_failed; /* `why` is the server's */
    bool elsewhere;     /* … perhaps only as it is not what its name stands for by now */
    struct err why;
};

static const char *name_of(const struct dump_table *table)
{
    return table->current ? table->current : table->qualified;
}

static int copy_sql(const struct dump_table *table, struct text *sql, struct err *err)
{
    bool ordered = table->order[0] && table->columns[0];
    size_t columns = strlen(table->columns);

    text_add(sql, "COPY ");
    if ((!ordered && !table->condition[0]) || !table->columns[0]) {
        text_format(sql, "%s ", name_of(table));
        text_add(sql, table->columns);
    } else {
        text_add(sql, "(SELECT ");
        text_bytes(sql, table->columns + 1, columns - 2); /* without the parentheses */
        text_format(sql, " FROM ONLY %s ", name_of(table));
        text_add(sql, table->condition);
        text_format(sql, "%s", ordered ? " ORDER BY " : "");
        text_add(sql, ordered ? table->order : "");
        text_add(sql, ")");
    }
    text_add(sql, " TO STDOUT");
    return text_end(sql, err);
}

static int take_csv(void *context, const void *bytes, size_t size, struct err *err)
{
    const struct copying *copying = context;

    return copying->database->dump->sink->push(copying->csv_file, bytes, size, err);
}

static int open_csv(struct copying *copying, struct err *err)
{
    const struct dump_table *table = copying->table;
    const struct sink *sink = copying->database->dump->sink;
    CLEANUP(text_clear) struct text name = {.buf.limit = 8192};

    text_format(&name, "%s.csv", table->path);
    int r = text_end(&name, err);
    if (r == 0)
        r = sink->open(sink->context, text_of(&name), PGDUMP_MODE, &copying->csv_file, err);
    copying->csv.take = take_csv;
    copying->csv.context = copying;
    return r < 0 ? r : pgcsv_header(&copying->csv, table->columns, err);
}

static int open_files(struct copying *copying, struct err *err)
{
    const struct dump_table *table = copying->table;
    const struct sink *sink = copying->database->dump->sink;
    CLEANUP(text_clear) struct text name = {.buf.limit = 8192};
    CLEANUP(text_clear) struct text head = {.buf.limit = PGDUMP_TEXT_MAX};

    text_format(&name, "%s.copy", table->path);
    int r = text_end(&name, err);
    if (r == 0)
        r = sink->open(sink->context, text_of(&name), PGDUMP_MODE, &copying->file, err);
    if (r < 0)
        return r;
    text_clear(&name);
    text_format(&name, "%s.sql", table->path);
    text_add(&head, head_sql);
    text_format(&head, "COPY %s ", table->qualified);
    text_add(&head, table->columns);
    text_add(&head, " FROM stdin;\n");
    r = text_end(&name, err);
    if (r == 0)
        r = text_end(&head, err);
    return r < 0 ? r
                 : sink->twin(copying->file, text_of(&name), text_of(&head), text_size(&head), err);
}

/* The rows until the end; a negative result is the sink's, or an interrupt; GIVEN_UP: they are not
 * wanted any more. */
static int push_rows(struct copying *copying, struct err *err)
{
    const struct dump *dump = copying->database->dump;
    struct pg_flow flow = pg_flow_start();
    char *row = NULL;
    size_t size;
    int r = 0;

    while (r == 0 && (r = pg_copy_read(copying->conn, &flow, &row, &size, err)) == 0 && row) {
        r = dump->sink->push(copying->file, row, size, err);
        if (r == 0 && copying->csv_file)
            r = pgcsv_row(&copying->csv, row, size, err);
        pg_copy_free(row);
        copying->table->bytes += size;
        if (r == 0 && progress_cancelled(dump->sink->progress))
            r = err_set(err, ERR_CANCELLED, "interrupted");
        if (r == 0 && copying->database->again)
            r = GIVEN_UP;
    }
    if (r != 0)
        pg_stop(copying->conn);
    return r;
}

/*
 * A snapshot keeps rows, not names: should a lock have been lost (its session was ended), or a
 * schema been given another's name, what was copied may be another table, which shows no rows in
 * this snapshot.  So what has that name now is compared with what the snapshot has.
 */
static int check_same(struct copying *copying)
{
    const struct dump_table *table = copying->table;
    CLEANUP(text_clear) struct text sql = {.buf.limit = PGDUMP_TEXT_MAX};
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;

    text_add(&sql, "SELECT coalesce(to_regclass(");
    text_literal(&sql, name_of(table));
    text_format(&sql, ")::oid = %s, false), coalesce(pg_relation_filenode(%s) = %s, false)",
                table->oid, table->oid, table->node);
    int r = text_end(&sql, &copying->why);
    if (r == 0)
        r = pg_query(copying->conn, text_of(&sql), &rows, &copying->why);
    bool by_name = r == 0 && pg_is_true(rows, 0, 0), is_there = r == 0 && pg_is_true(rows, 0, 1);
    copying->elsewhere = is_there && !by_name;
    if (r == 0 && !(is_there && by_name))
        r = err_set(&copying->why, ERR_REMOTE, "it was made anew while it was read");
    return r;
}

/* Rows into the open file; results as of push_rows(). */
static int copy_rows(struct copying *copying, struct err *err)
{
    const struct sink *sink = copying->database->dump->sink;
    CLEANUP(text_clear) struct text sql = {.buf.limit = PGDUMP_TEXT_MAX};

    int r = copy_sql(copying->table, &sql, err);
    if (r < 0)
        return r;
    int source = pg_copy_begin(copying->conn, text_of(&sql), &copying->why);
    copying->elsewhere = source < 0; /* what has the name now may lack one of the columns */
    if (source == 0)
        r = push_rows(copying, err);
    if (r == 0 && source == 0)
        source = pg_copy_finish(copying->conn, &copying->table->rows, &copying->why);
    if (r == 0 && source == 0)
        source = check_same(copying);
    copying->source_failed = source < 0;
    if (r == 0 && pgdump_cancelled(copying->database->dump, err))
        r = -ERR_CANCELLED;
    if (r == 0 && source == 0)
        r = sink->tail(copying->file, tail_sql, sizeof(tail_sql) - 1, err);
    if (r == 0 && source == 0 && copying->csv_file)
        r = pgcsv_end(&copying->csv, err);
    return r;
}

static void set_state(struct copying *copying, enum table_state state)
{
    pthread_mutex_lock(&copying->database->lock);
    copying->table->state = state;
    pthread_mutex_unlock(&copying->database->lock);
}

/* Into the sink, or away; the table is marked. */
static int end_files(struct copying *copying, bool whole, struct err *err)
{
    const struct sink *sink = copying->database->dump->sink;
    int r = whole ? sink->close(STEAL(copying->file), err) : 0;

    if (whole && r == 0 && copying->csv_file)
        r = sink->close(STEAL(copying->csv_file), err);
    sink->drop(copying->file);
    sink->drop(copying->csv_file);
    set_state(copying, whole && r == 0 ? TABLE_DONE : TABLE_FAILED);
    return r;
}

int pgdump_copy(struct dump_database *database, struct pg_conn *conn, struct dump_table *table,
                bool again, struct err *err)
{
    struct copying copying = {.database = database, .conn = conn, .table = table};
    struct err ignored;

    table->bytes = 0;
    int r = open_files(&copying, err);
    if (r == 0 && database->dump->options->csv)
        r = open_csv(&copying, err);
    if (r == 0)
        r = copy_rows(&copying, err);
    bool wanted = pgdump_workers_keep(database);
    bool whole = wanted && r == 0 && !copying.source_failed;
    int ended = end_files(&copying, whole, r < 0 ? &ignored : err);
    if (r < 0 || ended < 0 || whole)
        return r < 0 ? r : ended;
    /* Without a connection it is told once for all that could not be read. */
    if (!wanted || pg_is_lost(conn) || (again && copying.elsewhere)) {
        set_state(&copying, TABLE_TO_DO);
        return 0;
    }
    return pgdump_trouble(database, table->path, &copying.why, err);
}
