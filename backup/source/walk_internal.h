/* walk_internal — shared by walk.c (what comes next) and walk_enter.c (directories entered and
 * left). */
#pragma once

#include "backup/base/buf.h"
#include "backup/source/findings.h"
#include "backup/source/listing.h"
#include "backup/source/pathset.h"
#include "backup/source/scout.h"
#include "backup/source/srcdir.h"
#include "backup/source/walk.h"

struct frame {
    struct srcdir *dir; /* NULL: closed for now */
    uint64_t device, inode;
    struct listing *listing; /* NULL: partial, or nothing to be listed */
    uint64_t markers;
    size_t first, end; /* partial: the sources below this directory */
    size_t path_size;  /* of the directory in walk->path */
    bool partial, prune;
    struct findings *findings; /* NULL: none */
    size_t root_size;          /* of the source path that it belongs to; 0 above all of them */
    size_t scouted, again; /* positions in the listing: scouts were sent up to here, and are sent
                              again when the walk has come there */
    bool dead;             /* could not be opened again: its rest was reported */
};

struct walk {
    struct walk_options options;
    struct pathset sources;
    const char *markers[LISTING_MARKERS_MAX];
    size_t marker_count;
    struct frame *frames;
    size_t depth, capacity;
    size_t lowest_open, open_max; /* frames below lowest_open are closed */
    struct buf path;              /* of the last item, terminated */
    bool started, leaving;
    struct scout *scout; /* NULL: descriptors are short, or memory */
    size_t found;        /* what all frames have as findings */
};

/* How a directory is entered: as a partial one with the sources [first, end) below it, or whole. */
struct entering {
    size_t first, end;
    bool partial;
    bool asked; /* the user named it: what marks it as not to be backed up does not count */
};

void walk_report(struct walk *walk, const struct err *err);
void walk_leave_out(struct walk *walk, const char *reason);
/* walk->path = the first `size` bytes of itself, '/', name. */
int walk_set_path(struct walk *walk, size_t size, const char *name, struct err *err);

struct frame *walk_top(struct walk *walk);
/* Enters directory `name`: a frame and an item, or WALK_NOT_GIVEN. */
int walk_enter(struct walk *walk, const char *name, struct statx *st, const struct entering *how,
               struct walk_item *out, struct err *err);
/* Gives the innermost directory's WALK_LEAVE; its frame goes with walk_drop(), at the next call. */
int walk_leave(struct walk *walk, struct walk_item *out, struct err *err);
void walk_drop(struct walk *walk);
void walk_fill(const struct walk *walk, struct walk_item *out, const struct statx *st,
               enum walk_event event, struct srcdir *parent);
