/*
 * sealedcache — pages of a bucket's objects on the local disk, as they are stored: sealed.
 *
 * One file of slots of 64 KiB with a table in front; how it is laid out and why is in
 * docs/decisions/sealedcache.md.  What is of metadata pushes out what is of data, never the other
 * way round.  Nothing in the file is believed: a page that is torn, or another one, counts as not
 * there, and whoever reads opens the seal besides.
 *
 * Ownership: sealedcache_close() ends it.
 * Threads:   any call from any thread; any number of processes have the file open at once.
 * Errors:    none: what cannot be read or written is as if it were not there.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sealedcache;

enum { SEALEDCACHE_PAGE = 64 * 1024, SEALEDCACHE_REPOSITORY = 16 };

/* The last SEALEDCACHE_PAGE bytes of an object, wherever its pages begin. */
#define SEALEDCACHE_TAIL UINT64_MAX

/* Pages begin at multiples of SEALEDCACHE_PAGE. */
struct sealedcache_key {
    const char *object;
    uint64_t page;
};

enum sealedcache_class { SEALED_DATA, SEALED_METADATA };

struct sealedcache_options {
    const char *directory; /* which is there */
    uint8_t repository[SEALEDCACHE_REPOSITORY];
    uint64_t bytes;  /* what the file may take; less than a few pages: no cache, and no file */
    bool keeps_data; /* else only metadata comes in: what is read once is not worth a place */
};

struct sealedcache_stats {
    uint64_t hits, misses, kept;
};

/* NULL: there is none, for whatever reason. */
struct sealedcache *sealedcache_open(const struct sealedcache_options *options);
void sealedcache_close(struct sealedcache *cache); /* NULL is allowed */

/* `out` has room for `room` bytes; what is larger counts as not there.  *out_object_size is that of
 * the whole object. */
bool sealedcache_get(struct sealedcache *cache, const struct sealedcache_key *key, void *out,
                     size_t room, size_t *out_size, uint64_t *out_object_size);
void sealedcache_put(struct sealedcache *cache, const struct sealedcache_key *key,
                     enum sealedcache_class class, const void *bytes, size_t size,
                     uint64_t object_size);
void sealedcache_drop(struct sealedcache *cache, const struct sealedcache_key *key);
void sealedcache_stats(struct sealedcache *cache, struct sealedcache_stats *out);
