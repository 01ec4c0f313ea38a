/*
 * pattern — lists of what to leave out, with the rules of .gitignore.
 *
 * The last pattern that matches decides.  "!" takes back in what an earlier pattern left out;
 * a pattern with a slash before its last byte is anchored at the source's root, one without
 * matches at every depth, one that ends with a slash matches directories only.
 *
 * Whoever walks a tree asks for each entry from the top down and does not enter a directory that
 * is left out; so, as with git, nothing below it can be taken back in.
 *
 * Ownership: the list copies what it is given.
 * Threads:   any number may match once nothing is added any more.
 * Errors:    ERR_NOMEM; of patterns_add_file() also those of reading.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct err;
struct patterns;

enum pattern_verdict {
    PATTERN_NONE,     /* no pattern says anything */
    PATTERN_EXCLUDED, /* leave it out */
    PATTERN_INCLUDED, /* taken back in by "!" */
};

/* NULL: no memory. */
struct patterns *patterns_new(void);
void patterns_free(struct patterns *patterns);
void patterns_freep(struct patterns **patterns);

/* One line of a file of patterns, without its newline; empty lines and comments add nothing. */
int patterns_add_line(struct patterns *patterns, const char *line, size_t size, struct err *err);

/* All lines of a file of at most 1 MiB. */
int patterns_add_file(struct patterns *patterns, int dirfd, const char *name, struct err *err);

/*
 * One pattern from the command line or the configuration.  Unlike a line it is no comment, keeps
 * its last spaces, and a slash at its start means the root of the file system.
 */
int patterns_add_option(struct patterns *patterns, const char *text, struct err *err);

bool patterns_is_empty(const struct patterns *patterns);

/*
 * What the list says of one entry: `relative` is its path below the source's root, as in "a/b";
 * `absolute` is the whole, as in "/home/a/b".  Both are clean (see base/path.h).
 */
enum pattern_verdict patterns_match(const struct patterns *patterns, const char *relative,
                                    size_t relative_size, const char *absolute,
                                    size_t absolute_size, bool is_dir);
