/* ingest_internal — shared by ingest.c (the walk), ingest_line.c (entries that wait),
 * ingest_entry.c (what an entry is) and ingest_links.c (several names of one file). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "backup/archive/tree.h"
#include "backup/archive/treewriter.h"
#include "backup/base/buf.h"
#include "backup/base/err.h"
#include "backup/job/backup.h"
#include "backup/job/ingest.h"

struct fileread;
struct frame;
struct linkgroup;
struct spillmap;
struct srcdir;
struct walk;
struct walk_item;

enum { WAITING_MAX = 32 * 1024 }; /* entries that wait, in all directories */

/* An entry that waits in its directory's line: for its own content, or for one before it. */
struct slot {
    struct slot *next;
    struct frame *frame;
    struct entry entry; /* its pointers are into the slot's own memory */
    char *name;
    struct buf target, xattrs;
    struct extent *extents;
    struct fileread *file; /* keeps what the entry points to */
    struct contentwriter *content;
    struct linkgroup *group; /* several names: to be told */
    struct slot *next_of_group;
    struct srcdir *dir; /* of a name that waits for another: in case that one cannot be read */
    bool ready, dropped;
    bool has_same;
    struct tree_position same;
    /* Directories: as they were before. */
    struct dirref old_directory;
    uint64_t old_below_entries, old_below_bytes;
};

/* A directory from its WALK_ENTER until it is written. */
struct frame {
    struct frame *parent;
    struct slot *slot; /* in the parent's line; NULL: the root */
    struct tree_cursor *old;
    const struct entry *old_entry; /* where the merge join stands; NULL: at the end */
    struct dirwriter *writer;
    struct slot *first, **last;
    uint64_t entries, below_entries, below_bytes;
    size_t held; /* files that keep its directory open */
    bool ended, prune;
    struct frame *next_of_all, *previous_of_all;
};

struct ingest {
    struct ingest_options options;
    struct root_type *out;
    struct walk *walk;
    struct codec *codec; /* for what the walk itself stores */
    struct frame *frame; /* where the walk is */
    struct frame *all;   /* every directory that is not written yet */
    struct spillmap *links;
    size_t waiting;
    size_t held, held_max; /* directories that are kept open for files to be read */
    int64_t trusted_ns;    /* what changed well before this is as the snapshot before has it */
    struct dirref root;
    bool root_done;
    struct buf path; /* for messages */
};

/* ingest_entry.c */
void entry_from_statx(struct entry *out, const char *name, const struct statx *st);
/* Whether the content of a file of the snapshot before still holds. */
bool ingest_content_holds(struct ingest *ingest, const struct entry *old, const struct statx *st);
/* Same in every field that the walk sees, but for the number of the device. */
bool ingest_same_attributes(const struct entry *old, const struct entry *now);
/* Whether the `length` bytes at a place can be referred to as they are: their archive is there and
 * under no mark, or they were moved to one of which that is true.  Items of directories: 1. */
bool ingest_usable(struct ingest *ingest, struct place place, uint64_t length);
/* xattrs into the entry: inline, or stored as content. */
int ingest_set_xattrs(struct ingest *ingest, struct entry *entry, const struct buf *set,
                      struct err *err);
/* A file that was read: attributes, content, digest. */
int ingest_set_content(struct ingest *ingest, struct slot *slot, struct fileread *file,
                       struct err *err);

/* ingest_line.c */
struct frame *ingest_frame_new(struct ingest *ingest, struct frame *parent, struct slot *slot,
                               const struct dirref *old, struct err *err);
void ingest_frames_free(struct ingest *ingest);
/* The entry of this name in the snapshot before; NULL: none. */
const struct entry *ingest_old(struct ingest *ingest, struct frame *frame, const char *name);
/* An entry that is complete: written at once if none waits before it. */
int ingest_add(struct ingest *ingest, struct frame *frame, const struct entry *entry,
               const struct tree_position *same, struct err *err);
/* A place in the line for an entry that is not. */
int ingest_wait(struct ingest *ingest, struct frame *frame, const struct entry *entry,
                struct slot **out, struct err *err);
/* Writes what has become complete, up to the root. */
int ingest_advance(struct ingest *ingest, struct frame *frame, struct err *err);
int ingest_path(const struct frame *frame, const char *name, struct buf *out, struct err *err);

/* ingest.c: one path could not be read, or is gone. */
void ingest_trouble(struct ingest *ingest, const struct frame *frame, const char *name,
                    const struct err *failure);

/* ingest_stdin.c: standard input as the only file. */
int ingest_stdin(struct ingest *ingest, struct err *err);

/* ingest_done.c: takes what the workers have done; with `all`, until nothing is under way. */
int ingest_drain(struct ingest *ingest, bool all, struct err *err);
/* Has the slot's file read (`dir` NULL: standard input). */
int ingest_submit(struct ingest *ingest, struct slot *slot, struct srcdir *dir, struct err *err);
/* Counts a file that keeps its directory open. */
void ingest_hold(struct ingest *ingest, struct frame *frame);
void ingest_unhold(struct ingest *ingest, struct frame *frame);

/*
 * ingest_links.c: a file that has several names.  Device and inode tell which it is, with the time
 * of its birth in the device's number, since an inode that was freed is soon another file's.
 */
struct link_key {
    uint64_t device, inode;
};
struct link_key link_key_of(const struct statx *st);
/* Whether the file was met before: `*out_known`, and the entry's place is where its inode item is;
 * or it is still being read (`*out_group`). */
void ingest_link(struct ingest *ingest, struct link_key key, struct entry *entry, bool *out_known,
                 struct linkgroup **out_group);
/* The slot that gets the group is its leader: the name that is read. */
int ingest_link_new(struct ingest *ingest, struct link_key key, struct linkgroup **out,
                    struct err *err);
void ingest_link_join(struct ingest *ingest, struct linkgroup *group, struct slot *slot,
                      struct srcdir *dir);
/* The inode's item is at entry->place from now on. */
int ingest_link_known(struct ingest *ingest, struct link_key key, const struct entry *entry,
                      struct err *err);
/* Whether what was read by the slot's name is the group's file, and not one that took its place. */
bool ingest_link_is_member(const struct slot *slot, const struct fileread *file);
/* The leader was read. */
int ingest_link_settle(struct ingest *ingest, struct slot *leader, struct err *err);
/* The leader's name leads nowhere, or to another file by now: the next one is read. */
int ingest_link_pass_on(struct ingest *ingest, struct slot *leader, struct err *err);
