/* Neighbours fetched in one piece: ahead of who reads a file, and around what is read of metadata.
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "backup/archive/blocks_internal.h"
#include "backup/archive/idtable.h"
#include "backup/archive/reader.h"
#include "backup/archive/readers.h"
#include "backup/archive/repo.h"
#include "backup/base/err.h"

enum {
    FETCH_MAX = 4 * 1024 * 1024, /* at once */
    AROUND_FIRST = 256 * 1024,   /* of metadata, where one archive is read for the first time */
    AROUND_STEPS = 4,            /* each time twice as much */
};

/* Under the lock. */
static bool is_in_run(const struct blocks *blocks, const struct located *located)
{
    const struct blocks_run *run = blocks->runs;

    while (run && !(run->archive == located->archive && located->number >= run->first &&
                    located->number < run->end))
        run = run->next;
    return run != NULL;
}

/* A block that comes with its neighbours is not fetched a second time. */
static void wait_for_run(struct blocks *blocks, const struct located *located)
{
    if (atomic_load(&blocks->run_count) == 0)
        return;
    pthread_mutex_lock(&blocks->lock);
    while (is_in_run(blocks, located))
        pthread_cond_wait(&blocks->run_ended, &blocks->lock);
    pthread_mutex_unlock(&blocks->lock);
}

void blocks_run_begin(struct blocks *blocks, struct blocks_run *run)
{
    pthread_mutex_lock(&blocks->lock);
    run->next = blocks->runs;
    blocks->runs = run;
    atomic_fetch_add(&blocks->run_count, 1);
    pthread_mutex_unlock(&blocks->lock);
}

void blocks_run_end(struct blocks *blocks, struct blocks_run *run)
{
    struct blocks_run **at = &blocks->runs;

    pthread_mutex_lock(&blocks->lock);
    while (*at != run)
        at = &(*at)->next;
    *at = run->next;
    atomic_fetch_sub(&blocks->run_count, 1);
    pthread_cond_broadcast(&blocks->run_ended);
    pthread_mutex_unlock(&blocks->lock);
}

bool blocks_is_cached(struct blocks *blocks, const struct located *located)
{
    pthread_mutex_lock(&blocks->lock);
    bool comes = is_in_run(blocks, located);
    pthread_mutex_unlock(&blocks->lock);
    return comes || blockcache_has(blocks->cache, blocks_key(located));
}

/* How many blocks from this one on are to be fetched at once: neighbours that are not cached and
 * begin before `end`. */
static size_t run_length(struct blocks *blocks, struct located at, uint64_t end)
{
    size_t count = 0;
    size_t bytes = 0;

    for (; at.number < reader_blocks(at.reader); at.number++, count++) {
        const struct block_info *info = reader_block(at.reader, at.number);
        if (info->raw >= end || bytes + info->stored_size > FETCH_MAX ||
            blocks_is_cached(blocks, &at))
            break;
        bytes += info->stored_size;
    }
    return count;
}

/* Fetches `count` blocks in one piece and decodes each into the cache; false: they did not come. */
static bool fetch_run(struct blocks *blocks, struct located at, size_t count)
{
    uint8_t *stored = NULL;
    uint64_t offset = reader_block(at.reader, at.number)->offset;
    size_t skip;
    struct err err;

    if (reader_fetch_run(at.reader, at.number, count, &stored, &skip, &err) < 0)
        return false;
    for (size_t i = 0; i < count; i++, at.number++) {
        const uint8_t *own = stored + skip + (reader_block(at.reader, at.number)->offset - offset);
        struct blocks_loading loading = {.blocks = blocks, .located = &at, .stored = own};
        (void)blockcache_ahead(blocks->cache, blocks_key(&at), blocks_load, &loading, &err);
    }
    free(stored);
    return true;
}

bool blocks_prefetch(struct blocks *blocks, struct place place, size_t count)
{
    struct located at;
    bool came = true;
    struct err err;

    if (blocks_locate(blocks, place, NULL, &at, &err) < 0)
        return false;
    uint64_t end = (uint64_t)at.raw + count;
    while (came && at.number < reader_blocks(at.reader) &&
           reader_block(at.reader, at.number)->raw < end) {
        size_t run = run_length(blocks, at, end);
        struct blocks_run own = {.archive = at.archive, .first = at.number, .end = at.number + run};
        if (run > 0) {
            blocks_run_begin(blocks, &own);
            came = fetch_run(blocks, at, run);
            blocks_run_end(blocks, &own);
        }
        at.number += run > 0 ? run : 1;
    }
    readers_release(blocks->readers, at.archive);
    return came;
}

/* ---- metadata over a network ------------------------------------------------------------- */

/* How much is fetched around a block of this archive: more and more, the longer it is read. */
static uint64_t around_size(struct blocks *blocks, uint32_t archive)
{
    struct blocks_around *around = &blocks->around[archive % AROUND_ARCHIVES];

    pthread_mutex_lock(&blocks->lock);
    if (around->archive != archive)
        *around = (struct blocks_around){.archive = archive};
    unsigned steps = blocks->reads_all ? AROUND_STEPS : around->steps;
    if (around->steps < AROUND_STEPS)
        around->steps++;
    pthread_mutex_unlock(&blocks->lock);
    uint64_t size = (uint64_t)AROUND_FIRST << steps;
    return size < blocks->around_max ? size : blocks->around_max;
}

/* The blocks around this one that are not there yet: a quarter of it before, since directories lie
 * behind what is in them, and more where less than the rest is behind. */
static void choose_around(struct blocks *blocks, const struct located *located, uint64_t size,
                          struct blocks_run *out)
{
    const struct reader *reader = located->reader;
    uint64_t middle = reader_block(reader, located->number)->offset;
    struct located at = *located;

    *out = (struct blocks_run){
        .archive = located->archive, .first = located->number, .end = located->number + 1};
    for (; out->end < reader_blocks(reader); out->end++) {
        const struct block_info *info = reader_block(reader, out->end);
        at.number = out->end;
        if (info->offset + info->stored_size - middle > size - size / 4 ||
            blocks_is_cached(blocks, &at))
            break;
    }
    const struct block_info *last = reader_block(reader, out->end - 1);
    uint64_t behind = last->offset + last->stored_size - middle;
    uint64_t before = behind < size ? size - behind : 0;
    for (; out->first > 0; out->first--) {
        at.number = out->first - 1;
        if (middle - reader_block(reader, at.number)->offset > before ||
            blocks_is_cached(blocks, &at))
            break;
    }
}

static void fetch_around(struct blocks *blocks, const struct located *located)
{
    struct blocks_run run;
    struct located at = *located;

    choose_around(blocks, located, around_size(blocks, located->archive), &run);
    if (run.end - run.first < 2)
        return;
    at.number = run.first;
    blocks_run_begin(blocks, &run);
    (void)fetch_run(blocks, at, run.end - run.first); /* who reads is told */
    blocks_run_end(blocks, &run);
}

void blocks_read_all(struct blocks *blocks)
{
    blocks->reads_all = true;
}

void blocks_await(struct blocks *blocks, const struct located *located)
{
    const struct repo *repo = blocks->repo;

    wait_for_run(blocks, located);
    if (repo_is_remote(repo) && idtable_kind(repo->ids, located->archive) == ARCHIVE_METADATA &&
        !blockcache_has(blocks->cache, blocks_key(located)))
        fetch_around(blocks, located);
}
