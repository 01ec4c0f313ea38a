/*
 * renew — keep what a snapshot refers to locked in a bucket, for as long as if it were new.
 *
 * Besides archives: the header, keys, holds, and index and remap archives without a mark
 * (docs/decisions/lock.md).  What is locked for long enough, as far as the caller remembers, is not
 * asked for.
 *
 * Ownership: borrows everything in the options.
 * Threads:   called by one; runs its own.
 * Errors:    those of the store: some of it may be locked for less long than it should be.  An
 * archive that is not there is counted, and keeps nothing else from being locked.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct err;
struct repo;
struct store;

struct renew_options {
    struct repo *repo;   /* whose archives they are, by number */
    struct store *store; /* where they are: with a retention */
    int64_t now_ns;
    bool (*needs)(void *context, uint32_t archive);
    /* Until when an object is locked; 0: not known. */
    int (*known)(void *context, const char *object, int64_t *out_ns, struct err *err);
    /* It is, now; by one thread at a time. */
    void (*locked)(void *context, const char *object, int64_t until_ns);
    void *context;
};

struct renew_result {
    uint64_t objects, renewed;
    uint64_t missing; /* needed, and not there */
    int64_t until_ns; /* to when they were */
};

int renew_run(const struct renew_options *options, struct renew_result *out, struct err *err);
