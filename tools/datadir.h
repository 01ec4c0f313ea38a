/*
 * datadir — `restore SNAP --data-directory DIR`: a physical backup becomes a data directory that
 * recovers, when it is started, as far as was asked for.
 *
 * Before anything is written it is known whether the repository has the log for it.
 *
 * Ownership: nothing is kept.
 * Threads:   one.
 * Errors:    as pgdata; ERR_NOT_FOUND where the log that is needed is not stored.
 */
#pragma once

struct app;
struct err;

/* The options that it adds to those of restore. */
#define DATADIR_OPTIONS                                                                     \
    {"data-directory", 0, "DIR", "a physical backup: the data directory, ready to start"},  \
        {"to", 0, "POINT",                                                                  \
         "recover to latest (default), immediate, time:T, lsn:L, xid:X, name:N"},           \
        {"timeline", 0, "N", "along this timeline; the newest one if not given"},           \
        {"tablespace-map", 0, "OLD=NEW", "the tablespace at OLD comes to NEW; repeatable"}, \
    {                                                                                       \
        "delta", 0, NULL, "DIR holds an older or newer state: write only what differs"      \
    }

int datadir_run(struct app *app, struct err *err);
