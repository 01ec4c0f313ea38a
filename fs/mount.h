/*
 * mount — every snapshot as read-only directories, by FUSE's low-level interface.
 *
 * Nearly all memory is the cache of decoded blocks; beside it, 48 bytes are kept for each directory
 * that the kernel has in its own (larger) cache, and about 200 for each snapshot.  SIGTERM, SIGINT
 * and SIGHUP unmount; SIGUSR2 logs how many requests of which kind there were.
 *
 * Ownership: mount_run() borrows the repo and returns when the file system is unmounted, or, in
 * the background, when it answers.
 * Threads:   its own: two loop threads, decoders, one that watches for new snapshots.  The caller
 * has none: there may be a fork.
 * Errors:    what keeps it from mounting, with a hint (no /dev/fuse, not empty, allow_other needs
 * user_allow_other …).  Damage is EIO to who reads, and one line in the log.
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
    bool no_holes;      /* who asks where holes are is not told: see docs/decisions/holes.md */
    size_t cache_bytes; /* of decoded blocks */
    unsigned refresh_s; /* all is listed so often, to find what is new */
};

int mount_run(struct repo *repo, const struct mount_options *options, struct err *err);
/* Unmounts, also what a killed process left behind. */
int mount_undo(const char *directory, struct err *err);
