/* One table: COPY's rows straight into the sink, and as CSV beside it. */
#include "backup/base/cleanup.h"
#include "backup/source/pgcsv.h"
#include "backup/source/pgdump_internal.h"

static const char head_sql[] = "SET client_encoding = 'UTF8';\n"
                               "SET standard_conforming_strings = on;\n"
                               "SET DateStyle = ISO;\n"
                               "SET IntervalStyle = postgres;\n"
                               "SET row_security = off;\n"
                               "SELECT pg_catalog.set_config('search_path', '', false);\n\n";
static const char tail_sql[] = "\\.\n";

static int take_csv(void *context, const void *bytes, size_t size, struct err *err)
{
    const struct copying *copying = context;

    return copying->database->dump->sink->push(copying->csv_file, bytes, size, err);
}

static int open_csv(struct copying *copying, struct err *err)
{
    const struct dump_table *table = copying->table;
    const struct sink *sink = copying->database->dump->sink;
    struct pgcsv csv = {.take = take_csv, .context = copying};
    CLEANUP(text_clear) struct text name = {.buf.limit = 8192};

    text_format(&name, "%s.csv", table->path);
    int r = text_end(&name, err);
    if (r == 0)
        r = sink->open(sink->context, text_of(&name), PGDUMP_MODE, &copying->csv_file, err);
    if (r == 0)
        r = pgcsv_header(&csv, table->columns, err);
    return r < 0 ? r : pgcsv_end(&csv, err);
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

/* By this connection, and those that help; the result is the sink's, or an interrupt. */
static int copy_rows(struct copying *copying, struct pg_conn *conn, struct err *err)
{
    const struct dump *dump = copying->database->dump;

    if (copying->table->ranges > 0)
        pgdump_workers_offer(copying);
    pgdump_rows(copying, conn);
    if (copying->table->ranges > 0)
        pgdump_workers_withdraw(copying);
    if (copying->failed < 0) {
        *err = copying->err;
        return copying->failed;
    }
    if (pgdump_cancelled(dump, err))
        return -ERR_CANCELLED;
    return copying->stopped ? 0
                            : dump->sink->tail(copying->file, tail_sql, sizeof(tail_sql) - 1, err);
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
    pgdump_set_state(copying->database, copying->table,
                     whole && r == 0 ? TABLE_DONE : TABLE_FAILED);
    return r;
}

int pgdump_copy(struct dump_database *database, struct pg_conn *conn, struct dump_table *table,
                bool again, struct err *err)
{
    struct copying copying = {
        .database = database, .table = table, .order = PTHREAD_MUTEX_INITIALIZER};
    struct err ignored;

    table->bytes = table->rows = 0;
    int r = open_files(&copying, err);
    if (r == 0 && database->dump->options->csv)
        r = open_csv(&copying, err);
    if (r == 0)
        r = copy_rows(&copying, conn, err);
    bool wanted = pgdump_workers_keep(database);
    bool whole = wanted && r == 0 && !copying.stopped;
    int ended = end_files(&copying, whole, r < 0 ? &ignored : err);
    if (r < 0 || ended < 0 || whole)
        return r < 0 ? r : ended;
    /* Without a connection it is told once for all that could not be read. */
    if (!wanted || copying.lost || (again && copying.elsewhere)) {
        pgdump_set_state(database, table, TABLE_TO_DO);
        return 0;
    }
    return pgdump_trouble(database, table->path, &copying.why, err);
}
