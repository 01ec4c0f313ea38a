/*
 * packer — blocks of new chunks into data archives, one open archive after the other.
 *
 * A lane is such a sequence of archives.  Large files that are stored at the same time go into
 * lanes of their own, so that each lies in one piece; all else goes into the first.  Whoever fills
 * an archive up, or is the last still writing into one that is full, commits it; the others write
 * into the next meanwhile.  A committed archive's index record goes to the baseline and to the
 * run's index.
 *
 * Ownership: borrows repo, baseline, dedup and the run's index.
 * Threads:   packer_put() and packer_close_old() from any thread; packer_finish() when all of them
 * have returned. Errors:    repository errors: the run is over.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/writer.h"

struct baseline;
struct dedup;
struct err;
struct packer;
struct repo;
struct runindex;

struct packer_options {
    struct repo *repo;
    struct baseline *baseline; /* may be NULL */
    struct dedup *dedup;
    struct runindex *index;
    bool dry_run; /* encode and count, write nothing */
};

enum { PACKER_LANES = 3 };

int packer_new(const struct packer_options *options, struct packer **out, struct err *err);
void packer_free(struct packer *packer); /* drops what was not finished; NULL is allowed */

/* The lane that the fewest have begun; each ends once.  Any thread. */
size_t packer_lane_begin(struct packer *packer);
void packer_lane_end(struct packer *packer, size_t lane);

/* Stores one block of chunks in a lane, and settles each of them with dedup.  Fills in `raw`;
 * *out_archive is where. */
int packer_put(struct packer *packer, size_t lane, struct codec *codec, const uint8_t *raw,
               size_t size, struct chunk *chunks, size_t count, uint32_t *out_archive,
               struct err *err);
/* Commits what has been open for too long (backup/archive/writer.c): nobody may come into a lane
 * for the rest of the run.  To be called now and then.  Any thread. */
int packer_close_old(struct packer *packer, struct err *err);
int packer_finish(struct packer *packer, struct err *err);
uint64_t packer_stored(const struct packer *packer); /* bytes of blocks so far */
