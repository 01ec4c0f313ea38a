/*
 * units — the workers of a backup: files in, places out.
 *
 * A unit is up to a MiB of the source: many small files in the order of their directories, or the
 * next part of a big one.  One worker carries it the whole way (read, chunk, hash, dedup, compress,
 * seal, write) while it is hot.  A big file's rest is handed on as soon as its next part's cuts are
 * known, so that several workers share one file.
 *
 * There are more workers than cores, since reading small files cold is waiting; at most one for
 * each core computes at a time.
 *
 * Ownership: a submitted file belongs to the units until units_done() gives it back.
 * Threads:   units_submit(), units_done() and units_finish() by one thread, the walk's.
 * Errors:    repository errors end the run: from then on files come back failed, and units_error()
 * tells.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct fileread;
struct packer;
struct dedup;
struct progress;
struct repo;
struct units;

struct units_options {
    struct repo *repo;
    struct packer *packer;
    struct dedup *dedup;
    struct progress *progress;
    int level;
};

int units_new(const struct units_options *options, struct units **out, struct err *err);
void units_free(struct units *units); /* waits for the workers; NULL is allowed */

/* Takes a file; it is read when its unit is full, or at the latest with units_flush().  Never
 * waits. */
int units_submit(struct units *units, struct fileread *file, struct err *err);
int units_flush(struct units *units, struct err *err);
/* Whether it is time to take what is done before submitting more. */
bool units_busy(struct units *units);
/* The files that are done, the oldest first; with `wait`, waits for one unless none is under way.
 * A file of very many extents comes in portions: those with `more` set hold extents only and come
 * before the file itself. */
struct fileread *units_done(struct units *units, bool wait);
/* 0, or the repository error that ended the run. */
int units_error(struct units *units, struct err *err);
/* Ends the run: what waits is not read any more. */
void units_fail(struct units *units, const struct err *err);
uint64_t units_bytes_read(const struct units *units);
