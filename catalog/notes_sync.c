/* What the repository has of notes, into the catalog. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/log.h"
#include "backup/store/store.h"
#include "catalog/catalog_internal.h"

enum { NOTES_AT_ONCE = 64 };

static int note_object(void *context, const char *name, uint64_t size, struct err *err)
{
    struct listing *listing = context;
    char object[OBJECT_NAME_SIZE];
    struct note note;

    (void)size;
    int length = snprintf(object, sizeof(object), "%s%s", listing->prefix, name);
    if (length >= (int)sizeof(object) || !note_parse_name(object, &note))
        return 0; /* not the repository's */
    sql_bind_text(listing->insert, 1, object);
    return sql_run(listing->sql, listing->insert, err);
}

/* With the archives: neither waits for the other. */
static int list_notes(struct catalog *catalog, enum sync_depth depth, struct err *err)
{
    enum { NOTES = 3 };
    static const char insert[] = "INSERT OR IGNORE INTO temp.listed_notes VALUES (?)";
    struct sync_list lists[NOTES + SYNC_ARCHIVE_LISTS] = {
        {"forgets/", note_object, insert, 0},
        {"holds/", note_object, insert, 0},
        {"releases/", note_object, insert, 0},
    };

    if (depth < SYNC_DEEP)
        return sync_list(catalog, "DELETE FROM temp.listed_notes", lists, NOTES, err);
    memcpy(lists + NOTES, sync_archive_lists, sizeof(sync_archive_lists));
    return sync_list(catalog, SYNC_EMPTY_ARCHIVES "DELETE FROM temp.listed_notes", lists,
                     NOTES + SYNC_ARCHIVE_LISTS, err);
}

static int run_for_object(struct catalog *catalog, const char *text, const char *object,
                          struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *statement = NULL;
    int r = sql_prepare(&catalog->sql, text, &statement, err);

    if (r < 0)
        return r;
    sql_bind_text(statement, 1, object);
    return sql_run(&catalog->sql, statement, err);
}

/* One that was read goes on counting; of one that did not open there is nothing to keep. */
static int mark_gone(struct catalog *catalog, struct err *err)
{
    CLEANUP(strings_clear) struct strings gone = {0};
    int r = rows_select_strings(catalog,
                                "SELECT object FROM notes WHERE NOT gone EXCEPT"
                                " SELECT object FROM temp.listed_notes",
                                &gone, err);

    for (size_t i = 0; r == 0 && i < gone.count; i++) {
        int missing = sync_is_gone(catalog, gone.at[i], err);
        if (missing < 0)
            return missing;
        if (missing == 0)
            continue;
        r = run_for_object(catalog, "DELETE FROM notes WHERE object = ? AND damaged", gone.at[i],
                           err);
        if (r == 0)
            r = run_for_object(catalog, "UPDATE notes SET gone = 1 WHERE object = ?", gone.at[i],
                               err);
    }
    return r;
}

static int mark_returned(struct catalog *catalog, struct err *err)
{
    CLEANUP(strings_clear) struct strings back = {0};
    int r = rows_select_strings(catalog,
                                "SELECT object FROM notes WHERE gone INTERSECT"
                                " SELECT object FROM temp.listed_notes",
                                &back, err);

    for (size_t i = 0; r == 0 && i < back.count; i++)
        r = run_for_object(catalog, "UPDATE notes SET gone = 0 WHERE object = ?", back.at[i], err);
    return r;
}

int notes_insert(struct catalog *catalog, const struct note_row *row, struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *insert = NULL;
    const struct note *note = &row->note;
    char object[OBJECT_NAME_SIZE];
    int r = sql_prepare(&catalog->sql,
                        "INSERT OR REPLACE INTO notes (object, what, snapshot, host, sequence,"
                        "  start_ns, number, hold, made_ns, by, reason, damaged)"
                        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                        &insert, err);

    if (r < 0)
        return r;
    note_object_name(note, object);
    sql_bind_text(insert, 1, object);
    sql_bind_number(insert, 2, note->kind);
    sql_bind_text(insert, 3, note->snapshot);
    sql_bind_text(insert, 4, note->host);
    sql_bind_number(insert, 5, note->sequence);
    sql_bind_number(insert, 6, (uint64_t)note->start_ns);
    sql_bind_number(insert, 7, note->number);
    sql_bind_blob(insert, 8, note->id, sizeof(note->id));
    sql_bind_number(insert, 9, (uint64_t)note->made_ns);
    sql_bind_text(insert, 10, note->by);
    sql_bind_text(insert, 11, note->reason);
    sql_bind_number(insert, 12, row->damaged);
    return sql_run(&catalog->sql, insert, err);
}

