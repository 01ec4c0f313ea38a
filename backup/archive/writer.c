#include "backup/archive/writer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/codec.h"
#include "backup/archive/idtable.h"
#include "backup/archive/repo.h"
#include "backup/archive/toc.h"
#include "backup/archive/writer_internal.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/random.h"
#include "backup/store/store.h"

enum {
    DATA_SIZE_CLOSE = 64 * 1024 * 1024,
    OTHER_SIZE_CLOSE = 16 * 1024 * 1024,
    REFERENCES_OF_A_BLOCK = 1024,
    FIRST_CAPACITY = 64,
};

/* An upload in parts that is begun and not ended for days is taken for that of a process that died,
 * by other hosts and by rules of the bucket: what comes slowly makes smaller archives. */
static const int64_t open_lasts_ns = 3600 * NS_PER_SECOND;

/* Places name archives by numbers, which a process keeps; nothing refers to a wal archive, and a
 * service writes them without end. */
static int give_number(struct writer *writer, struct err *err)
{
    const struct header *header = &writer->header;

    writer->number = NO_ARCHIVE;
    if (header->kind == ARCHIVE_WAL)
        return 0;
    return idtable_number(writer->repo->ids, &header->id, header->kind, &writer->number, err);
}

static int make_header(struct writer *writer, enum archive_kind kind, struct err *err)
{
    struct header *header = &writer->header;

    header->kind = kind;
    header->epoch = keyring_epoch(writer->repo->keyring);
    memcpy(header->repo_id, writer->repo->id, REPO_ID_SIZE);
    int r = random_bytes(header->id.bytes, ARCHIVE_ID_SIZE, err);
    if (r == 0)
        r = random_bytes(header->salt, ARCHIVE_SALT_SIZE, err);
    if (r == 0)
        r = part_key_make(header, writer->repo->keyring, &writer->key, err);
    if (r == 0)
        r = give_number(writer, err);
    if (r == 0)
        header_encode(header, writer->header_bytes);
    return r;
}

static void writer_abortp(struct writer **writer)
{
    writer_abort(*writer);
}

/* These kinds are named after their ids. */
static void expect_name(struct writer *writer)
{
    char name[OBJECT_NAME_SIZE];

    repo_object_name(writer->header.kind, &writer->header.id, name);
    store_put_expect(writer->put, name);
}

int writer_new(struct repo *repo, enum archive_kind kind, struct writer **out, struct err *err)
{
    CLEANUP(writer_abortp) struct writer *writer = calloc(1, sizeof(*writer));

    if (!writer)
        return err_set(err, ERR_NOMEM, "no memory for an archive");
    pthread_mutex_init(&writer->lock, NULL);
    writer->repo = repo;
    writer->begun_ns = clock_boot_ns();
    int r = make_header(writer, kind, err);
    if (r == 0)
        r = store_put_begin(repo->store, &writer->put, err);
    if (r < 0)
        return r;
    if (kind == ARCHIVE_DATA || kind == ARCHIVE_METADATA || kind == ARCHIVE_INDEX)
        expect_name(writer);
    r = store_put_write(writer->put, 0, writer->header_bytes, HEADER_SIZE, err);
    if (r < 0)
        return r;
    *out = STEAL(writer);
    return 0;
}

void writer_keep_warm(struct writer *writer)
{
    store_put_keep_warm(writer->put);
}

void writer_abort(struct writer *writer)
{
    if (!writer)
        return;
    store_put_abort(writer->put);
    part_key_clear(&writer->key);
    free(writer->blocks);
    free(writer->chunks);
    free(writer->referred);
    pthread_mutex_destroy(&writer->lock);
    free(writer);
}

uint32_t writer_archive(const struct writer *writer)
{
    return writer->number;
}

/* Whether the format allows it, at raw offset `at`; locked. */
static bool fits(const struct writer *writer, uint32_t at, size_t raw_size, size_t chunks)
{
    return writer->block_count < ARCHIVE_BLOCKS_MAX && raw_size <= UINT32_MAX - at &&
           chunks <= ARCHIVE_CHUNKS_MAX - writer->chunk_count;
}

/* Locked. */
static bool is_old(const struct writer *writer)
{
    return writer->block_count > 0 && clock_boot_ns() - writer->begun_ns > open_lasts_ns;
}

