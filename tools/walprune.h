/*
 * walprune — deletes the parts of servers' logs that no physical backup needs any more.
 *
 * What ends before the oldest physical backup of that server begins, forgotten ones included as
 * long as they are there, leads from nowhere.  Where a server has no physical backup here, or a
 * snapshot cannot be read, its log stays.
 *
 * Threads: one.
 * Errors:  those of the repository.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct err;
struct session;

/* The session has its catalog, with all snapshots, and its blocks.  `tell` is told each object that
 * goes, or with `dry_run` would. */
int walprune_run(struct session *session, bool dry_run,
                 void (*tell)(void *context, const char *object, uint64_t size, int64_t locked_ns),
                 void *context, struct err *err);
