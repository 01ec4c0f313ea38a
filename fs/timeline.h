/*
 * timeline — all snapshots of a host, or of every host, oldest first, and where one path leads in
 * each of them.
 *
 * A trail is what a path is in each snapshot, as runs of snapshots in which it is the same record.
 * Going one name further looks into each distinct directory once, however many snapshots share it,
 * so a trail costs what differs and not the number of snapshots.
 *
 * Ownership: timeline_clear() and trail_clear(); a trail borrows its timeline.
 * Threads:   plain values.
 * Errors:    ERR_CORRUPT, store errors; a path that is nowhere is an empty trail.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/root.h"
#include "backup/archive/tree.h"

struct catalog;
struct err;
struct snapshot_row;

struct timeline_shot {
    char name[SNAPSHOT_NAME_SIZE];
    int64_t start_ns;
    bool adhoc;
    uint8_t types;                        /* bits of 1 << enum snapshot_type */
    struct dirref directories[TYPES + 1]; /* of each type */
};

struct timeline {
    struct timeline_shot *at;
    size_t count;
};

/* Reads the root of each snapshot of `host` (NULL: of all hosts) with one of `types` (0: any). */
int timeline_load(struct catalog *catalog, const char *host, uint8_t types, struct timeline *out,
                  struct err *err);
void timeline_clear(struct timeline *timeline);
/* Whether a snapshot with this type that was no adhoc one lies between two: an adhoc snapshot
 * without a path does not say that the path was gone. */
bool timeline_gap(const struct timeline *timeline, enum snapshot_type type, uint32_t after,
                  uint32_t before);
/* The newest with this type that is not adhoc; false: there is none. */
bool timeline_newest(const struct timeline *timeline, enum snapshot_type type, uint32_t *out);

/* One record in snapshots that follow one another. */
struct run {
    uint32_t first, last; /* numbers in the timeline */
    struct place place;   /* as in struct entry; nowhere for a type's own directory */
    bool shared;
    enum entry_type type;
    struct dirref directory; /* of directories */
};

struct trail {
    const struct timeline *timeline;
    enum snapshot_type type;
    struct run *at;
    size_t count, room;
};

/* The type's own directory. */
int trail_start(const struct timeline *timeline, enum snapshot_type type, struct trail *out,
                struct err *err);
/* A name in what `parent` leads to. */
int trail_step(struct blocks *blocks, const struct trail *parent, const char *name, size_t size,
               struct trail *out, struct err *err);
/* A clean path ("/srv/app") from the type's own directory. */
int trail_follow(struct blocks *blocks, const struct timeline *timeline, enum snapshot_type type,
                 const char *path, struct trail *out, struct err *err);
void trail_clear(struct trail *trail);
