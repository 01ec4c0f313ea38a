/*
 * reseal — the end of older epochs: what is sealed in them is found, and sealed anew in the
 * current.
 *
 * Blocks are moved by prune (struct prune_options, `reseal`); here are the small objects (roots,
 * notes, remaps) and the count of what is left.  Nothing is remembered: what is to be done follows
 * from the objects' headers, so whoever was interrupted begins again and goes on.  docs/format.md,
 * "Ending epochs".
 *
 * Ownership: borrows the repo.
 * Threads:   one, which holds the repository's lock alone but for reseal_left().
 * Errors:    those of the store and of reading: ERR_CORRUPT for what cannot be read, which then
 * stays.
 */
#pragma once

#include <stdint.h>

#include "backup/archive/repo.h"

struct err;

struct reseal_left {
    uint64_t objects, bytes;
    /* Of these pieces of PostgreSQL's log, of any epoch: they keep their names, and who receives
     * them works without the lock, with the keys that it began with. */
    uint64_t logs, log_bytes;
    char first[OBJECT_NAME_SIZE]; /* one of them that is no log; empty: there is none */
};

/* What is sealed in older epochs. */
int reseal_left(struct repo *repo, struct reseal_left *out, struct err *err);
/* Roots as the next revision, notes under new names, one remap archive for all.  The old notes are
 * removed; the rest prune does. */
int reseal_small(struct repo *repo, struct err *err);
