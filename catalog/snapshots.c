#include <stdlib.h>
#include <string.h>

#include "backup/archive/idtable.h"
#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "catalog/catalog_internal.h"
#include "catalog/states.h"

void snapshot_rows_clear(struct snapshot_rows *rows)
{
    free(rows->at);
    *rows = (struct snapshot_rows){0};
}

/* Older revisions go; a newer one that is known stays.  *out: whether this one came in. */
static int insert_row(struct catalog *catalog, const struct root *root, bool *out, struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *older = NULL, *insert = NULL;
    int r = sql_prepare(&catalog->sql, "DELETE FROM snapshots WHERE name = ? AND revision <= ?",
                        &older, err);

    if (r == 0)
        r = sql_prepare(&catalog->sql,
                        "INSERT OR IGNORE INTO snapshots VALUES (?, ?, ?, ?, ?, ?, ?, ?)", &insert,
                        err);
    if (r < 0)
        return r;
    sql_bind_text(older, 1, root->name);
    sql_bind_number(older, 2, root->revision);
    sql_bind_text(insert, 1, root->name);
    sql_bind_number(insert, 2, root->revision);
    sql_bind_text(insert, 3, root->host);
    sql_bind_number(insert, 4, root->sequence);
    sql_bind_number(insert, 5, (uint64_t)root->start_ns);
    sql_bind_number(insert, 6, (uint64_t)root->end_ns);
    sql_bind_number(insert, 7, root->complete);
    sql_bind_number(insert, 8, root->adhoc);
    r = sql_run(&catalog->sql, older, err);
    if (r == 0)
        r = sql_run(&catalog->sql, insert, err);
    *out = r == 0 && sqlite3_changes(catalog->sql.db) == 1;
    return r;
}

static int insert_types(struct catalog *catalog, const struct root *root, struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *insert = NULL;
    int r = sql_prepare(&catalog->sql, "INSERT INTO snapshot_types VALUES (?, ?, ?, ?, ?, ?, ?)",
                        &insert, err);

    for (unsigned type = 1; r == 0 && type <= TYPES; type++) {
        const struct root_type *from = &root->types[type];
        if (!from->present)
            continue;
        sql_bind_text(insert, 1, root->name);
        sql_bind_number(insert, 2, type);
        sql_bind_number(insert, 3, from->complete);
        sql_bind_number(insert, 4, from->files);
        sql_bind_number(insert, 5, from->bytes);
        sql_bind_number(insert, 6, from->new_bytes);
        sql_bind_number(insert, 7, from->unreadable);
        r = sql_run(&catalog->sql, insert, err);
    }
    return r;
}

static int insert_run(struct catalog *catalog, const struct root *root, struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *insert = NULL;
    uint64_t stored = 0;
    int r = sql_prepare(&catalog->sql, "INSERT INTO runs VALUES (?, ?, ?)", &insert, err);

    if (r < 0)
        return r;
    for (size_t i = 0; i < root->archive_count; i++)
        stored += root->archives[i].size;
    sql_bind_text(insert, 1, root->name);
    sql_bind_number(insert, 2, root->archive_count);
    sql_bind_number(insert, 3, stored);
    return sql_run(&catalog->sql, insert, err);
}

int snapshots_insert(struct catalog *catalog, const struct root *root, struct err *err)
{
    bool inserted = false;
    int r = insert_row(catalog, root, &inserted, err);

    if (r < 0 || !inserted)
        return r;
    r = insert_types(catalog, root, err);
    return r < 0 ? r : insert_run(catalog, root, err);
}

/* Of an archive that is not listed (size 0) only what is known already is changed. */
int archives_insert(struct catalog *catalog, const struct gathered_list *list, struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *statement = NULL;
    int r = sql_prepare(
        &catalog->sql,
        "INSERT INTO archives (id, kind, size, imported, damaged, indexed_by)"
        " SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE ?3 > 0 OR ?1 IN (SELECT id FROM archives)"
        " ON CONFLICT (id) DO UPDATE SET"
        "  imported = CASE WHEN present THEN max(imported, excluded.imported) ELSE 0 END,"
        "  damaged = max(damaged, excluded.damaged, ?3 > 0 AND size <> ?3),"
        "  indexed_by = coalesce(excluded.indexed_by, indexed_by)",
        &statement, err);

    for (size_t i = 0; r == 0 && i < list->count; i++) {
        const struct gathered *archive = &list->at[i];
        sql_bind_blob(statement, 1, archive->id.bytes, sizeof(archive->id.bytes));
        sql_bind_number(statement, 2, archive->kind);
        sql_bind_number(statement, 3, archive->size);
        sql_bind_number(statement, 4, archive->imported);
        sql_bind_number(statement, 5, archive->damaged);
        sql_bind_blob(statement, 6, archive->indexed ? archive->index.bytes : NULL,
                      sizeof(archive->index.bytes));
        r = sql_run(&catalog->sql, statement, err);
    }
    return r;
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
    struct snapshot_rows *out;
};

