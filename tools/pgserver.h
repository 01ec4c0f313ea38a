/*
 * pgserver — a PostgreSQL server run for a while on a data directory, to see whether it is good.
 *
 * It listens on a socket in a directory of its own only, archives nothing, and starts neither
 * subscriptions nor preloaded libraries, so that nothing outside notices it.  As root it runs as
 * the directory's owner.
 *
 *     CLEANUP(pgserver_stopp) struct pgserver *server = NULL;
 *     int r = pgserver_start(&how, &server, err);
 *     if (r == 0)
 *         r = pgserver_check(server, err);
 *
 * Ownership: pgserver_stop() ends the server and removes what it made beside the data directory.
 * Threads:   one.
 * Errors:    ERR_NOT_FOUND for a version that is not installed, ERR_REMOTE with what the server
 * said last, ERR_CORRUPT for what pg_amcheck finds, ERR_CANCELLED.
 */
#pragma once

struct err;
struct pgserver;
struct progress;

enum { PGSERVER_PATH_SIZE = 4096 };

struct pgserver_settings {
    const char *programs; /* of pgserver_find() */
    const char *directory;
    const char *user; /* a superuser of it; NULL: postgres, or the directory's owner */
    struct progress *progress;
};

/* The directory with the programs of a major version. */
int pgserver_find(int major, char out[PGSERVER_PATH_SIZE], struct err *err);

/* Returns when it has recovered. */
int pgserver_start(const struct pgserver_settings *settings, struct pgserver **out,
                   struct err *err);
/* pg_amcheck on every database (up to 13, which has none: each index and table by itself); `found`
 * is told each thing that it finds. */
int pgserver_check(struct pgserver *server, void (*found)(const char *line), struct err *err);
void pgserver_stop(struct pgserver *server); /* NULL is allowed */
void pgserver_stopp(struct pgserver **server);
