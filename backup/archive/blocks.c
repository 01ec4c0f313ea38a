#include "backup/archive/blocks.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/block.h"
#include "backup/archive/blocks_internal.h"
#include "backup/archive/entry.h"
#include "backup/archive/idtable.h"
#include "backup/archive/reader.h"
#include "backup/archive/readers.h"
#include "backup/archive/remap.h"
#include "backup/archive/repo.h"
#include "backup/archive/writer.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"

enum {
    OPEN_MEMORY = 16 * 1024 * 1024,
    OPEN_COUNT = 400,
    FETCH_MAX = 4 * 1024 * 1024, /* of a prefetch, at once */
    DECODING_LEVEL = 1,          /* any: these codecs never encode */
};

struct blocks *blocks_new(struct repo *repo, size_t cache_bytes)
{
    struct blocks *blocks = calloc(1, sizeof(*blocks));

    if (!blocks)
        return NULL;
    blocks->repo = repo;
    pthread_mutex_init(&blocks->lock, NULL);
    pthread_cond_init(&blocks->run_ended, NULL);
    blocks->cache = blockcache_new(cache_bytes);
    blocks->readers = readers_new(repo, OPEN_MEMORY, OPEN_COUNT);
    if (!blocks->cache || !blocks->readers) {
        blocks_free(blocks);
        return NULL;
    }
    return blocks;
}

void blocks_free(struct blocks *blocks)
{
    if (!blocks)
        return;
    for (size_t i = 0; i < blocks->idle_count; i++)
        codec_free(blocks->idle[i]);
    blockcache_free(blocks->cache);
    readers_free(blocks->readers);
    pthread_cond_destroy(&blocks->run_ended);
    pthread_mutex_destroy(&blocks->lock);
    free(blocks);
}

void blocks_freep(struct blocks **blocks)
{
    blocks_free(*blocks);
}

struct repo *blocks_repo(const struct blocks *blocks)
{
    return blocks->repo;
}

void blocks_watch(struct blocks *blocks, void (*watch)(void *context, struct place place),
                  void *context)
{
    blocks->watch = watch;
    blocks->watch_context = context;
}

void blocks_touched(struct blocks *blocks, struct place place)
{
    if (blocks->watch)
        blocks->watch(blocks->watch_context, place);
}

void blocks_stats(struct blocks *blocks, struct blockcache_stats *out)
{
    blockcache_stats(blocks->cache, out);
}

void slice_clear(struct slice *slice)
{
    block_unref(slice->block);
    *slice = (struct slice){0};
}

static struct codec *take_codec(struct blocks *blocks)
{
    struct codec *codec = NULL;

    pthread_mutex_lock(&blocks->lock);
    if (blocks->idle_count > 0)
        codec = blocks->idle[--blocks->idle_count];
    pthread_mutex_unlock(&blocks->lock);
    return codec ? codec : codec_new(DECODING_LEVEL);
}

static void give_codec(struct blocks *blocks, struct codec *codec)
{
    pthread_mutex_lock(&blocks->lock);
    if (blocks->idle_count < IDLE_CODECS)
        blocks->idle[blocks->idle_count++] = STEAL(codec);
    pthread_mutex_unlock(&blocks->lock);
    codec_free(codec);
}

int blocks_acquire(struct blocks *blocks, uint32_t archive, const struct reader **out,
                   struct err *err)
{
    return readers_acquire(blocks->readers, archive, out, err);
}

void blocks_release(struct blocks *blocks, uint32_t archive, const struct reader *reader)
{
    (void)reader;
    readers_release(blocks->readers, archive);
}

static uint64_t key_of(const struct located *located)
{
    return (uint64_t)located->archive << 32 | located->number;
}

/* What the loader of a block needs. */
struct loading {
    struct blocks *blocks;
    const struct located *located;
    const uint8_t *stored; /* fetched already; or NULL */
};

static int prepare(const struct loading *loading, struct block *block, struct err *err)
{
    struct idtable *ids = loading->blocks->repo->ids;
    uint32_t archive = loading->located->archive;
    char name[OBJECT_NAME_SIZE];

    if (idtable_kind(ids, archive) != ARCHIVE_METADATA)
        return 0;
    int r = entry_prepare_block(block, ids, err);
    if (r == 0)
        return 0;
    repo_object_name(ARCHIVE_METADATA, idtable_id(ids, archive), name);
    return err_context(err, "%s: block %zu", name, loading->located->number);
}

static int load_block(void *context, uint64_t key, struct block **out, struct err *err)
{
    const struct loading *loading = context;
    const struct reader *reader = loading->located->reader;
    size_t number = loading->located->number;
    CLEANUP(block_unrefp) struct block *block = block_new(reader_block(reader, number)->raw_size);
    struct codec *codec = take_codec(loading->blocks);
    int r = 0;

    (void)key;
    if (!block || !codec)
        r = err_set(err, ERR_NOMEM, "no memory for a block");
    else if (loading->stored)
        r = reader_decode_fetched(reader, codec, number, loading->stored, block->data, err);
    else
        r = reader_decode(reader, codec, number, block->data, err);
    if (codec)
        give_codec(loading->blocks, codec);
    if (r == 0)
        r = prepare(loading, block, err);
    if (r < 0)
        return r;
    *out = STEAL(block);
    return 0;
}

