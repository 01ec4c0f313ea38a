/*
 * prune — gives the room back that only forgotten snapshots needed.
 *
 * Without a lock, beside backups and mounts: what nothing needs gets a mark, and is deleted when
 * the mark is older than the grace and a second look at the roots still finds nobody who needs it.
 * docs/format.md, "Deleting", and docs/decisions/prune.md.  Whatever it is killed at is merely
 * unfinished.
 *
 * Ownership: borrows everything in the options.
 * Threads:   called by one; in a bucket many objects are marked and deleted at once, and callbacks
 * are made by any thread, never by two at a time.
 * Errors:    ERR_CORRUPT when a directory of a kept snapshot cannot be read: then nothing was
 * deleted; ERR_SYSTEM with ENOSPC when there was no room for marks; `out` says what was done also
 * then.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/root.h"
#include "backup/job/marks.h"

struct blocks;
struct err;
struct progress;

/* A snapshot as somebody remembers it from before: what a listing that was cut short lacks is
 * noticed, and nothing dies that he takes for alive. */
struct prune_known {
    char name[SNAPSHOT_NAME_SIZE];
    uint64_t revision;
    bool dead; /* forgotten, and not held */
};

enum prune_action { PRUNE_DELETE, PRUNE_MARK, PRUNE_UNMARK, PRUNE_COMPACT, PRUNE_LOCKED };

struct prune_options {
    struct blocks *blocks;
    struct marks_moment now;
    int64_t grace_ns;
    unsigned compact_percent; /* archives of which less is needed are compacted; 0: none */
    bool at_once;             /* the repository's lock is held alone: no marks, no grace */
    bool reseal;              /* archives of older epochs are moved as a whole; no snapshot goes */
    bool dry_run;             /* all is told, nothing done */
    const struct prune_known *known; /* may be NULL */
    size_t known_count;
    /* How long ago that moment of the wall's clock was, by what the repository attests. */
    int64_t (*believed)(void *context, int64_t time_ns);
    void (*tell)(void *context, enum prune_action action, const char *object, uint64_t size);
    void *context;
    struct progress *progress;
};

struct prune_result {
    uint64_t snapshots;              /* whose roots were deleted */
    uint64_t deleted, freed;         /* objects, and their bytes */
    uint64_t marked, marked_bytes;   /* anew */
    uint64_t waiting, waiting_bytes; /* marked before, and not yet for long enough */
    uint64_t unmarked, stuck; /* needed again: the mark was taken away; was too old for that */
    uint64_t compacted, compacted_bytes;     /* archives whose needed blocks were moved */
    uint64_t moved_bytes;                    /* what these take now, with their index */
    bool no_room;                            /* to move more */
    uint64_t locked, locked_bytes;           /* would go, and cannot: the bucket's object lock */
    uint64_t locked_snapshots;               /* … with their roots, and so all that they need */
    int64_t locked_first_ns, locked_last_ns; /* until when the first of them is, and the last */
    int64_t locked_ns;                       /* … and the one that was told last */
    uint64_t cold, cold_bytes; /* needed archives in cold storage: not compacted, whatever is dead
                                   in them */
    uint64_t objects, bytes;   /* archives and index archives that there were */
    int64_t next_ns; /* how long until the first of what waits may go; -1: nothing waits */
};

/* Counts an object that is locked until then. */
void prune_note_locked(struct prune_result *result, uint64_t size, int64_t until_ns);
int prune_run(const struct prune_options *options, struct prune_result *out, struct err *err);
