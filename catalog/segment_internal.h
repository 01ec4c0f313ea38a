/*
 * segment_internal — the layout of a segment's file, shared by who reads and who writes it.
 */
#pragma once

#include <stdatomic.h>

#include "backup/base/bytes.h"
#include "backup/crypto/digest.h"
#include "catalog/segment.h"

enum {
    SEGMENT_VERSION = 1,
    HEADER_SIZE = 256,
    HEADER_DIGEST_AT = HEADER_SIZE - DIGEST_SIZE,
    PREFIX_SIZE = 8,
    RECORD_SIZE = 40,
    FILTER_BLOCK_SIZE = 64,
    FILTER_BITS = 6, /* set for each id */
    SECTION_ALIGN = 4096,
    SEGMENT_ARCHIVES_MAX = 1 << 24,
};
#define SEGMENT_MAGIC "YSTRSEGM"
#define SEGMENT_ENTRIES_MAX (UINT64_C(1) << 36)

/* The header's numbers; `capacity` only decides where sections begin. */
struct segment_layout {
    uint64_t entries, archives, filter_blocks;
    uint64_t filter_at, prefixes_at, records_at, size;
};

struct segment {
    const struct digest_key *key;
    const uint8_t *map; /* the whole file */
    struct segment_layout layout;
    uint32_t *numbers; /* of the archives, by their index in the file */
    atomic_bool rotten;
    char name[SEGMENT_NAME_SIZE]; /* empty: in memory */
};

static inline uint64_t id_prefix(const uint8_t id[32])
{
    uint64_t value;

    memcpy(&value, id, sizeof(value));
    return be64toh(value);
}

/* value / 2^64 · range: where something evenly spread is to be expected. */
static inline uint64_t scale(uint64_t value, uint64_t range)
{
    return (uint64_t)(((unsigned __int128)value * range) >> 64);
}

/* Calls for each bit that an id sets in its filter block. */
static inline unsigned filter_bit(const uint8_t id[32], unsigned number)
{
    return (unsigned)(load_le64(id + 8) >> (9 * number)) & 511;
}

/* The check of a record: over the whole id and the record's first 36 bytes. */
static inline uint32_t record_check(const struct digest_key *key, const uint8_t id[32],
                                    const uint8_t record[RECORD_SIZE])
{
    uint8_t message[32 + 12];

    memcpy(message, id, 32);
    memcpy(message + 32, record + 24, 12);
    return (uint32_t)digest_hash64(key, message, sizeof(message));
}

/* Opens what `fd` holds; the descriptor stays the caller's. */
int segment_map(const struct segment_home *home, int fd, const char *name, struct segment **out,
                struct err *err);
