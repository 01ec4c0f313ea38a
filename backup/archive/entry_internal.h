/*
 * entry_internal — refs, extents and records as bytes: what entry, tree and treewriter share.
 *
 * Ownership: plain values; struct patches owns its array.
 * Threads:   one at a time.
 * Errors:    readers return false, or the cursor has failed; who called them says what was bad.
 */
#pragma once

#include "backup/archive/block.h"
#include "backup/archive/entry.h"
#include "backup/base/bytes.h"

enum {
    TABLE_SLOT_SIZE = ARCHIVE_ID_SIZE + 1, /* id (or number, once prepared) and kind */
    TABLE_KIND = ARCHIVE_ID_SIZE,
    TABLE_COUNT_SIZE = 2,
    EXTENT_SIZE_MAX =
        12, /* encoded: a length below 2^33, or a hole's of any size without a place */
};

enum item_kind {
    ITEM_LEAF = 1,
    ITEM_INDEX = 2,
    ITEM_EXTENTS = 3,
    ITEM_EXTENT_INDEX = 4,
    ITEM_INODE = 5
};

/* Resolves a table index of a prepared block; false: not there, or of another kind. */
static inline bool table_archive(const struct block *block, uint64_t index, enum archive_kind kind,
                                 uint32_t *out)
{
    const uint8_t *end = block->data + block->size - TABLE_COUNT_SIZE;
    size_t count = load_le16(end);

    if (index >= count)
        return false;
    const uint8_t *slot = end - (count - (size_t)index) * TABLE_SLOT_SIZE;
    memcpy(out, slot, sizeof(*out));
    return slot[TABLE_KIND] == (uint8_t)kind;
}

/* A ref; on false nothing was found that may be followed. */
static inline bool read_place(const struct block *block, struct cursor *in, enum archive_kind kind,
                              struct place *out)
{
    uint64_t index = read_varint(in);
    uint64_t raw = read_varint(in);

    if (in->failed || raw >= UINT32_MAX)
        return false;
    out->raw = (uint32_t)raw;
    return table_archive(block, index, kind, &out->archive);
}

static inline bool read_extent(const struct block *block, struct cursor *in, struct extent *out)
{
    uint64_t head = read_varint(in);

    out->length = head >> 1;
    out->place = (struct place){.archive = NO_ARCHIVE};
    if (in->failed || out->length == 0)
        return false;
    if (head & 1)
        return true;
    return read_place(block, in, ARCHIVE_DATA, &out->place) &&
           out->length <= UINT32_MAX - out->place.raw;
}

/* A cursor over a prepared block's items from `offset` on; failed where there are none. */
static inline struct cursor cursor_at(const struct block *block, size_t offset)
{
    size_t items = entry_items_size(block);
    struct cursor in = cursor_of(block->data, items);

    in.at += offset < items ? offset : items;
    in.failed = offset >= items;
    return in;
}

/* Where in encoded bytes the table index of an archive is still to be put. */
struct patch {
    uint32_t at;
    uint32_t archive;
};

struct patches {
    struct patch *list;
    size_t count, capacity;
};

/* Bytes with refs in them: indexes of `refs`, or left out and noted in `patches`. */
struct encoder {
    struct buf *out;
    struct reftable *refs;
    struct patches *patches;
};

int encoder_put_place(struct encoder *encoder, struct place place, struct err *err);
int encoder_put_extent(struct encoder *encoder, const struct extent *extent, struct err *err);
int encoder_put_record(struct encoder *encoder, const struct entry *entry, struct err *err);
