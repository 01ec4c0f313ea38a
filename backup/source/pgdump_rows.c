/* Rows of a table into the sink: by one COPY, or range by range (docs/decisions/ranges.md). */
#include <inttypes.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/progress.h"
#include "backup/source/pgcsv.h"
#include "backup/source/pgdump_internal.h"

/* How much of a range is read while one before it is not over: its chunks wait in memory. */
enum { GIVEN_UP = 1, AHEAD_MAX = 256 * 1024 * 1024 };

/* Rows on their way from one connection into the streams that they belong into. */
struct range {
    struct copying *copying;
    struct pg_conn *conn;
    uint64_t number;
    struct sink_file *file, *csv_file;
    struct pgcsv csv;
    uint64_t rows, bytes;
    bool in_front; /* all ranges before it are over */
    bool elsewhere;
    struct err why; /* the server's */
};

const char *pgdump_name(const struct dump_table *table)
{
    return table->current ? table->current : table->qualified;
}

/* The last one has no end: what the table has grown by is not in the snapshot. */
static void add_range(const struct dump_table *table, uint64_t number, struct text *sql)
{
    text_format(sql, "WHERE ctid >= '(%" PRIu64 ",0)'", number * PGDUMP_RANGE_BLOCKS);
    if (number + 1 < table->ranges)
        text_format(sql, " AND ctid < '(%" PRIu64 ",0)'", (number + 1) * PGDUMP_RANGE_BLOCKS);
}

static int copy_sql(const struct range *range, struct text *sql, struct err *err)
{
    const struct dump_table *table = range->copying->table;
    bool ordered = table->order[0] && table->columns[0];
    size_t columns = strlen(table->columns);

    text_add(sql, "COPY ");
    if ((!ordered && !table->condition[0] && table->ranges == 0) || !table->columns[0]) {
        text_format(sql, "%s ", pgdump_name(table));
        text_add(sql, table->columns);
    } else {
        text_add(sql, "(SELECT ");
        text_bytes(sql, table->columns + 1, columns - 2); /* without the parentheses */
        text_format(sql, " FROM ONLY %s ", pgdump_name(table));
        text_add(sql, table->condition);
        if (table->ranges > 0)
            add_range(table, range->number, sql);
        text_format(sql, "%s", ordered ? " ORDER BY " : "");
        text_add(sql, ordered ? table->order : "");
        text_add(sql, ")");
    }
    text_add(sql, " TO STDOUT");
    return text_end(sql, err);
}

/* The connection is wanted for other tables: what was on its way is let go. */
static void drain(struct range *range, struct pg_flow *flow)
{
    struct err ignored;
    char *row = NULL;
    size_t size;

    while (pg_copy_read(range->conn, flow, &row, &size, &ignored) == 0 && row)
        pg_copy_free(row);
    (void)pg_copy_finish(range->conn, &range->rows, &ignored);
}

/* A range of few blocks may have any number of bytes: most of them lie elsewhere (TOAST).  Whoever
 * has the first range that is not over never waits, and tells all when it ends. */
static void wait_turn(struct range *range)
{
    struct copying *copying = range->copying;

    if (range->bytes < AHEAD_MAX || range->in_front)
        return;
    pthread_mutex_lock(&copying->database->lock);
    while (!copying->stopped && copying->first < range->number)
        pthread_cond_wait(&copying->database->changed, &copying->database->lock);
    pthread_mutex_unlock(&copying->database->lock);
    range->in_front = true;
}

/* The rows until the end; a negative result is the sink's, or an interrupt; GIVEN_UP: they are not
 * wanted any more. */
