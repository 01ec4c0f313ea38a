/*
 * cluster — a PostgreSQL server's physical backup as the directory cluster/ of the database type.
 *
 * The data directory as it would lie on disk: pg_verifybackup passes on it.  Files that the server
 * overwrites page by page are cut into chunks that begin at pages, so that of a changed file only
 * what changed is stored again.  Beside it manifest.json says what a restore wants to know.
 *
 * A file with pages whose checksums are wrong is kept as it came and named as trouble: the snapshot
 * then counts as incomplete, so that it is never `latest`, and retention keeps the last clean one.
 *
 * Where the server runs on this machine its data directory is read here, by several threads
 * (backup/source/pgfiles.h); else the server sends it (pgbase.h).  The trees are the same.
 *
 * Ownership: borrows the server's strings.
 * Threads:   one.
 * Errors:    those of gather, pgfiles and pgbase.
 */
#pragma once

#include <stdbool.h>

#include "backup/source/pg.h"

struct err;
struct gather;

struct cluster_options {
    struct pg_server server;
    bool local_files; /* read the data directory here, where that can be done */
    unsigned jobs;    /* its files at a time */
};

/* As struct backup_source has it; the context is a struct cluster_options. */
int cluster_produce(void *context, struct gather *gather, struct err *err);
