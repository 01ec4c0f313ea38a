#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/log.h"
#include "backup/base/random.h"
#include "backup/store/store.h"
#include "catalog/catalog_internal.h"

enum { TRIES = 8, NOTES_AT_ONCE = 64 };

void note_rows_clear(struct note_rows *rows)
{
    free(rows->at);
    *rows = (struct note_rows){0};
}

/* ---- sync ---- */

struct note_listing {
    struct sql *sql;
    sqlite3_stmt *insert;
    const char *prefix;
};

static int note_object(void *context, const char *name, uint64_t size, struct err *err)
{
    struct note_listing *listing = context;
    char object[OBJECT_NAME_SIZE];
    struct note note;

    (void)size;
    int length = snprintf(object, sizeof(object), "%s%s", listing->prefix, name);
    if (length >= (int)sizeof(object) || !note_parse_name(object, &note))
        return 0; /* not the repository's */
    sql_bind_text(listing->insert, 1, object);
    return sql_run(listing->sql, listing->insert, err);
}

static int list_notes(struct catalog *catalog, struct err *err)
{
    static const char *const prefixes[] = {"forgets/", "holds/", "releases/"};
    CLEANUP(sql_finalizep) sqlite3_stmt *insert = NULL;
    CLEANUP(sql_rollbackp) struct sql *transaction = NULL;
    int r = sql_exec(&catalog->sql, "BEGIN; DELETE FROM temp.listed_notes", err);

    transaction = &catalog->sql;
    if (r == 0)
        r = sql_prepare(&catalog->sql, "INSERT OR IGNORE INTO temp.listed_notes VALUES (?)",
                        &insert, err);
    for (size_t i = 0; r == 0 && i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        struct note_listing listing = {&catalog->sql, insert, prefixes[i]};
        r = store_list(catalog->repo->store, prefixes[i], note_object, &listing, err);
    }
    return r < 0 ? r : sql_commit(&transaction, err);
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

static int insert_note(struct catalog *catalog, const struct note_row *row, struct err *err)
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
        r = insert_note(catalog, &rows.at[i], err);
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

int notes_sync(struct catalog *catalog, bool retry_damaged, struct err *err)
{
    int r = retry_damaged ? sql_exec(&catalog->sql, "DELETE FROM notes WHERE damaged", err) : 0;

    if (r == 0)
        r = list_notes(catalog, err);
    if (r == 0)
        r = mark_gone(catalog, err);
    if (r == 0)
        r = mark_returned(catalog, err);
    return r < 0 ? r : import_new(catalog, err);
}

/* ---- new notes ---- */

struct note_change {
    const struct snapshot_row *row;
    enum note_kind kind;
    const char *by, *reason;
    uint8_t id[NOTE_ID_SIZE];
};

static int publish_note(struct catalog *catalog, const struct note_change *change, uint64_t number,
                        struct err *err)
{
    struct note_row made = {.note = {.kind = change->kind,
                                     .sequence = change->row->sequence,
                                     .start_ns = change->row->start_ns,
                                     .number = number}};
    struct note *note = &made.note;

    note->made_ns = clock_system()->now_ns(clock_system());
    memcpy(note->id, change->id, NOTE_ID_SIZE);
    memcpy(note->snapshot, change->row->name, sizeof(note->snapshot));
    memcpy(note->host, change->row->host, sizeof(note->host));
    (void)snprintf(note->by, sizeof(note->by), "%s", change->by);
    (void)snprintf(note->reason, sizeof(note->reason), "%s", change->reason ? change->reason : "");
    int r = note_publish(catalog->repo, note, err);
    return r < 0 ? r : insert_note(catalog, &made, err);
}

/* The next number of this name, and whether it is forgotten now. */
static int next_number(struct catalog *catalog, const struct snapshot_row *row, uint64_t *out,
                       bool *out_forgotten, struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *statement = NULL;
    int r = sql_prepare(&catalog->sql,
                        "SELECT 1 + coalesce(max(number), -1), EXISTS (SELECT 1 FROM forgotten"
                        "  WHERE name = ?1 AND host = ?2 AND sequence = ?3 AND start_ns = ?4)"
                        " FROM notes WHERE snapshot = ?1 AND what IN (1, 2)",
                        &statement, err);

    if (r < 0)
        return r;
    sql_bind_text(statement, 1, row->name);
    sql_bind_text(statement, 2, row->host);
    sql_bind_number(statement, 3, row->sequence);
    sql_bind_number(statement, 4, (uint64_t)row->start_ns);
    r = sql_step(&catalog->sql, statement, err);
    if (r == 1) {
        *out = sql_column_number(statement, 0);
        *out_forgotten = sql_column_number(statement, 1) != 0;
    }
    return r < 0 ? r : 0;
}

/* Another host may be faster: then its note is read, and may say the same already. */
static int change_forgotten(struct catalog *catalog, void *context, struct err *err)
{
    const struct note_change *change = context;
    int r = -ERR_EXISTS;

    for (int i = 0; r == -ERR_EXISTS && i < TRIES; i++) {
        uint64_t number = 0;
        bool forgotten = false;
        r = i == 0 ? 0 : notes_sync(catalog, false, err);
        if (r == 0)
            r = next_number(catalog, change->row, &number, &forgotten, err);
        if (r < 0 || forgotten == (change->kind == NOTE_FORGET))
            return r;
        r = publish_note(catalog, change, number, err);
    }
    return r;
}

int catalog_forget(struct catalog *catalog, const struct snapshot_row *row, const char *by,
                   const char *reason, struct err *err)
{
    struct note_change change = {row, NOTE_FORGET, by, reason, {0}};

    return catalog_guarded(catalog, change_forgotten, &change, err);
}

int catalog_unforget(struct catalog *catalog, const struct snapshot_row *row, const char *by,
                     const char *reason, struct err *err)
{
    struct note_change change = {row, NOTE_UNFORGET, by, reason, {0}};
    char object[OBJECT_NAME_SIZE];

    (void)snprintf(object, sizeof(object), "snapshots/%s/%08llu", row->name,
                   (unsigned long long)row->revision);
    int r = catalog_guarded(catalog, change_forgotten, &change, err);
    if (r < 0)
        return r;
    int gone = sync_is_gone(catalog, object, err);
    if (gone < 1)
        return gone;
    r = catalog_forget(catalog, row, by, reason, err); /* or it would be taken for stolen */
    return r < 0 ? r : err_set(err, ERR_NOT_FOUND, "prune has removed %s already", row->name);
}

static int add_hold(struct catalog *catalog, void *context, struct err *err)
{
    return publish_note(catalog, context, 0, err);
}

int catalog_hold(struct catalog *catalog, const struct snapshot_row *row, const char *by,
                 const char *reason, struct err *err)
{
    struct note_change change = {row, NOTE_HOLD, by, reason, {0}};
    int r = random_bytes(change.id, sizeof(change.id), err);

    return r < 0 ? r : catalog_guarded(catalog, add_hold, &change, err);
}

int catalog_release(struct catalog *catalog, const struct snapshot_row *row, const char *by,
                    const char *reason, size_t *out_count, struct err *err)
{
    CLEANUP(note_rows_clear) struct note_rows holds = {0};
    struct note_change change = {row, NOTE_RELEASE, by, reason, {0}};
    int r = catalog_holds(catalog, row->name, &holds, err);

    for (size_t i = 0; r == 0 && i < holds.count; i++) {
        memcpy(change.id, holds.at[i].note.id, NOTE_ID_SIZE);
        r = catalog_guarded(catalog, add_hold, &change, err);
        if (r == -ERR_EXISTS) /* by another host, just now */
            r = 0;
    }
    if (r == 0 && out_count)
        *out_count = holds.count;
    return r;
}

/* ---- holds in force ---- */

struct holds_query {
    const char *snapshot;
    struct note_rows *out;
};

static int append_hold(sqlite3_stmt *statement, struct note_rows *rows, struct err *err)
{
    struct note_row row = {.note = {.kind = NOTE_HOLD}};
    struct note *note = &row.note;
    void *at = reallocarray(rows->at, rows->count + 1, sizeof(*rows->at));

    if (!at)
        return err_set(err, ERR_NOMEM, "out of memory");
    rows->at = at;
    note->made_ns = (int64_t)sql_column_number(statement, 2);
    row.damaged = sql_column_number(statement, 5) != 0;
    if (sql_column_text(statement, 0, note->snapshot, sizeof(note->snapshot)) &&
        sql_column_blob(statement, 1, note->id, sizeof(note->id)) &&
        sql_column_text(statement, 3, note->by, sizeof(note->by)) &&
        sql_column_text(statement, 4, note->reason, sizeof(note->reason)))
        rows->at[rows->count++] = row;
    return 0;
}

static int select_holds(struct catalog *catalog, void *context, struct err *err)
{
    CLEANUP(note_rows_clear) struct note_rows rows = {0};
    CLEANUP(sql_finalizep) sqlite3_stmt *statement = NULL;
    const struct holds_query *query = context;
    int r = sql_prepare(&catalog->sql,
                        "SELECT snapshot, hold, made_ns, by, reason, damaged FROM holds"
                        " WHERE ?1 IS NULL OR snapshot = ?1 ORDER BY snapshot, made_ns",
                        &statement, err);

    if (r < 0)
        return r;
    sql_bind_text(statement, 1, query->snapshot);
    while ((r = sql_step(&catalog->sql, statement, err)) == 1) {
        r = append_hold(statement, &rows, err);
        if (r < 0)
            return r;
    }
    if (r < 0)
        return r;
    *query->out = rows;
    rows = (struct note_rows){0};
    return 0;
}

int catalog_holds(struct catalog *catalog, const char *snapshot, struct note_rows *out,
                  struct err *err)
{
    struct holds_query query = {snapshot, out};

    return catalog_guarded(catalog, select_holds, &query, err);
}
