/*
 * dedup — which chunks this run has met, and where they are or are about to be.
 *
 * A worker claims a chunk before it stores it; another one that meets the same chunk meanwhile
 * waits for the place instead of storing it twice. Nobody waits while he holds a claim of his own
 * that he has not settled, so nobody waits in a circle.
 *
 * Ownership: borrows the baseline.  Chunks of archives that the baseline has learned of are let go
 * with dedup_forget(), which bounds the memory. Threads:   any call from any thread. Errors:
 * ERR_NOMEM.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/place.h"

struct baseline;
struct dedup;
struct err;
struct references;
struct sighting;

enum dedup_answer {
    DEDUP_KNOWN,   /* stored: *out_place */
    DEDUP_CLAIMED, /* new: store it, then call dedup_settle() */
    DEDUP_PENDING, /* another one is at it: call dedup_wait() with *out_other when all own claims
                      are settled */
};

/* `baseline` may be NULL.  What the baseline answers is noted in `references`; archives in
 * `refused` are not taken. */
struct dedup *dedup_new(struct baseline *baseline, struct references *references,
                        const struct references *refused); /* NULL: out of memory */
void dedup_free(struct dedup *dedup);

/* An enum dedup_answer, or negative. */
int dedup_claim(struct dedup *dedup, const uint8_t id[32], uint32_t length, struct place *out_place,
                struct sighting **out_other, struct err *err);
/* The claimed chunk is stored at `place`; NO_ARCHIVE: it could not be. */
void dedup_settle(struct dedup *dedup, const uint8_t id[32], struct place place);
/* The place, once it is settled; false: that one failed. */
bool dedup_wait(struct dedup *dedup, const uint8_t id[32], struct sighting *other,
                struct place *out_place);
void dedup_forget(struct dedup *dedup, const uint8_t id[32]);
