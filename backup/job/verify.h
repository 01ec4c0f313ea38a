/*
 * verify — is everything there, whole, and right?
 *
 * The default looks at structure: every object that the snapshots need is present and opens, every
 * directory reads, every reference resolves.  With `data` every block of every archive is decoded
 * and every chunk's digest checked.  Damage is told by archive, and then by the snapshots and paths
 * that need what is damaged.
 *
 * Ownership: borrows blocks.
 * Threads:   called by one; --data runs its own workers.
 * Errors:    returns ERR_CORRUPT when damage was found (each told before); other errors keep it
 * from finding out.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/root.h"

struct blocks;
struct err;
struct progress;

struct verify_options {
    const char *const *snapshots; /* names; none: all */
    size_t snapshot_count;
    bool data;
    struct progress *progress;
    /* One finding: an object ("data/3f…") and what is wrong with it. */
    void (*damaged)(void *context, const char *object, uint32_t archive, const struct err *err);
    /* An archive every block of which was decoded, and nothing was wrong. */
    void (*whole)(void *context, uint32_t archive);
    /* A path of a snapshot that needs something damaged. */
    void (*hurt)(void *context, const char *snapshot, const char *path, const struct err *err);
    void *context;
};

struct verify_result {
    uint64_t snapshots, archives, blocks, chunks, entries, bytes;
    uint64_t damaged_archives, hurt_snapshots, hurt_paths;
    uint64_t cold_archives; /* in cold storage: that they are there is all that was checked */
};

int verify_run(struct blocks *blocks, const struct verify_options *options,
               struct verify_result *out, struct err *err);
