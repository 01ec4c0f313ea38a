/* Blocks that go by: decoded into a thread's own room, not into the cache.  What a restore writes
 * out is needed once; in the cache each block would be memory touched for the first time. */
#include <stdlib.h>
#include <string.h>

#include "backup/archive/blocks_internal.h"
#include "backup/archive/idtable.h"
#include "backup/archive/reader.h"
#include "backup/archive/readers.h"
#include "backup/archive/repo.h"
#include "backup/archive/writer.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"

enum {
    FETCH_LOCAL = 1024 * 1024, /* at once */
    FETCH_REMOTE = 8 * 1024 * 1024,
    GIVEN_MAX = 256 * 1024, /* at once; with what it was decoded from, it stays in a core's cache */
    IN_FRONT = 64, /* reader_decode_own() wants a byte; this keeps what is behind aligned */
};

struct passage {
    struct blocks *blocks;
    size_t fetch_max;
    uint8_t *stored, *decoded; /* NULL until they are needed */
    uint32_t raw;              /* of what is decoded and was not given yet */
    size_t size;
};

/* One call of passage_run(). */
struct passing {
    struct passage *passage;
    struct located at; /* the next block */
    uint32_t from;     /* blocks wholly between these are nobody else's */
    uint64_t until;
    passage_fn *each;
    void *context;
};

struct passage *passage_new(struct blocks *blocks)
{
    struct passage *passage = calloc(1, sizeof(*passage));

    if (!passage)
        return NULL;
    passage->blocks = blocks;
    passage->fetch_max = repo_is_remote(blocks->repo) ? FETCH_REMOTE : FETCH_LOCAL;
    return passage;
}

void passage_free(struct passage *passage)
{
    if (!passage)
        return;
    free(passage->stored);
    free(passage->decoded);
    free(passage);
}

static int make_room(struct passage *passage, struct err *err)
{
    /* One block is always let in, however large. */
    size_t largest = passage->fetch_max > 2 * (size_t)BLOCK_RAW_MAX ? passage->fetch_max
                                                                    : 2 * (size_t)BLOCK_RAW_MAX;

    if (!passage->stored)
        passage->stored = malloc(largest + READER_AROUND);
    if (!passage->decoded)
        passage->decoded = malloc(IN_FRONT + (size_t)BLOCK_RAW_MAX);
    if (!passage->stored || !passage->decoded)
        return err_set(err, ERR_NOMEM, "no memory to decode blocks");
    return 0;
}

static bool is_own(const struct passing *passing, const struct block_info *info)
{
    return info->raw >= passing->from && (uint64_t)info->raw + info->raw_size <= passing->until;
}

static int give(struct passing *passing, struct err *err)
{
    struct passage *passage = passing->passage;
    size_t size = passage->size;

    passage->size = 0;
    if (size == 0)
        return 0;
    return passing->each(passing->context, passage->raw, passage->decoded + IN_FRONT, size, err);
}

static int give_cached(struct passing *passing, const struct block_info *info, struct err *err)
{
    struct place place = {.archive = passing->at.archive, .raw = info->raw};
    uint32_t left = info->raw_size;
    int r = give(passing, err);

    while (r == 0 && left > 0) { /* moved meanwhile, it may be in pieces */
        CLEANUP(slice_clear) struct slice slice = {0};
        r = blocks_get(passing->passage->blocks, place, &slice, err);
        if (r < 0)
            return r;
        uint32_t some = slice.size < left ? (uint32_t)slice.size : left;
        r = passing->each(passing->context, place.raw, slice.data, some, err);
        place.raw += some;
        left -= some;
    }
    return r;
}

static int decode(struct passing *passing, struct codec *codec, size_t number, uint8_t *stored,
                  struct err *err)
{
    struct passage *passage = passing->passage;
    const struct block_info *info = reader_block(passing->at.reader, number);
    int r = 0;

    if (passage->size > 0 &&
        (passage->raw + passage->size != info->raw || passage->size + info->raw_size > GIVEN_MAX))
        r = give(passing, err);
    if (r < 0)
        return r;
    if (passage->size == 0)
        passage->raw = info->raw;
    r = reader_decode_own(passing->at.reader, codec, number, stored,
                          passage->decoded + IN_FRONT + passage->size, err);
    if (r < 0)
        return r;
    passage->size += info->raw_size;
    atomic_fetch_add_explicit(&passage->blocks->passed, 1, memory_order_relaxed);
    return 0;
}

