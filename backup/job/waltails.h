/*
 * waltails — the pieces of open segments that a repository has.
 *
 * There are few of them (65 at most for each timeline that a receiver follows), so they are found
 * by listing them and reading what each says of itself.
 *
 * Ownership: waltails_clear() frees.
 * Threads:   one at a time.
 * Errors:    those of the store.  A piece that is gone since it was listed is passed over; one that
 *            is damaged as well, and counted.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/repo.h"

struct err;

struct waltail {
    char object[OBJECT_NAME_SIZE];
    uint64_t system, segment_size, start, length;
    uint32_t timeline;
};

struct waltails {
    struct waltail *at; /* by system, timeline, start; the longer of two first */
    size_t count;
    size_t damaged;
};

/* Those of one system and timeline. */
int waltails_find(struct repo *repo, uint64_t system, uint32_t timeline, struct waltails *out,
                  struct err *err);
void waltails_clear(struct waltails *tails);

/* Up to where the segment that begins at `start` is known without a gap; `start` when not at all.
 */
uint64_t waltails_end(const struct waltails *tails, uint64_t start, uint64_t segment_size);

/* Deletes those whose segment is stored as a whole. */
int waltails_sweep(struct repo *repo, const struct waltails *tails, struct err *err);
