/*
 * mount — every snapshot as read-only directories, by FUSE's low-level interface.
 *
 * Ownership: mount_run() borrows catalog and blocks and returns when the file system is unmounted.
 * Threads:   its own: two loop threads, decoders, one that watches for new snapshots.  Start none
 * before: it may daemonise. Errors:    what keeps it from mounting, with a hint (no /dev/fuse, not
 * empty, allow_other needs user_allow_other …).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct err;
struct repo;

struct mount_options {
    const char *directory; /* where */
    const char *host;      /* whose snapshots stand at the top */
    const char *catalog_directory;
    bool foreground; /* else: returns in the parent once the mount answers */
    bool allow_other;
    size_t cache_bytes; /* of decoded blocks */
};

int mount_run(struct repo *repo, const struct mount_options *options, struct err *err);
/* Unmounts, also what a killed process left behind. */
int mount_undo(const char *directory, struct err *err);
