/*
 * database — the PostgreSQL server of the settings: where it is, and what of it is kept.
 *
 *     CLEANUP(database_clear) struct database database = {0};
 *     int r = database_make(&app->config, &database, err);
 *
 * POSTGRES_HOST, _PORT, _USER, _PASSWORD and _DB win over [database] in the file, and those over
 * what libpq finds by itself.  The password is in the environment or in ~/.pgpass, never in the
 * file.
 *
 * Ownership: database_clear() frees the names; the server's strings are the config's.
 * Threads:   one.
 * Errors:    ERR_USAGE for settings that cannot be.
 */
#pragma once

#include <stdbool.h>

#include "backup/archive/root.h"
#include "backup/source/pg.h"

struct config;
struct err;
struct gather;

struct database {
    struct pg_server server;
    struct strings names; /* none: all */
    unsigned jobs;
    bool csv;         /* tables also as CSV */
    bool ranges;      /* large tables by several connections */
    bool local_files; /* a data directory on this machine is read here */
};

/* Whether the settings name a server, or databases. */
bool database_is_configured(const struct config *config);
int database_make(const struct config *config, struct database *out, struct err *err);
void database_clear(struct database *database);

/* As struct backup_source has it, logical and physical; the context is a struct database. */
int database_produce(void *context, struct gather *gather, struct err *err);
int database_produce_cluster(void *context, struct gather *gather, struct err *err);
