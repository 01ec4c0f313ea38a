/*
 * segment — one file of the chunk index: sorted, mapped, never changed.
 *
 * Three tables in the order of the chunk ids: a filter of one byte a chunk (a lookup that misses
 * touches one cache line of it), the first eight bytes of each id (searched by interpolation), and
 * the records.  A hit is compared with the whole id, and each record carries a keyed check of
 * itself: a flipped bit makes a chunk unknown, never wrong.  The bytes are this machine's own cache
 * and no part of the repository's format.
 *
 *     header 256 | archive ids, 32 each | filter, 64 a block | prefixes, 8 each | records, 40 each
 *
 * Ownership: segment_close().  A writer is freed by commit and abort.
 * Threads:   a segment is read from any thread; a writer belongs to one thread.
 * Errors:    ERR_CORRUPT for a file that is not as it was written: to be removed and made anew.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "catalog/memtable.h"

struct digest_key;
struct err;
struct idtable;
struct segment;
struct segment_writer;
struct states;

enum { SEGMENT_NAME_SIZE = 32 };

/* Where segments are, and what they are read with. */
struct segment_home {
    int dirfd; /* -1: in memory, gone when closed */
    const struct digest_key *key;
    struct idtable *ids;
};

int segment_open(const struct segment_home *home, const char *name, struct segment **out,
                 struct err *err);
void segment_close(struct segment *segment); /* NULL is allowed */
void segment_closep(struct segment **segment);
const char *segment_name(const struct segment *segment);
uint64_t segment_count(const struct segment *segment);
/* The numbers of the archives that it names. */
size_t segment_archives(const struct segment *segment, const uint32_t **out);
/* The bytes that a lookup wants in memory; hold asks the kernel to have them there. */
size_t segment_hot_size(const struct segment *segment);
void segment_hold(const struct segment *segment);
/* Its entries will be read in order. */
void segment_read_ahead(const struct segment *segment);

/* Where a chunk is, in an archive that is usable. */
bool segment_find(struct segment *segment, const struct states *states, const uint8_t id[32],
                  uint32_t length, struct place *out);
/* Entry `index` (below the count); false: damaged. */
bool segment_entry(const struct segment *segment, uint64_t index, struct chunk_entry *out);
/* A lookup met a record that fails its check. */
bool segment_rotten(const struct segment *segment);

/* At most `capacity` entries, added by id ascending, in the archives `numbers` (ascending). */
int segment_writer_new(const struct segment_home *home, const uint32_t *numbers, size_t archives,
                       uint64_t capacity, struct segment_writer **out, struct err *err);
int segment_writer_add(struct segment_writer *writer, const struct chunk_entry *entry,
                       struct err *err);
/* Durable, and open. */
int segment_writer_commit(struct segment_writer *writer, struct segment **out, struct err *err);
void segment_writer_abort(struct segment_writer *writer); /* NULL is allowed */
void segment_writer_abortp(struct segment_writer **writer);

/* All of a memtable, or what is in several segments and in archives that are present. */
int segment_from_memtable(const struct segment_home *home, struct memtable *table,
                          struct segment **out, struct err *err);
int segment_merge(const struct segment_home *home, struct segment *const *segments, size_t count,
                  const struct states *states, struct segment **out, struct err *err);
