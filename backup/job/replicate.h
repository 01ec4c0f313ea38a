/*
 * replicate — bring a second store up to date with a repository: what is missing there, nothing
 * else.
 *
 * Objects never change, so a replica is the same objects under the same names, and as good a
 * repository as the first.  Every archive is opened and each block decoded on its way, so that rot
 * is told and not spread.  Nothing is deleted and nothing overwritten: what the source lost stays,
 * and a replica is pruned as a repository of its own (so marks are not copied).
 *
 * In what order: keys, the repository's header, content, notes, and roots last, so that a replica
 * is a whole repository whenever it is interrupted; another run goes on.
 *
 * Ownership: borrows everything.
 * Threads:   called by one; runs its own.
 * Errors:    ERR_EXISTS: another repository is there.  Store errors of either side end it.  Damage
 * is told by object, counted, and not copied.  ERR_COLD: all is copied but what is in cold storage
 * here, and no snapshots.  ERR_BUSY: all but what another host has claimed there (docs/format.md,
 * "Claims"), which is warned of.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct err;
struct progress;
struct repo;
struct store;
struct strings;
struct thaw;

struct replicate_options {
    struct repo *repo;
    struct store *to; /* NULL, with dry_run: there is nothing yet */
    bool dry_run;
    struct progress *progress; /* bytes_total is what is missing */
    /* An object that is damaged here, or is of another size there. */
    void (*trouble)(void *context, const char *object, const struct err *err);
    /* An object that came there; by one thread at a time.  NULL: nobody wants to know. */
    void (*copied)(void *context, const char *object);
    /* All else has come; `roots` are the objects of snapshots that would come next,
     * "NAME/REVISION". What it returns ends it.  NULL: nobody wants to know.  Not called where
     * there are none, nor with dry_run. */
    int (*before_roots)(void *context, const struct strings *roots, struct err *err);
    void *context;
    /* What is missing there is counted among what this needs, and then `ready` is called, before
     * anything is copied; what that returns ends it.  NULL: what is cold is met on the way. */
    struct thaw *thaw;
    int (*ready)(void *ready_context, struct err *err);
    void *ready_context;
};

struct replicate_result {
    uint64_t objects, bytes; /* copied; with dry_run those that would be */
    uint64_t snapshots;      /* of them roots */
    uint64_t troubles;
    uint64_t cold, cold_bytes; /* cannot be read here before they are thawed */
};

int replicate_run(const struct replicate_options *options, struct replicate_result *out,
                  struct err *err);
