/*
 * session — a repository as a command works with it: opened, its catalog caught up.
 *
 *     CLEANUP(session_close) struct session session = {0};
 *     int r = session_open(app, SESSION_SNAPSHOTS, &session, err);
 *
 * Ownership: session_close() ends all that was opened.
 * Threads:   one.
 * Errors:    ERR_NO_REPOSITORY before any key is asked for; ERR_WRONG_KEY, with a hint that says
 * where the key came from; ERR_BUSY when others did not let go of the lock in time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "catalog/select.h"

struct app;
struct blocks;
struct catalog;
struct config_replica;
struct err;
struct progress;
struct repo;
struct secret;
struct store;
struct store_lock;

enum session_depth {
    SESSION_REPOSITORY, /* only the repository */
    SESSION_CATALOG,    /* and the catalog, as it is */
    SESSION_SNAPSHOTS,  /* … which knows of all snapshots */
    SESSION_ALL,        /* … and of all archives and marks */
};

/* Decoded blocks: for commands that read a little; for those that fetch much at once. */
enum { LOOK_CACHE = 64 * 1024 * 1024, FETCH_CACHE = 128 * 1024 * 1024 };

/* Of the repository (store_try_lock), from before it is looked at until session_close(). */
enum session_lock {
    LOCK_NONE,   /* who only reads */
    LOCK_SHARED, /* who writes */
    LOCK_ALONE,  /* who deletes at once */
};

struct session {
    enum session_lock locked; /* set before session_open() */
    int64_t patience_ns;      /* how long to wait for it; 0: the usual time */
    struct store_lock *lock;
    const struct config_replica *replica; /* that it was taken from; NULL: the repository itself */
    struct repo *repo;
    struct catalog *catalog;
    struct blocks *blocks;
};

int session_open(struct app *app, enum session_depth depth, struct session *out, struct err *err);
/* Only the repository, and the secret that opened it; the caller clears that also after a failure.
 */
int session_open_secret(struct app *app, struct secret *secret, struct session *out,
                        struct err *err);
/* Waits for the lock, and says once for what; `patience_ns` 0: the usual time, then ERR_BUSY. */
int session_take_lock(struct store *store, bool alone, int64_t patience_ns, struct store_lock **out,
                      struct err *err);
/* The decoded content of the repository, with a cache of this size. */
int session_blocks(struct session *session, size_t cache_bytes, struct err *err);
void session_close(struct session *session);

/* The store alone. */
int session_store(struct app *app, bool create, struct store **out, struct err *err);
/* That of another repository; `replica` NULL: of whichever replica is there, or none. */
int session_store_at(struct app *app, const struct config_replica *replica, const char *location,
                     bool create, struct store **out, struct err *err);
/* From now on, once this one (NULL: nobody) is cancelled, the repository's server is not waited for
 * any more. */
void session_follow(const struct session *session, struct progress *progress);
/* From now on no more than [backup] bwlimit bytes a second are written there. */
int session_pace(const struct app *app, struct store *store, struct err *err);
/* Where the catalog of an open repository is.  A replica has one of its own: what it lacks is late,
 * and not lost. */
int session_catalog_directory(const struct app *app, const struct session *session, char *out,
                              size_t size, struct err *err);

/* What a user wrote as SNAP or SNAP:PATH. */
struct snapshot_path {
    char *snapshot;
    const char *path; /* behind the colon; NULL: there was none */
};
int snapshot_path_parse(const char *text, struct snapshot_path *out, struct err *err);
void snapshot_path_clear(struct snapshot_path *path);

/* "files,config" as bits of 1 << enum snapshot_type; NULL and "all" are 0: any. */
int types_parse(const char *text, uint8_t *out, struct err *err);

/* The snapshots that are meant; says so when they are another host's. `before` may be NULL. */
int session_select(struct app *app, struct session *session, const char *snapshot, uint8_t types,
                   const char *before, struct selection *out, struct err *err);
/* Only whose snapshots are meant. */
int session_host(struct app *app, struct session *session, struct selection *out, struct err *err);