static int select_rows(struct catalog *catalog, void *context, struct err *err)
{
    CLEANUP(snapshot_rows_clear) struct snapshot_rows rows = {0};
    CLEANUP(sql_finalizep) sqlite3_stmt *statement = NULL;
    const struct rows_query *query = context;
    struct snapshot_row row;
    int r = sql_prepare(&catalog->sql,
                        "SELECT s.name, s.revision, s.host, s.sequence, s.start_ns, s.end_ns,"
                        "  s.complete, s.adhoc, t.type, t.complete, t.files, t.bytes, t.new_bytes,"
                        "  t.unreadable FROM snapshots AS s"
                        " LEFT JOIN snapshot_types AS t ON t.snapshot = s.name"
                        " WHERE ?1 IS NULL OR s.host = ?1 ORDER BY s.name, t.type",
                        &statement, err);

    if (r < 0)
        return r;
    sql_bind_text(statement, 1, query->host);
    while ((r = sql_step(&catalog->sql, statement, err)) == 1) {
        if (!read_row(statement, &row))
            continue;
        if (rows.count == 0 || strcmp(rows.at[rows.count - 1].name, row.name) != 0)
            r = append(&rows, &row, err);
        if (r < 0)
            return r;
        add_type(statement, &rows.at[rows.count - 1]);
    }
    if (r < 0)
        return r;
    *query->out = rows;
    rows = (struct snapshot_rows){0};
    return 0;
}

int catalog_snapshots(struct catalog *catalog, const char *host, struct snapshot_rows *out,
                      struct err *err)
{
    struct rows_query query = {host, out};

    return catalog_guarded(catalog, select_rows, &query, err);
}

static int select_strings(struct catalog *catalog, const char *text, struct strings *out,
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
    return select_strings(catalog, "SELECT DISTINCT host FROM snapshots ORDER BY host", context,
                          err);
}

int catalog_hosts(struct catalog *catalog, struct strings *out, struct err *err)
{
    return catalog_guarded(catalog, select_hosts, out, err);
}

static int select_damaged(struct catalog *catalog, void *context, struct err *err)
{
    return select_strings(catalog,
                          "SELECT DISTINCT name || ': ' || reason FROM damaged_roots ORDER BY name",
                          context, err);
}

int catalog_damaged_snapshots(struct catalog *catalog, struct strings *out, struct err *err)
{
    return catalog_guarded(catalog, select_damaged, out, err);
}

struct root_query {
    const char *name;
    struct root *out;
};

static int damaged_or_unknown(struct catalog *catalog, const char *name, struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *statement = NULL;
    int r = sql_prepare(&catalog->sql, "SELECT reason FROM damaged_roots WHERE name = ?",
                        &statement, err);

    if (r < 0)
        return r;
    sql_bind_text(statement, 1, name);
    r = sql_step(&catalog->sql, statement, err);
    if (r == 1)
        return err_set(err, ERR_CORRUPT, "snapshot %s is damaged: %s", name,
                       (const char *)sqlite3_column_text(statement, 0));
    return r < 0 ? r : err_set(err, ERR_NOT_FOUND, "no snapshot %s", name);
}

static int read_known_root(struct catalog *catalog, const struct root_query *query, struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *statement = NULL;
    int r = sql_prepare(&catalog->sql, "SELECT revision FROM snapshots WHERE name = ?", &statement,
                        err);

    if (r < 0)
        return r;
    sql_bind_text(statement, 1, query->name);
    r = sql_step(&catalog->sql, statement, err);
    if (r == 0)
        return damaged_or_unknown(catalog, query->name, err);
    uint64_t revision = r == 1 ? sql_column_number(statement, 0) : 0;
    sqlite3_reset(statement);
    return r < 0 ? r : root_read(catalog->repo, query->name, revision, query->out, err);
}

/* A revision that is gone may have been followed by another: a look at the repository tells. */
static int select_root(struct catalog *catalog, void *context, struct err *err)
{
    const struct root_query *query = context;
    int r = read_known_root(catalog, query, err);

    if (r != -ERR_NOT_FOUND)
        return r;
    r = sync_snapshots(catalog, false, err);
    return r < 0 ? r : read_known_root(catalog, query, err);
}

int catalog_root(struct catalog *catalog, const char *name, struct root *out, struct err *err)
{
    struct root_query query = {name, out};

    return catalog_guarded(catalog, select_root, &query, err);
}

struct damage_change {
    uint32_t archive;
    bool damaged;
};

static int change_damaged(struct catalog *catalog, void *context, struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *statement = NULL;
    const struct damage_change *change = context;
    const struct archive_id *id = idtable_id(catalog->repo->ids, change->archive);
    int r =
        sql_prepare(&catalog->sql, "UPDATE archives SET damaged = ? WHERE id = ?", &statement, err);

    if (r < 0)
        return r;
    sql_bind_number(statement, 1, change->damaged);
    sql_bind_blob(statement, 2, id->bytes, sizeof(id->bytes));
    return sql_run(&catalog->sql, statement, err);
}

int catalog_set_damaged(struct catalog *catalog, uint32_t archive, bool damaged, struct err *err)
{
    struct damage_change change = {archive, damaged};
    unsigned flags = states_get(catalog->states, archive) & ~(unsigned)STATE_DAMAGED;
    int r = catalog_guarded(catalog, change_damaged, &change, err);

    if (r == 0 && flags != 0)
        r = states_set(catalog->states, archive, (uint8_t)(flags | (damaged ? STATE_DAMAGED : 0U)),
                       err);
    return r;
}