static int push_rows(struct range *range, struct err *err)
{
    const struct copying *copying = range->copying;
    const struct dump *dump = copying->database->dump;
    struct pg_flow flow = pg_flow_start();
    char *row = NULL;
    size_t size;
    int r = 0;

    while (r == 0 && (r = pg_copy_read(range->conn, &flow, &row, &size, err)) == 0 && row) {
        r = dump->sink->push(range->file, row, size, err);
        if (r == 0 && range->csv_file)
            r = pgcsv_row(&range->csv, row, size, err);
        pg_copy_free(row);
        range->bytes += size;
        if (r == 0)
            wait_turn(range);
        if (r == 0 && progress_cancelled(dump->sink->progress))
            r = err_set(err, ERR_CANCELLED, "interrupted");
        if (r == 0 && (copying->database->again || copying->stopped))
            r = GIVEN_UP;
    }
    if (r != 0)
        pg_stop(range->conn);
    if (r == GIVEN_UP && copying->stopped)
        drain(range, &flow);
    return r;
}

/*
 * A snapshot keeps rows, not names: should a lock have been lost (its session was ended), or a
 * schema been given another's name, what was copied may be another table, which shows no rows in
 * this snapshot.  So what has that name now is compared with what the snapshot has.
 */
static int check_same(struct range *range)
{
    const struct dump_table *table = range->copying->table;
    CLEANUP(text_clear) struct text sql = {.buf.limit = PGDUMP_TEXT_MAX};
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;

    text_add(&sql, "SELECT coalesce(to_regclass(");
    text_literal(&sql, pgdump_name(table));
    text_format(&sql, ")::oid = %s, false), coalesce(pg_relation_filenode(%s) = %s, false)",
                table->oid, table->oid, table->node);
    int r = text_end(&sql, &range->why);
    if (r == 0)
        r = pg_query(range->conn, text_of(&sql), &rows, &range->why);
    bool by_name = r == 0 && pg_is_true(rows, 0, 0), is_there = r == 0 && pg_is_true(rows, 0, 1);
    range->elsewhere = is_there && !by_name;
    if (r == 0 && !(is_there && by_name))
        r = err_set(&range->why, ERR_REMOTE, "it was made anew while it was read");
    return r;
}

/* Into the open streams; results as of push_rows(), *out_source is the server's. */
static int copy_range(struct range *range, int *out_source, struct err *err)
{
    CLEANUP(text_clear) struct text sql = {.buf.limit = PGDUMP_TEXT_MAX};

    int r = copy_sql(range, &sql, err);
    if (r < 0)
        return r;
    int source = pg_copy_begin(range->conn, text_of(&sql), &range->why);
    /* What has the name now may lack one of the columns; a right is missing under any name. */
    range->elsewhere = source < 0 && source != -ERR_DENIED;
    if (source == 0)
        r = push_rows(range, err);
    if (r == 0 && source == 0)
        source = pg_copy_finish(range->conn, &range->rows, &range->why);
    if (r == 0 && source == 0)
        source = check_same(range);
    if (r == 0 && source == 0 && range->csv_file)
        r = pgcsv_end(&range->csv, err);
    *out_source = source;
    return r;
}

/* What came of a range, or of taking one: `r` with `err`, and the server's `source`. */
static void note_end(struct range *range, int r, int source, const struct err *err)
{
    struct copying *copying = range->copying;
    struct dump_database *database = copying->database;

    pthread_mutex_lock(&database->lock);
    if (r < 0 && copying->failed == 0) {
        copying->failed = r;
        copying->err = *err;
    }
    if (r == 0 && source < 0 && !copying->stopped) {
        copying->elsewhere = range->elsewhere;
        copying->why = range->why;
        copying->lost = pg_is_lost(range->conn);
    }
    copying->stopped = copying->stopped || r != 0 || source < 0;
    copying->table->rows += range->rows;
    copying->table->bytes += range->bytes;
    pthread_cond_broadcast(&database->changed);
    pthread_mutex_unlock(&database->lock);
}

/* ---- ranges ---- */

static int take_csv(void *context, const void *bytes, size_t size, struct err *err)
{
    const struct range *range = context;

    return range->copying->database->dump->sink->push(range->csv_file, bytes, size, err);
}

/* Whether there is a next range.  It is not taken while it is too far from the first that is not
 * over: what is behind that one waits in memory. */
