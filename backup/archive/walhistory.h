/*
 * walhistory — the timelines that a timeline came from, and where it left each: a server's
 * NNNNNNNN.history file.
 *
 * Ownership: plain values.
 * Threads:   any.
 * Errors:    ERR_CORRUPT for what is no such file.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct repo;

enum { WAL_TIMELINES_MAX = 1024, WAL_HISTORY_MAX = 1024 * 1024 };

struct wal_ancestor {
    uint32_t timeline;
    uint64_t end; /* the timeline after it began here */
};

/* The way to `timeline`: its ancestors, the oldest first. */
struct walhistory {
    uint32_t timeline;
    size_t count;
    struct wal_ancestor at[WAL_TIMELINES_MAX];
};

int walhistory_parse(const void *bytes, size_t size, uint32_t timeline, struct walhistory *out,
                     struct err *err);
/* What the repository has stored of it; timeline 1 has no ancestors.  ERR_NOT_FOUND. */
int walhistory_read(struct repo *repo, uint64_t system, uint32_t timeline, struct walhistory *out,
                    struct err *err);
/* Up to where the log of `timeline` belongs to it: UINT64_MAX for its own, 0 for one that it did
 * not come from. */
uint64_t walhistory_end(const struct walhistory *history, uint32_t timeline);
/* The timeline that came after one that it came from. */
uint32_t walhistory_next(const struct walhistory *history, uint32_t timeline);
/* The newest timeline from `timeline` on, as the stored histories say. */
int walhistory_newest(struct repo *repo, uint64_t system, uint32_t timeline, uint32_t *out,
                      struct err *err);
