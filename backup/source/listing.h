/*
 * listing — the names in one directory, in the order of their bytes, each of them once.
 *
 * A directory of ordinary size is sorted in memory; beyond LISTING_MEMORY of names they go through
 * an external sort. While they are read, names that mean something for the whole directory (a
 * CACHEDIR.TAG) are looked out for.
 *
 * Ownership: a name is good until the next call.
 * Threads:   one.
 * Errors:    ERR_NOMEM, and those of the sort's temporary file.  That the directory cannot be read
 * is a result, not an error: what was read of it so far is not used.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct err;
struct listing;

enum { LISTING_UNREADABLE = 1 }; /* beside 0 and errors, with *err filled in */
enum { LISTING_MEMORY = 4 * 1024 * 1024, LISTING_MARKERS_MAX = 64 };

/* `markers`: names to look out for, at most LISTING_MARKERS_MAX.  The descriptor has just been
 * opened. */
int listing_new(int fd, const char *const *markers, size_t count, struct listing **out,
                struct err *err);
/* Bit i: the directory has an entry named markers[i]. */
uint64_t listing_markers(const struct listing *listing);
/* NULL at the end. */
int listing_next(struct listing *listing, const char **out_name, struct err *err);
/* How far listing_next() has come, in the order of names. */
size_t listing_position(const struct listing *listing);
/* The next directory at or behind *position in the order of names that listing_next() has not given
 * yet, and its successor's position in *position; NULL: none any more, or nobody knows (a sort on
 * disk, a file system that does not tell).
 */
const char *listing_directory(const struct listing *listing, size_t *position);
void listing_free(struct listing *listing); /* NULL is allowed */
