/*
 * blocks — decoded content by place: open archives, a cache, and how to fill it.
 *
 * Everything that reads a repository's trees and files goes through here: mount, restore, verify,
 * the backup's look at the snapshot before. Content that was moved to another archive (remap.h) is
 * found there, also while a mount stands. A bounded number of archives is kept open (by memory),
 * decoded blocks in a blockcache.
 *
 * Ownership: a struct slice holds a reference to its block; slice_clear() lets it go.
 * Threads:   any call from any thread.
 * Errors:    ERR_CORRUPT and ERR_NOT_FOUND (an archive is gone, and its content was not moved) name
 * archive and block; store errors.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/blockcache.h"
#include "backup/archive/place.h"

struct block;
struct blocks;
struct err;
struct reader;
struct repo;

/* Decoded bytes from a place to the end of its block. */
struct slice {
    struct block *block;
    const uint8_t *data;
    size_t size;
};

struct blocks *blocks_new(struct repo *repo, size_t cache_bytes); /* NULL: out of memory */
void blocks_free(struct blocks *blocks);
void blocks_freep(struct blocks **blocks);
struct repo *blocks_repo(const struct blocks *blocks);

int blocks_get(struct blocks *blocks, struct place place, struct slice *out, struct err *err);
/* Only what is in the cache already: 1 and the slice, or 0. */
int blocks_peek(struct blocks *blocks, struct place place, struct slice *out);
/* Copies `count` bytes that lie together in the raw space, across blocks. */
int blocks_read(struct blocks *blocks, struct place place, void *out, size_t count,
                struct err *err);
/* Decodes what covers [place, place + count) into the cache, neighbours fetched together; errors
 * are left to who reads.  Ends (false) with the first that does not come: where a store is away,
 * each request takes as long as one has patience with it. */
bool blocks_prefetch(struct blocks *blocks, struct place place, size_t count);
/* Where one thread has blocks decoded that nobody else is going to ask for: a room of its own that
 * stays hot, instead of the cache.  NULL: out of memory. */
struct passage;
struct passage *passage_new(struct blocks *blocks);
void passage_free(struct passage *passage); /* NULL is allowed */
/* Decoded bytes of the archive, of one or several whole blocks. */
typedef int passage_fn(void *context, uint32_t raw, const uint8_t *data, size_t size,
                       struct err *err);
/* What covers [place, place + count), in order; neighbours fetched together.  Blocks that are not
 * wholly in [from, until) of the archive come through the cache, for others need them, too.  An
 * error (content that was moved is one) says that not all was given: blocks_get() knows better. */
int passage_run(struct passage *passage, struct place place, size_t count, uint32_t from,
                uint64_t until, passage_fn *each, void *context, struct err *err);
/* From now on metadata of a remote store is fetched in large pieces at once: for who goes through
 * all of it. */
void blocks_read_all(struct blocks *blocks);
/* Where content lies by now: `place` itself, or where it was moved as far as is known (who wants to
 * know of all calls remap_refresh() first).  *out_length of `length` bytes lie together from there
 * on, as far as the remap is concerned. */
int blocks_where(struct blocks *blocks, struct place place, uint64_t length, struct place *out,
                 uint64_t *out_length, struct err *err);
/* Whether all of the `length` bytes from `place` on were moved, and are in blocks of archives that
 * are there and suit; `found` is told each of those archives, also when it is false in the end. */
bool blocks_moved(struct blocks *blocks, struct place place, uint64_t length,
                  bool (*suits)(void *context, uint32_t archive),
                  void (*found)(void *context, uint32_t archive), void *context);
/* An open archive, shared: give it back with blocks_release().  The archive itself: what was moved
 * out of it is elsewhere. */
int blocks_acquire(struct blocks *blocks, uint32_t archive, const struct reader **out,
                   struct err *err);
void blocks_release(struct blocks *blocks, uint32_t archive, const struct reader *reader);
/* From now on each item of a directory that is read through here is told by its place, the moment
 * before.  NULL: no more. */
void blocks_watch(struct blocks *blocks, void (*watch)(void *context, struct place place),
                  void *context);
void blocks_touched(struct blocks *blocks, struct place place); /* for tree.c */
/* Loads are all blocks that were decoded, also those that only went by. */
void blocks_stats(struct blocks *blocks, struct blockcache_stats *out);

void slice_clear(struct slice *slice);
