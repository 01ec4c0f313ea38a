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
 * Ownership: borrows the server's strings.
 * Threads:   one.
 * Errors:    those of gather and pgbase.
 */
#pragma once

#include "backup/source/pg.h"

struct err;
struct gather;

/* As struct backup_source has it; the context is a struct pg_server. */
int cluster_produce(void *context, struct gather *gather, struct err *err);
