/*
 * chunker — where a region of a file is cut: Gear with normalised chunking (docs/format.md,
 * "Content").
 *
 * Which form of the hash it uses makes no difference to the cuts (backup/archive/gear.h).
 *
 * Ownership: the table belongs to the struct.
 * Threads:   immutable once made.
 * Errors:    none.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/gear.h"

struct digest_key;

enum {
    CHUNK_MIN = 16 * 1024,
    CHUNK_AIM = 64 * 1024,
    CHUNK_MAX = 128 * 1024,
    CHUNK_WHOLE = 64 * 1024
};

struct chunker {
    uint64_t table[256];
    gear_scan *scan;
};

void chunker_init(struct chunker *chunker, const struct digest_key *gear_key);

/* The length of the chunk that begins at data[0], `count` bytes being there; `last`: the region
 * ends with them.  0: more bytes are needed (only when !last and count < CHUNK_MAX).  A region of
 * up to CHUNK_WHOLE bytes is one chunk: the caller sees to that. */
size_t chunker_next(const struct chunker *chunker, const uint8_t *data, size_t count, bool last);
