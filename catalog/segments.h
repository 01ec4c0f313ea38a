/*
 * segments — the segments of the chunk index together.
 *
 * The hot parts of as many as fit into a budget are asked to be in memory; of the others a lookup
 * that misses touches one cache line of the filter.
 *
 * Ownership: takes the segments that it is given.
 * Threads:   any call from any thread; what segments_pick() and segments_list() give is good until
 * the caller, who alone may remove, removes it. Errors:    ERR_NOMEM.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "catalog/segment.h"

struct segments;

enum { SEGMENTS_MERGE_AT = 9 }; /* so many of similar size become one */

struct segments *segments_new(size_t hold_bytes); /* NULL: out of memory */
void segments_free(struct segments *segments);

/* Takes the segment also when it fails (then it is closed). */
int segments_add(struct segments *segments, struct segment *segment, struct err *err);
void segments_remove(struct segments *segments, const struct segment *segment); /* closes it */
void segments_remove_all(struct segments *segments);
size_t segments_count(struct segments *segments);
/* The segment of that name, or NULL. */
struct segment *segments_named(struct segments *segments, const char *name);
/* Number `index` below the count, or NULL. */
struct segment *segments_at(struct segments *segments, size_t index);

/* The newest first. */
bool segments_find(struct segments *segments, const struct states *states, const uint8_t id[32],
                   uint32_t length, struct place *out);
/* A lookup met damage in one of them. */
bool segments_rotten(struct segments *segments);
/* Segments of similar size, if there are SEGMENTS_MERGE_AT; else 0. */
size_t segments_pick(struct segments *segments, struct segment *out[SEGMENTS_MERGE_AT]);
