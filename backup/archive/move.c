#include "backup/archive/move.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/block.h"
#include "backup/archive/codec.h"
#include "backup/archive/entry.h"
#include "backup/archive/reader.h"
#include "backup/archive/repo.h"
#include "backup/archive/writer.h"
#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/crypto/digest.h"
#include "backup/crypto/seal.h"

enum {
    LEVEL = 1, /* any: nothing is compressed */
    FETCH_MAX = 4 * 1024 * 1024,
    RECORD_MAX = 8 * 1024 * 1024,
};

struct mover {
    struct repo *repo;
    enum archive_kind kind;
    mover_done_fn *done;
    void *context;
    struct codec *codec;
    uint8_t *stored, *plain; /* FETCH_MAX and a block; a block */
    struct writer *writer;   /* NULL: none open */
    struct remap_entry *entries;
    size_t count, capacity, durable; /* entries; the first so many are durable */
    uint64_t bytes;
};

/* One archive on its way. */
struct source {
    const struct reader *reader;
    const uint8_t *live;
    struct chunk *chunks;
    size_t chunk_count, chunk_at;
    size_t first, last; /* live blocks */
    struct writer_load load;
    struct remap_entry entry;
};

static void source_clear(struct source *source)
{
    free(source->chunks);
}

int mover_new(struct repo *repo, enum archive_kind kind, mover_done_fn *done, void *context,
              struct mover **out, struct err *err)
{
    struct mover *mover = calloc(1, sizeof(*mover));

    assert(kind == ARCHIVE_DATA || kind == ARCHIVE_METADATA);
    if (!mover)
        return err_set(err, ERR_NOMEM, "no memory to move blocks");
    *mover = (struct mover){.repo = repo, .kind = kind, .done = done, .context = context};
    mover->codec = codec_new(LEVEL);
    mover->stored = malloc(FETCH_MAX + 2 * BLOCK_RAW_MAX);
    mover->plain = malloc(2 * BLOCK_RAW_MAX);
    if (!mover->codec || !mover->stored || !mover->plain) {
        mover_free(mover);
        return err_set(err, ERR_NOMEM, "no memory to move blocks");
    }
    *out = mover;
    return 0;
}

void mover_free(struct mover *mover)
{
    if (!mover)
        return;
    writer_abort(mover->writer);
    codec_free(mover->codec);
    free(mover->stored);
    free(mover->plain);
    free(mover->entries);
    free(mover);
}

const struct remap_entry *mover_entries(const struct mover *mover, size_t *out_count)
{
    *out_count = mover->durable;
    return mover->entries;
}

uint64_t mover_stored(const struct mover *mover)
{
    return mover->bytes;
}

static bool is_live(const struct source *source, size_t number)
{
    return !source->live || source->live[number / 8] >> number % 8 & 1;
}

/* ---- what there is to move ----------------------------------------------------------------- */

static void count_blocks(struct source *source)
{
    for (size_t i = 0; i < reader_blocks(source->reader); i++) {
        if (!is_live(source, i))
            continue;
        if (source->load.blocks == 0)
            source->first = i;
        source->last = i;
        source->load.blocks++;
        source->load.stored += reader_block(source->reader, i)->stored_size;
    }
}

static void count_chunks(struct source *source)
{
    size_t block = 0;

    for (size_t i = 0; i < source->chunk_count; i++) {
        while (reader_block(source->reader, block)->raw +
                   reader_block(source->reader, block)->raw_size <=
               source->chunks[i].raw)
            block++; /* reader_chunks() saw to it that each lies in one */
        source->load.chunks += is_live(source, block);
    }
}

static int measure(struct mover *mover, struct source *source, struct err *err)
{
    struct archive_id *references = NULL;
    int r = 0;

    count_blocks(source);
    if (source->load.blocks == 0)
        return 0;
    if (mover->kind == ARCHIVE_DATA) {
        r = reader_chunks(source->reader, &source->chunks, &source->chunk_count, err);
        if (r == 0)
            count_chunks(source);
    } else {
        r = reader_references(source->reader, &references, &source->load.references, err);
        free(references);
    }
    const struct block_info *first = reader_block(source->reader, source->first);
    const struct block_info *last = reader_block(source->reader, source->last);
    source->load.raw = last->raw + last->raw_size - first->raw;
    source->entry = (struct remap_entry){
        .old = *reader_id(source->reader),
        .kind = mover->kind,
        .from = first->raw,
        .end = last->raw + last->raw_size,
    };
    return r;
}

/* ---- new archives -------------------------------------------------------------------------- */

static int close_archive(struct mover *mover, struct err *err)
{
    CLEANUP(buf_clear) struct buf record = {.limit = RECORD_MAX};
    struct writer_result result;

    if (!mover->writer)
        return 0;
    if (writer_raw_end(mover->writer) == 0) {
        writer_abort(STEAL(mover->writer));
        return 0;
    }
    int r = writer_commit(STEAL(mover->writer), NULL, &record, &result, err);
    if (r < 0)
        return r;
    for (; mover->durable < mover->count; mover->durable++)
        mover->entries[mover->durable].new = result.id;
    mover->bytes += result.size;
    return mover->done(mover->context, &result, record.data, record.size, err);
}

/* Where a place lies by now is in the new archive's table, so that has to be read. */
static int open_new(struct mover *mover, struct err *err)
{
    int r = writer_new(mover->repo, mover->kind, &mover->writer, err);

    if (r == 0)
        writer_keep_warm(mover->writer);
    return r;
}

