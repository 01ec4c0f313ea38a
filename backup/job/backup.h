/*
 * backup — one run: reads the sources, stores what is new, publishes a snapshot.
 *
 * In this order: data and metadata archives, index archives, the root, a look at the marks, done.
 * When backup_run() returns 0 the snapshot can be restored, whatever happens then.
 *
 * Ownership: borrows everything in the options; backup_result_clear() frees the result.
 * Threads:   called by one; runs its own workers.
 * Errors:    repository errors and ERR_CANCELLED: nothing was published.  What could not be read of
 * the source goes to `trouble` and is counted. ERR_NOT_FOUND: nothing at all could be read, so
 * nothing was published.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/root.h"
#include "backup/job/references.h"
#include "backup/source/rules.h"

struct baseline;
struct err;
struct gather;
struct progress;
struct repo;

/* What is to be read for one type. */
struct backup_source {
    enum snapshot_type type;
    const char *const *paths; /* absolute and clean */
    size_t path_count;
    struct rules rules;
    const char *stdin_name; /* not NULL: instead of paths, standard input as a file of this name */
    /* not NULL: instead of paths, whatever this puts (backup/job/gather.h) */
    int (*produce)(void *context, struct gather *gather, struct err *err);
    void *produce_context;
    const struct root *previous; /* of this host, the newest that has the type; NULL: none */
};

struct backup_options {
    struct repo *repo;
    struct baseline *baseline; /* NULL: everything is stored again */
    const char *host;
    const struct backup_source *sources;
    size_t source_count;
    const char *const *tags;
    size_t tag_count;
    const char *const *exclusions; /* the patterns in force, kept with the snapshot */
    size_t exclusion_count;
    uint64_t sequence;  /* of the host's last snapshot; the new one is one more */
    const char *parent; /* name of the host's last snapshot, or "" */
    bool adhoc, force, dry_run;
    int level; /* zstd's: 1…19 */
    struct progress *progress;
    /* A path that could not be read, or was left out, changed, vanished: `text` says it. */
    void (*trouble)(void *context, const char *path, const struct err *err);
    void (*note)(void *context, const char *path, const char *text);
    void *context;
};

struct backup_result {
    struct root root; /* as published; in a dry run as it would have been, without a name */
    uint64_t files_read, bytes_read; /* that were not the same as before */
    uint64_t files_unchanged;        /* taken over unread; further names of a file are neither */
    uint64_t left_out, changed, vanished;
    struct references references; /* the archives that the snapshot needs; not of a dry run */
    uint32_t known_archives;      /* those from this number on the run wrote itself */
};

int backup_run(const struct backup_options *options, struct backup_result *out, struct err *err);
void backup_result_clear(struct backup_result *result);
