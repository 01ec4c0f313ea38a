/*
 * sorter — puts any number of byte strings in order within a stated amount of memory.
 *
 * What does not fit is written as sorted runs to a temporary file without a name, and merged when
 * it is read.  Memory: the limit, and 4 KiB for each run once there are many of them.  The file
 * holds the records as they are, so `dir` has to be a private place.
 *
 *     sorter_new(dir, limit, &sorter, err);
 *     sorter_add(sorter, bytes, size, err);  ...
 *     sorter_finish(sorter, err);
 *     while ((r = sorter_next(sorter, &bytes, &size, err)) == 0 && bytes) ...
 *
 * Ownership: records are copied in; what sorter_next() lends is good until it is called again.
 * Threads:   one at a time.
 * Errors:    after one, free the sorter.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct err;
struct sorter;

/* `memory_limit` in bytes, at least 4096 and below 4 GiB; a record may take a quarter of it. */
int sorter_new(const char *dir, size_t memory_limit, struct sorter **out, struct err *err);
void sorter_free(struct sorter *sorter);
void sorter_freep(struct sorter **sorter);

/* Takes one record; equal ones are all kept.  ERR_TOO_LARGE for a record above the limit. */
int sorter_add(struct sorter *sorter, const void *bytes, size_t size, struct err *err);

/* No more records are added; from now on they are read. */
int sorter_finish(struct sorter *sorter, struct err *err);

/* The next record, ordered as by memcmp() and then by length; NULL after the last. */
int sorter_next(struct sorter *sorter, const uint8_t **out_bytes, size_t *out_size,
                struct err *err);
