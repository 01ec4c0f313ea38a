/*
 * runindex — what a run wrote: its archives, and their tables once more in index archives.
 *
 * Ownership: borrows repo and baseline; owns the list of archives until runindex_take().
 * Threads:   runindex_add() from any thread; the rest by one when all have returned.
 * Errors:    repository errors.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "backup/archive/root.h"

struct baseline;
struct dedup;
struct err;
struct repo;
struct runindex;
struct writer_result;

enum { RUNINDEX_RECORD_MAX = 8 * 1024 * 1024 };

int runindex_new(struct repo *repo, struct baseline *baseline, struct runindex **out,
                 struct err *err);
void runindex_free(struct runindex *index); /* NULL is allowed */

/* An archive is durable.  Its chunks are known to the baseline from now on, and no more to dedup
 * (may be NULL). */
int runindex_add(struct runindex *index, const struct writer_result *archive, const void *record,
                 size_t size, struct dedup *dedup, struct err *err);
/* Makes the index archives durable. */
int runindex_finish(struct runindex *index, struct err *err);
/* The archives of the run, the caller's from now on. */
void runindex_take(struct runindex *index, struct root_archive **out, size_t *out_count);
uint64_t runindex_bytes(const struct runindex *index); /* sizes of all objects so far */