/* What others need as well comes into the cache before anybody may ask for it. */
static void share(struct passing *passing, size_t end, const uint8_t *stored)
{
    struct located at = passing->at;
    uint64_t offset = reader_block(at.reader, at.number)->offset;
    struct err ignored;

    for (; at.number < end; at.number++) {
        const struct block_info *info = reader_block(at.reader, at.number);
        struct blocks_loading loading = {.blocks = passing->passage->blocks,
                                         .located = &at,
                                         .stored = stored + (info->offset - offset)};
        if (!is_own(passing, info))
            (void)blockcache_ahead(loading.blocks->cache, blocks_key(&at), blocks_load, &loading,
                                   &ignored);
    }
}

static int fetch(struct passing *passing, size_t end, uint8_t **out, struct err *err)
{
    struct passage *passage = passing->passage;
    const struct located *at = &passing->at;
    struct blocks_run run = {.archive = at->archive, .first = at->number, .end = end};
    size_t skip = 0;

    blocks_run_begin(passage->blocks, &run);
    int r =
        reader_fetch_into(at->reader, at->number, end - at->number, passage->stored, &skip, err);
    *out = passage->stored + skip;
    if (r == 0)
        share(passing, end, *out);
    blocks_run_end(passage->blocks, &run);
    return r;
}

/* Blocks up to `end` are fetched in one piece. */
static int pass(struct passing *passing, struct codec *codec, size_t end, struct err *err)
{
    const struct reader *reader = passing->at.reader;
    uint64_t offset = reader_block(reader, passing->at.number)->offset;
    uint8_t *stored;
    int r = fetch(passing, end, &stored, err);

    for (size_t number = passing->at.number; r == 0 && number < end; number++) {
        const struct block_info *info = reader_block(reader, number);
        r = is_own(passing, info)
                ? decode(passing, codec, number, stored + (info->offset - offset), err)
                : give_cached(passing, info, err);
    }
    passing->at.number = end;
    return r < 0 ? r : give(passing, err);
}

/* Where a run from here on ends: at what is cached, and when it is large enough. */
static size_t run_end(const struct passing *passing, uint64_t end)
{
    const struct passage *passage = passing->passage;
    struct located at = passing->at;
    size_t bytes = 0;

    for (; at.number < reader_blocks(at.reader); at.number++) {
        const struct block_info *info = reader_block(at.reader, at.number);
        bool first = at.number == passing->at.number;
        if (info->raw >= end || (!first && (bytes + info->stored_size > passage->fetch_max ||
                                            blocks_is_cached(passage->blocks, &at))))
            break;
        bytes += info->stored_size;
    }
    return at.number;
}

static int go(struct passing *passing, struct codec *codec, uint64_t end, struct err *err)
{
    struct located *at = &passing->at;
    int r = make_room(passing->passage, err);

    passing->passage->size = 0;
    while (r == 0 && at->number < reader_blocks(at->reader)) {
        const struct block_info *info = reader_block(at->reader, at->number);
        if (info->raw >= end)
            break;
        if (blocks_is_cached(passing->passage->blocks, at)) {
            r = give_cached(passing, info, err);
            at->number++;
        } else {
            r = pass(passing, codec, run_end(passing, end), err);
        }
    }
    return r;
}

int passage_run(struct passage *passage, struct place place, size_t count, uint32_t from,
                uint64_t until, passage_fn *each, void *context, struct err *err)
{
    struct blocks *blocks = passage->blocks;
    struct passing passing = {
        .passage = passage, .from = from, .until = until, .each = each, .context = context};

    if (idtable_kind(blocks->repo->ids, place.archive) != ARCHIVE_DATA)
        return err_set(err, ERR_USAGE, "only data goes by");
    int r = blocks_locate(blocks, place, NULL, &passing.at, err);
    if (r < 0)
        return r;
    struct codec *codec = blocks_take_codec(blocks);
    if (passing.at.archive != place.archive)
        r = err_set(err, ERR_NOT_FOUND, "it was moved");
    else if (!codec)
        r = err_set(err, ERR_NOMEM, "no memory to decode blocks");
    else
        r = go(&passing, codec, (uint64_t)place.raw + count, err);
    if (codec)
        blocks_give_codec(blocks, codec);
    readers_release(blocks->readers, passing.at.archive);
    return r;
}
