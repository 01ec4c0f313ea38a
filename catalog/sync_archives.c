
#include "backup/archive/idtable.h"
#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/log.h"
#include "backup/store/store.h"
#include "catalog/catalog_internal.h"
#include "catalog/states.h"

static int note_archive(void *context, const char *name, uint64_t size, struct err *err)
{
    struct listing *listing = context;
    struct archive_id id;

    if (!idtable_parse(name, &id))
        return 0; /* not the repository's */
    sql_bind_blob(listing->insert, 1, id.bytes, sizeof(id.bytes));
    if (listing->kind != 0) {
        sql_bind_number(listing->insert, 2, listing->kind);
        sql_bind_number(listing->insert, 3, size);
    }
    return sql_run(listing->sql, listing->insert, err);
}

const struct sync_list sync_archive_lists[SYNC_ARCHIVE_LISTS] = {
    {"data/", note_archive, "INSERT OR IGNORE INTO temp.listed_archives VALUES (?, ?, ?)",
     ARCHIVE_DATA},
    {"meta/", note_archive, "INSERT OR IGNORE INTO temp.listed_archives VALUES (?, ?, ?)",
     ARCHIVE_METADATA},
    {"index/", note_archive, "INSERT OR IGNORE INTO temp.listed_archives VALUES (?, ?, ?)",
     ARCHIVE_INDEX},
    {"marks/", note_archive, "INSERT OR IGNORE INTO temp.listed_marks VALUES (?)", 0},
};

/* Asks for each archive that the listing leaves out; what is there after all joins it. */
static int check_missing(struct catalog *catalog, struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *missing = NULL, *found = NULL;
    char object[OBJECT_NAME_SIZE];
    struct archive_id id;
    int r = sql_prepare(&catalog->sql,
                        "SELECT id, kind, size FROM archives WHERE present = 1"
                        " AND id NOT IN (SELECT id FROM temp.listed_archives)",
                        &missing, err);

    if (r == 0)
        r = sql_prepare(&catalog->sql, "INSERT INTO temp.listed_archives VALUES (?, ?, ?)", &found,
                        err);
    while (r == 0 && (r = sql_step(&catalog->sql, missing, err)) == 1) {
        uint64_t kind = sql_column_number(missing, 1);
        r = 0;
        if (!sql_column_blob(missing, 0, id.bytes, sizeof(id.bytes)))
            continue;
        repo_object_name((enum archive_kind)kind, &id, object);
        int gone = sync_is_gone(catalog, object, err);
        if (gone < 0)
            return gone;
        sql_bind_blob(found, 1, id.bytes, sizeof(id.bytes));
        sql_bind_number(found, 2, kind);
        sql_bind_number(found, 3, sql_column_number(missing, 2));
        if (gone == 0)
            r = sql_run(&catalog->sql, found, err);
    }
    return r;
}

static int apply_listing(struct catalog *catalog, struct err *err)
{
    static const char *const steps =
        "UPDATE archives SET present = 0, imported = 0 WHERE present = 1"
        "  AND id NOT IN (SELECT id FROM temp.listed_archives);"
        "UPDATE archives SET present = 1 WHERE present = 0"
        "  AND id IN (SELECT id FROM temp.listed_archives);"
        "INSERT INTO archives (id, kind, size) SELECT id, kind, size FROM temp.listed_archives"
        "  WHERE id NOT IN (SELECT id FROM archives);"
        "UPDATE archives SET marked = 1 - marked"
        "  WHERE marked <> (id IN (SELECT id FROM temp.listed_marks));";
    CLEANUP(sql_rollbackp) struct sql *transaction = NULL;
    int r = sql_begin(&catalog->sql, &transaction, err);

    if (r == 0)
        r = sql_exec(&catalog->sql, steps, err);
    if (r == 0)
        r = sql_exec(&catalog->sql,
                     "UPDATE archives SET damaged = 1 WHERE present = 1 AND damaged = 0 AND size <>"
                     " (SELECT l.size FROM temp.listed_archives AS l WHERE l.id = archives.id)",
                     err);
    int changes = r == 0 ? sqlite3_changes(catalog->sql.db) : 0;
    if (changes > 0)
        log_warn("%d archives have not the size that they were written with", changes);
    return r < 0 ? r : sql_commit(&transaction, err);
}

int sync_archives(struct catalog *catalog, struct err *err)
{
    int r = check_missing(catalog, err);

    return r < 0 ? r : apply_listing(catalog, err);
}

int sync_load_states(struct catalog *catalog, struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *statement = NULL;
    struct archive_id id;
    uint32_t number;
    int r =
        sql_prepare(&catalog->sql,
                    "SELECT id, kind, present, damaged, marked FROM archives WHERE kind IN (1, 2)",
                    &statement, err);

    while (r == 0 && (r = sql_step(&catalog->sql, statement, err)) == 1) {
        enum archive_kind kind = (enum archive_kind)sql_column_number(statement, 1);
        uint8_t flags = (uint8_t)((sql_column_number(statement, 2) ? STATE_PRESENT : 0) |
                                  (sql_column_number(statement, 3) ? STATE_DAMAGED : 0) |
                                  (sql_column_number(statement, 4) ? STATE_MARKED : 0));
        r = 0;
        if (!sql_column_blob(statement, 0, id.bytes, sizeof(id.bytes)))
            continue;
        r = idtable_number(catalog->repo->ids, &id, kind, &number, err);
        if (r == -ERR_CORRUPT) /* known as another kind: not to be referred to */
            r = 0;
        else if (r == 0)
            r = states_set(catalog->states, number, flags, err);
    }
    return r;
}