/* From there on; takes the reference. */
static struct slice slice_of(struct block *block, const struct located *located)
{
    size_t skip = located->raw - reader_block(located->reader, located->number)->raw;

    return (struct slice){.block = block, .data = block->data + skip, .size = block->size - skip};
}

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

static void run_begin(struct blocks *blocks, struct blocks_run *run)
{
    pthread_mutex_lock(&blocks->lock);
    run->next = blocks->runs;
    blocks->runs = run;
    atomic_fetch_add(&blocks->run_count, 1);
    pthread_mutex_unlock(&blocks->lock);
}

static void run_end(struct blocks *blocks, struct blocks_run *run)
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

static int get_once(struct blocks *blocks, struct place place, struct slice *out, struct err *err)
{
    struct located located;
    struct loading loading = {.blocks = blocks, .located = &located};
    struct block *block;
    int r = blocks_locate(blocks, place, &located, err);

    if (r < 0)
        return r;
    wait_for_run(blocks, &located);
    r = blockcache_get(blocks->cache, key_of(&located), load_block, &loading, &block, err);
    if (r == 0)
        *out = slice_of(block, &located);
    readers_release(blocks->readers, located.archive);
    return r;
}

int blocks_get(struct blocks *blocks, struct place place, struct slice *out, struct err *err)
{
    uint64_t seen = remap_generation(blocks->repo);
    int r = get_once(blocks, place, out, err);
    struct err ignored;

    /* It can go away while it is open. */
    if (r == -ERR_NOT_FOUND && remap_look_again(blocks->repo, place.archive, seen, &ignored) == 1)
        r = get_once(blocks, place, out, err);
    return r;
}

int blocks_peek(struct blocks *blocks, struct place place, struct slice *out)
{
    struct located located;
    struct block *block;

    if (!blocks_locate_open(blocks, place, &located))
        return 0;
    block = blockcache_peek(blocks->cache, key_of(&located));
    if (block)
        *out = slice_of(block, &located);
    readers_release(blocks->readers, located.archive);
    return block ? 1 : 0;
}

int blocks_read(struct blocks *blocks, struct place place, void *out, size_t count, struct err *err)
{
    uint8_t *to = out;

    if (count > UINT32_MAX - place.raw)
        return err_set(err, ERR_CORRUPT, "%zu bytes from raw offset %u are more than there can be",
                       count, place.raw);
    while (count > 0) {
        CLEANUP(slice_clear) struct slice slice = {0};
        int r = blocks_get(blocks, place, &slice, err);
        if (r < 0)
            return r;

        size_t some = slice.size < count ? slice.size : count;
        memcpy(to, slice.data, some);
        to += some;
        count -= some;
        place.raw += (uint32_t)some;
    }
    return 0;
}

/* Or soon will be. */
static bool is_cached(struct blocks *blocks, const struct located *located)
{
    CLEANUP(block_unrefp) struct block *block = blockcache_peek(blocks->cache, key_of(located));

    pthread_mutex_lock(&blocks->lock);
    bool comes = is_in_run(blocks, located);
    pthread_mutex_unlock(&blocks->lock);
    return block != NULL || comes;
}

/* How many blocks from this one on are to be fetched at once: neighbours that are not cached and
 * begin before `end`. */
static size_t run_length(struct blocks *blocks, struct located at, uint64_t end, size_t *out_bytes)
{
    size_t count = 0;
    size_t bytes = 0;

    for (; at.number < reader_blocks(at.reader); at.number++, count++) {
        const struct block_info *info = reader_block(at.reader, at.number);
        if (info->raw >= end || bytes + info->stored_size > FETCH_MAX || is_cached(blocks, &at))
            break;
        bytes += info->stored_size;
    }
    *out_bytes = bytes;
    return count;
}

/* Fetches `count` blocks in one piece and decodes each into the cache. */
static void fetch_run(struct blocks *blocks, struct located at, size_t count, size_t bytes)
{
    uint8_t *stored = malloc(bytes);
    uint64_t offset = reader_block(at.reader, at.number)->offset;
    struct err err;

    if (!stored || reader_fetch(at.reader, at.number, count, stored, &err) < 0) {
        free(stored);
        return;
    }
    for (size_t i = 0; i < count; i++, at.number++) {
        const uint8_t *own = stored + (reader_block(at.reader, at.number)->offset - offset);
        struct loading loading = {.blocks = blocks, .located = &at, .stored = own};
        struct block *block = NULL;
        if (blockcache_get(blocks->cache, key_of(&at), load_block, &loading, &block, &err) == 0)
            block_unref(block);
    }
    free(stored);
}

void blocks_prefetch(struct blocks *blocks, struct place place, size_t count)
{
    struct located at;
    struct err err;

    if (blocks_locate(blocks, place, &at, &err) < 0)
        return;
    uint64_t end = (uint64_t)at.raw + count;
    while (at.number < reader_blocks(at.reader) && reader_block(at.reader, at.number)->raw < end) {
        size_t bytes;
        size_t run = run_length(blocks, at, end, &bytes);
        struct blocks_run own = {.archive = at.archive, .first = at.number, .end = at.number + run};
        if (run > 0) {
            run_begin(blocks, &own);
            fetch_run(blocks, at, run, bytes);
            run_end(blocks, &own);
        }
        at.number += run > 0 ? run : 1;
    }
    readers_release(blocks->readers, at.archive);
}
