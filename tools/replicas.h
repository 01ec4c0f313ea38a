/*
 * replicas — second repositories with the same objects: brought up to date, compared, fallen back
 * to.
 *
 * Ownership: borrows app and session.
 * Threads:   one.
 * Errors:    those of replicate and of opening a store.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "backup/archive/repo.h"
#include "tools/config.h"

struct app;
struct err;
struct lock_needs;
struct session;
struct store;

/* Copies what is missing at `location`, and says what it did; `replica` may be NULL.  `needs` is
 * what a snapshot that was made just now refers to; NULL: there is none, and the session needs no
 * more than its catalog.  Damage that was met is ERR_CORRUPT when all else is copied. */
int replicas_copy(struct app *app, struct session *session, const struct config_replica *replica,
                  const char *location, const struct lock_needs *needs, struct err *err);
/* All that the settings name.  Failures are told; the result is that of the last one, which an
 * interrupt makes the last. */
int replicas_update(struct app *app, struct session *session, const struct lock_needs *needs);

/* What a replica has not: of the snapshots that are there and not forgotten. */
struct replica_lag {
    uint64_t missing;
    char oldest[SNAPSHOT_NAME_SIZE]; /* of them */
};
int replica_lag(struct app *app, struct session *session, const struct config_replica *replica,
                struct replica_lag *out, struct err *err);

/* The first replica at which there is a repository, and what was seen of it; ERR_NO_REPOSITORY: at
 * none. */
int replicas_open(struct app *app, struct store **out, struct repo_seen *out_seen,
                  const struct config_replica **out_replica, struct err *err);
