/*
 * moving — archives whose bytes follow from their place, moved as a pruner moves them.
 */
#pragma once

#include <stdio.h>

#include "backup/archive/blocks.h"
#include "backup/archive/idtable.h"
#include "backup/archive/move.h"
#include "backup/archive/reader.h"
#include "backup/archive/remap.h"
#include "backup/archive/repo.h"
#include "backup/archive/writer.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/crypto/digest.h"
#include "backup/store/store.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/temprepo.h"

enum { BLOCKS = 37, BLOCK_SIZE = 5003, RAW_SIZE = BLOCKS * BLOCK_SIZE, SOURCES = 9 };

static inline uint8_t byte_at(uint32_t archive, size_t raw)
{
    return (uint8_t)(raw * 2654435761U >> 13 ^ archive * 37 ^ (raw / BLOCK_SIZE) * 11);
}

/* The bytes of one of an archive's blocks, and its two chunks. */
static inline void make_block(struct repo *repo, uint32_t archive, size_t block, uint8_t *raw,
                              struct chunk chunks[2])
{
    static const uint32_t lengths[2] = {1200, BLOCK_SIZE - 1200};
    uint32_t at = 0;

    for (size_t i = 0; i < BLOCK_SIZE; i++)
        raw[i] = byte_at(archive, block * BLOCK_SIZE + i);
    for (size_t i = 0; i < 2; i++) {
        chunks[i] = (struct chunk){.length = lengths[i], .raw = at};
        digest_bytes(keyring_id_key(repo->keyring), raw + at, lengths[i], chunks[i].id);
        at += lengths[i];
    }
}

static inline uint32_t write_archive(struct repo *repo)
{
    CLEANUP(codec_freep) struct codec *codec = codec_new(1);
    uint8_t raw[BLOCK_SIZE];
    struct chunk chunks[2];
    struct writer *writer;
    struct writer_result result;
    uint32_t at, stored;
    struct err err;

    assert_int_equal(writer_new(repo, ARCHIVE_DATA, &writer, &err), 0);
    for (size_t block = 0; block < BLOCKS; block++) {
        make_block(repo, writer_archive(writer), block, raw, chunks);
        assert_int_equal(
            writer_append(writer, codec, raw, BLOCK_SIZE, chunks, 2, &at, &stored, &err), 0);
    }
    assert_int_equal(writer_commit(writer, NULL, NULL, &result, &err), 0);
    return result.archive;
}

static inline void remove_archive(struct repo *repo, uint32_t archive)
{
    char name[OBJECT_NAME_SIZE];
    struct err err;

    repo_object_name(idtable_kind(repo->ids, archive), idtable_id(repo->ids, archive), name);
    assert_int_equal(store_remove(repo->store, name, &err), 0);
}

struct moved {
    unsigned archives;
    struct archive_id last;
    struct chunk *chunks;
    size_t chunk_count;
};

static inline int note_done(void *context, const struct writer_result *archive, const void *index,
                            size_t size, struct err *err)
{
    struct moved *moved = context;
    struct index_record record;
    const uint8_t *at = index;
    size_t need;

    assert_int_equal(index_record_parse(&at, at + size, &record, &need, err), 0);
    assert_int_equal(need, 0);
    assert_true(archive_id_equal(&record.id, &archive->id));
    free(moved->chunks);
    assert_int_equal(index_record_chunks(&record, &moved->chunks, &moved->chunk_count, err), 0);
    moved->last = archive->id;
    moved->archives++;
    return 0;
}

static inline uint32_t random_below(uint32_t *seed, uint32_t bound)
{
    *seed = *seed * 1664525 + 1013904223;
    return (*seed >> 8) % bound;
}

/* Moves what is live of each; publishes; and takes the old ones away if that is wanted. */
static inline void compact(struct repo *repo, const uint32_t *archives,
                           uint8_t live[][(BLOCKS + 7) / 8], size_t count, struct moved *moved)
{
    struct mover *mover;
    const struct remap_entry *entries;
    size_t entry_count;
    struct err err;

    assert_int_equal(mover_new(repo, ARCHIVE_DATA, note_done, moved, &mover, &err), 0);
    for (size_t i = 0; i < count; i++) {
        CLEANUP(reader_closep) struct reader *reader = NULL;
        assert_int_equal(reader_open(repo, ARCHIVE_DATA, idtable_id(repo->ids, archives[i]), NULL,
                                     &reader, &err),
                         0);
        assert_int_equal(mover_add(mover, reader, live ? live[i] : NULL, &err), 0);
    }
    assert_int_equal(mover_finish(mover, &err), 0);
    entries = mover_entries(mover, &entry_count);
    assert_int_equal(remap_publish(repo, entries, entry_count, NULL, NULL, NULL, &err), 0);
    mover_free(mover);
}

static inline bool is_live(const uint8_t *live, size_t block)
{
    return live[block / 8] >> block % 8 & 1;
}

/* Reads every block at its old place, and runs of live ones across blocks. */
static inline void check_places(struct repo *repo, uint32_t archive, uint32_t looks_like,
                                const uint8_t *live)
{
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(repo, 1 << 20);
    static uint8_t got[2 * BLOCK_SIZE];
    struct err err;

    for (size_t block = 0; block < BLOCKS; block++) {
        struct place place = {archive, (uint32_t)(block * BLOCK_SIZE)};
        bool pair = block + 1 < BLOCKS && is_live(live, block + 1);
        size_t size = pair ? 2 * BLOCK_SIZE : BLOCK_SIZE;
        int r = blocks_read(blocks, place, got, size, &err);
        if (!is_live(live, block)) {
            assert_true(r == -ERR_CORRUPT || r == -ERR_NOT_FOUND);
            continue;
        }
        assert_int_equal(r, 0);
        for (size_t i = 0; i < size; i++)
            assert_int_equal(got[i], byte_at(looks_like, place.raw + i));
    }
}
