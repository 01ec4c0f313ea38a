/* What the repository has of servers' logs, into the catalog. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/wal.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/log.h"
#include "backup/store/store.h"
#include "catalog/catalog_internal.h"
#include "catalog/wal.h"

enum { AT_ONCE = 64 };

struct wal_listing {
    struct sql *sql;
    sqlite3_stmt *insert;
    const char *prefix;
};

static int note_object(void *context, const char *name, uint64_t size, struct err *err)
{
    struct wal_listing *listing = context;
    char object[OBJECT_NAME_SIZE];

    (void)size;
    int length = snprintf(object, sizeof(object), "%s%s", listing->prefix, name);
    if (length >= (int)sizeof(object) || !wal_is_name(object))
        return 0; /* not the repository's */
    sql_bind_text(listing->insert, 1, object);
    return sql_run(listing->sql, listing->insert, err);
}

/* Tails first: one that becomes part of a segment meanwhile is then in the second listing. */
int wal_list_locked(struct catalog *catalog, struct err *err)
{
    static const char *const prefixes[] = {"tails/", "wal/"};
    CLEANUP(sql_finalizep) sqlite3_stmt *insert = NULL;
    CLEANUP(sql_rollbackp) struct sql *transaction = NULL;
    int r = sql_exec(&catalog->sql, "BEGIN; DELETE FROM temp.listed_wal", err);

    transaction = &catalog->sql;
    if (r == 0)
        r = sql_prepare(&catalog->sql, "INSERT OR IGNORE INTO temp.listed_wal VALUES (?)", &insert,
                        err);
    for (size_t i = 0; r == 0 && i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        struct wal_listing listing = {&catalog->sql, insert, prefixes[i]};
        r = store_list(catalog->repo->store, prefixes[i], note_object, &listing, err);
    }
    return r < 0 ? r : sql_commit(&transaction, err);
}

static int remove_gone(struct catalog *catalog, struct err *err)
{
    CLEANUP(strings_clear) struct strings gone = {0};
    int r = rows_select_strings(
        catalog, "SELECT object FROM wal EXCEPT SELECT object FROM temp.listed_wal", &gone, err);

    for (size_t i = 0; r == 0 && i < gone.count; i++) {
        CLEANUP(sql_finalizep) sqlite3_stmt *statement = NULL;
        int missing = sync_is_gone(catalog, gone.at[i], err);
        if (missing <= 0) {
            r = missing;
            continue;
        }
        r = sql_prepare(&catalog->sql, "DELETE FROM wal WHERE object = ?", &statement, err);
        if (r < 0)
            return r;
        sql_bind_text(statement, 1, gone.at[i]);
        r = sql_run(&catalog->sql, statement, err);
    }
    return r;
}

/* ---- one archive ---- */

struct wal_row {
    const char *object;
    bool there, damaged;
    uint64_t size;
    struct wal_meta meta;
};

static void rows_clear(struct wal_row *rows)
{
    for (size_t i = 0; rows && i < AT_ONCE; i++)
        wal_meta_clear(&rows[i].meta);
    free(rows);
}

static void rows_clearp(struct wal_row **rows)
{
    rows_clear(*rows);
}

static int copy_meta(const struct wal_meta *meta, struct wal_meta *out, struct err *err)
{
    *out = *meta;
    out->open = NULL;
    out->open_size = 0;
    out->points = NULL;
    if (meta->point_count == 0)
        return 0;
    out->points = calloc(meta->point_count, sizeof(*out->points));
    if (!out->points)
        return err_set(err, ERR_NOMEM, "out of memory");
    memcpy(out->points, meta->points, meta->point_count * sizeof(*out->points));
    return 0;
}

static int read_row(struct catalog *catalog, struct wal_row *row, struct err *err)
{
    CLEANUP(walreader_closep) struct walreader *reader = NULL;
    struct err why;
    int r = walreader_open(catalog->repo, row->object, &reader, &why);

    if (r == -ERR_NOT_FOUND) /* gone since it was listed */
        return 0;
    row->damaged = r < 0 && sync_is_damage(r, &why);
    row->there = r == 0 || row->damaged;
    if (row->damaged)
        log_warn("damaged: %s", why.text);
    if (r < 0 && !row->damaged) {
        *err = why;
        return r;
    }
    if (row->damaged)
        return 0;
    row->size = walreader_size(reader);
    return copy_meta(walreader_meta(reader), &row->meta, err);
}

