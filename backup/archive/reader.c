#include "backup/archive/reader.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/codec.h"
#include "backup/archive/format.h"
#include "backup/archive/reader_internal.h"
#include "backup/archive/repo.h"
#include "backup/archive/toc.h"
#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/store/sealed.h"

static void freep(uint8_t **bytes)
{
    free(*bytes);
}

const struct archive_id *reader_id(const struct reader *reader)
{
    return &reader->header.id;
}

uint32_t reader_epoch(const struct reader *reader)
{
    return reader->header.epoch;
}

uint64_t reader_size(const struct reader *reader)
{
    return reader->size;
}

size_t reader_memory(const struct reader *reader)
{
    return sizeof(*reader) + reader->trailer.blocks * sizeof(*reader->blocks);
}

uint32_t reader_raw_end(const struct reader *reader)
{
    return reader->trailer.raw_end;
}

size_t reader_blocks(const struct reader *reader)
{
    return reader->trailer.blocks;
}

const struct block_info *reader_block(const struct reader *reader, size_t number)
{
    return &reader->blocks[number];
}

int reader_find(const struct reader *reader, uint32_t raw, size_t *out_number, struct err *err)
{
    size_t low = 0;
    size_t high = reader->trailer.blocks;

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (reader->blocks[middle].raw <= raw)
            low = middle;
        else
            high = middle;
    }
    if (raw < reader->blocks[low].raw ||
        raw - reader->blocks[low].raw >= reader->blocks[low].raw_size)
        return err_set(err, ERR_CORRUPT, "%s: nothing is stored at raw offset %u", reader->name,
                       raw);
    *out_number = low;
    return 0;
}

/* `stored` and `opened` may be the same. */
static int decode_block(const struct reader *reader, struct codec *codec, size_t number,
                        const uint8_t *stored, uint8_t *opened, uint8_t *out, struct err *err)
{
    const struct block_info *block = &reader->blocks[number];
    int r = part_open(&reader->key, PART_BLOCK, number, stored, block->stored_size, opened, err);

    if (r == 0)
        r = codec_decode(codec, opened, block->stored_size - SEAL_TAG_SIZE, out, block->raw_size,
                         err);
    return r < 0 ? err_context(err, "%s: block %zu", reader->name, number) : 0;
}

static int fetch_and_decode(const struct reader *reader, struct codec *codec, size_t number,
                            uint8_t *out, struct err *err)
{
    uint8_t *scratch;
    int r = codec_scratch(codec, reader->blocks[number].stored_size, &scratch, err);

    if (r == 0)
        r = reader_fetch(reader, number, 1, scratch, err);
    if (r == 0)
        r = decode_block(reader, codec, number, scratch, scratch, out, err);
    return r;
}

int reader_decode(const struct reader *reader, struct codec *codec, size_t number, uint8_t *out,
                  struct err *err)
{
    const struct block_info *block = &reader->blocks[number];
    int r = fetch_and_decode(reader, codec, number, out, err);

    if (r == -ERR_CORRUPT && sealed_doubt(reader->object, block->offset, block->stored_size))
        r = fetch_and_decode(reader, codec, number, out, err);
    return r;
}

int reader_decode_fetched(const struct reader *reader, struct codec *codec, size_t number,
                          const uint8_t *stored, uint8_t *out, struct err *err)
{
    uint8_t *scratch;
    int r = codec_scratch(codec, reader->blocks[number].stored_size, &scratch, err);

    if (r == 0)
        r = decode_block(reader, codec, number, stored, scratch, out, err);
    return r;
}

/* What was not compressed is opened where it belongs, its codec in the byte in front. */
static int open_plain(const struct reader *reader, size_t number, const uint8_t *stored,
                      uint8_t *out, struct err *err)
{
    uint8_t in_front = out[-1];
    int r = reader_open_block(reader, number, stored, out - 1, err);
    bool plain = out[-1] == CODEC_PLAIN;

    out[-1] = in_front;
    return r < 0 || plain ? r : err_set(err, ERR_CORRUPT, "its codec is not known");
}

int reader_decode_own(const struct reader *reader, struct codec *codec, size_t number,
                      uint8_t *stored, uint8_t *out, struct err *err)
{
    const struct block_info *block = &reader->blocks[number];

    if (block->stored_size == (uint64_t)block->raw_size + 1 + SEAL_TAG_SIZE)
        return open_plain(reader, number, stored, out, err);
    return decode_block(reader, codec, number, stored, stored, out, err);
}

int reader_open_block(const struct reader *reader, size_t number, const uint8_t *stored,
                      uint8_t *out, struct err *err)
{
    int r = part_open(&reader->key, PART_BLOCK, number, stored, reader->blocks[number].stored_size,
                      out, err);

    return r < 0 ? err_context(err, "%s: block %zu", reader->name, number) : 0;
}

int reader_fetch(const struct reader *reader, size_t first, size_t count, uint8_t *out,
                 struct err *err)
{
    const struct block_info *last = &reader->blocks[first + count - 1];
    uint64_t offset = reader->blocks[first].offset;

    return sealed_read(reader->object, offset, out, last->offset + last->stored_size - offset, err);
}

