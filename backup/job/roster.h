/*
 * roster — the snapshots as the repository itself says now: their roots, and whether they are
 * forgotten or held.
 *
 * For who deletes: nothing here is remembered from an earlier time.
 *
 * Ownership: roster_clear().
 * Threads:   called by one; of a remote store many roots are read at once.
 * Errors:    those of the store.  A root that cannot be read is no error but a damaged snapshot.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/root.h"

struct err;
struct repo;

struct roster_revision {
    uint64_t number, size;
};

struct roster_snapshot {
    char name[SNAPSHOT_NAME_SIZE];
    struct roster_revision *revisions; /* ascending; the last one counts */
    size_t revision_count;
    bool damaged; /* its root cannot be read: only its name is known */
    bool forgotten, held;
    int64_t forgotten_ns;
    struct root root;
};

struct roster {
    struct roster_snapshot *at; /* by name */
    size_t count;
};

int roster_load(struct repo *repo, struct roster *out, struct err *err);
void roster_clear(struct roster *roster);
const struct roster_snapshot *roster_find(const struct roster *roster, const char *name);

static inline uint64_t roster_revision(const struct roster_snapshot *snapshot)
{
    return snapshot->revisions[snapshot->revision_count - 1].number;
}
