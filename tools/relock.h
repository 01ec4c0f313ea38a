/*
 * relock — a replica under object lock, after something was copied there: what the new snapshots
 * refer to and was there before is locked anew.
 *
 *     CLEANUP(relock_clear) struct relock relock = {.session = session};
 *     … relock_note(&relock, object) for each that was copied
 *     relock_run(&relock, app, name, store, needs, err);
 *
 * Ownership: relock_clear().
 * Threads:   relock_note() by one at a time.
 * Errors:    those of the store, the repository and the catalog.
 */
#pragma once

#include <stdbool.h>

#include "backup/archive/root.h"
#include "backup/job/references.h"

struct app;
struct err;
struct lock_needs;
struct session;
struct store;

struct relock {
    struct session *session;
    struct references fresh; /* archives that were copied just now */
    struct strings roots;    /* objects of snapshots that were */
    bool incomplete;         /* there was no memory to note one */
};

void relock_clear(struct relock *relock);
/* As replicate's `copied`. */
void relock_note(void *context, const char *object);
/* `needs` NULL: of all snapshots that were copied, by what their directories say. */
int relock_run(struct relock *relock, const struct app *app, const char *replica,
               struct store *store, const struct lock_needs *needs, struct err *err);
