/*
 * blocks — decoded content by place: open archives, a cache, and how to fill it.
 *
 * Everything that reads a repository's trees and files goes through here: mount, restore, verify,
 * the backup's look at the snapshot before. A bounded number of archives is kept open (by memory),
 * decoded blocks in a blockcache.
 *
 * Ownership: a struct slice holds a reference to its block; slice_clear() lets it go.
 * Threads:   any call from any thread.
 * Errors:    ERR_CORRUPT and ERR_NOT_FOUND (an archive is gone) name archive and block; store
 * errors.
 */
#pragma once

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
 * are left to who reads. */
void blocks_prefetch(struct blocks *blocks, struct place place, size_t count);
/* An open archive, shared: give it back with blocks_release(). */
int blocks_acquire(struct blocks *blocks, uint32_t archive, const struct reader **out,
                   struct err *err);
void blocks_release(struct blocks *blocks, uint32_t archive, const struct reader *reader);
/* From now on each item of a directory that is read through here is told by its place, the moment
 * before.  NULL: no more. */
void blocks_watch(struct blocks *blocks, void (*watch)(void *context, struct place place),
                  void *context);
void blocks_touched(struct blocks *blocks, struct place place); /* for tree.c */
void blocks_stats(struct blocks *blocks, struct blockcache_stats *out);

void slice_clear(struct slice *slice);
