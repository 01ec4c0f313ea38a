/*
 * blockcache — recently decoded archive blocks, in a bounded number of bytes.
 *
 * A mounted snapshot reads the same few blocks over and over, and each costs a fetch, a decryption
 * and a decompression.  Sharded by key, so that threads seldom meet; within a shard what was used
 * longest ago goes first (a clock hand).  Single-flight: of several threads that miss the same key
 * one loads, the others wait for it.
 *
 * Ownership: the cache holds one reference to each block, the caller of blockcache_get() another;
 * evicted blocks live on while in use, and count no more. Threads:   any call from any thread.
 * Loaders run unlocked. Errors:    only those of the loader.  A failed load leaves nothing behind;
 * who waited for it tries for itself.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct block;
struct blockcache;
struct err;

/* Produces the block that `key` stands for; `*out` gets a reference on success. */
typedef int blockcache_load_fn(void *context, uint64_t key, struct block **out, struct err *err);

struct blockcache_stats {
    uint64_t hits, loads, waits, evictions;
    size_t bytes; /* held now */
};

/* `limit` in bytes of blocks.  NULL: out of memory. */
struct blockcache *blockcache_new(size_t limit);
void blockcache_free(struct blockcache *cache);

/* Gives the block for `key`, calling `load` on a miss. */
int blockcache_get(struct blockcache *cache, uint64_t key, blockcache_load_fn *load, void *context,
                   struct block **out, struct err *err);
/* Only if it is there: a reference, or NULL. */
struct block *blockcache_peek(struct blockcache *cache, uint64_t key);
/* Has it loaded for later, if it is not there: it stays until somebody came for it, or the hand has
 * come by twice. */
int blockcache_ahead(struct blockcache *cache, uint64_t key, blockcache_load_fn *load,
                     void *context, struct err *err);
/* Whether it is there or being loaded; does not count as use. */
bool blockcache_has(struct blockcache *cache, uint64_t key);
void blockcache_stats(struct blockcache *cache, struct blockcache_stats *out);
