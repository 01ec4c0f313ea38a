/*
 * sealed — an object read through the cache of sealed bytes, where there is one.
 *
 * Without a cache this is the store's own object.  With one, what the cache has is not asked of the
 * store: neither the range nor whether the object is still there.  So only what cannot be another
 * object under the same name is read so (archives named by their random id), and only by who wants
 * content; who wants to know what the store has, opens it there.  That it is gone may so be told by
 * a read (ERR_NOT_FOUND); the cache then forgets its end, and opening it fails from then on.
 *
 * Ownership: sealed_close() ends it; store and cache outlive it.
 * Threads:   any call from any thread.
 * Errors:    the store's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/store/sealedcache.h"

struct err;
struct sealed;
struct store;

/* `cache` NULL: none. */
int sealed_open(struct store *store, struct sealedcache *cache, enum sealedcache_class class,
                const char *name, struct sealed **out, struct err *err);
void sealed_close(struct sealed *sealed); /* NULL is allowed */
uint64_t sealed_size(const struct sealed *sealed);
/* As store_read(). */
int sealed_read(struct sealed *sealed, uint64_t offset, void *out, size_t count, struct err *err);
/* The same without another copy, for what is large: *out is malloc'ed and begins at a page; what
 * was asked for is *out_skip further on. */
int sealed_fetch(struct sealed *sealed, uint64_t offset, size_t count, uint8_t **out,
                 size_t *out_skip, struct err *err);
/* The same into the caller's room, which has SEALED_AROUND bytes more than are asked for. */
enum { SEALED_AROUND = 2 * SEALEDCACHE_PAGE };
int sealed_fetch_into(struct sealed *sealed, uint64_t offset, size_t count, uint8_t *room,
                      size_t *out_skip, struct err *err);
/* What was read there is not what was written.  True: it may have been the cache's, which forgets
 * it; from now on all of the object comes from the store, and it is worth reading again. */
bool sealed_doubt(struct sealed *sealed, uint64_t offset, size_t count);
