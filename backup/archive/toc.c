#include "backup/archive/toc.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/format.h"
#include "backup/base/buf.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"

enum { TOC_ENTRY_MIN = 3, CHUNK_ENTRY_MIN = 2 + CHUNK_ID_SIZE };

int toc_encode(const struct block_info *blocks, size_t count, struct buf *out, struct err *err)
{
    uint32_t end = 0;
    int r = 0;

    for (size_t i = 0; i < count && r == 0; i++) {
        r = put_varint(out, blocks[i].raw - end, err);
        if (r == 0)
            r = put_varint(out, blocks[i].raw_size, err);
        if (r == 0)
            r = put_varint(out, blocks[i].stored_size, err);
        end = blocks[i].raw + blocks[i].raw_size;
    }
    return r;
}

uint64_t toc_stored_end(const struct block_info *blocks, size_t count)
{
    return count > 0 ? blocks[count - 1].offset + blocks[count - 1].stored_size : HEADER_SIZE;
}

uint32_t toc_raw_end(const struct block_info *blocks, size_t count)
{
    return count > 0 ? blocks[count - 1].raw + blocks[count - 1].raw_size : 0;
}

static bool decode_block(struct cursor *in, uint64_t raw_end, uint64_t offset,
                         struct block_info *out)
{
    uint64_t gap = read_varint(in);
    uint64_t raw_size = read_varint(in);
    uint64_t stored = read_varint(in);

    in->failed |= gap > UINT32_MAX || raw_size == 0 || raw_size > BLOCK_RAW_MAX;
    in->failed |= stored <= PART_EXTRA || stored > raw_size + PART_EXTRA;
    if (in->failed || raw_end + gap + raw_size > UINT32_MAX) {
        in->failed = true;
        return false;
    }
    *out = (struct block_info){
        .raw = (uint32_t)(raw_end + gap),
        .raw_size = (uint32_t)raw_size,
        .offset = offset,
        .stored_size = (uint32_t)stored,
    };
    return true;
}

int toc_decode(const uint8_t *bytes, size_t size, struct block_info **out, size_t *out_count,
               struct err *err)
{
    struct cursor in = cursor_of(bytes, size);
    size_t most = size / TOC_ENTRY_MIN + 1;
    size_t count = 0;

    if (most > ARCHIVE_BLOCKS_MAX)
        most = ARCHIVE_BLOCKS_MAX;

    struct block_info *blocks = malloc(most * sizeof(*blocks));
    if (!blocks)
        return err_set(err, ERR_NOMEM, "no memory for a table of blocks");
    while (cursor_left(&in) > 0 && count < most &&
           decode_block(&in, toc_raw_end(blocks, count), toc_stored_end(blocks, count),
                        &blocks[count]))
        count++;
    if (in.failed || cursor_left(&in) > 0 || count == 0) {
        free(blocks);
        return err_set(err, ERR_CORRUPT, "a table of blocks that cannot be");
    }
    *out = blocks;
    *out_count = count;
    return 0;
}

int toc_encode_chunks(const struct chunk *chunks, size_t count, struct buf *out, struct err *err)
{
    uint32_t end = 0;
    int r = 0;

    for (size_t i = 0; i < count && r == 0; i++) {
        assert(chunks[i].raw >= end);
        r = put_varint(out, chunks[i].raw - end, err);
        if (r == 0)
            r = put_varint(out, chunks[i].length, err);
        if (r == 0)
            r = buf_append(out, chunks[i].id, CHUNK_ID_SIZE, err);
        end = chunks[i].raw + chunks[i].length;
    }
    return r;
}

static bool decode_chunk(struct cursor *in, uint64_t end, struct chunk *out)
{
    uint64_t gap = read_varint(in);
    uint64_t length = read_varint(in);
    const uint8_t *id = read_bytes(in, CHUNK_ID_SIZE);

    in->failed |= gap > UINT32_MAX || length == 0 || length > BLOCK_RAW_MAX;
    if (in->failed || end + gap + length > UINT32_MAX) {
        in->failed = true;
        return false;
    }
    memcpy(out->id, id, CHUNK_ID_SIZE);
    out->raw = (uint32_t)(end + gap);
    out->length = (uint32_t)length;
    return true;
}

/* Goes on from block *at to the one that holds the chunk. */
static bool in_one_block(const struct chunk *chunk, const struct block_info *blocks, size_t count,
                         size_t *at)
{
    while (*at < count && blocks[*at].raw + blocks[*at].raw_size <= chunk->raw)
        ++*at;
    return *at < count && chunk->raw >= blocks[*at].raw &&
           chunk->length <= blocks[*at].raw_size - (chunk->raw - blocks[*at].raw);
}

int toc_decode_chunks(const uint8_t *bytes, size_t size, const struct block_info *blocks,
                      size_t block_count, struct chunk **out, size_t *out_count, struct err *err)
{
    struct cursor in = cursor_of(bytes, size);
    size_t most = size / CHUNK_ENTRY_MIN;
    size_t count = 0;
    size_t block = 0;
    uint64_t end = 0;

    if (most > ARCHIVE_CHUNKS_MAX)
        most = ARCHIVE_CHUNKS_MAX;

    struct chunk *chunks = most > 0 ? malloc(most * sizeof(*chunks)) : NULL;
    if (most > 0 && !chunks)
        return err_set(err, ERR_NOMEM, "no memory for a table of chunks");
    while (count < most && cursor_left(&in) > 0 && decode_chunk(&in, end, &chunks[count])) {
        in.failed |= !in_one_block(&chunks[count], blocks, block_count, &block);
        end = (uint64_t)chunks[count].raw + chunks[count].length;
        count++;
    }
    if (in.failed || cursor_left(&in) > 0) {
        free(chunks);
        return err_set(err, ERR_CORRUPT, "a table of chunks that cannot be");
    }
    *out = chunks;
    *out_count = count;
    return 0;
}

static bool ids_ascend(const uint8_t *bytes, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        const uint8_t *id = bytes + i * ARCHIVE_ID_SIZE;
        if (memcmp(id - ARCHIVE_ID_SIZE, id, ARCHIVE_ID_SIZE) >= 0)
            return false;
    }
    return true;
}

int toc_decode_references(const uint8_t *bytes, size_t size, struct archive_id **out,
                          size_t *out_count, struct err *err)
{
    size_t count = size / ARCHIVE_ID_SIZE;
    struct archive_id *ids = NULL;

    if (size % ARCHIVE_ID_SIZE != 0 || count > ARCHIVE_CHUNKS_MAX || !ids_ascend(bytes, count))
        return err_set(err, ERR_CORRUPT, "a table of references that cannot be");
    if (count > 0 && !(ids = malloc(size)))
        return err_set(err, ERR_NOMEM, "no memory for a table of references");
    if (count > 0)
        memcpy(ids, bytes, size);
    *out = ids;
    *out_count = count;
    return 0;
}
