/*
 * pg — connections to a PostgreSQL server, and its errors in words that say what to do.
 *
 * What struct pg_server does not name is libpq's to find: PG* in the environment, ~/.pgpass,
 * pg_service.conf, its defaults.  Passwords go into the connection and, for the client programs
 * (pg_dump, …), into their environment; never into an argument or a message.
 *
 *     CLEANUP(pg_closep) struct pg_conn *conn = NULL;
 *     CLEANUP(pg_clearp) struct pg_result *rows = NULL;
 *     int r = pg_connect(&server, "shop", PG_PLAIN, &conn, err);
 *     if (r == 0)
 *         r = pg_query(conn, "SELECT oid, relname FROM pg_class", &rows, err);
 *
 * Ownership: struct pg_conn and struct pg_result are libpq's PGconn and PGresult: whoever includes
 * libpq-fe.h uses its functions on them.  struct pg_server borrows its strings; the connections
 * made with it borrow its progress. Threads:   a connection belongs to one thread at a time.
 * Errors:    ERR_DENIED: password, pg_hba.conf, a right that is missing (which, on what);
 * ERR_REMOTE: no server, a server that went away; ERR_NOT_FOUND: no such database, table, role …;
 * ERR_EXISTS; ERR_BUSY: locks and connections; ERR_CANCELLED; ERR_USAGE for a version that is not
 * supported.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct pg_conn;
struct pg_result;
struct progress;

enum { PG_VERSION_MIN = 130000, PG_VERSION_END = 190000, PG_VERSION_MAJOR = 10000 };

struct pg_server { /* each NULL or empty: as libpq finds it */
    const char *host, *port, *user, *password;
    /* What waits for the server asks it whether to stop, from the first attempt to connect on;
     * NULL: nothing does.  Then what the server was doing is ended there as well, and the
     * connection is of no use any more. */
    struct progress *progress;
};

/* What POSTGRES_HOST, _PORT, _USER and _PASSWORD say. */
struct pg_server pg_server_of_environment(void);

enum pg_mode { PG_PLAIN, PG_REPLICATION /* physical */ };

/* `database` NULL: libpq's default.  Refuses servers that are too old, or newer than what is known
 * here; a server that is newer than libpq is none of those, since its protocol is the same.
 * The session is pinned to what dumps need: UTF-8, ISO dates in UTC, no row-level security, no
 * timeouts. */
int pg_connect(const struct pg_server *server, const char *database, enum pg_mode mode,
               struct pg_conn **out, struct err *err);
/* From now on no interrupt ends what it does. */
void pg_unwatch(struct pg_conn *conn);
void pg_close(struct pg_conn *conn); /* NULL is allowed */
void pg_closep(struct pg_conn **conn);
void pg_clearp(struct pg_result **result);

/* Such as 150018. */
int pg_version(const struct pg_conn *conn);
/* "15.18 (Debian …)" */
const char *pg_version_text(const struct pg_conn *conn);

/* One statement, or several without rows. */
int pg_run(struct pg_conn *conn, const char *sql, struct err *err);
int pg_query(struct pg_conn *conn, const char *sql, struct pg_result **out, struct err *err);
/* With parameters $1, $2 …; those that are NULL are null. */
int pg_query_with(struct pg_conn *conn, const char *sql, const char *const *values, size_t count,
                  struct pg_result **out, struct err *err);
/* The text of a field; "" where it is null. */
const char *pg_text(const struct pg_result *rows, int row, int column);
bool pg_is_true(const struct pg_result *rows, int row, int column);
int pg_count(const struct pg_result *rows);

/* How fast something comes: what was received since when. */
struct pg_flow {
    int64_t start_ns;
    uint64_t bytes;
};

struct pg_flow pg_flow_start(void);

/* COPY: begin, then read or write until the end, then finish, also after a failure. */
int pg_copy_begin(struct pg_conn *conn, const char *sql, struct err *err);
/* The next row, which pg_copy_free() ends; NULL: that was the last one, or the server failed, which
 * pg_copy_finish() tells.  `flow`: started with the COPY. */
int pg_copy_read(struct pg_conn *conn, struct pg_flow *flow, char **out, size_t *out_size,
                 struct err *err);
void pg_copy_free(char *row);
int pg_copy_write(struct pg_conn *conn, const void *bytes, size_t size, struct err *err);
/* No more comes; `refuse` (NULL: none) is why the server must not keep what came. */
int pg_copy_written(struct pg_conn *conn, const char *refuse, struct err *err);
int pg_copy_finish(struct pg_conn *conn, uint64_t *out_rows, struct err *err);
/* The server is told to end what it is doing, once for a connection; it is not waited for where it
 * cannot be reached. */
void pg_stop(struct pg_conn *conn);
/* The next result of a statement that was sent; NULL: there is none. */
int pg_next(struct pg_conn *conn, struct pg_result **out, struct err *err);

/* What failed: `result` (NULL: the connection itself) as an error. */
int pg_error(struct pg_conn *conn, const struct pg_result *result, struct err *err);
/* The server or the network went away: no statement will work any more. */
bool pg_is_lost(const struct pg_conn *conn);
