/*
 * rules — what of a source is read and what is left out.
 *
 * Left out: what a pattern names (gitignore's rules), directories that hold a marker (CACHEDIR.TAG,
 * .nobackup, or one of the user's choice), what a build makes again (node_modules; dist beside a
 * package.json, target beside a Cargo.toml …), other file systems if asked, and always the
 * repository itself.  For configuration only what certain patterns name is read, except below paths
 * that are taken whole.
 *
 * Ownership: the strings and pattern lists are borrowed for the life of the walk.
 * Threads:   read-only while a walk uses them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct patterns;

struct rules {
    const struct patterns *excludes; /* NULL: none */
    const struct patterns *only;     /* NULL: everything; else files must match one … */
    const char *const *whole;        /* … unless they lie at or below one of these paths */
    size_t whole_count;
    const char *const *if_present; /* directories that hold one of these names are left out */
    size_t if_present_count;
    bool default_excludes; /* node_modules, build output */
    bool caches;           /* read what CACHEDIR.TAG and .nobackup mark, too */
    bool one_file_system;
    const struct {
        uint64_t device, inode;
    } * never; /* directories that are never entered: the repository */
    size_t never_count;
};

/* The names that rules_marked() wants to know of, for listing_new(); room for LISTING_MARKERS_MAX.
 */
size_t rules_markers(const struct rules *rules, const char **out);

/* Of the names that rules have of themselves, those in an open directory: for who has no listing.
 */
uint64_t rules_look(int fd);
/* Whether a directory with these markers is left out; `fd` is the directory. */
bool rules_marked(const struct rules *rules, uint64_t markers, int fd);
/* Whether directory `name` is what a build makes from the manifests that its parent's markers tell
 * of. */
bool rules_build_output(const struct rules *rules, uint64_t parent_markers, const char *name);
/* By pattern; `path` is absolute, its first `root_size` bytes are the source path that it lies
 * below. */
bool rules_excluded(const struct rules *rules, const char *path, size_t size, size_t root_size,
                    bool directory);
/* Whether all below a path is taken, patterns or not. */
bool rules_whole(const struct rules *rules, const char *path, size_t size);
/* Whether a non-directory is asked for (configuration). */
bool rules_wanted(const struct rules *rules, const char *path, size_t size);
