/*
 * liveness — which blocks of which archives are needed by directories and all below them.
 *
 * Goes through each distinct directory once, and through each leaf of a large one, however many
 * snapshots share it.  Of what it meets it keeps a bit for each block: of data, what extents refer
 * to; of metadata, every leaf, index, inode item and list of extents that the walk has to read.
 *
 *     liveness_new(blocks, NULL, &live, err);
 *     liveness_add(live, &root.types[TYPE_FILES].directory, err);      … for each that is kept
 *     liveness_has(live, archive)
 *
 * What was moved (archive/remap.h, refreshed by the caller) is needed where it lies now; the
 * archive that its place names is only named.  A data archive that cannot be opened (it is damaged,
 * or in cold storage) counts as needed in whole.
 *
 * Ownership: borrows blocks, whose watch it has while it walks, and `beyond`.
 * Threads:   one.
 * Errors:    ERR_CORRUPT for a directory that cannot be read: then nobody knows what it needs.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct blocks;
struct dirref;
struct err;
struct liveness;
struct progress;

/* What `beyond` (may be NULL) has been through is left out. */
int liveness_new(struct blocks *blocks, const struct liveness *beyond, struct liveness **out,
                 struct err *err);
void liveness_free(struct liveness *live); /* NULL is allowed */
void liveness_freep(struct liveness **live);

int liveness_add(struct liveness *live, const struct dirref *directory, struct progress *progress,
                 struct err *err);

/* Whether any block of it is needed; a certain one. */
bool liveness_has(const struct liveness *live, uint32_t archive);
bool liveness_has_block(const struct liveness *live, uint32_t archive, size_t number);
/* How much its needed blocks take in the object; UINT64_MAX where all of it is needed. */
uint64_t liveness_stored(const struct liveness *live, uint32_t archive);
/* Whether it is needed, and in cold storage, so that nobody knows how much of it. */
bool liveness_is_cold(const struct liveness *live, uint32_t archive);
/* Whether a place in it is named, wherever that lies now. */
bool liveness_names(const struct liveness *live, uint32_t archive);
