#include <stdlib.h>
#include <string.h>

#include "backup/archive/reader.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "catalog/catalog_internal.h"
#include "catalog/memtable.h"
#include "catalog/segments.h"
#include "catalog/states.h"

static void freep(void *pointer)
{
    free(*(void **)pointer);
}

static struct catalog_baseline *own(struct baseline *base)
{
    return (struct catalog_baseline *)base; /* its first member */
}

/* What this run stored, then what others did. */
static bool find_chunk(struct baseline *base, const uint8_t id[32], uint32_t length,
                       struct place *out)
{
    struct catalog_baseline *baseline = own(base);
    const struct states *states = baseline->catalog->states;
    struct place place;

    pthread_rwlock_rdlock(&baseline->tables);
    bool found = memtable_find(baseline->active, id, length, &place) ||
                 (baseline->full && memtable_find(baseline->full, id, length, &place));
    pthread_rwlock_unlock(&baseline->tables);
    found = found && states_usable(states, place.archive);
    if (!found)
        found = segments_find(baseline->catalog->segments, states, id, length, &place);
    if (found)
        *out = place;
    return found;
}

static bool archive_usable(struct baseline *base, uint32_t archive)
{
    return states_usable(own(base)->catalog->states, archive);
}

static bool archive_damaged(struct baseline *base, uint32_t archive)
{
    return states_get(own(base)->catalog->states, archive) & STATE_DAMAGED;
}

/* With `flush` held.  The full table answers until its segment does. */
static int flush_active(struct catalog_baseline *baseline, struct err *err)
{
    struct memtable *fresh = memtable_new();

    if (!fresh)
        return err_set(err, ERR_NOMEM, "out of memory");
    pthread_rwlock_wrlock(&baseline->tables);
    baseline->full = baseline->active;
    baseline->active = fresh;
    pthread_rwlock_unlock(&baseline->tables);

    int r = chunks_flush(baseline->catalog, baseline->full, err);
    pthread_rwlock_wrlock(&baseline->tables);
    memtable_free(STEAL(baseline->full));
    pthread_rwlock_unlock(&baseline->tables);
    if (r < 0) {
        pthread_mutex_lock(&baseline->lock);
        baseline->lost = true;
        pthread_mutex_unlock(&baseline->lock);
    }
    return r;
}

static int add_chunks(struct catalog_baseline *baseline, uint32_t archive,
                      const struct chunk *chunks, size_t count, struct err *err)
{
    int r = 0;

    pthread_rwlock_rdlock(&baseline->tables);
    for (size_t i = 0; r == 0 && i < count; i++) {
        struct chunk_entry entry = {.place = {archive, chunks[i].raw}, .length = chunks[i].length};
        memcpy(entry.id, chunks[i].id, sizeof(entry.id));
        r = memtable_add(baseline->active, &entry, err);
    }
    bool full = memtable_count(baseline->active) >= MEMTABLE_MAX;
    pthread_rwlock_unlock(&baseline->tables);
    if (r == 0 && full && pthread_mutex_trylock(&baseline->flush) == 0) {
        r = flush_active(baseline, err);
        pthread_mutex_unlock(&baseline->flush);
    }
    return r;
}

static int add_archive(struct baseline *base, const struct writer_result *archive,
                       const void *index, size_t size, struct err *err)
{
    CLEANUP(freep) struct chunk *chunks = NULL;
    struct catalog_baseline *baseline = own(base);
    struct gathered done = {
        .id = archive->id, .kind = (uint8_t)archive->kind, .size = archive->size, .imported = true};
    const uint8_t *at = index;
    struct index_record record;
    size_t count = 0, need = 0;
    int r = states_set(baseline->catalog->states, archive->archive, STATE_PRESENT, err);

    if (r == 0 && archive->kind == ARCHIVE_DATA) {
        r = index_record_parse(&at, at + size, &record, &need, err);
        if (r == 0 && need > 0)
            r = err_set(err, ERR_CORRUPT, "an index record without its end");
        if (r == 0)
            r = index_record_chunks(&record, &chunks, &count, err);
        if (r == 0)
            r = add_chunks(baseline, archive->archive, chunks, count, err);
    }
    if (r < 0)
        return r;
    pthread_mutex_lock(&baseline->lock);
    r = gathered_add(&baseline->run, &done, err);
    pthread_mutex_unlock(&baseline->lock);
    return r;
}