static int make_room(struct mover *mover, const struct source *source, struct err *err)
{
    int r = 0;

    if (mover->writer && !writer_fits(mover->writer, &source->load))
        r = close_archive(mover, err);
    if (r == 0 && !mover->writer)
        r = open_new(mover, err);
    return r;
}

static int add_entry(struct mover *mover, const struct remap_entry *entry, struct err *err)
{
    if (mover->count == mover->capacity) {
        size_t capacity = mover->capacity > 0 ? 2 * mover->capacity : 64;
        void *entries = reallocarray(mover->entries, capacity, sizeof(*mover->entries));
        if (!entries)
            return err_set(err, ERR_NOMEM, "no memory for %zu entries", capacity);
        mover->entries = entries;
        mover->capacity = capacity;
    }
    mover->entries[mover->count++] = *entry;
    return 0;
}

/* ---- blocks -------------------------------------------------------------------------------- */

/* The chunks of a block, within it.  They are of the source's own table, which is not used again.
 */
static struct chunk *chunks_of(struct source *source, const struct block_info *block,
                               size_t *out_count)
{
    uint64_t end = (uint64_t)block->raw + block->raw_size;

    *out_count = 0;
    if (source->chunk_count == 0)
        return NULL;
    while (source->chunk_at < source->chunk_count &&
           source->chunks[source->chunk_at].raw < block->raw)
        source->chunk_at++;
    struct chunk *first = source->chunks + source->chunk_at;
    while (source->chunk_at < source->chunk_count && source->chunks[source->chunk_at].raw < end) {
        source->chunks[source->chunk_at++].raw -= block->raw;
        ++*out_count;
    }
    return first;
}

static int check_chunks(const struct mover *mover, const uint8_t *raw, const struct chunk *chunks,
                        size_t count, struct err *err)
{
    const struct digest_key *key = keyring_id_key(mover->repo->keyring);
    uint8_t id[DIGEST_SIZE];

    for (size_t i = 0; i < count; i++) {
        digest_bytes(key, raw + chunks[i].raw, chunks[i].length, id);
        if (memcmp(id, chunks[i].id, sizeof(id)) != 0)
            return err_set(err, ERR_CORRUPT, "a chunk is not what its name says");
    }
    return 0;
}

/* The archives that a metadata block refers to; changes the block. */
static int refer(struct mover *mover, struct block *block, struct err *err)
{
    int r = entry_prepare_block(block, mover->repo->ids, err);

    for (size_t i = 0; r == 0 && i < entry_references(block); i++)
        r = writer_refer(mover->writer, entry_reference(block, i), err);
    return r;
}

static int move_block(struct mover *mover, struct source *source, size_t number,
                      const uint8_t *stored, struct err *err)
{
    const struct block_info *info = reader_block(source->reader, number);
    CLEANUP(block_unrefp) struct block *block = block_new(info->raw_size);
    size_t plain_size = info->stored_size - SEAL_TAG_SIZE;
    size_t chunk_count = 0;

    if (!block)
        return err_set(err, ERR_NOMEM, "no memory for a block");
    int r = reader_open_block(source->reader, number, stored, mover->plain, err);
    if (r == 0)
        r = codec_decode(mover->codec, mover->plain, plain_size, block->data, block->size, err);
    struct chunk *chunks = chunks_of(source, info, &chunk_count);
    if (r == 0)
        r = check_chunks(mover, block->data, chunks, chunk_count, err);
    if (r == 0)
        r = writer_append_encoded(mover->writer, mover->codec,
                                  source->entry.at + (info->raw - source->entry.from), mover->plain,
                                  plain_size, block->data, block->size, chunks, chunk_count, err);
    if (r == 0 && mover->kind == ARCHIVE_METADATA)
        r = refer(mover, block, err);
    return r < 0 ? err_context(err, "moving block %zu", number) : 0;
}

/* How many live blocks from `first` on are fetched in one piece. */
static size_t piece(const struct source *source, size_t first)
{
    uint64_t start = reader_block(source->reader, first)->offset;
    size_t count = 1;

    while (first + count <= source->last && is_live(source, first + count)) {
        const struct block_info *next = reader_block(source->reader, first + count);
        if (next->offset + next->stored_size - start > FETCH_MAX)
            break;
        count++;
    }
    return count;
}

static int move_blocks(struct mover *mover, struct source *source, struct err *err)
{
    size_t count = 1;
    int r = 0;

    for (size_t first = source->first; r == 0 && first <= source->last; first += count) {
        count = 1;
        if (!is_live(source, first))
            continue;
        count = piece(source, first);
        r = reader_fetch(source->reader, first, count, mover->stored, err);
        uint64_t start = reader_block(source->reader, first)->offset;
        for (size_t i = 0; r == 0 && i < count; i++)
            r = move_block(
                mover, source, first + i,
                mover->stored + (reader_block(source->reader, first + i)->offset - start), err);
    }
    return r;
}

int mover_add(struct mover *mover, const struct reader *source_reader, const uint8_t *live,
              struct err *err)
{
    CLEANUP(source_clear) struct source source = {.reader = source_reader, .live = live};
    char name[OBJECT_NAME_SIZE];

    int r = measure(mover, &source, err);
    if (r == 0 && source.load.blocks == 0)
        return 0;
    if (r == 0)
        r = make_room(mover, &source, err);
    if (r == 0) {
        source.entry.at = writer_raw_end(mover->writer);
        r = move_blocks(mover, &source, err);
    }
    if (r == 0)
        return add_entry(mover, &source.entry, err);
    repo_object_name(mover->kind, reader_id(source_reader), name);
    return err_context(err, "%s", name);
}

int mover_finish(struct mover *mover, struct err *err)
{
    return close_archive(mover, err);
}
