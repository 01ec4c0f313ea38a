#include <stdlib.h>
#include <string.h>

#include "backup/archive/idtable.h"
#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "catalog/catalog_internal.h"
#include "catalog/states.h"

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

static int insert_tags(struct catalog *catalog, const struct root *root, struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *insert = NULL;
    int r = sql_prepare(&catalog->sql, "INSERT OR IGNORE INTO snapshot_tags VALUES (?, ?)", &insert,
                        err);

    for (size_t i = 0; r == 0 && i < root->tags.count; i++) {
        sql_bind_text(insert, 1, root->name);
        sql_bind_text(insert, 2, root->tags.at[i]);
        r = sql_run(&catalog->sql, insert, err);
    }
    return r;
}

int snapshots_insert(struct catalog *catalog, const struct root *root, struct err *err)
{
    bool inserted = false;
    int r = insert_row(catalog, root, &inserted, err);

    if (r < 0 || !inserted)
        return r;
    r = insert_types(catalog, root, err);
    if (r == 0)
        r = insert_tags(catalog, root, err);
    if (r == 0)
        r = seen_insert(catalog, root, err);
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

/* One that the last sync read is given away, and not read again. */
static bool take_kept(struct catalog *catalog, const struct root_query *query, uint64_t revision)
{
    for (size_t i = 0; i < catalog->kept_count; i++) {
        struct root *kept = &catalog->kept[i];

        if (kept->revision != revision || strcmp(kept->name, query->name) != 0)
            continue;
        *query->out = *kept;
        *kept = (struct root){0};
        return true;
    }
    return false;
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
    if (r < 0 || take_kept(catalog, query, revision))
        return r < 0 ? r : 0;
    return root_read(catalog->repo, query->name, revision, query->out, err);
}

/* A revision that is gone may have been followed by another: a look at the repository tells. */
static int select_root(struct catalog *catalog, void *context, struct err *err)
{
    const struct root_query *query = context;
    int r = read_known_root(catalog, query, err);

    if (r != -ERR_NOT_FOUND)
        return r;
    r = sync_snapshots(catalog, SYNC_NEW, err);
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

bool catalog_is_damaged(const struct catalog *catalog, uint32_t archive)
{
    return states_get(catalog->states, archive) & STATE_DAMAGED;
}
