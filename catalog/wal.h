/*
 * wal — what the catalog knows of servers' logs: which parts are stored, and what they lead to.
 *
 * wal_sync() reads what is new; everything else answers from what the catalog has.
 *
 * Ownership: the …_clear() functions free.
 * Threads:   as the catalog.
 * Errors:    those of the catalog and the store.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/wal.h"

struct catalog;
struct err;
struct strings;

/* A run of a timeline's log without a gap. */
struct wal_range {
    uint64_t system, segment_size;
    uint32_t timeline;
    uint64_t start, end;      /* [start, end) */
    uint64_t segments, tails; /* objects that it is made of */
    uint64_t stored;          /* bytes that they take */
    uint64_t commits;
    struct wal_mark first, last; /* commits, if there are any */
    int64_t earliest_us, latest_us;
    int64_t made_ns; /* when its newest part was stored */
    uint16_t magic;
};

struct wal_ranges {
    struct wal_range *at; /* by system, timeline, start */
    size_t count;
};

/* A part of a range. */
struct wal_part {
    char object[OBJECT_NAME_SIZE];
    enum wal_what what;
    uint64_t start, length, commits;
    int64_t earliest_us, latest_us;
};

struct wal_parts {
    struct wal_part *at; /* by start, the longer first */
    size_t count;
};

struct wal_points {
    struct wal_point *at; /* by LSN */
    size_t count;
};

int wal_sync(struct catalog *catalog, struct err *err);

/* `system` 0: of all. */
int wal_ranges_find(struct catalog *catalog, uint64_t system, struct wal_ranges *out,
                    struct err *err);
void wal_ranges_clear(struct wal_ranges *ranges);

/* Segments and tails that have something between two positions. */
int wal_parts_find(struct catalog *catalog, uint64_t system, uint32_t timeline, uint64_t from,
                   uint64_t to, struct wal_parts *out, struct err *err);
void wal_parts_clear(struct wal_parts *parts);

/* Restore points between two positions. */
int wal_points_find(struct catalog *catalog, uint64_t system, uint32_t timeline, uint64_t from,
                    uint64_t to, struct wal_points *out, struct err *err);
void wal_points_clear(struct wal_points *points);

/* Objects that do not open: "OBJECT: REASON" is told once, when they are met; here their names. */
int wal_damaged(struct catalog *catalog, struct strings *out, struct err *err);

/* Opens every object, and with `data` reads all of it; `damaged` is told each that is not as it was
 * written, and then ERR_CORRUPT.  *out_count is how many there are. */
int wal_check(struct catalog *catalog, bool data,
              void (*damaged)(void *context, const char *object, const struct err *err),
              void *context, uint64_t *out_count, struct err *err);

/* What no recovery needs any more, when `oldest` is the lowest start LSN of all physical backups of
 * this server that are kept (there has to be one): segments and tails that end at or before it. */
int wal_expired(struct catalog *catalog, uint64_t system, uint64_t oldest, struct strings *out,
                struct err *err);
