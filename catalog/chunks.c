#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/log.h"
#include "catalog/catalog_internal.h"
#include "catalog/memtable.h"
#include "catalog/segments.h"

static void pending_enter(struct catalog *catalog)
{
    pthread_mutex_lock(&catalog->pending.lock);
    if (catalog->pending.users++ == 0 && catalog->lock_fd >= 0)
        home_lock_shared(catalog);
    pthread_mutex_unlock(&catalog->pending.lock);
}

static void leave_locked(struct catalog *catalog, size_t count)
{
    if (count == 0)
        return;
    catalog->pending.users -= (unsigned)count;
    if (catalog->pending.users == 0 && catalog->lock_fd >= 0)
        home_unlock(catalog);
}

static void pending_leave(struct catalog *catalog)
{
    pthread_mutex_lock(&catalog->pending.lock);
    leave_locked(catalog, 1);
    pthread_mutex_unlock(&catalog->pending.lock);
}

static int pending_add(struct pending *pending, const char *name, struct err *err)
{
    int r = 0;

    pthread_mutex_lock(&pending->lock);
    if (pending->count == pending->capacity) {
        size_t capacity = pending->capacity ? 2 * pending->capacity : 16;
        void *names = reallocarray(pending->names, capacity, sizeof(*pending->names));
        if (!names)
            r = err_set(err, ERR_NOMEM, "out of memory");
        if (names) {
            pending->names = names;
            pending->capacity = capacity;
        }
    }
    if (r == 0)
        strcpy(pending->names[pending->count++], name);
    pthread_mutex_unlock(&pending->lock);
    return r;
}

static bool is_pending(struct pending *pending, const char *name)
{
    bool found = false;

    pthread_mutex_lock(&pending->lock);
    for (size_t i = 0; i < pending->count && !found; i++)
        found = strcmp(pending->names[i], name) == 0;
    pthread_mutex_unlock(&pending->lock);
    return found;
}

/* Into the set; into the names as well unless it is in memory.  Takes the segment. */
static int adopt(struct catalog *catalog, struct segment *segment, struct err *err)
{
    CLEANUP(segment_closep) struct segment *mine = segment;
    bool named = segment_name(mine)[0] != '\0';
    int r = named ? pending_add(&catalog->pending, segment_name(mine), err) : 0;

    if (r < 0) {
        unlinkat(catalog->home.dirfd, segment_name(mine), 0);
        return r;
    }
    if (!named)
        pending_leave(catalog);
    /* A file that is pending but not in the set has no row to be written: it goes at close. */
    (void)segments_add(catalog->segments, STEAL(mine), err);
    return 0;
}

int chunks_flush(struct catalog *catalog, struct memtable *table, struct err *err)
{
    bool memory = atomic_load(&catalog->in_memory);
    struct segment *segment = NULL;

    if (memtable_count(table) == 0)
        return 0;
    pending_enter(catalog);
    int r = segment_from_memtable(memory ? &catalog->memory : &catalog->home, table, &segment, err);
    if (r == 0)
        r = adopt(catalog, segment, err);
    if (r < 0)
        pending_leave(catalog);
    return r;
}

static int insert_row(struct catalog *catalog, const struct segment *segment, struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *statement = NULL;
    const uint32_t *numbers;
    int r = sql_prepare(&catalog->sql, "INSERT OR IGNORE INTO segments VALUES (?, ?, ?)",
                        &statement, err);

    if (r < 0)
        return r;
    sql_bind_text(statement, 1, segment_name(segment));
    sql_bind_number(statement, 2, segment_count(segment));
    sql_bind_number(statement, 3, segment_archives(segment, &numbers));
    return sql_run(&catalog->sql, statement, err);
}

int chunks_name(struct catalog *catalog, size_t *out_count, struct err *err)
{
    struct pending *pending = &catalog->pending;
    size_t count = 0;
    int r = 0;

    pthread_mutex_lock(&pending->lock);
    for (; r == 0 && count < pending->count; count++) {
        const struct segment *segment = segments_named(catalog->segments, pending->names[count]);
        if (segment)
            r = insert_row(catalog, segment, err);
    }
    pthread_mutex_unlock(&pending->lock);
    *out_count = count;
    return r;
}

void chunks_named(struct catalog *catalog, size_t count)
{
    struct pending *pending = &catalog->pending;

    if (count == 0)
        return;
    pthread_mutex_lock(&pending->lock);
    pending->count -= count;
    memmove(pending->names, pending->names + count, pending->count * sizeof(*pending->names));
    leave_locked(catalog, count);
    pthread_mutex_unlock(&pending->lock);
}

void chunks_drop_pending(struct catalog *catalog)
{
    struct pending *pending = &catalog->pending;

    pthread_mutex_lock(&pending->lock);
    for (size_t i = 0; i < pending->count; i++)
        unlinkat(catalog->home.dirfd, pending->names[i], 0);
    leave_locked(catalog, pending->count);
    pending->count = 0;
    pthread_mutex_unlock(&pending->lock);
}

