/*
 * walk — goes through the source paths of a backup, directory by directory, names in the order of
 * their bytes.
 *
 * All paths are one tree from "/": a directory above a source path is gone through as a partial one
 * that has only what was asked for.  Nothing recurses, no path is too long, and the number of open
 * directories is bounded whatever the depth.
 *
 *     WALK_ENTER a directory … its entries (WALK_ENTRY, WALK_ENTER … WALK_LEAVE) … WALK_LEAVE
 *
 * Ownership: what an item points to is good until the next call; take references of directories
 * that are needed longer. Threads:   one. Errors:    what cannot be read is told to `trouble` and
 * passed over; that memory or descriptors are used up, or a directory's names cannot be sorted,
 * says nothing about the source and ends the walk.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "backup/source/rules.h"

struct err;
struct srcdir;
struct walk;

enum { WALK_NOT_GIVEN = 1 }; /* beside 0 and errors: this name is passed over */

enum walk_event { WALK_END, WALK_ENTER, WALK_ENTRY, WALK_LEAVE };

struct walk_item {
    enum walk_event event;
    const char *name;      /* in its directory; "" for the root */
    struct statx st;       /* not for WALK_LEAVE */
    bool seen_before;      /* ENTRY: st is what a scout saw (findings.h) */
    struct srcdir *parent; /* NULL for the root */
    struct srcdir *dir;    /* ENTER, LEAVE: the directory itself */
    bool partial;          /* ENTER: only what leads to the paths asked for */
    bool prune;            /* ENTER: to be left out if nothing below it was wanted */
};

struct walk_options {
    const char *const *paths; /* absolute and clean; sorted and thinned out by walk_new() */
    size_t path_count;
    const struct rules *rules;
    void (*trouble)(void *context, const char *path, const struct err *err);
    /* Left out by a rule that the user did not write himself: `reason` is a constant. */
    void (*left_out)(void *context, const char *path, const char *reason);
    /* No descriptor is left: lets go of directories that are kept open elsewhere (NULL: there are
     * none).  Its errors end the walk. */
    int (*relieve)(void *context, struct err *err);
    void *context;
};

int walk_new(const struct walk_options *options, struct walk **out, struct err *err);
int walk_next(struct walk *walk, struct walk_item *out, struct err *err);
/* The attributes of an entry that was seen before, as they are now.  WALK_NOT_GIVEN: it is gone, or
 * could not be looked at, which was told. */
int walk_look_again(struct walk *walk, struct walk_item *item);
/* The absolute path of the item that walk_next() gave last; terminated. */
const char *walk_path(const struct walk *walk, size_t *out_size);
/* Source paths after cleaning: without those that lie below another. */
size_t walk_sources(const struct walk *walk, const char *const **out);
void walk_free(struct walk *walk); /* NULL is allowed */
