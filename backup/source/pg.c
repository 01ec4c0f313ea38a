#include "backup/source/pg.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/source/pg_internal.h"

enum { PARAMETERS_MAX = 16, SINCE_14 = 140000, SINCE_17 = 170000 };

/* What a dump must not depend on, as pg_dump pins it.  A server's own timeouts would end long
 * reads. */
static const char pin_session[] =
    "SET client_encoding = 'UTF8'; SET DateStyle = ISO; SET IntervalStyle = postgres; "
    "SET TimeZone = 'UTC'; SET extra_float_digits = 3; SET synchronize_seqscans = off; "
    "SET statement_timeout = 0; SET lock_timeout = 0; "
    "SET idle_in_transaction_session_timeout = 0; SET row_security = off; "
    "SET search_path = ''";
/* Those that came later. */
static const char pin_since_14[] = "SET idle_session_timeout = 0";
static const char pin_since_17[] = "SET transaction_timeout = 0";

static const char *variable(const char *name)
{
    const char *value = getenv(name);

    return value && *value ? value : NULL;
}

struct pg_server pg_server_of_environment(void)
{
    return (struct pg_server){
        .host = variable("POSTGRES_HOST"),
        .port = variable("POSTGRES_PORT"),
        .user = variable("POSTGRES_USER"),
        .password = variable("POSTGRES_PASSWORD"),
    };
}

void pg_close(struct pg_conn *conn)
{
    PQfinish(conn);
}

void pg_closep(struct pg_conn **conn)
{
    PQfinish(*conn);
}

void pg_clearp(struct pg_result **result)
{
    PQclear(*result);
}

int pg_version(const struct pg_conn *conn)
{
    return PQserverVersion(conn);
}

const char *pg_version_text(const struct pg_conn *conn)
{
    const char *text = PQparameterStatus(conn, "server_version");

    return text ? text : "";
}

const char *pg_text(const struct pg_result *rows, int row, int column)
{
    return PQgetvalue(rows, row, column);
}

bool pg_is_true(const struct pg_result *rows, int row, int column)
{
    return PQgetvalue(rows, row, column)[0] == 't';
}

int pg_count(const struct pg_result *rows)
{
    return PQntuples(rows);
}

bool pg_is_lost(const struct pg_conn *conn)
{
    return PQstatus(conn) == CONNECTION_BAD;
}

/* Notices are for somebody who sits at psql. */
static void ignore_notice(void *context, const PGresult *notice)
{
    (void)context;
    (void)notice;
}

struct parameters {
    const char *names[PARAMETERS_MAX + 1];
    const char *values[PARAMETERS_MAX + 1];
    size_t count;
};

static void add(struct parameters *to, const char *name, const char *value)
{
    if (!value || !*value)
        return;
    to->names[to->count] = name;
    to->values[to->count++] = value;
}

static int check_version(const struct pg_conn *conn, struct err *err)
{
    int server = PQserverVersion(conn);

    if (server < PG_VERSION_MIN)
        return err_set(err, ERR_USAGE,
                       "the server is PostgreSQL %d, and 13 is the oldest that works",
                       server / PG_VERSION_MAJOR);
    if (server >= PG_VERSION_END)
        return err_set(err, ERR_USAGE,
                       "the server is PostgreSQL %d, and %d is the newest that this yester knows: "
                       "install a newer yester",
                       server / PG_VERSION_MAJOR, PG_VERSION_END / PG_VERSION_MAJOR - 1);
    return 0;
}

static int pin(struct pg_conn *conn, struct err *err)
{
    int r = pg_run(conn, pin_session, err);

    if (r == 0 && pg_version(conn) >= SINCE_14)
        r = pg_run(conn, pin_since_14, err);
    if (r == 0 && pg_version(conn) >= SINCE_17)
        r = pg_run(conn, pin_since_17, err);
    return r;
}

int pg_connect(const struct pg_server *server, const char *database, enum pg_mode mode,
               struct pg_conn **out, struct err *err)
{
    struct parameters with = {.count = 0};

    add(&with, "host", server->host);
    add(&with, "port", server->port);
    add(&with, "user", server->user);
    add(&with, "password", server->password);
    add(&with, "dbname", database);
    add(&with, "replication", mode == PG_REPLICATION ? "true" : NULL);
    add(&with, "fallback_application_name", "yester");
    add(&with, "client_encoding", mode == PG_REPLICATION ? NULL : "UTF8");
    CLEANUP(pg_closep) struct pg_conn *conn = PQconnectdbParams(with.names, with.values, 0);
    if (!conn)
        return err_set(err, ERR_NOMEM, "no memory for a connection");
    if (PQstatus(conn) != CONNECTION_OK)
        return pg_error(conn, NULL, err);
    (void)PQsetNoticeReceiver(conn, ignore_notice, NULL);
    int r = check_version(conn, err);
    if (r == 0)
        r = pg_watch(conn, server->progress, err);
    if (r == 0 && mode == PG_PLAIN)
        r = pin(conn, err);
    if (r == 0)
        *out = STEAL(conn);
    return r;
}
