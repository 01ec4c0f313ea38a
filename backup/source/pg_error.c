/* What PostgreSQL says, as errors that say what to do. */
#include <libpq-fe.h>
#include <stdio.h>
#include <string.h>

#include "backup/base/err.h"
#include "backup/source/pg.h"

/* The longer ones first: the first that fits counts.  A class of states is its first two letters.
 */
static const struct {
    const char *state;
    enum err_code code;
    const char *hint;
} states[] = {
    {"28P01", ERR_DENIED, "the password is wrong: see POSTGRES_PASSWORD, ~/.pgpass"},
    {"28", ERR_DENIED, "see pg_hba.conf on the server"},
    {"42501", ERR_DENIED, NULL},
    {"3D000", ERR_NOT_FOUND, NULL},
    {"42P01", ERR_NOT_FOUND, NULL},
    {"42704", ERR_NOT_FOUND, NULL},
    {"3F000", ERR_NOT_FOUND, NULL},
    {"42P04", ERR_EXISTS, NULL},
    {"42P06", ERR_EXISTS, NULL},
    {"42P07", ERR_EXISTS, NULL},
    {"42710", ERR_EXISTS, NULL},
    {"55006", ERR_BUSY, "somebody is connected to it"},
    {"55P03", ERR_BUSY, NULL},
    {"40P01", ERR_BUSY, NULL},
    {"53300", ERR_BUSY, "see max_connections on the server"},
    {"53100", ERR_REMOTE, "the server's disk is full"},
    {"57014", ERR_CANCELLED, NULL},
    {"57P01", ERR_REMOTE, "the server was stopped"},
    {"57P02", ERR_REMOTE, "the server crashed"},
    {"XX001", ERR_REMOTE, "the server's own data is damaged: see its log, and older snapshots"},
    {"XX002", ERR_REMOTE, "an index of the server's is damaged: REINDEX makes it anew"},
    {"57P03", ERR_REMOTE, "the server is starting, stopping or recovering"},
};

/* Rights, by words of the message that no translation changes, or else in English. */
static const struct {
    const char *words, *hint;
} rights[] = {
    {": Permission denied", "the file system refuses it to the user that the server runs as"},
    {"row-level security", "the role needs BYPASSRLS, or must own the table"},
    {"replication", "the role needs REPLICATION"},
    {"WAL sender", "the role needs REPLICATION"},
    {"large object", "the role must be superuser, or own it"},
    {"pg_authid", "roles with their passwords are for superusers"},
    {"function pg_", "the role needs EXECUTE on it"},
    {"", "the role needs pg_read_all_data, or SELECT on it"},
};

enum { READ_ALL_DATA_SINCE = 140000 };

static const char *hint_for_right(const PGconn *conn, const char *message)
{
    size_t i = 0;
    int version = PQserverVersion(conn);

    while (!strstr(message, rights[i].words))
        i++;
    /* The last one fits all. */
    if (!*rights[i].words && version > 0 && version < READ_ALL_DATA_SINCE)
        return "the role needs SELECT on it";
    return rights[i].hint;
}

/* One line of what may be several, without the full stop. */
static void first_line(const char *text, char *out, size_t size)
{
    size_t length = strcspn(text, "\n");

    if (length > 0 && text[length - 1] == '.')
        length--;
    (void)snprintf(out, size, "%.*s", (int)length, text);
}

static int say(struct err *err, enum err_code code, const char *message, const char *hint)
{
    char line[200];

    first_line(message, line, sizeof(line));
    return hint ? err_set(err, code, "%s (%s)", line, hint) : err_set(err, code, "%s", line);
}

/* Where there was no connection yet, libpq gives words only. */
static int of_connecting(struct pg_conn *conn, struct err *err)
{
    const char *message = PQerrorMessage(conn);
    const char *detail = strstr(message, "FATAL:");

    if (PQconnectionNeedsPassword(conn))
        return say(err, ERR_DENIED, "the server asks for a password, and none was given",
                   "set POSTGRES_PASSWORD, or write it into ~/.pgpass");
    message = detail ? detail + strlen("FATAL:") + strspn(detail + strlen("FATAL:"), " ") : message;
    if (PQconnectionUsedPassword(conn) && strstr(message, "password"))
        return say(err, ERR_DENIED, message,
                   "the password is wrong: see POSTGRES_PASSWORD, ~/.pgpass");
    if (strstr(message, "pg_hba.conf") || strstr(message, "authentication"))
        return say(err, ERR_DENIED, message, "see pg_hba.conf on the server");
    if (strstr(message, "permission denied") || strstr(message, "must be superuser"))
        return say(err, ERR_DENIED, message, hint_for_right(conn, message));
    if (strstr(message, "database") && strstr(message, "does not exist"))
        return say(err, ERR_NOT_FOUND, message, NULL);
    if (detail)
        return say(err, ERR_REMOTE, message, NULL);
    return say(err, ERR_REMOTE, message, "is the server running? see POSTGRES_HOST, POSTGRES_PORT");
}

int pg_error(struct pg_conn *conn, const struct pg_result *result, struct err *err)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

    if (!result && PQserverVersion(conn) == 0)
        return of_connecting(conn, err);
    for (size_t i = 0; state && message && i < sizeof(states) / sizeof(states[0]); i++) {
        if (strncmp(state, states[i].state, strlen(states[i].state)) != 0)
            continue;
        const char *hint = states[i].hint;
        if (strcmp(state, "42501") == 0)
            hint = hint_for_right(conn, message);
        return say(err, states[i].code, message, hint);
    }
    if (PQstatus(conn) == CONNECTION_BAD)
        return say(err, ERR_REMOTE, message ? message : PQerrorMessage(conn),
                   "the connection to the server is gone");
    return say(err, ERR_REMOTE, message ? message : PQerrorMessage(conn), NULL);
}
