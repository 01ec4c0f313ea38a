/* What is decided about snapshots, and what holds are in force. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/random.h"
#include "catalog/catalog_internal.h"

enum { TRIES = 8 };

void note_rows_clear(struct note_rows *rows)
{
    free(rows->at);
    *rows = (struct note_rows){0};
}

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
    return r < 0 ? r : notes_insert(catalog, &made, err);
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
        r = i == 0 ? 0 : notes_sync(catalog, SYNC_NEW, err);
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

    root_object_name(row->name, row->revision, object);
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
