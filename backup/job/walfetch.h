/*
 * walfetch — one file of the archive out of the repository: what restore_command is for.
 *
 * A segment that is stored as a whole, else what the tails have of it, filled up with zeros.  A
 * server whose timeline left another one never gets the log that the other wrote behind the fork:
 * it would replay a future that was abandoned, without a word.
 *
 * Threads: one.
 * Errors:  ERR_NOT_FOUND: it is not there, or does not belong to the timeline; ERR_CORRUPT.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct err;
struct repo;

struct walfetch_settings {
    struct repo *repo;
    uint64_t system;
    uint32_t timeline; /* that recovery is to follow; 0: the newest that is stored */
};

struct walfetch_result {
    uint64_t known; /* bytes that are the server's; the rest is zeros */
    uint64_t size;
    bool merged; /* out of tails */
    bool cut;    /* at the fork of a timeline */
};

/* `target` is written anew; after an error it is not there.  NULL: a dry run. */
int walfetch_file(const struct walfetch_settings *settings, const char *name, const char *target,
                  struct walfetch_result *out, struct err *err);
