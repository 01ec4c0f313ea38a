/*
 * numbered — archives of blocks whose bytes follow from their place.
 */
#pragma once

#include "backup/archive/repo.h"
#include "backup/archive/writer.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "tests/harness/cmocka.h"

enum { BLOCKS = 40, BLOCK_SIZE = 10007, RAW_SIZE = BLOCKS * BLOCK_SIZE };

static inline uint8_t byte_at(uint32_t archive, size_t raw)
{
    uint64_t mixed = (raw + 1) * UINT64_C(0x9E3779B97F4A7C15);

    mixed = (mixed ^ mixed >> 29) * UINT64_C(0xBF58476D1CE4E5B9);
    return (uint8_t)(mixed >> 40 ^ archive * 37);
}

/* BLOCKS blocks of bytes that byte_at() knows; gives the archive's number. */
static inline uint32_t write_archive(struct repo *repo)
{
    CLEANUP(codec_freep) struct codec *codec = codec_new(1);
    uint8_t raw[BLOCK_SIZE];
    struct writer *writer;
    struct writer_result result;
    uint32_t at, stored;
    struct err err;

    assert_int_equal(writer_new(repo, ARCHIVE_DATA, &writer, &err), 0);
    for (size_t block = 0; block < BLOCKS; block++) {
        for (size_t i = 0; i < BLOCK_SIZE; i++)
            raw[i] = byte_at(writer_archive(writer), block * BLOCK_SIZE + i);
        assert_int_equal(writer_append(writer, codec, raw, BLOCK_SIZE, NULL, 0, &at, &stored, &err),
                         0);
    }
    assert_int_equal(writer_commit(writer, NULL, NULL, &result, &err), 0);
    return result.archive;
}

static inline void check_bytes(uint32_t archive, size_t raw, const uint8_t *got, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (got[i] != byte_at(archive, raw + i))
            fail_msg("archive %u: byte %zu", archive, raw + i);
}