bool writer_has_room(struct writer *writer, size_t raw_size, size_t chunks)
{
    uint64_t close = writer->header.kind == ARCHIVE_DATA ? DATA_SIZE_CLOSE : OTHER_SIZE_CLOSE;

    pthread_mutex_lock(&writer->lock);
    uint32_t raw_end = toc_raw_end(writer->blocks, writer->block_count);
    bool room = fits(writer, raw_end, raw_size, chunks) && !is_old(writer) &&
                toc_stored_end(writer->blocks, writer->block_count) < close &&
                writer->reference_count + REFERENCES_OF_A_BLOCK <= ARCHIVE_CHUNKS_MAX;
    pthread_mutex_unlock(&writer->lock);
    return room;
}

bool writer_fits(struct writer *writer, const struct writer_load *load)
{
    uint64_t close = writer->header.kind == ARCHIVE_DATA ? DATA_SIZE_CLOSE : OTHER_SIZE_CLOSE;

    pthread_mutex_lock(&writer->lock);
    bool empty = writer->block_count == 0;
    uint64_t stored_end = toc_stored_end(writer->blocks, writer->block_count);
    bool room = load->blocks <= ARCHIVE_BLOCKS_MAX - writer->block_count &&
                load->chunks <= ARCHIVE_CHUNKS_MAX - writer->chunk_count &&
                load->references <= ARCHIVE_CHUNKS_MAX - writer->reference_count &&
                load->raw <= UINT32_MAX - toc_raw_end(writer->blocks, writer->block_count) &&
                (empty || (stored_end < close && load->stored <= close - stored_end));
    pthread_mutex_unlock(&writer->lock);
    return room;
}

uint32_t writer_raw_end(struct writer *writer)
{
    pthread_mutex_lock(&writer->lock);
    uint32_t end = toc_raw_end(writer->blocks, writer->block_count);
    pthread_mutex_unlock(&writer->lock);
    return end;
}

/* Room for `extra` more of what `array` points to; `element` is the size of one. */
static int grow(void *array, size_t *capacity, size_t count, size_t extra, size_t element,
                struct err *err)
{
    void *old;
    size_t wanted = *capacity > 0 ? *capacity : FIRST_CAPACITY;

    while (wanted < count + extra)
        wanted *= 2;
    if (wanted == *capacity)
        return 0;
    memcpy(&old, array, sizeof(old));
    void *grown = realloc(old, wanted * element);
    if (!grown)
        return err_set(err, ERR_NOMEM, "no memory for an archive's tables");
    memcpy(array, &grown, sizeof(grown));
    *capacity = wanted;
    return 0;
}

/* The block's number and offset, and its chunks into the table; block->raw is set already.
 * Locked. */
static int take_place(struct writer *writer, struct block_info *block, struct chunk *chunks,
                      size_t count, struct err *err)
{
    if (!fits(writer, block->raw, block->raw_size, count))
        return err_set(err, ERR_TOO_LARGE, "the archive is full");
    int r = grow(&writer->blocks, &writer->block_capacity, writer->block_count, 1,
                 sizeof(*writer->blocks), err);
    if (r == 0 && count > 0)
        r = grow(&writer->chunks, &writer->chunk_capacity, writer->chunk_count, count,
                 sizeof(*writer->chunks), err);
    if (r < 0)
        return r;
    block->offset = toc_stored_end(writer->blocks, writer->block_count);
    writer->blocks[writer->block_count++] = *block;
    for (size_t i = 0; i < count; i++) {
        chunks[i].raw += block->raw;
        writer->chunks[writer->chunk_count++] = chunks[i];
    }
    return 0;
}

static void assert_chunks(const struct chunk *chunks, size_t count, size_t raw_size)
{
    size_t end = 0;

    for (size_t i = 0; i < count; i++) {
        assert(chunks[i].length > 0 && chunks[i].raw >= end);
        end = (size_t)chunks[i].raw + chunks[i].length;
    }
    assert(end <= raw_size);
    (void)end;
    (void)raw_size;
}

int writer_seal(struct writer *writer, struct codec *codec, enum part part, uint64_t counter,
                uint8_t *plain, size_t plain_size, const uint8_t *raw, size_t raw_size,
                struct err *err)
{
    uint8_t *opened;
    int r = codec_scratch(codec, plain_size, &opened, err);

    if (r == 0)
        r = part_seal(&writer->key, part, counter, plain, plain_size, err);
    if (r < 0)
        return r;
    r = part_open(&writer->key, part, counter, plain, plain_size + SEAL_TAG_SIZE, opened, err);
    if (r == 0)
        r = codec_compare(codec, opened, plain_size, raw, raw_size, err);
    if (r == -ERR_CORRUPT)
        err_context(err, "encoder: what was encoded does not decode (is the memory sound?)");
    return r;
}

