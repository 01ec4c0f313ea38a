/*
 * find — names that match, over all snapshots, each path once with the snapshots that have it.
 *
 * A path is a match while an entry there is what was asked for; its first and last snapshot are
 * those of any such entry, what is told besides is of the newest.
 *
 * Ownership: borrows blocks, timeline and the query.
 * Threads:   one.
 * Errors:    those of forest, that of forest_unread() when all matches are told; ERR_USAGE for a
 *            pattern.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "backup/archive/entry.h"

struct blocks;
struct err;
struct timeline;

enum find_compare { FIND_ANY, FIND_MORE, FIND_LESS, FIND_EQUAL };

struct find_query {
    const char *pattern; /* a glob: of the name, or of the whole path where it has a slash */
    bool regex;          /* POSIX extended, sought in the path with its leading slash */
    uint16_t kinds;      /* bits of 1 << enum entry_type; 0: any */
    uint8_t types;       /* bits of 1 << enum snapshot_type; 0: any */
    bool deleted;        /* not in the newest snapshot of its type */
    enum find_compare size_compare;
    uint64_t size;
    bool has_newer, has_older;
    int64_t newer_s, older_s; /* mtime: after, before */
    uint32_t newer_ns, older_ns;
};

struct find_match {
    uint8_t type;         /* enum snapshot_type */
    const char *path;     /* "/srv/app/.env", terminated */
    uint32_t first, last; /* numbers in the timeline */
    struct entry entry;   /* type, mode, uid, gid, size, mtime; of the newest */
};

/* Non-zero ends it with that result. */
typedef int find_fn(void *context, const struct find_match *match, struct err *err);

/* Matches by type, then path. */
int find_run(struct blocks *blocks, const struct timeline *timeline, const struct find_query *query,
             find_fn *each, void *context, struct err *err);