/* *out_count 0: gone since it was listed. */
static int read_note(struct catalog *catalog, const char *object, struct note_row *out,
                     size_t *out_count, struct err *err)
{
    struct err why;
    int r = note_read(catalog->repo, object, &out->note, &why);

    out->damaged = r < 0;
    *out_count = r != -ERR_NOT_FOUND;
    if (r == 0 || r == -ERR_NOT_FOUND)
        return 0;
    if (!sync_is_damage(r, &why)) {
        *err = why;
        return r;
    }
    log_warn("damaged: %s", why.text);
    (void)note_parse_name(object, &out->note); /* it was listed, so it has such a name */
    return 0;
}

/* Reads first and then writes, so that others wait for no repository. */
static int import_notes(struct catalog *catalog, char *const *objects, size_t count,
                        struct err *err)
{
    CLEANUP(note_rows_clear) struct note_rows rows = {calloc(count, sizeof(*rows.at)), 0};
    CLEANUP(sql_rollbackp) struct sql *transaction = NULL;
    int r = rows.at ? 0 : err_set(err, ERR_NOMEM, "out of memory");

    for (size_t i = 0; r == 0 && i < count; i++) {
        size_t read = 0;
        r = read_note(catalog, objects[i], &rows.at[rows.count], &read, err);
        rows.count += read;
    }
    if (r == 0)
        r = sql_begin(&catalog->sql, &transaction, err);
    for (size_t i = 0; r == 0 && i < rows.count; i++)
        r = notes_insert(catalog, &rows.at[i], err);
    return r < 0 ? r : sql_commit(&transaction, err);
}

static int import_new(struct catalog *catalog, struct err *err)
{
    CLEANUP(strings_clear) struct strings new = {0};
    int r = rows_select_strings(catalog,
                                "SELECT object FROM temp.listed_notes EXCEPT"
                                " SELECT object FROM notes",
                                &new, err);

    for (size_t i = 0; r == 0 && i < new.count; i += NOTES_AT_ONCE) {
        size_t left = new.count - i;
        r = import_notes(catalog, new.at + i, left < NOTES_AT_ONCE ? left : NOTES_AT_ONCE, err);
    }
    return r;
}

/* A note that is gone is no loss where a later one about the same snapshot says what counts, or
 * where it was sealed anew (backup/job/reseal.h): then by whom and when it was made are the same.
 */
static int drop_renewed(struct catalog *catalog, struct err *err)
{
    return sql_exec(
        &catalog->sql,
        "DELETE FROM notes WHERE gone AND EXISTS (SELECT 1 FROM notes AS n"
        "  WHERE NOT n.gone AND NOT n.damaged AND n.snapshot = notes.snapshot"
        "    AND n.host = notes.host AND n.sequence = notes.sequence"
        "    AND n.start_ns = notes.start_ns"
        "    AND ((n.what IN (1, 2) AND notes.what IN (1, 2) AND n.number > notes.number)"
        "      OR (n.what = notes.what AND n.what IN (3, 4) AND n.made_ns = notes.made_ns"
        "          AND n.by = notes.by)))",
        err);
}

int notes_sync(struct catalog *catalog, enum sync_depth depth, struct err *err)
{
    int r =
        depth >= SYNC_AGAIN ? sql_exec(&catalog->sql, "DELETE FROM notes WHERE damaged", err) : 0;

    if (r == 0)
        r = list_notes(catalog, depth, err);
    if (r == 0)
        r = mark_gone(catalog, err);
    if (r == 0)
        r = mark_returned(catalog, err);
    if (r == 0)
        r = import_new(catalog, err);
    return r < 0 ? r : drop_renewed(catalog, err);
}

/* ---- verify ---- */

struct notes_check {
    void (*damaged)(void *context, const char *object, const struct err *err);
    void *context;
};

static int check_notes(struct catalog *catalog, void *context, struct err *err)
{
    CLEANUP(strings_clear) struct strings objects = {0};
    const struct notes_check *check = context;
    size_t count = 0;
    int r = list_notes(catalog, SYNC_NEW, err);

    if (r == 0)
        r = rows_select_strings(catalog, "SELECT object FROM temp.listed_notes ORDER BY object",
                                &objects, err);
    for (size_t i = 0; r == 0 && i < objects.count; i++) {
        struct note note;
        struct err why;
        int read = note_read(catalog->repo, objects.at[i], &note, &why);
        if (read == 0 || read == -ERR_NOT_FOUND)
            continue;
        if (!sync_is_damage(read, &why)) {
            *err = why;
            return read;
        }
        check->damaged(check->context, objects.at[i], &why);
        count++;
    }
    if (r < 0 || count == 0)
        return r;
    return err_set(err, ERR_CORRUPT, "notes that are damaged: %zu", count);
}

int catalog_check_notes(struct catalog *catalog,
                        void (*damaged)(void *context, const char *object, const struct err *err),
                        void *context, struct err *err)
{
    struct notes_check check = {damaged, context};

    return catalog_guarded(catalog, check_notes, &check, err);
}
