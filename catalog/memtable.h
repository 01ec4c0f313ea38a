/*
 * memtable — chunks that are in no segment yet, found by id.
 *
 * Sharded by id, so that threads seldom meet.
 *
 * Ownership: memtable_free().
 * Threads:   any call from any thread, but memtable_entries() only when nobody adds any more.
 * Errors:    ERR_NOMEM; what was added before stays.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/place.h"

struct err;
struct memtable;

/* Where a chunk is; also what a segment is written from. */
struct chunk_entry {
    uint8_t id[32];
    struct place place;
    uint32_t length;
};

struct memtable *memtable_new(void); /* NULL: out of memory */
void memtable_free(struct memtable *table);
void memtable_freep(struct memtable **table);

int memtable_add(struct memtable *table, const struct chunk_entry *entry, struct err *err);
/* The chunk of this id and length that was added last. */
bool memtable_find(struct memtable *table, const uint8_t id[32], uint32_t length,
                   struct place *out);
size_t memtable_count(const struct memtable *table);
/* All entries, sorted by id, malloc'ed. */
int memtable_entries(struct memtable *table, struct chunk_entry **out, size_t *out_count,
                     struct err *err);