static int insert_points(struct catalog *catalog, const struct wal_row *row, struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *insert = NULL;
    int r = sql_prepare(&catalog->sql, "INSERT OR REPLACE INTO wal_points VALUES (?, ?, ?, ?)",
                        &insert, err);

    for (size_t i = 0; r == 0 && i < row->meta.point_count; i++) {
        const struct wal_point *point = &row->meta.points[i];
        sql_bind_text(insert, 1, row->object);
        sql_bind_number(insert, 2, point->lsn);
        sql_bind_number(insert, 3, (uint64_t)point->time_us);
        sql_bind_text(insert, 4, point->name);
        r = sql_run(&catalog->sql, insert, err);
    }
    return r;
}

static int insert_row(struct catalog *catalog, const struct wal_row *row, struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *insert = NULL;
    const struct wal_meta *meta = &row->meta;
    uint64_t numbers[] = {
        row->damaged,
        meta->what,
        meta->system,
        meta->timeline,
        meta->segment_size,
        meta->start,
        meta->length,
        row->size,
        (uint64_t)meta->made_ns,
        meta->magic,
        meta->commits,
        meta->first.lsn,
        meta->first.xid,
        (uint64_t)meta->first.time_us,
        meta->last.lsn,
        meta->last.xid,
        (uint64_t)meta->last.time_us,
        (uint64_t)meta->earliest_us,
        (uint64_t)meta->latest_us,
    };
    int r = sql_prepare(&catalog->sql,
                        "INSERT OR REPLACE INTO wal VALUES"
                        " (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                        &insert, err);

    if (r < 0 || !row->there)
        return r;
    sql_bind_text(insert, 1, row->object);
    for (int i = 0; i < (int)(sizeof(numbers) / sizeof(numbers[0])); i++)
        sql_bind_number(insert, i + 2, numbers[i]);
    r = sql_run(&catalog->sql, insert, err);
    return r < 0 ? r : insert_points(catalog, row, err);
}

/* Reads first and then writes, so that others wait for no repository. */
static int import(struct catalog *catalog, char *const *objects, size_t count, struct err *err)
{
    CLEANUP(rows_clearp) struct wal_row *rows = calloc(AT_ONCE, sizeof(*rows));
    CLEANUP(sql_rollbackp) struct sql *transaction = NULL;
    int r = rows ? 0 : err_set(err, ERR_NOMEM, "out of memory");

    for (size_t i = 0; r == 0 && i < count; i++) {
        rows[i].object = objects[i];
        r = read_row(catalog, &rows[i], err);
    }
    if (r == 0)
        r = sql_begin(&catalog->sql, &transaction, err);
    for (size_t i = 0; r == 0 && i < count; i++)
        r = insert_row(catalog, &rows[i], err);
    return r < 0 ? r : sql_commit(&transaction, err);
}

int wal_sync_locked(struct catalog *catalog, void *context, struct err *err)
{
    CLEANUP(strings_clear) struct strings new = {0};
    int r = sql_exec(&catalog->sql, "DELETE FROM wal WHERE damaged", err); /* another look */

    (void)context;
    if (r == 0)
        r = wal_list_locked(catalog, err);
    if (r == 0)
        r = remove_gone(catalog, err);
    if (r == 0)
        r = rows_select_strings(
            catalog, "SELECT object FROM temp.listed_wal EXCEPT SELECT object FROM wal", &new, err);
    for (size_t i = 0; r == 0 && i < new.count; i += AT_ONCE) {
        size_t left = new.count - i;
        r = import(catalog, new.at + i, left < AT_ONCE ? left : AT_ONCE, err);
    }
    return r;
}

int wal_sync(struct catalog *catalog, struct err *err)
{
    return catalog_guarded(catalog, wal_sync_locked, NULL, err);
}
