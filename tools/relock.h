/*
 * relock — a replica under object lock, before new snapshots are copied there: what they refer to
 * and was there before is locked anew.  So a snapshot that is there is locked with all its
 * archives, and one for which that failed is not there, and comes with the next run.
 *
 *     CLEANUP(relock_clear) struct relock relock = {…, .began_ns = clock_boot_ns()};
 *     … relock_note(&relock, object) for each that was copied
 *     relock_run(&relock, roots, err);
 *
 * Ownership: borrows all but what relock_clear() frees.
 * Threads:   relock_note() by one at a time.
 * Errors:    those of the store, the repository and the catalog.  What damage hides or has taken is
 * told, and keeps the rest from nothing; `is_partial` says that it was so.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "backup/job/references.h"

struct app;
struct err;
struct lock_needs;
struct session;
struct store;
struct strings;

struct relock {
    const struct app *app;
    struct session *session;
    const char *replica;            /* its name; NULL: it has none */
    struct store *store;            /* NULL: there is none yet */
    const struct lock_needs *needs; /* of a snapshot that was made just now; NULL: there is none */
    int64_t began_ns;               /* by clock_boot_ns() */

    struct references fresh; /* archives that were copied just now */
    bool incomplete;         /* there was no memory to note one */
    bool is_partial;         /* something could not be locked, being damaged or gone */
};

void relock_clear(struct relock *relock);
/* As replicate's `copied`, and `before_roots`. */
void relock_note(void *context, const char *object);
int relock_run(void *context, const struct strings *roots, struct err *err);
