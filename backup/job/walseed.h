/*
 * walseed — what a new wal archive needs to know of those that are stored already.
 *
 * Errors: those of the store.
 */
#pragma once

#include <stdint.h>

struct err;
struct pgwal_open;
struct repo;
struct wal_meta;

/* The record that goes on from the segment before the one that begins at `start`; none where that
 * segment is not stored, or does not tell. */
int walseed_find(struct repo *repo, uint64_t system, uint32_t timeline, uint64_t segment_size,
                 uint64_t start, struct pgwal_open *out, struct err *err);

/* Deletes what is stored under this name if it cannot be read any more, so that it can be stored
 * again. */
int walseed_drop_damaged(struct repo *repo, const struct wal_meta *meta, struct err *err);
