/*
 * wal_path — how far a recovery gets: the log from a position on, along the timelines, to where it
 * ends or has a gap; and which commits lie on the way.
 *
 * Ownership: plain values.
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

enum { WAL_STRETCHES_MAX = 256 };

/* What is replayed of one timeline. */
struct wal_stretch {
    uint32_t timeline;
    uint64_t from, to; /* [from, to) */
};

struct wal_path {
    uint64_t system;
    size_t count; /* 0: the log at the position is not stored */
    struct wal_stretch at[WAL_STRETCHES_MAX];
    bool gap; /* behind it there is more of the same timeline, but not what comes next */
};

/* From `from` on `timeline`, along `followed` (0: the newest that is stored). */
int wal_path_find(struct catalog *catalog, uint64_t system, uint32_t timeline, uint64_t from,
                  uint32_t followed, struct wal_path *out, struct err *err);
/* The end of it; 0: it is empty. */
uint64_t wal_path_end(const struct wal_path *path);

/* Every commit on it, in order; what each() returns, if not 0, ends it: more than 0 is no error. */
int wal_path_marks(struct catalog *catalog, const struct wal_path *path,
                   int (*each)(void *context, uint32_t timeline, const struct wal_mark *mark,
                               struct err *err),
                   void *context, struct err *err);
/* The last commit on it: 1; 0: there is none. */
int wal_path_last(struct catalog *catalog, const struct wal_path *path, struct wal_mark *out,
                  struct err *err);

/*
 * The moment `time_us` as a position: *out is the last commit that recovery to this time replays.
 * *out_later: there is a commit behind it, so that the server itself finds the time (it fails where
 * no commit is later).  1: found; 0: no commit on the path is as old as that.
 */
int wal_path_at_time(struct catalog *catalog, const struct wal_path *path, int64_t time_us,
                     struct wal_mark *out, bool *out_later, struct err *err);
