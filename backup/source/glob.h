/*
 * glob — one wildcard pattern, matched as git matches the lines of a .gitignore.
 *
 * `*` and `?` stop at slashes, `[a-z]`, `[!a]` and `[[:alpha:]]` are sets of bytes, `\` takes the
 * next byte as it is.  A component `**` stands for any number of components, at the end for at
 * least one.  Bytes are compared, not characters.  The pattern is taken apart once; matching
 * needs no memory and time in proportion to pattern times path at the most, whatever is in them.
 *
 * Threads: a glob is immutable; any number may match.
 * Errors:  ERR_NOMEM.  A malformed pattern ("[a", a last "\") is no error and matches nothing.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct err;
struct glob;

int glob_new(const char *pattern, size_t size, struct glob **out, struct err *err);
void glob_free(struct glob *glob);
void glob_freep(struct glob **glob);

/* Whether the pattern has no slash and this is a name that it matches. */
bool glob_matches_name(const struct glob *glob, const char *name, size_t size);

/* Whether the whole path matches; it has no slash at either end and no empty component. */
bool glob_matches_path(const struct glob *glob, const char *path, size_t size);
