/*
 * stats — what takes the room: stored content by snapshot, type and directory, and what forgetting
 * a snapshot would free.
 *
 * Exact for content, chunk by chunk: a chunk is counted once, with the oldest file that refers to
 * it, at its part of the block that it is stored in.  A snapshot alone has what no other one refers
 * to.  Directories' own room is not in it.
 *
 * Reads each distinct directory once, and one table for each data archive.  Memory: bounded; what
 * is gathered goes through a file.
 *
 * Ownership: stats_clear().
 * Threads:   one.
 * Errors:    those of forest and reader; with that of forest_unread() there are figures all the
 * same.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "backup/archive/root.h"

struct blocks;
struct err;
struct timeline;

enum { STATS_GROUPS_MAX = 65536 };

/* A directory at the depth that was asked for, with all below it. */
struct stats_group {
    enum snapshot_type type;
    char *path; /* "/srv/app"; NULL: all that were too many */
    double stored;
};

struct stats {
    double stored;           /* all content that snapshots refer to */
    double types[TYPES + 1]; /* of it */
    double *frees, *brought; /* for each snapshot: it alone has; it was the first to have */
    struct stats_group *groups;
    size_t group_count, group_room;
    uint64_t archives, chunks; /* live */
    uint64_t cold;             /* archives whose table is in cold storage: in no figure */
};

int stats_run(struct blocks *blocks, const struct timeline *timeline, unsigned depth,
              struct stats *out, struct err *err);
void stats_clear(struct stats *stats);
