/*
 * walbackups — the physical backups that a repository has, as places in their servers' logs.
 *
 * What a backup says of itself is read from it: backup_label (where recovery begins), the manifest
 * (where it is consistent), pg_control (whose it is).
 *
 * Ownership: walbackups_clear() frees.
 * Threads:   one.
 * Errors:    those of the repository; a backup that cannot be read is passed over, and told.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/root.h"

struct err;
struct session;

struct walbackup {
    char snapshot[SNAPSHOT_NAME_SIZE];
    uint64_t system;
    uint32_t timeline;
    uint64_t start;      /* recovery begins here */
    uint64_t consistent; /* and must get here at least; 0: not known */
    int64_t end_ns;      /* when the snapshot was complete */
};

struct walbackups {
    struct walbackup *at; /* by name */
    size_t count;
    size_t unreadable; /* snapshots that may hold one */
};

/* The session has its catalog and its blocks.  `all`: also those that are forgotten and not pruned
 * yet. */
int walbackups_find(struct session *session, bool all, struct walbackups *out, struct err *err);
void walbackups_clear(struct walbackups *backups);
