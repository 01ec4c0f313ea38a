/*
 * treewalk — all entries below a stored directory, each before what is below it.
 *
 * Keeps one small record for each level, and only the innermost directories open, so that neither
 * depth nor width costs memory.
 *
 *     while ((r = treewalk_next(walk, &entry, &path, &err)) != 0) ...
 *
 * Ownership: borrows blocks.  What treewalk_next() gives is good until the next call.
 * Threads:   one.
 * Errors:    ERR_CORRUPT and those of blocks: the rest of that directory is left out, and the walk
 * goes on with the next call; treewalk_depth() still counts that directory.  ERR_TOO_LARGE for a
 * path beyond 16 MiB.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct blocks;
struct dirref;
struct entry;
struct err;
struct tree_position;
struct treewalk;

int treewalk_new(struct blocks *blocks, const struct dirref *directory, struct treewalk **out,
                 struct err *err);
void treewalk_free(struct treewalk *walk); /* NULL is allowed */
void treewalk_freep(struct treewalk **walk);

/* 1: an entry, and its path below the directory; 0: the end; negative: an error, *out_path is the
 * directory it is about. */
int treewalk_next(struct treewalk *walk, const struct entry **out, const char **out_path,
                  struct err *err);
/* The directory that was given last is not entered. */
void treewalk_skip(struct treewalk *walk);

/* Where the entry that was given last stands; the rest of that leaf is left out, and it is not
 * entered. */
void treewalk_position(const struct treewalk *walk, struct tree_position *out);
void treewalk_skip_leaf(struct treewalk *walk);

/* The directories that lead to what was given last: 0 is where the walk began. */
size_t treewalk_depth(const struct treewalk *walk);
const struct dirref *treewalk_directory(const struct treewalk *walk, size_t level);
