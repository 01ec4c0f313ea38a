/*
 * locks — the object lock of a bucket, as commands tell of it and renew it.
 *
 * Threads: one.
 * Errors:  those of the store and the catalog.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct app;
struct err;
struct session;
struct snapshot_row;

/* Of those snapshots that were let go (or would be): until when prune cannot have them. */
int locks_tell_dropped(const struct app *app, const struct session *session,
                       const struct snapshot_row *rows, const bool *drop, size_t count,
                       struct err *err);
