/*
 * cool — data archives that are old enough go into another storage class.
 *
 * By the store's own clock and the class that it lists: so whatever it is killed at is merely
 * unfinished, and a machine whose clock is wrong does no harm.  Left where they are: archives in
 * a class as cold, those under a pruner's mark (they go soon), and those that others
 * were compacted into (their tables have to be read, as long as places name the others): of these
 * it is said how many, since a compaction that ends an epoch moves all there is.
 *
 * Ownership: borrows everything in the options.
 * Threads:   called by one; runs its own.
 * Errors:    store errors of the first that could not be moved; `out` says what was done also then.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct err;
struct progress;
struct repo;
struct store;

struct cool_options {
    struct repo *repo;   /* whose archives they are: knows what was compacted */
    struct store *store; /* where they are: the repository's, or a replica's */
    const char *class;
    int64_t age_ns;
    bool dry_run;
    struct progress *progress;
    void (*tell)(void *context, const char *object, uint64_t size); /* NULL: nobody asks */
    void *context;
};

struct cool_result {
    uint64_t archives, bytes;            /* moved; with dry_run those that would be */
    uint64_t compacted, compacted_bytes; /* old enough, and left: others were compacted into them */
};

int cool_run(const struct cool_options *options, struct cool_result *out, struct err *err);
