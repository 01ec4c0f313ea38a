#include "catalog/sql.h"

#include <limits.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"

enum { WAIT_MS = 10000 };

static enum sql_trouble trouble_of(int code)
{
    switch (code & 0xFF) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return SQL_BUSY;
    case SQLITE_NOMEM:
        return SQL_FINE;
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return SQL_UNWRITABLE;
    default: /* our statements are constant: what they do not fit to is not our schema */
        return SQL_DAMAGED;
    }
}

static int fail(struct sql *sql, int code, struct err *err)
{
    const char *text = sql->db ? sqlite3_errmsg(sql->db) : sqlite3_errstr(code);

    sql->trouble = trouble_of(code);
    if (sql->trouble == SQL_FINE)
        return err_set(err, ERR_NOMEM, "catalog: out of memory");
    if (sql->trouble == SQL_BUSY)
        return err_set(err, ERR_BUSY, "catalog: in use by another process");
    err_set(err, ERR_SYSTEM, "catalog: %s", text);
    err->cause = (code & 0xFF) == SQLITE_FULL ? ENOSPC : EIO;
    return -ERR_SYSTEM;
}

int sql_open(const char *path, struct sql *out, struct err *err)
{
    struct sql sql = {0};
    int code =
        sqlite3_open_v2(path ? path : ":memory:", &sql.db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);

    if (code != SQLITE_OK) {
        int r = fail(&sql, code, err);
        sqlite3_close(sql.db);
        out->db = NULL;
        out->trouble = sql.trouble;
        return r;
    }
    sqlite3_extended_result_codes(sql.db, 1);
    sqlite3_busy_timeout(sql.db, WAIT_MS);
    *out = sql;
    return 0;
}

void sql_close(struct sql *sql)
{
    sqlite3_close_v2(sql->db);
    sql->db = NULL;
}

int sql_exec(struct sql *sql, const char *text, struct err *err)
{
    int code = sqlite3_exec(sql->db, text, NULL, NULL, NULL);

    return code == SQLITE_OK ? 0 : fail(sql, code, err);
}

int sql_number(struct sql *sql, const char *text, int64_t *out, struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *statement = NULL;
    int r = sql_prepare(sql, text, &statement, err);

    if (r == 0)
        r = sql_step(sql, statement, err);
    if (r < 0)
        return r;
    *out = r == 1 ? sqlite3_column_int64(statement, 0) : 0;
    return 0;
}

int sql_prepare(struct sql *sql, const char *text, sqlite3_stmt **out, struct err *err)
{
    int code = sqlite3_prepare_v2(sql->db, text, -1, out, NULL);

    return code == SQLITE_OK ? 0 : fail(sql, code, err);
}

void sql_finalizep(sqlite3_stmt **statement)
{
    sqlite3_finalize(*statement);
    *statement = NULL;
}

int sql_step(struct sql *sql, sqlite3_stmt *statement, struct err *err)
{
    int code = sqlite3_step(statement);

    if (code == SQLITE_ROW)
        return 1;
    if (code == SQLITE_DONE)
        return 0;
    return fail(sql, code, err);
}

int sql_run(struct sql *sql, sqlite3_stmt *statement, struct err *err)
{
    int r = sql_step(sql, statement, err);

    sqlite3_reset(statement);
    return r < 0 ? r : 0;
}

/* Binding what is not copied allocates nothing, so it cannot fail. */
void sql_bind_number(sqlite3_stmt *statement, int index, uint64_t value)
{
    sqlite3_bind_int64(statement, index, (sqlite3_int64)value);
}

void sql_bind_text(sqlite3_stmt *statement, int index, const char *text)
{
    sqlite3_bind_text(statement, index, text, -1, SQLITE_STATIC);
}

void sql_bind_blob(sqlite3_stmt *statement, int index, const void *bytes, size_t count)
{
    sqlite3_bind_blob(statement, index, bytes, count <= INT_MAX ? (int)count : 0, SQLITE_STATIC);
}

uint64_t sql_column_number(sqlite3_stmt *statement, int index)
{
    return (uint64_t)sqlite3_column_int64(statement, index);
}

bool sql_column_text(sqlite3_stmt *statement, int index, char *out, size_t size)
{
    const unsigned char *text = sqlite3_column_text(statement, index);
    size_t length = text ? (size_t)sqlite3_column_bytes(statement, index) : 0;

    if (!text || length >= size)
        return false;
    memcpy(out, text, length);
    out[length] = '\0';
    return true;
}

bool sql_column_blob(sqlite3_stmt *statement, int index, void *out, size_t count)
{
    const void *bytes = sqlite3_column_blob(statement, index);

    if (!bytes || (size_t)sqlite3_column_bytes(statement, index) != count)
        return false;
    memcpy(out, bytes, count);
    return true;
}

int sql_begin(struct sql *sql, struct sql **out, struct err *err)
{
    int r = sql_exec(sql, "BEGIN IMMEDIATE", err);

    if (r == 0)
        *out = sql;
    return r;
}

int sql_commit(struct sql **transaction, struct err *err)
{
    int r = sql_exec(*transaction, "COMMIT", err);

    if (r == 0)
        *transaction = NULL;
    return r;
}

void sql_rollbackp(struct sql **transaction)
{
    if (!*transaction)
        return;
    /* An error may have ended it already: then there is nothing to roll back. */
    sqlite3_exec((*transaction)->db, "ROLLBACK", NULL, NULL, NULL);
    *transaction = NULL;
}