static bool wait_range(struct range *range)
{
    struct copying *copying = range->copying;
    struct dump_database *database = copying->database;

    pthread_mutex_lock(&database->lock);
    while (!copying->stopped && copying->next < copying->table->ranges &&
           copying->next >= copying->first + PGDUMP_RANGES_MAX)
        pthread_cond_wait(&database->changed, &database->lock);
    bool any = !copying->stopped && copying->next < copying->table->ranges;
    if (any)
        range->number = copying->next++;
    pthread_mutex_unlock(&database->lock);
    return any;
}

/* The next range, with its streams: opened in the order of ranges, one after the other.  1: it has
 * one; 0: there is none. */
static int take_range(struct range *range, struct err *err)
{
    struct copying *copying = range->copying;
    const struct sink *sink = copying->database->dump->sink;
    int r = 0;

    pthread_mutex_lock(&copying->order);
    bool any = wait_range(range);
    if (any)
        r = sink->section(copying->file, &range->file, err);
    if (any && r == 0 && copying->csv_file)
        r = sink->section(copying->csv_file, &range->csv_file, err);
    pthread_mutex_unlock(&copying->order);
    return r < 0 ? r : any;
}

static void end_range(const struct range *range)
{
    struct copying *copying = range->copying;

    pthread_mutex_lock(&copying->database->lock);
    copying->over[range->number % PGDUMP_RANGES_MAX] = true;
    while (copying->over[copying->first % PGDUMP_RANGES_MAX])
        copying->over[copying->first++ % PGDUMP_RANGES_MAX] = false;
    pthread_mutex_unlock(&copying->database->lock);
}

static int end_sections(struct range *range, bool whole, struct err *err)
{
    const struct sink *sink = range->copying->database->dump->sink;
    int r = whole ? sink->close(STEAL(range->file), err) : 0;

    if (whole && r == 0 && range->csv_file)
        r = sink->close(STEAL(range->csv_file), err);
    sink->drop(range->file);
    sink->drop(range->csv_file);
    return r;
}

/* One of them; whether there may be more. */
static bool pass_range(struct copying *copying, struct pg_conn *conn)
{
    struct range range = {.copying = copying, .conn = conn};
    struct err err, ignored;
    int source = 0;

    range.csv = (struct pgcsv){
        .take = take_csv, .context = &range, .columnless = !copying->table->columns[0]};
    int r = take_range(&range, &err);
    bool any = r > 0;
    r = any ? copy_range(&range, &source, &err) : r;
    bool whole = any && r == 0 && source == 0;
    int ended = end_sections(&range, whole, r < 0 ? &ignored : &err);
    if (whole && ended == 0)
        end_range(&range);
    note_end(&range, r == 0 ? ended : r, source, &err);
    return whole && ended == 0;
}

/* Only what reads the blocks of a range and no others, in their order, whatever the planner thinks
 * of the table. */
static const char plan_sql[] = "SET enable_seqscan = off; SET enable_tidscan = on; SET jit = off; "
                               "SET max_parallel_workers_per_gather = 0";
static const char plan_end_sql[] = "RESET enable_seqscan; RESET enable_tidscan; RESET jit; "
                                   "RESET max_parallel_workers_per_gather";

static void pass_ranges(struct copying *copying, struct pg_conn *conn)
{
    struct range none = {.copying = copying, .conn = conn};

    int source = pg_run(conn, plan_sql, &none.why);
    while (source == 0 && pass_range(copying, conn))
        continue;
    if (source == 0 && !copying->stopped)
        source = pg_run(conn, plan_end_sql, &none.why);
    if (source < 0)
        note_end(&none, 0, source, NULL);
}

void pgdump_rows(struct copying *copying, struct pg_conn *conn)
{
    struct range all = {
        .copying = copying, .conn = conn, .file = copying->file, .csv_file = copying->csv_file};
    struct err err;
    int source = 0;

    if (copying->table->ranges > 0) {
        pass_ranges(copying, conn);
        return;
    }
    all.csv = (struct pgcsv){
        .take = take_csv, .context = &all, .columnless = !copying->table->columns[0]};
    int r = copy_range(&all, &source, &err);
    note_end(&all, r, source, &err);
}