static int put_block(struct writer *writer, struct codec *codec, const struct block_info *block,
                     size_t number, uint8_t *plain, const uint8_t *raw, struct err *err)
{
    int r = writer_seal(writer, codec, PART_BLOCK, number, plain,
                        block->stored_size - SEAL_TAG_SIZE, raw, block->raw_size, err);

    if (r == 0)
        r = store_put_write(writer->put, block->offset, plain, block->stored_size, err);
    return r;
}

static void mark_broken(struct writer *writer, const struct err *why)
{
    pthread_mutex_lock(&writer->lock);
    if (writer->failure.code == ERR_NONE)
        writer->failure = *why;
    pthread_mutex_unlock(&writer->lock);
}

/* `at` is its raw offset; NULL: where the block before ends. */
static int append_plain(struct writer *writer, struct codec *codec, const uint32_t *at,
                        struct block_info *block, uint8_t *plain, const uint8_t *raw,
                        struct chunk *chunks, size_t count, struct err *err)
{
    pthread_mutex_lock(&writer->lock);
    size_t number = writer->block_count;
    uint32_t raw_end = toc_raw_end(writer->blocks, number);
    block->raw = at ? *at : raw_end;
    assert(block->raw >= raw_end);
    int r = take_place(writer, block, chunks, count, err);
    pthread_mutex_unlock(&writer->lock);
    if (r < 0)
        return r;
    r = put_block(writer, codec, block, number, plain, raw, err);
    if (r < 0)
        mark_broken(writer, err);
    return r;
}

int writer_append(struct writer *writer, struct codec *codec, const uint8_t *raw, size_t raw_size,
                  struct chunk *chunks, size_t count, uint32_t *out_raw, uint32_t *out_stored,
                  struct err *err)
{
    struct block_info block = {.raw_size = (uint32_t)raw_size};
    size_t plain_size;
    uint8_t *plain;

    assert(raw_size > 0 && raw_size <= BLOCK_RAW_MAX);
    assert_chunks(chunks, count, raw_size);
    int r = codec_encode(codec, raw, raw_size, &plain, &plain_size, err);
    if (r < 0)
        return r;
    block.stored_size = (uint32_t)(plain_size + SEAL_TAG_SIZE);
    r = append_plain(writer, codec, NULL, &block, plain, raw, chunks, count, err);
    if (r < 0)
        return r;
    *out_raw = block.raw;
    *out_stored = block.stored_size;
    return 0;
}

int writer_append_encoded(struct writer *writer, struct codec *codec, uint32_t at, uint8_t *plain,
                          size_t plain_size, const uint8_t *raw, size_t raw_size,
                          struct chunk *chunks, size_t count, struct err *err)
{
    struct block_info block = {.raw_size = (uint32_t)raw_size,
                               .stored_size = (uint32_t)(plain_size + SEAL_TAG_SIZE)};

    assert(raw_size > 0 && raw_size <= BLOCK_RAW_MAX);
    assert(plain_size > 1 && plain_size <= raw_size + 1);
    assert_chunks(chunks, count, raw_size);
    return append_plain(writer, codec, &at, &block, plain, raw, chunks, count, err);
}

static int set_referred(struct writer *writer, uint32_t archive, struct err *err)
{
    size_t old_size = writer->referred_size;
    uint8_t bit = (uint8_t)(1U << archive % 8);

    int r = grow(&writer->referred, &writer->referred_size, archive / 8, 1, 1, err);
    if (r < 0)
        return r;
    if (writer->referred_size > old_size)
        memset(writer->referred + old_size, 0, writer->referred_size - old_size);
    if (writer->referred[archive / 8] & bit)
        return 0;
    if (writer->reference_count == ARCHIVE_CHUNKS_MAX)
        return err_set(err, ERR_TOO_LARGE, "the archive refers to too many others");
    writer->referred[archive / 8] |= bit;
    writer->reference_count++;
    return 0;
}

int writer_refer(struct writer *writer, uint32_t archive, struct err *err)
{
    assert(writer->header.kind == ARCHIVE_METADATA);
    pthread_mutex_lock(&writer->lock);
    int r = set_referred(writer, archive, err);
    pthread_mutex_unlock(&writer->lock);
    return r;
}
