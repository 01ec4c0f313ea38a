#include "backup/source/pg.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/aside.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/progress.h"
#include "backup/source/libpq.h"
#include "backup/source/pg_internal.h"

enum { SINCE_14 = 140000, SINCE_17 = 170000 };

#define WAIT_NS (NS_PER_SECOND / 4)

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

enum { PARAMETERS_MAX = 8 };

static const char *const names[PARAMETERS_MAX + 1] = {"host",
                                                      "port",
                                                      "user",
                                                      "password",
                                                      "dbname",
                                                      "replication",
                                                      "fallback_application_name",
                                                      "client_encoding"};

/*
 * libpq looks names up, tries one address after the other and waits for answers in a call that does
 * not end before that (its calls that do, know neither connect_timeout nor how to leave an address
 * for the next).  Whoever interrupts leaves that to end by itself.
 */
struct connecting {
    struct aside aside;
    char *values[PARAMETERS_MAX + 1];
    struct pg_conn *conn; /* NULL: no memory */
};

static void connect_now(struct aside *aside)
{
    struct connecting *connecting = (struct connecting *)aside;
    const char *values[PARAMETERS_MAX + 1];

    for (size_t i = 0; i <= PARAMETERS_MAX; i++)
        values[i] = connecting->values[i]; /* empty, as NULL: not given */
    connecting->conn = PQconnectdbParams(names, values, 0);
}

static void connecting_free(struct aside *aside)
{
    struct connecting *connecting = (struct connecting *)aside;

    for (size_t i = 0; i < PARAMETERS_MAX; i++) {
        if (connecting->values[i]) /* one is a password */
            explicit_bzero(connecting->values[i], strlen(connecting->values[i]));
        free(connecting->values[i]);
    }
    PQfinish(connecting->conn);
    free(connecting);
}

static int make_connecting(const char *const values[PARAMETERS_MAX], struct connecting **out,
                           struct err *err)
{
    struct connecting *connecting = calloc(1, sizeof(*connecting));
    bool complete = connecting != NULL;

    for (size_t i = 0; complete && i < PARAMETERS_MAX; i++)
        complete = !values[i] || (connecting->values[i] = strdup(values[i])) != NULL;
    if (complete) {
        *out = connecting;
        return 0;
    }
    if (connecting)
        connecting_free(&connecting->aside);
    return err_set(err, ERR_NOMEM, "no memory for a connection");
}

/* *out is NULL after an interrupt, and where there is no memory. */
static int connect_aside(struct connecting *connecting, struct progress *progress,
                         struct pg_conn **out, struct err *err)
{
    bool ended = false;
    int r = aside_begin(&connecting->aside, connect_now, connecting_free, "to connect", err);

    if (r < 0) {
        connecting_free(&connecting->aside);
        return r;
    }
    while (!ended && !progress_cancelled(progress))
        ended = aside_wait(&connecting->aside, WAIT_NS);
    if (ended)
        *out = STEAL(connecting->conn);
    else
        r = err_set(err, ERR_CANCELLED, "interrupted");
    aside_leave(&connecting->aside);
    return r;
}

static int establish(const char *const values[PARAMETERS_MAX], struct progress *progress,
                     struct pg_conn **out, struct err *err)
{
    struct connecting *connecting = NULL;
    struct pg_conn *conn = NULL;
    int r = make_connecting(values, &connecting, err);

    if (r == 0)
        r = connect_aside(connecting, progress, &conn, err);
    if (r == 0 && !conn)
        r = err_set(err, ERR_NOMEM, "no memory for a connection");
    if (r == 0)
        *out = conn;
    return r;
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
    bool replicates = mode == PG_REPLICATION;
    const char *const values[PARAMETERS_MAX] = {server->host, server->port,
                                                server->user, server->password,
                                                database,     replicates ? "true" : NULL,
                                                "yester",     replicates ? NULL : "UTF8"};
    CLEANUP(pg_closep) struct pg_conn *conn = NULL;
    int r = libpq_load(err);

    if (r == 0)
        r = establish(values, server->progress, &conn, err);
    if (r < 0)
        return r;
    if (PQstatus(conn) != CONNECTION_OK)
        return pg_error(conn, NULL, err);
    (void)PQsetNoticeReceiver(conn, ignore_notice, NULL);
    r = check_version(conn, err);
    if (r == 0)
        r = pg_watch(conn, server->progress, err);
    if (r == 0 && mode == PG_PLAIN)
        r = pin(conn, err);
    if (r == 0)
        *out = STEAL(conn);
    return r;
}
