/*
 * spill — a map from pairs of numbers to numbers that need not fit into memory.
 *
 * A tree with millions of hard links needs to know which inode it has met, and where.  The map
 * starts in memory; beyond 4 MiB it lives in the mapping of a file without a name, which the
 * kernel writes out when memory is short.  The file's room is reserved before it is used, so a
 * full disk is an error and no signal.
 *
 * Threads: one at a time.
 * Errors:  of spillmap_put() only: the map stays as it was.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct spillmap;

/* `dir` is where the file will be, if one is needed. */
int spillmap_new(const char *dir, struct spillmap **out, struct err *err);
void spillmap_free(struct spillmap *map);
void spillmap_freep(struct spillmap **map);

/* False when there is no such key. */
bool spillmap_get(const struct spillmap *map, uint64_t key1, uint64_t key2, uint64_t *out_value);

/* Adds the key, or replaces its value. */
int spillmap_put(struct spillmap *map, uint64_t key1, uint64_t key2, uint64_t value,
                 struct err *err);

/* How many keys there are, and whether they are in a file. */
uint64_t spillmap_count(const struct spillmap *map);
bool spillmap_in_file(const struct spillmap *map);
