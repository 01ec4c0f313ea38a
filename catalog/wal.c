#include "catalog/wal.h"

#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "catalog/catalog_internal.h"

void wal_ranges_clear(struct wal_ranges *ranges)
{
    free(ranges->at);
    *ranges = (struct wal_ranges){0};
}

void wal_parts_clear(struct wal_parts *parts)
{
    free(parts->at);
    *parts = (struct wal_parts){0};
}

void wal_points_clear(struct wal_points *points)
{
    free(points->at);
    *points = (struct wal_points){0};
}

/* What a query is about; `add` takes one of its rows. */
struct query {
    uint64_t system, from, to;
    uint32_t timeline;
    void *out;
};

/* Room for one element more; it grows at powers of two. */
static void *grown(void *at, size_t count, size_t element)
{
    if ((count & (count - 1)) != 0)
        return at;
    return reallocarray(at, count > 0 ? 2 * count : 1, element);
}

static int run(struct catalog *catalog, const struct query *query, const char *text,
               int (*add)(sqlite3_stmt *statement, void *out, struct err *err), struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *statement = NULL;
    int r = sql_prepare(&catalog->sql, text, &statement, err);

    if (r < 0)
        return r;
    sql_bind_number(statement, 1, query->system);
    sql_bind_number(statement, 2, query->timeline);
    sql_bind_number(statement, 3, query->from);
    sql_bind_number(statement, 4, query->to);
    while ((r = sql_step(&catalog->sql, statement, err)) == 1) {
        r = add(statement, query->out, err);
        if (r < 0)
            return r;
    }
    return r;
}

/* ---- ranges ---- */

static struct wal_mark column_mark(sqlite3_stmt *statement, int index)
{
    return (struct wal_mark){sql_column_number(statement, index),
                             (uint32_t)sql_column_number(statement, index + 1),
                             (int64_t)sql_column_number(statement, index + 2)};
}

static void read_range(sqlite3_stmt *statement, struct wal_range *out)
{
    bool whole = sql_column_number(statement, 0) == WAL_SEGMENT;

    *out = (struct wal_range){
        .system = sql_column_number(statement, 1),
        .timeline = (uint32_t)sql_column_number(statement, 2),
        .segment_size = sql_column_number(statement, 3),
        .start = sql_column_number(statement, 4),
        .segments = whole,
        .tails = !whole,
        .stored = sql_column_number(statement, 6),
        .made_ns = (int64_t)sql_column_number(statement, 7),
        .magic = (uint16_t)sql_column_number(statement, 8),
        .commits = sql_column_number(statement, 9),
        .first = column_mark(statement, 10),
        .last = column_mark(statement, 13),
        .earliest_us = (int64_t)sql_column_number(statement, 16),
        .latest_us = (int64_t)sql_column_number(statement, 17),
    };
    out->end = out->start + sql_column_number(statement, 5);
}

static void join_commits(struct wal_range *range, const struct wal_range *part)
{
    if (part->commits == 0)
        return;
    if (range->commits == 0) {
        range->first = part->first;
        range->earliest_us = part->earliest_us;
        range->latest_us = part->latest_us;
    }
    range->commits += part->commits;
    range->last = part->last;
    if (part->earliest_us < range->earliest_us)
        range->earliest_us = part->earliest_us;
    if (part->latest_us > range->latest_us)
        range->latest_us = part->latest_us;
}

/* A part goes on where the range ends; one that is in it already (a tail whose segment is there)
 * adds nothing but its size. */
static bool join(struct wal_range *range, const struct wal_range *part)
{
    if (range->system != part->system || range->timeline != part->timeline ||
        range->segment_size != part->segment_size || part->start > range->end)
        return false;
    range->stored += part->stored;
    range->segments += part->segments;
    range->tails += part->tails;
    if (part->made_ns > range->made_ns)
        range->made_ns = part->made_ns;
    if (part->end <= range->end)
        return true;
    join_commits(range, part);
    range->end = part->end;
    range->magic = part->magic;
    return true;
}

static int add_range(sqlite3_stmt *statement, void *out, struct err *err)
{
    struct wal_ranges *ranges = out;
    struct wal_range part;

    read_range(statement, &part);
    if (ranges->count > 0 && join(&ranges->at[ranges->count - 1], &part))
        return 0;
    void *at = grown(ranges->at, ranges->count, sizeof(*ranges->at));
    if (!at)
        return err_set(err, ERR_NOMEM, "out of memory");
    ranges->at = at;
    ranges->at[ranges->count++] = part;
    return 0;
}

static int select_ranges(struct catalog *catalog, void *context, struct err *err)
{
    CLEANUP(wal_ranges_clear) struct wal_ranges ranges = {0};
    struct query query = *(const struct query *)context;

    query.out = &ranges;
    int r = run(catalog, &query,
                "SELECT what, system, timeline, segment_size, start, length, size, made_ns, magic,"
                "  commits, first_lsn, first_xid, first_us, last_lsn, last_xid, last_us,"
                "  earliest_us, latest_us FROM wal"
                " WHERE what IN (1, 2) AND NOT damaged AND ?1 IN (0, system)"
                " ORDER BY system, timeline, start, length DESC",
                add_range, err);
    if (r < 0)
        return r;
    *(struct wal_ranges *)((const struct query *)context)->out = ranges;
    ranges = (struct wal_ranges){0};
    return 0;
}

