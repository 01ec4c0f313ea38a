#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "catalog/catalog_internal.h"

void snapshot_rows_clear(struct snapshot_rows *rows)
{
    for (size_t i = 0; i < rows->count; i++)
        strings_clear(&rows->at[i].tags);
    free(rows->at);
    *rows = (struct snapshot_rows){0};
}

static int append(struct snapshot_rows *rows, const struct snapshot_row *row, struct err *err)
{
    bool full = (rows->count & (rows->count - 1)) == 0; /* grows at powers of two */

    if (full) {
        size_t capacity = rows->count ? 2 * rows->count : 1;
        void *at = reallocarray(rows->at, capacity, sizeof(*rows->at));
        if (!at)
            return err_set(err, ERR_NOMEM, "out of memory");
        rows->at = at;
    }
    rows->at[rows->count++] = *row;
    return 0;
}

static bool read_row(sqlite3_stmt *statement, struct snapshot_row *out)
{
    *out = (struct snapshot_row){0};
    out->revision = sql_column_number(statement, 1);
    out->sequence = sql_column_number(statement, 3);
    out->start_ns = (int64_t)sql_column_number(statement, 4);
    out->end_ns = (int64_t)sql_column_number(statement, 5);
    out->complete = sql_column_number(statement, 6) != 0;
    out->adhoc = sql_column_number(statement, 7) != 0;
    out->forgotten = sqlite3_column_type(statement, 14) != SQLITE_NULL;
    out->forgotten_ns = (int64_t)sql_column_number(statement, 14);
    out->held = sql_column_number(statement, 15) != 0;
    return sql_column_text(statement, 0, out->name, sizeof(out->name)) &&
           sql_column_text(statement, 2, out->host, sizeof(out->host));
}

/* Sums of what roots say, and roots come from outside: they may wrap, and then only look odd. */
static void add_type(sqlite3_stmt *statement, struct snapshot_row *row)
{
    uint64_t type = sql_column_number(statement, 8);

    if (type < 1 || type > TYPES)
        return;
    row->types = (uint8_t)(row->types | 1U << type);
    if (sql_column_number(statement, 9))
        row->complete_types = (uint8_t)(row->complete_types | 1U << type);
    row->files += sql_column_number(statement, 10);
    row->bytes += sql_column_number(statement, 11);
    row->new_bytes += sql_column_number(statement, 12);
    row->unreadable += sql_column_number(statement, 13);
}

struct rows_query {
    const char *host;
    bool forgotten; /* these, too */
    struct snapshot_rows *out;
};

/* Both go by name. */
static int add_tags(struct catalog *catalog, struct snapshot_rows *rows, struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *statement = NULL;
    char name[SNAPSHOT_NAME_SIZE];
    size_t at = 0;
    int r = sql_prepare(&catalog->sql, "SELECT snapshot, tag FROM snapshot_tags ORDER BY snapshot",
                        &statement, err);

    while (r == 0 && (r = sql_step(&catalog->sql, statement, err)) == 1) {
        const char *tag = (const char *)sqlite3_column_text(statement, 1);
        r = 0;
        if (!tag || !sql_column_text(statement, 0, name, sizeof(name)))
            continue;
        while (at < rows->count && strcmp(rows->at[at].name, name) < 0)
            at++;
        if (at < rows->count && strcmp(rows->at[at].name, name) == 0)
            r = strings_add(&rows->at[at].tags, tag, strlen(tag), err);
    }
    return r;
}

static int select_rows(struct catalog *catalog, void *context, struct err *err)
{
    CLEANUP(snapshot_rows_clear) struct snapshot_rows rows = {0};
    CLEANUP(sql_finalizep) sqlite3_stmt *statement = NULL;
    const struct rows_query *query = context;
    struct snapshot_row row;
    int r = sql_prepare(
        &catalog->sql,
        "SELECT s.name, s.revision, s.host, s.sequence, s.start_ns, s.end_ns,"
        "  s.complete, s.adhoc, t.type, t.complete, t.files, t.bytes, t.new_bytes,"
        "  t.unreadable, f.made_ns, EXISTS (SELECT 1 FROM holds AS h"
        "   WHERE h.snapshot = s.name AND (h.damaged OR (" SAME(
            "h", "s") ")))"
                      " FROM snapshots AS s"
                      " LEFT JOIN snapshot_types AS t ON t.snapshot = s.name"
                      " LEFT JOIN forgotten AS f ON f.name = s.name AND " SAME(
                          "f",
                          "s") " WHERE (?1 IS NULL OR s.host = ?1) AND (?2 OR f.made_ns IS NULL)"
                               " ORDER BY s.name, t.type",
        &statement, err);

    if (r < 0)
        return r;
    sql_bind_text(statement, 1, query->host);
    sql_bind_number(statement, 2, query->forgotten);
    while ((r = sql_step(&catalog->sql, statement, err)) == 1) {
        if (!read_row(statement, &row))
            continue;
        if (rows.count == 0 || strcmp(rows.at[rows.count - 1].name, row.name) != 0)
            r = append(&rows, &row, err);
        if (r < 0)
            return r;
        add_type(statement, &rows.at[rows.count - 1]);
    }
    if (r == 0)
        r = add_tags(catalog, &rows, err);
    if (r < 0)
        return r;
    *query->out = rows;
    rows = (struct snapshot_rows){0};
    return 0;
}

int catalog_snapshots(struct catalog *catalog, const char *host, struct snapshot_rows *out,
                      struct err *err)
{
    struct rows_query query = {host, false, out};

    return catalog_guarded(catalog, select_rows, &query, err);
}

int catalog_all_snapshots(struct catalog *catalog, const char *host, struct snapshot_rows *out,
                          struct err *err)
{
    struct rows_query query = {host, true, out};

    return catalog_guarded(catalog, select_rows, &query, err);
}

int rows_select_strings(struct catalog *catalog, const char *text, struct strings *out,
                        struct err *err)
{
    CLEANUP(strings_clear) struct strings found = {0};
    CLEANUP(sql_finalizep) sqlite3_stmt *statement = NULL;
    int r = sql_prepare(&catalog->sql, text, &statement, err);

    while (r == 0 && (r = sql_step(&catalog->sql, statement, err)) == 1) {
        const unsigned char *string = sqlite3_column_text(statement, 0);
        size_t size = (size_t)sqlite3_column_bytes(statement, 0);
        r = strings_add(&found, string ? (const char *)string : "", string ? size : 0, err);
    }
    if (r < 0)
        return r;
    *out = found;
    found = (struct strings){0};
    return 0;
}

static int select_hosts(struct catalog *catalog, void *context, struct err *err)
{
    return rows_select_strings(catalog,
                               "SELECT DISTINCT s.host FROM snapshots AS s WHERE NOT EXISTS"
                               " (SELECT 1 FROM forgotten AS f WHERE f.name = s.name AND " SAME(
                                   "f", "s") ") ORDER BY s.host",
                               context, err);
}

int catalog_hosts(struct catalog *catalog, struct strings *out, struct err *err)
{
    return catalog_guarded(catalog, select_hosts, out, err);
}

static int select_damaged(struct catalog *catalog, void *context, struct err *err)
{
    return rows_select_strings(
        catalog, "SELECT DISTINCT name || ': ' || reason FROM damaged_roots ORDER BY name", context,
        err);
}

int catalog_damaged_snapshots(struct catalog *catalog, struct strings *out, struct err *err)
{
    return catalog_guarded(catalog, select_damaged, out, err);
}