static const struct baseline_ops ops = {
    .find_chunk = find_chunk,
    .archive_usable = archive_usable,
    .archive_damaged = archive_damaged,
    .add_archive = add_archive,
};

int baseline_init(struct catalog *catalog, struct err *err)
{
    struct catalog_baseline *baseline = &catalog->baseline;

    baseline->base.ops = &ops;
    baseline->catalog = catalog;
    pthread_mutex_init(&baseline->flush, NULL);
    pthread_mutex_init(&baseline->lock, NULL);
    pthread_rwlock_init(&baseline->tables, NULL);
    baseline->active = memtable_new();
    return baseline->active ? 0 : err_set(err, ERR_NOMEM, "out of memory");
}

void baseline_clear(struct catalog *catalog)
{
    struct catalog_baseline *baseline = &catalog->baseline;

    if (!baseline->catalog)
        return;
    memtable_free(baseline->active);
    memtable_free(baseline->full);
    gathered_clear(&baseline->run);
    pthread_rwlock_destroy(&baseline->tables);
    pthread_mutex_destroy(&baseline->lock);
    pthread_mutex_destroy(&baseline->flush);
}

void baseline_lost(struct catalog *catalog)
{
    struct catalog_baseline *baseline = &catalog->baseline;

    pthread_mutex_lock(&baseline->lock);
    baseline->lost = baseline->run.count > 0;
    pthread_mutex_unlock(&baseline->lock);
}

struct baseline *catalog_baseline(struct catalog *catalog)
{
    return &catalog->baseline.base;
}

/* What the run wrote: its chunks are in segments by now (`run`), or left to be read again.  Index
 * archives have nothing that is not known by their data archives. */
static int list_run(const struct catalog_baseline *baseline, const struct root *root,
                    struct gathered_list *out, struct err *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < baseline->run.count; i++) {
        struct gathered done = baseline->run.at[i];
        done.imported = !baseline->lost;
        r = gathered_add(out, &done, err);
    }
    for (size_t i = 0; r == 0 && i < root->archive_count; i++) {
        const struct root_archive *archive = &root->archives[i];
        struct gathered done = {.id = archive->id,
                                .kind = archive->kind,
                                .size = archive->size,
                                .imported = archive->kind != ARCHIVE_DATA};
        r = gathered_add(out, &done, err);
    }
    return r;
}

static int insert_run(struct catalog *catalog, const struct root *root,
                      const struct gathered_list *list, struct err *err)
{
    CLEANUP(sql_rollbackp) struct sql *transaction = NULL;
    size_t named = 0;
    int r = sql_begin(&catalog->sql, &transaction, err);

    if (r == 0)
        r = chunks_name(catalog, &named, err);
    if (r == 0)
        r = archives_insert(catalog, list, err);
    if (r == 0)
        r = snapshots_insert(catalog, root, err);
    if (r == 0)
        r = sql_commit(&transaction, err);
    if (r == 0)
        chunks_named(catalog, named);
    return r;
}

static int commit_locked(struct catalog *catalog, const struct root *root, struct err *err)
{
    CLEANUP(gathered_clear) struct gathered_list list = {0};
    struct catalog_baseline *baseline = &catalog->baseline;

    pthread_mutex_lock(&baseline->flush);
    int r = flush_active(baseline, err);
    pthread_mutex_unlock(&baseline->flush);
    if (r == -ERR_NOMEM)
        return r;
    pthread_mutex_lock(&baseline->lock);
    r = list_run(baseline, root, &list, err);
    pthread_mutex_unlock(&baseline->lock);
    if (r == 0)
        r = insert_run(catalog, root, &list, err);
    pthread_mutex_lock(&baseline->lock);
    gathered_clear(&baseline->run);
    baseline->lost = false;
    pthread_mutex_unlock(&baseline->lock);
    return r;
}

int catalog_commit_run(struct catalog *catalog, const struct root *root, struct err *err)
{
    pthread_mutex_lock(&catalog->lock);
    catalog->sql.trouble = SQL_FINE;
    int r = commit_locked(catalog, root, err);
    /* Where the database had to be made anew, the snapshot comes in from the repository, and its
     * chunks with the next deep sync. */
    if (r < 0 && home_recover(catalog))
        r = sync_snapshots(catalog, SYNC_NEW, err);
    else if (r == 0 && catalog->deep)
        chunks_tidy(catalog);
    pthread_mutex_unlock(&catalog->lock);
    return r;
}
