/*
 * sealedcache_internal — what sealedcache.c (pages in slots) and sealedcache_file.c (the file)
 * share.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "backup/crypto/digest.h"
#include "backup/store/sealedcache.h"

enum {
    SEALED_HEADER_SIZE = 4096,
    SEALED_ENTRY_SIZE = 64,
    SEALED_WAYS = 16, /* slots that a page may be in */
    SEALED_SET_SIZE = SEALED_WAYS * SEALED_ENTRY_SIZE,
};

struct sealedcache {
    int fd;
    uint64_t sets;
    uint64_t pages_offset; /* where slots begin */
    bool keeps_data;
    struct digest_key key; /* of the repository */
    atomic_bool full;      /* nothing comes in any more */
    atomic_ullong hits, misses, kept, writes;
};

/* How many sets fit into so many bytes, and where the slots then begin. */
uint64_t sealedcache_sets(uint64_t bytes);
uint64_t sealedcache_pages_offset(uint64_t sets);
