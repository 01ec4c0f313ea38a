/*
 * cooling — data archives into the storage class of the settings, when they are old enough.
 *
 * `storage_class` and `cold_after` of [s3] and [replica NAME].  At once means by the PUT itself,
 * but where the repository has replicas: they are brought up to date from what can still be read,
 * so there it is moved afterwards.
 *
 * Ownership: borrows everything.
 * Threads:   one.
 * Errors:    those of cool.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct app;
struct config;
struct config_replica;
struct err;
struct repo;
struct store;

/* The class that data is put into at once; NULL: the bucket's own.  `replica` NULL: of the
 * repository. */
const char *cooling_at_once(const struct config *config, const struct config_replica *replica);
/* ERR_USAGE for a class that there is not, and for one that a move is to lead to where `lock` is
 * set: the first version of an object counts there, and the move makes a second one. */
int cooling_check(const struct config *config, const struct config_replica *replica,
                  struct err *err);
/* Whether archives there are moved when they are old enough. */
bool cooling_moves(const struct config *config, const struct store *store,
                   const struct config_replica *replica);
/* Moves what is due at `store`, which holds the objects of `repo`, and says so; with --dry-run only
 * that. */
int cooling_run(struct app *app, struct repo *repo, struct store *store,
                const struct config_replica *replica, struct err *err);
/* The same of the repository, when its replicas were brought up to date beginning at `since_ns`
 * (clock_boot_ns()): what was stored later may have been missed, and stays. */
int cooling_run_fed(struct app *app, struct repo *repo, int64_t since_ns, struct err *err);