/* Opens what the rows name and is not open; *out_lost: one of them is gone or damaged. */
static int open_rows(struct catalog *catalog, bool *out_lost, struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *statement = NULL;
    char name[SEGMENT_NAME_SIZE];
    int r = sql_prepare(&catalog->sql, "SELECT file FROM segments", &statement, err);

    *out_lost = false;
    while (r == 0 && (r = sql_step(&catalog->sql, statement, err)) == 1) {
        struct segment *segment = NULL;
        bool sound = sql_column_text(statement, 0, name, sizeof(name)) && !strchr(name, '/');
        r = 0;
        if (sound && segments_named(catalog->segments, name))
            continue;
        if (sound)
            r = segment_open(&catalog->home, name, &segment, err);
        *out_lost = *out_lost || !sound || (r < 0 && r != -ERR_NOMEM);
        if (segment)
            r = segments_add(catalog->segments, segment, err);
        r = r == -ERR_NOMEM ? r : 0;
    }
    return r;
}

static bool has_row(void *context, const char *name)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *statement = NULL;
    struct catalog *catalog = context;
    struct err err;

    if (sql_prepare(&catalog->sql, "SELECT 1 FROM segments WHERE file = ?", &statement, &err) < 0)
        return true;
    sql_bind_text(statement, 1, name);
    return sql_step(&catalog->sql, statement, &err) != 0;
}

/* Closes what no row names any more: another process merged it, or the catalog was rebuilt. */
static void close_others(struct catalog *catalog)
{
    size_t i = 0;

    for (struct segment *segment; (segment = segments_at(catalog->segments, i)) != NULL;) {
        const char *name = segment_name(segment);
        if (!name[0] || is_pending(&catalog->pending, name) || has_row(catalog, name))
            i++;
        else
            segments_remove(catalog->segments, segment);
    }
}

/* No segment counts any more, and every archive is to be imported again. */
static int forget_chunks(struct catalog *catalog, struct err *err)
{
    CLEANUP(sql_rollbackp) struct sql *transaction = NULL;
    int r = sql_begin(&catalog->sql, &transaction, err);

    log_debug("catalog %s: the chunk index is damaged: making it anew", catalog->directory);
    if (r == 0)
        r = sql_exec(&catalog->sql, "DELETE FROM segments; UPDATE archives SET imported = 0;", err);
    return r < 0 ? r : sql_commit(&transaction, err);
}

int chunks_load(struct catalog *catalog, struct err *err)
{
    bool lost = segments_rotten(catalog->segments);
    int r = 0;

    /* A second time, for another process may have merged while we looked. */
    for (int i = 0; r == 0 && i < 2 && (i == 0 || lost); i++) {
        bool missing = false;
        r = open_rows(catalog, &missing, err);
        lost = segments_rotten(catalog->segments) || missing;
    }
    if (r == 0 && lost)
        r = forget_chunks(catalog, err);
    if (r == 0)
        close_others(catalog);
    return r;
}

/* The merged segment's row in place of the others'; false: somebody else was first. */
static bool replace_rows(struct catalog *catalog, struct segment *const *old, size_t count,
                         const struct segment *merged)
{
    CLEANUP(sql_rollbackp) struct sql *transaction = NULL;
    CLEANUP(sql_finalizep) sqlite3_stmt *statement = NULL;
    struct err err;
    int r = sql_begin(&catalog->sql, &transaction, &err);

    if (r == 0)
        r = sql_prepare(&catalog->sql, "DELETE FROM segments WHERE file = ?", &statement, &err);
    for (size_t i = 0; r == 0 && i < count; i++) {
        sql_bind_text(statement, 1, segment_name(old[i]));
        r = sql_run(&catalog->sql, statement, &err);
        if (r == 0 && sqlite3_changes(catalog->sql.db) != 1)
            return false;
    }
    if (r == 0)
        r = insert_row(catalog, merged, &err);
    return r == 0 && sql_commit(&transaction, &err) == 0;
}

static bool merge_once(struct catalog *catalog)
{
    bool memory = atomic_load(&catalog->in_memory);
    struct segment *old[SEGMENTS_MERGE_AT];
    struct segment *merged = NULL;
    size_t count = segments_pick(catalog->segments, old);
    struct err err;

    if (count == 0 || segment_merge(memory ? &catalog->memory : &catalog->home, old, count,
                                    catalog->states, &merged, &err) < 0)
        return false;
    if (!memory && !replace_rows(catalog, old, count, merged)) {
        unlinkat(catalog->home.dirfd, segment_name(merged), 0);
        segment_close(merged);
        return false;
    }
    if (segments_add(catalog->segments, merged, &err) < 0)
        return false; /* the old ones still answer; the next load opens the new one */
    for (size_t i = 0; i < count; i++) {
        if (!memory)
            unlinkat(catalog->home.dirfd, segment_name(old[i]), 0);
        segments_remove(catalog->segments, old[i]);
    }
    return true;
}

/* Files that no row names.  With the lock of pending held nobody here makes a new one, with the
 * directory's nobody else. */
static void remove_leftovers(struct catalog *catalog)
{
    if (atomic_load(&catalog->in_memory))
        return;
    pthread_mutex_lock(&catalog->pending.lock);
    if (catalog->pending.users == 0 && home_try_lock(catalog)) {
        home_remove_segments(catalog, has_row, catalog);
        home_unlock(catalog);
    }
    pthread_mutex_unlock(&catalog->pending.lock);
}

void chunks_tidy(struct catalog *catalog)
{
    pthread_mutex_lock(&catalog->pending.lock);
    bool busy = catalog->pending.users > 0; /* a run is under way: it will come here again */
    pthread_mutex_unlock(&catalog->pending.lock);
    if (busy)
        return;
    pending_enter(catalog);
    while (merge_once(catalog))
        continue;
    pending_leave(catalog);
    remove_leftovers(catalog);
}
