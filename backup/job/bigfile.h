/*
 * bigfile — a file that is read in parts, by several workers at once.
 *
 * Whoever holds the rest of the file reads the next part, finds its cuts, hands the rest on, and
 * only then hashes and stores his part.  Parts are put into the file's digest and extents in order.
 * A file that changed meanwhile is read again, once.
 *
 * Ownership: a bigfile owns its file until it gives it back through units_give(), failed or not.
 * Threads:   the rest belongs to one worker at a time; folding is under the file's lock.
 * Errors:    repository errors.
 */
#pragma once

struct bigfile;
struct err;
struct fileread;
struct units;
struct worker;

/* Puts the file's first part into the queue. */
int bigfile_begin(struct units *units, struct fileread *file, struct err *err);
int bigfile_part(struct worker *worker, struct bigfile *big, struct err *err);
