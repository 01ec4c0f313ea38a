/*
 * locks — the object lock of a bucket, as commands tell of it and renew it.
 *
 * Threads: one.
 * Errors:  those of the store and the catalog.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct app;
struct err;
struct session;
struct snapshot_row;
struct store;

/* Of those snapshots that were let go (or would be): until when prune cannot have them.  They
 * are forgotten all the same where that cannot be asked, which is told. */
void locks_tell_dropped(const struct app *app, const struct session *session,
                        const struct snapshot_row *rows, const bool *drop, size_t count);

/* Which archives of the repository, by their number. */
struct lock_needs {
    bool (*needs)(void *context, uint32_t archive);
    void *context;
    const char *snapshot; /* the only one whose they are; NULL: those of several */
};
/* What a new snapshot refers to is locked as if it were new, where the store's settings lock at
 * all; told when there was something to do.  The session has its catalog.  `replica` is the name of
 * the one that the store is; NULL: the repository.  ERR_NOT_FOUND: all is locked but archives that
 * are not there. */
int locks_renew(const struct app *app, struct session *session, const char *replica,
                struct store *store, const struct lock_needs *needs, struct err *err);