int wal_ranges_find(struct catalog *catalog, uint64_t system, struct wal_ranges *out,
                    struct err *err)
{
    struct query query = {.system = system, .out = out};

    return catalog_guarded(catalog, select_ranges, &query, err);
}

/* ---- parts ---- */

static int add_part(sqlite3_stmt *statement, void *out, struct err *err)
{
    struct wal_parts *parts = out;
    struct wal_part part = {
        .what = (enum wal_what)sql_column_number(statement, 1),
        .start = sql_column_number(statement, 2),
        .length = sql_column_number(statement, 3),
        .commits = sql_column_number(statement, 4),
        .earliest_us = (int64_t)sql_column_number(statement, 5),
        .latest_us = (int64_t)sql_column_number(statement, 6),
    };
    void *at = grown(parts->at, parts->count, sizeof(*parts->at));

    if (!at)
        return err_set(err, ERR_NOMEM, "out of memory");
    parts->at = at;
    if (sql_column_text(statement, 0, part.object, sizeof(part.object)))
        parts->at[parts->count++] = part;
    return 0;
}

static int select_parts(struct catalog *catalog, void *context, struct err *err)
{
    CLEANUP(wal_parts_clear) struct wal_parts parts = {0};
    struct query query = *(const struct query *)context;

    query.out = &parts;
    int r = run(catalog, &query,
                "SELECT object, what, start, length, commits, earliest_us, latest_us FROM wal"
                " WHERE what IN (1, 2) AND NOT damaged AND system = ?1 AND timeline = ?2"
                "   AND start < ?4 AND start + length > ?3 ORDER BY start, length DESC",
                add_part, err);
    if (r < 0)
        return r;
    *(struct wal_parts *)((const struct query *)context)->out = parts;
    parts = (struct wal_parts){0};
    return 0;
}

int wal_parts_find(struct catalog *catalog, uint64_t system, uint32_t timeline, uint64_t from,
                   uint64_t to, struct wal_parts *out, struct err *err)
{
    struct query query = {system, from, to < INT64_MAX ? to : INT64_MAX, timeline, out};

    return catalog_guarded(catalog, select_parts, &query, err);
}

/* ---- restore points ---- */

static int add_point(sqlite3_stmt *statement, void *out, struct err *err)
{
    struct wal_points *points = out;
    struct wal_point point = {.lsn = sql_column_number(statement, 0),
                              .time_us = (int64_t)sql_column_number(statement, 1)};
    void *at = grown(points->at, points->count, sizeof(*points->at));

    if (!at)
        return err_set(err, ERR_NOMEM, "out of memory");
    points->at = at;
    if (sql_column_text(statement, 2, point.name, sizeof(point.name)))
        points->at[points->count++] = point;
    return 0;
}

static int select_points(struct catalog *catalog, void *context, struct err *err)
{
    CLEANUP(wal_points_clear) struct wal_points points = {0};
    struct query query = *(const struct query *)context;

    query.out = &points;
    int r = run(catalog, &query,
                "SELECT DISTINCT p.lsn, p.time_us, p.name FROM wal_points AS p"
                " JOIN wal AS w ON w.object = p.object"
                " WHERE w.system = ?1 AND w.timeline = ?2 AND p.lsn >= ?3 AND p.lsn < ?4"
                " ORDER BY p.lsn",
                add_point, err);
    if (r < 0)
        return r;
    *(struct wal_points *)((const struct query *)context)->out = points;
    points = (struct wal_points){0};
    return 0;
}

int wal_points_find(struct catalog *catalog, uint64_t system, uint32_t timeline, uint64_t from,
                    uint64_t to, struct wal_points *out, struct err *err)
{
    struct query query = {system, from, to < INT64_MAX ? to : INT64_MAX, timeline, out};

    return catalog_guarded(catalog, select_points, &query, err);
}

/* ---- names of objects ---- */

static int add_name(sqlite3_stmt *statement, void *out, struct err *err)
{
    char object[OBJECT_NAME_SIZE];

    if (!sql_column_text(statement, 0, object, sizeof(object)))
        return 0;
    return strings_add(out, object, strlen(object), err);
}

static int select_expired(struct catalog *catalog, void *context, struct err *err)
{
    return run(catalog, context,
               "SELECT object FROM wal WHERE what IN (1, 2) AND NOT damaged AND system = ?1"
               "   AND start + length <= ?3 ORDER BY start, object",
               add_name, err);
}

int wal_expired(struct catalog *catalog, uint64_t system, uint64_t oldest, struct strings *out,
                struct err *err)
{
    CLEANUP(strings_clear) struct strings found = {0};
    struct query query = {.system = system, .from = oldest, .out = &found};
    int r = catalog_guarded(catalog, select_expired, &query, err);

    if (r < 0)
        return r;
    *out = found;
    found = (struct strings){0};
    return 0;
}

static int select_damaged(struct catalog *catalog, void *context, struct err *err)
{
    return run(catalog, context, "SELECT object FROM wal WHERE damaged ORDER BY object", add_name,
               err);
}

int wal_damaged(struct catalog *catalog, struct strings *out, struct err *err)
{
    CLEANUP(strings_clear) struct strings found = {0};
    struct query query = {.out = &found};
    int r = catalog_guarded(catalog, select_damaged, &query, err);

    if (r < 0)
        return r;
    *out = found;
    found = (struct strings){0};
    return 0;
}
