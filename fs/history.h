/*
 * history — the versions of one path over all snapshots, oldest first.
 *
 * Two versions differ in what a restore would bring back: type, content (a digest), mode, owner,
 * mtime, xattrs, a symlink's target; for a directory also in anything below it.  A path that was
 * gone in between begins a new version.
 *
 * Ownership: versions_clear().
 * Threads:   plain values.
 * Errors:    those of timeline and diff.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/entry.h"

struct blocks;
struct err;
struct trail;

struct version {
    uint32_t first, last; /* numbers in the timeline */
    struct place place;
    bool shared;
    enum entry_type type;
    bool again;       /* it was gone before */
    unsigned changes; /* enum diff_part against the version before; 0: the first, or again */
};

struct versions {
    struct version *at;
    size_t count, room;
};

int history_versions(struct blocks *blocks, const struct trail *trail, struct versions *out,
                     struct err *err);
void versions_clear(struct versions *versions);
