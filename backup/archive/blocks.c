#include "backup/archive/blocks.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/block.h"
#include "backup/archive/blockpool.h"
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
    DECODING_LEVEL = 1, /* any: these codecs never encode */
};

struct blocks *blocks_new(struct repo *repo, size_t cache_bytes)
{
    struct blocks *blocks = calloc(1, sizeof(*blocks));

    if (!blocks)
        return NULL;
    blocks->repo = repo;
    pthread_mutex_init(&blocks->lock, NULL);
    pthread_cond_init(&blocks->run_ended, NULL);
    blocks->pool = blockpool_new();
    blocks->cache = blockcache_new(cache_bytes);
    blocks->around_max = cache_bytes / 16;
    blocks->readers = readers_new(repo, OPEN_MEMORY, OPEN_COUNT);
    if (!blocks->pool || !blocks->cache || !blocks->readers) {
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
    blockpool_close(blocks->pool); /* blocks may still be in use */
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
    out->loads += atomic_load(&blocks->passed);
}

void slice_clear(struct slice *slice)
{
    block_unref(slice->block);
    *slice = (struct slice){0};
}

struct codec *blocks_take_codec(struct blocks *blocks)
{
    struct codec *codec = NULL;

    pthread_mutex_lock(&blocks->lock);
    if (blocks->idle_count > 0)
        codec = blocks->idle[--blocks->idle_count];
    pthread_mutex_unlock(&blocks->lock);
    return codec ? codec : codec_new(DECODING_LEVEL);
}

void blocks_give_codec(struct blocks *blocks, struct codec *codec)
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

uint64_t blocks_key(const struct located *located)
{
    return (uint64_t)located->archive << 32 | located->number;
}

static int prepare(const struct blocks_loading *loading, struct block *block, struct err *err)
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

int blocks_load(void *context, uint64_t key, struct block **out, struct err *err)
{
    const struct blocks_loading *loading = context;
    const struct reader *reader = loading->located->reader;
    size_t number = loading->located->number;
    CLEANUP(block_unrefp)
    struct block *block =
        block_new_in(loading->blocks->pool, reader_block(reader, number)->raw_size);
    struct codec *codec = blocks_take_codec(loading->blocks);
    int r = 0;

    (void)key;
    if (!block || !codec)
        r = err_set(err, ERR_NOMEM, "no memory for a block");
    else if (loading->stored)
        r = reader_decode_fetched(reader, codec, number, loading->stored, block->data, err);
    else
        r = reader_decode(reader, codec, number, block->data, err);
    if (codec)
        blocks_give_codec(loading->blocks, codec);
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

static void note_gone(struct blocks *blocks, uint32_t archive, struct blocks_gone *gone)
{
    readers_gone(blocks->readers, archive);
    if (gone->count < sizeof(gone->archives) / sizeof(gone->archives[0]))
        gone->archives[gone->count++] = archive;
}

static int get_once(struct blocks *blocks, struct place place, struct blocks_gone *gone,
                    struct slice *out, struct err *err)
{
    struct located located;
    struct blocks_loading loading = {.blocks = blocks, .located = &located};
    struct block *block;
    int r = blocks_locate(blocks, place, gone, &located, err);

    if (r < 0)
        return r;
    blocks_await(blocks, &located);
    r = blockcache_get(blocks->cache, blocks_key(&located), blocks_load, &loading, &block, err);
    if (r == 0)
        *out = slice_of(block, &located);
    if (r == -ERR_NOT_FOUND)
        note_gone(blocks, located.archive, gone);
    readers_release(blocks->readers, located.archive);
    return r;
}

int blocks_get(struct blocks *blocks, struct place place, struct slice *out, struct err *err)
{
    uint64_t seen = remap_generation(blocks->repo);
    struct blocks_gone gone = {0};
    int r = get_once(blocks, place, &gone, out, err);
    struct err again;

    if (r != -ERR_NOT_FOUND)
        return r;
    bool news = remap_look_again(blocks->repo, place.archive, seen, &again) == 1;
    /* It can go away while it is open, and so can what it was moved to: the next place counts. */
    for (size_t tried = 0; r == -ERR_NOT_FOUND && (news || gone.count > tried); news = false) {
        tried = gone.count;
        r = get_once(blocks, place, &gone, out, &again);
    }
    if (r < 0 && r != -ERR_NOT_FOUND)
        *err = again;
    return r;
}

int blocks_peek(struct blocks *blocks, struct place place, struct slice *out)
{
    struct located located;
    struct block *block;

    if (!blocks_locate_open(blocks, place, &located))
        return 0;
    block = blockcache_peek(blocks->cache, blocks_key(&located));
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
