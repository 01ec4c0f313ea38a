/*
 * entrysample — entries of every kind that follow from a number, and blocks of what was encoded.
 */
#pragma once

#include <string.h>

#include "backup/archive/block.h"
#include "backup/archive/entry.h"
#include "backup/archive/idtable.h"
#include "backup/base/buf.h"
#include "backup/base/bytes.h"
#include "backup/base/err.h"
#include "tests/harness/cmocka.h"

enum { RECORDS = 400, ARCHIVES = 40, BLOCK_LIMIT = 1024 * 1024 };

static struct idtable *ids;
static uint64_t seed;
static struct err err;

static inline uint64_t random_below(uint64_t bound)
{
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    return (seed >> 20) % bound;
}

/* Numbers of every length, small ones as often as large ones. */
static inline uint64_t random_number(void)
{
    uint64_t number = random_below(1ULL << 40) << 24 ^ random_below(1ULL << 40);

    return number >> random_below(64);
}

static inline uint32_t archive_of(enum archive_kind kind)
{
    struct archive_id id = {{(uint8_t)kind, (uint8_t)random_below(ARCHIVES)}};
    uint32_t number;

    assert_int_equal(idtable_number(ids, &id, kind, &number, &err), 0);
    return number;
}

static inline struct place random_place(enum archive_kind kind)
{
    return (struct place){archive_of(kind), (uint32_t)random_below(UINT32_MAX / 2)};
}

static inline void random_text(char *out, size_t size)
{
    for (size_t i = 0; i < size; i++)
        out[i] = (char)(random_below(200) + '0');
}

/* An entry and what it points to. */
struct sample {
    struct entry entry;
    char name[ENTRY_NAME_MAX], target[ENTRY_TARGET_MAX];
    uint8_t xattrs[INLINE_XATTRS_MAX];
    struct extent extents[INLINE_EXTENTS_MAX];
};

static inline void make_list(struct sample *sample, struct content *content)
{
    content->form = CONTENT_LIST;
    content->count = 1 + random_below(INLINE_EXTENTS_MAX);
    content->size = 0;
    content->list = sample->extents;
    for (size_t i = 0; i < content->count; i++) {
        bool hole = random_below(4) == 0;
        sample->extents[i].length = 1 + random_below(1U << 30);
        sample->extents[i].place =
            hole ? (struct place){.archive = NO_ARCHIVE} : random_place(ARCHIVE_DATA);
        content->size += sample->extents[i].length;
    }
}

static inline void make_content(struct sample *sample, struct content *content, uint64_t limit)
{
    content->size = 1 + random_below(limit);
    switch (random_below(3)) {
    case 0:
        content->form = CONTENT_ONE;
        content->place = random_place(ARCHIVE_DATA);
        break;
    case 1:
        if (limit > 1U << 30)
            make_list(sample, content);
        else
            content->form = CONTENT_TREE, content->place = random_place(ARCHIVE_METADATA);
        break;
    default:
        content->form = CONTENT_TREE;
        content->place = random_place(ARCHIVE_METADATA);
    }
}

static inline void make_by_type(struct sample *sample)
{
    struct entry *entry = &sample->entry;

    if (entry->type == ENTRY_FILE && random_below(8) > 0) {
        make_content(sample, &entry->content, (1U << 30) + 1);
        entry->size = entry->content.size;
        random_text((char *)entry->digest, sizeof(entry->digest));
    } else if (entry->type == ENTRY_DIRECTORY && random_below(4) > 0) {
        entry->directory.entries = 1 + random_number() / 2;
        entry->directory.place = random_place(ARCHIVE_METADATA);
        entry->below_entries = entry->directory.entries + random_number() / 4;
        entry->below_bytes = random_number();
    } else if (entry->type == ENTRY_DIRECTORY) {
        entry->directory.place.archive = NO_ARCHIVE;
    } else if (entry->type == ENTRY_SYMLINK) {
        entry->target = sample->target;
        entry->target_size = 1 + random_below(random_below(9) > 0 ? 40 : ENTRY_TARGET_MAX);
        random_text(sample->target, entry->target_size);
    } else if (entry->type == ENTRY_CHARDEV || entry->type == ENTRY_BLOCKDEV) {
        entry->rdev = random_number();
    }
}

static inline void make_xattrs(struct sample *sample)
{
    struct content *xattrs = &sample->entry.xattrs;

    sample->entry.flags |= ENTRY_XATTRS;
    if (random_below(2) == 0) {
        make_content(sample, xattrs, ENTRY_XATTRS_MAX);
        return;
    }
    xattrs->form = CONTENT_INLINE;
    xattrs->size = 1 + random_below(random_below(9) > 0 ? 60 : INLINE_XATTRS_MAX);
    xattrs->bytes = sample->xattrs;
    random_text((char *)sample->xattrs, xattrs->size);
}

static inline void make_sample(struct sample *sample)
{
    static const uint8_t file_flags[] = {0, 0, 0, ENTRY_CHANGED};
    struct entry *entry = &sample->entry;

    *entry = (struct entry){.type = (enum entry_type)(1 + random_below(7)), .links = 1};
    entry->name = sample->name;
    entry->name_size = 1 + random_below(random_below(9) > 0 ? 30 : ENTRY_NAME_MAX);
    random_text(sample->name, entry->name_size);
    entry->flags = file_flags[random_below(4)];
    if (entry->type == ENTRY_DIRECTORY && random_below(9) == 0)
        entry->flags |= ENTRY_PARTIAL;
    entry->mode = (uint32_t)random_below(010000);
    entry->uid = (uint32_t)random_number();
    entry->gid = (uint32_t)random_number();
    entry->mtime_s = (int64_t)(random_number() ^ (0 - random_below(2)));
    entry->ctime_s = (int64_t)(random_number() ^ (0 - random_below(2)));
    entry->mtime_ns = (uint32_t)random_below(1000000000);
    entry->ctime_ns = (uint32_t)random_below(1000000000);
    entry->inode = random_number();
    entry->device = random_number();
    make_by_type(sample);
    if (random_below(5) == 0)
        make_xattrs(sample);
}

static inline struct block *make_block(const struct buf *items, const struct reftable *refs)
{
    size_t table = refs->count * (ARCHIVE_ID_SIZE + 1);
    struct block *block = block_new(items->size + table + 2);

    assert_non_null(block);
    memcpy(block->data, items->data, items->size);
    for (size_t i = 0; i < refs->count; i++) {
        uint8_t *slot = block->data + items->size + i * (ARCHIVE_ID_SIZE + 1);
        memcpy(slot, idtable_id(ids, refs->archives[i])->bytes, ARCHIVE_ID_SIZE);
        slot[ARCHIVE_ID_SIZE] = (uint8_t)idtable_kind(ids, refs->archives[i]);
    }
    store_le16(block->data + items->size + table, (uint16_t)refs->count);
    return block;
}

static inline int prepare(void **state)
{
    (void)state;
    ids = idtable_new();
    return ids ? 0 : -1;
}

static inline int finish(void **state)
{
    (void)state;
    idtable_free(ids);
    return 0;
}
