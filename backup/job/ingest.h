/*
 * ingest — one type's source tree into a stored directory.
 *
 * Walks the source and, beside it, the same directories of the snapshot before (a merge join by
 * name): what is unchanged is taken over without being read, the rest goes to the units.
 * Directories are written when all that is in them is there, children first; entries wait in their
 * directory's line for files that are still being read, and the walk waits when too many do.
 *
 * Ownership: borrows everything in the options.
 * Threads:   one; the units have theirs.
 * Errors:    repository errors and ERR_CANCELLED.
 */
#pragma once

#include <stdint.h>

#include "backup/archive/root.h"

struct backup_options;
struct backup_result;
struct backup_source;
struct blocks;
struct dedup;
struct err;
struct packer;
struct references;
struct treewriter;
struct units;

struct ingest_options {
    const struct backup_options *backup;
    const struct backup_source *source;
    struct blocks *blocks;         /* for the snapshot before */
    struct treewriter *treewriter; /* NULL: dry run */
    struct units *units;
    struct packer *packer;
    struct dedup *dedup;
    struct references *references;
    struct references *through;       /* archives with such content that was moved out of them */
    const struct references *refused; /* archives under a mark */
    struct backup_result *result;     /* its counters are added to */
};

/* Everything in `out` but new_bytes and complete is filled in. */
int ingest_run(const struct ingest_options *options, struct root_type *out, struct err *err);
