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

struct app;
struct config;
struct config_replica;
struct err;
struct repo;
struct store;

/* The class that data is put into at once; NULL: the bucket's own.  `replica` NULL: of the
 * repository. */
const char *cooling_at_once(const struct config *config, const struct config_replica *replica);
/* ERR_USAGE for a class that there is not. */
int cooling_check(const struct config *config, const struct config_replica *replica,
                  struct err *err);
/* Moves what is due at `store`, which holds the objects of `repo`, and says so; with --dry-run only
 * that. */
int cooling_run(struct app *app, struct repo *repo, struct store *store,
                const struct config_replica *replica, struct err *err);