int reader_fetch_run(const struct reader *reader, size_t first, size_t count, uint8_t **out,
                     size_t *out_skip, struct err *err)
{
    const struct block_info *last = &reader->blocks[first + count - 1];
    uint64_t offset = reader->blocks[first].offset;

    return sealed_fetch(reader->object, offset, last->offset + last->stored_size - offset, out,
                        out_skip, err);
}

int reader_fetch_into(const struct reader *reader, size_t first, size_t count, uint8_t *room,
                      size_t *out_skip, struct err *err)
{
    const struct block_info *last = &reader->blocks[first + count - 1];
    uint64_t offset = reader->blocks[first].offset;

    static_assert((size_t)READER_AROUND >= (size_t)SEALED_AROUND, "room around a run");
    return sealed_fetch_into(reader->object, offset, last->offset + last->stored_size - offset,
                             room, out_skip, err);
}

/* The content of the chunks' section; nothing where it is absent. */
static int load_chunks_once(const struct reader *reader, uint8_t **out, size_t *out_size,
                            struct err *err)
{
    CLEANUP(freep) uint8_t *stored = NULL;
    const struct trailer *trailer = &reader->trailer;

    *out = NULL;
    *out_size = 0;
    if (trailer->chunks == 0)
        return 0;
    int r = reader_bytes(reader, trailer->chunks_offset, trailer->chunks_size, &stored, err);
    if (r < 0)
        return r;
    r = reader_section(&reader->key, PART_CHUNKS, stored, trailer->chunks_size, out, out_size, err);
    return r < 0 ? err_context(err, "%s: chunks", reader->name) : 0;
}

static int load_chunks(const struct reader *reader, uint8_t **out, size_t *out_size,
                       struct err *err)
{
    const struct trailer *trailer = &reader->trailer;
    int r = load_chunks_once(reader, out, out_size, err);

    if (r == -ERR_CORRUPT &&
        sealed_doubt(reader->object, trailer->chunks_offset, trailer->chunks_size))
        r = load_chunks_once(reader, out, out_size, err);
    return r;
}

static int count_matches(const struct reader *reader, size_t count, struct err *err)
{
    if (count == reader->trailer.chunks)
        return 0;
    return err_set(err, ERR_CORRUPT, "%s: chunks and trailer differ", reader->name);
}

int reader_chunks(const struct reader *reader, struct chunk **out, size_t *out_count,
                  struct err *err)
{
    CLEANUP(freep) uint8_t *bytes = NULL;
    struct chunk *chunks = NULL;
    size_t size = 0;
    size_t count = 0;
    int r = load_chunks(reader, &bytes, &size, err);

    if (r == 0)
        r = toc_decode_chunks(bytes, size, reader->blocks, reader->trailer.blocks, &chunks, &count,
                              err);
    if (r == 0)
        r = count_matches(reader, count, err);
    if (r < 0) {
        free(chunks);
        return r;
    }
    *out = chunks;
    *out_count = count;
    return 0;
}

int reader_references(const struct reader *reader, struct archive_id **out, size_t *out_count,
                      struct err *err)
{
    CLEANUP(freep) uint8_t *bytes = NULL;
    struct archive_id *ids = NULL;
    size_t size = 0;
    size_t count = 0;
    int r = load_chunks(reader, &bytes, &size, err);

    if (r == 0)
        r = toc_decode_references(bytes, size, &ids, &count, err);
    if (r == 0)
        r = count_matches(reader, count, err);
    if (r < 0) {
        free(ids);
        return r;
    }
    *out = ids;
    *out_count = count;
    return 0;
}

int reader_check_header(const struct reader *reader, struct err *err)
{
    uint8_t bytes[HEADER_SIZE];
    int r = sealed_read(reader->object, 0, bytes, sizeof(bytes), err);

    if (r == 0 && memcmp(bytes, reader->header_bytes, HEADER_SIZE) != 0)
        r = err_set(err, ERR_CORRUPT, "%s: the header is not as it was written", reader->name);
    return r;
}

int reader_check_padding(const struct reader *reader, struct err *err)
{
    CLEANUP(freep) uint8_t *bytes = NULL;
    uint64_t offset = reader->trailer.chunks_offset + reader->trailer.chunks_size;
    uint64_t size = reader->trailer.toc_offset - offset;

    if (size == 0)
        return 0;
    int r = reader_bytes(reader, offset, size, &bytes, err);
    if (r < 0)
        return r;
    r = part_open(&reader->key, PART_PADDING, 0, bytes, size, bytes, err);
    return r < 0 ? err_context(err, "%s: padding", reader->name) : 0;
}

int reader_index_record(const struct reader *reader, struct buf *index, struct err *err)
{
    CLEANUP(freep) uint8_t *chunks = NULL;
    CLEANUP(buf_clear) struct buf toc = {.limit = SECTION_MAX};
    struct index_record record = {
        .id = reader->header.id, .kind = reader->header.kind, .size = reader->size};
    int r = load_chunks(reader, &chunks, &record.chunks_size, err);

    if (r == 0)
        r = toc_encode(reader->blocks, reader->trailer.blocks, &toc, err);
    if (r < 0)
        return r;
    record.toc = toc.data;
    record.toc_size = toc.size;
    record.chunks = chunks;
    return index_record_encode(&record, index, err);
}
