/*
 * path — paths as bytes: cleaned, joined, taken apart, made fit to print.
 *
 * A clean path is absolute and holds no empty component, no "." and no "..": "/" or "/a/b".
 * Names are bytes, not text; only path_printable() looks at them as UTF-8.  Nothing here asks the
 * file system, except path_absolute() for the current directory, and no length is assumed.
 *
 * Errors: ERR_USAGE for what cannot be cleaned, those of the buffer.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct buf;
struct err;

/* Appends the clean form of the absolute path `path` and no NUL.  ".." is refused: what it means
 * depends on symbolic links. */
int path_clean(const char *path, size_t size, struct buf *out, struct err *err);

/* The same for a path that may be relative to the current directory. */
int path_absolute(const char *path, size_t size, struct buf *out, struct err *err);

/* Appends one name to the clean path in `path`. */
int path_join(struct buf *path, const char *name, size_t size, struct err *err);

/* Cuts the last name off the clean path in `path`; "/" stays. */
void path_pop(struct buf *path);

/* Steps from component to component: *at moves on, *out_name is not terminated; false at the end.
 */
bool path_next(const char **at, const char *end, const char **out_name, size_t *out_size);

/* Whether a directory can have an entry of this name: not empty, no "/" or NUL, not "." or "..". */
bool path_is_name(const char *name, size_t size);

/*
 * Writes `bytes` with control characters and what is no UTF-8 as \ooo, terminated and cut to fit
 * into `out_size` (at least 1); returns the length.  Printing twice changes nothing.
 */
size_t path_printable(const char *bytes, size_t size, char *out, size_t out_size);
