/*
 * numbered — archives of blocks whose bytes follow from their place.
 */
#pragma once

#include "tests/harness/cmocka.h"
#include "tests/harness/writeblocks.h"

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
    return writeblocks(repo, ARCHIVE_DATA, BLOCKS, BLOCK_SIZE, byte_at);
}

static inline void check_bytes(uint32_t archive, size_t raw, const uint8_t *got, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (got[i] != byte_at(archive, raw + i))
            fail_msg("archive %u: byte %zu", archive, raw + i);
}
