/*
 * paths — what a user wrote as PATH, as a clean absolute path.
 *
 * Symbolic links on the way are resolved, the last name is kept: a link is backed up as a link.
 *
 * Threads: one (the current directory).
 * Errors:  ERR_USAGE for an empty path.  That a path does not exist is no error here: whoever reads
 * it says so.
 */
#pragma once

#include <stddef.h>

struct err;
struct strings;

/* Adds the path; where it is itself a link to a directory, that directory's path as well, and says
 * so. */
int paths_add(struct strings *paths, const char *text, size_t size, struct err *err);

/* Adds each line of a file ("-": stdin); with `zero`, lines end in NUL. */
int paths_add_from(struct strings *paths, const char *file, int zero, struct err *err);
