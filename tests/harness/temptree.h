/*
 * temptree — directories written into a test's repository, and read from it as another process
 * would.
 *
 *     CLEANUP(temptree_clear) struct temptree temp = temptree_make();
 */
#pragma once

#include "backup/archive/blocks.h"
#include "backup/archive/idtable.h"
#include "backup/archive/reader.h"
#include "backup/archive/tree.h"
#include "backup/archive/treewriter.h"
#include "backup/archive/writer.h"
#include "backup/base/cleanup.h"
#include "tests/harness/temprepo.h"

struct temptree {
    struct temprepo repo;
    struct treewriter *writer;
    struct blocks *blocks;
    size_t archives; /* that were written */
};

static inline int temptree_done(void *context, const struct writer_result *archive,
                                const void *index, size_t size, struct err *err)
{
    (void)err;
    assert_true(archive->kind == ARCHIVE_METADATA && archive->size > 0);
    assert_true(index && size > 0);
    ++*(size_t *)context;
    return 0;
}

static inline struct temptree temptree_make(void)
{
    struct temptree temp = {.repo = temprepo_make()};

    temp.blocks = blocks_new(temp.repo.repo, 64 * 1024 * 1024);
    assert_non_null(temp.blocks);
    return temp;
}

static inline void temptree_begin(struct temptree *temp)
{
    struct err err;

    temp->archives = 0;
    assert_int_equal(
        treewriter_new(temp->repo.repo, 1, temptree_done, &temp->archives, &temp->writer, &err), 0);
}

static inline void temptree_end(struct temptree *temp)
{
    struct err err;

    assert_int_equal(treewriter_finish(temp->writer, &err), 0);
    treewriter_free(temp->writer);
    temp->writer = NULL;
}

static inline void temptree_clear(struct temptree *temp)
{
    treewriter_free(temp->writer);
    blocks_free(temp->blocks);
    temprepo_clear(&temp->repo);
}

/* Some archive that a file's content may be in; it need not exist. */
static inline uint32_t temptree_archive(struct temptree *temp, enum archive_kind kind, unsigned n)
{
    struct archive_id id = {{(uint8_t)kind, (uint8_t)n, (uint8_t)(n >> 8)}};
    uint32_t number;
    struct err err;

    assert_int_equal(idtable_number(temp->repo.repo->ids, &id, kind, &number, &err), 0);
    return number;
}

/* The entry of file number `n`, whose name goes into `name`; even numbers only, so that there are
 * names in between. */
static inline struct entry temptree_file(struct temptree *temp, unsigned n, char name[32])
{
    struct entry entry = {.type = ENTRY_FILE, .name = name, .mode = 0640, .uid = n, .links = 1};

    entry.name_size = (size_t)snprintf(name, 32, "file-%08u.txt", 2 * n);
    entry.mtime_s = 1700000000 + n;
    entry.mtime_ns = n;
    entry.ctime_s = 1700000007;
    entry.inode = 5000 + n;
    entry.size = entry.content.size = 100 + n;
    entry.content.form = CONTENT_ONE;
    entry.content.place.archive = temptree_archive(temp, ARCHIVE_DATA, n / 5000);
    entry.content.place.raw = 1000 * (n % 5000);
    memset(entry.digest, (int)(n % 251), sizeof(entry.digest));
    return entry;
}

static inline void temptree_assert_file(struct temptree *temp, unsigned n,
                                        const struct entry *entry)
{
    char name[32];
    struct entry expected = temptree_file(temp, n, name);

    assert_int_equal(entry->name_size, expected.name_size);
    assert_memory_equal(entry->name, name, entry->name_size);
    assert_true(entry->type == ENTRY_FILE && entry->uid == n && entry->size == 100 + n);
    assert_true(entry->mtime_s == expected.mtime_s && entry->mtime_ns == n);
    assert_true(entry->inode == expected.inode && entry->content.form == CONTENT_ONE);
    assert_true(place_equal(entry->content.place, expected.content.place));
    assert_memory_equal(entry->digest, expected.digest, sizeof(entry->digest));
}

/* A directory of the files 0 … count - 1. */
static inline struct dirref temptree_write(struct temptree *temp, unsigned count)
{
    struct dirwriter *dir;
    struct dirref out;
    struct err err;

    temptree_begin(temp);
    assert_int_equal(dirwriter_new(temp->writer, NULL, &dir, &err), 0);
    for (unsigned n = 0; n < count; n++) {
        char name[32];
        struct entry entry = temptree_file(temp, n, name);

        assert_int_equal(dirwriter_add(dir, &entry, NULL, &err), 0);
    }
    assert_int_equal(dirwriter_finish(dir, &out, &err), 0);
    temptree_end(temp);
    return out;
}

enum { TEMPTREE_VARIANTS = 600 };

/* Copies of the block in which an item is, each with one bit wrong; gives where the item is in
 * each of them. */
static inline void temptree_damage(struct temptree *temp, struct place item,
                                   struct place out[TEMPTREE_VARIANTS])
{
    CLEANUP(codec_freep) struct codec *codec = codec_new(1);
    CLEANUP(reader_closep) struct reader *reader = NULL;
    struct repo *repo = temp->repo.repo;
    struct writer_result result;
    struct writer *writer;
    uint64_t seed = 5;
    size_t number;
    struct err err;

    assert_int_equal(reader_open(repo, ARCHIVE_METADATA, idtable_id(repo->ids, item.archive), NULL,
                                 &reader, &err),
                     0);
    assert_int_equal(reader_find(reader, item.raw, &number, &err), 0);
    const struct block_info *block = reader_block(reader, number);
    uint8_t *raw = malloc(block->raw_size);
    assert_int_equal(reader_decode(reader, codec, number, raw, &err), 0);
    assert_int_equal(writer_new(repo, ARCHIVE_METADATA, &writer, &err), 0);
    for (size_t i = 0; i < TEMPTREE_VARIANTS; i++) {
        /* Mostly in the item and behind it, where it is an index, and in the table. */
        size_t from = i % 4 == 0 ? 0 : item.raw - block->raw;
        uint32_t begin, stored;

        seed = seed * 6364136223846793005U + 1442695040888963407U;
        size_t at = from + (seed >> 33) % (block->raw_size - from);
        raw[at] ^= (uint8_t)(1U << (seed >> 20) % 8);
        assert_int_equal(
            writer_append(writer, codec, raw, block->raw_size, NULL, 0, &begin, &stored, &err), 0);
        raw[at] ^= (uint8_t)(1U << (seed >> 20) % 8);
        out[i].archive = writer_archive(writer);
        out[i].raw = begin + (item.raw - block->raw);
    }
    assert_int_equal(writer_commit(writer, NULL, NULL, &result, &err), 0);
    free(raw);
}
