#include "backup/source/libpq.h"

#include <libpq-events.h>
#include <libpq-fe.h>

#include "backup/base/library.h"

#define FUNCTIONS(X)                                                                              \
    X(PGconn *, PQconnectdbParams,                                                                \
      (const char *const *names, const char *const *values, int expand), (names, values, expand)) \
    X(ConnStatusType, PQstatus, (const PGconn *conn), (conn))                                     \
    X(char *, PQerrorMessage, (const PGconn *conn), (conn))                                       \
    X(int, PQconnectionNeedsPassword, (const PGconn *conn), (conn))                               \
    X(int, PQconnectionUsedPassword, (const PGconn *conn), (conn))                                \
    X(int, PQserverVersion, (const PGconn *conn), (conn))                                         \
    X(const char *, PQparameterStatus, (const PGconn *conn, const char *name), (conn, name))      \
    X(int, PQsocket, (const PGconn *conn), (conn))                                                \
    X(int, PQsetnonblocking, (PGconn * conn, int yes), (conn, yes))                               \
    X(PQnoticeReceiver, PQsetNoticeReceiver,                                                      \
      (PGconn * conn, PQnoticeReceiver receiver, void *context), (conn, receiver, context))       \
    X(int, PQregisterEventProc,                                                                   \
      (PGconn * conn, PGEventProc proc, const char *name, void *context),                         \
      (conn, proc, name, context))                                                                \
    X(void *, PQinstanceData, (const PGconn *conn, PGEventProc proc), (conn, proc))               \
    X(int, PQsetInstanceData, (PGconn * conn, PGEventProc proc, void *data), (conn, proc, data))  \
    X(PGcancel *, PQgetCancel, (PGconn * conn), (conn))                                           \
    X(int, PQcancel, (PGcancel * cancel, char *text, int size), (cancel, text, size))             \
    X(void, PQfreeCancel, (PGcancel * cancel), (cancel))                                          \
    X(PGresult *, PQexec, (PGconn * conn, const char *sql), (conn, sql))                          \
    X(int, PQsendQuery, (PGconn * conn, const char *sql), (conn, sql))                            \
    X(int, PQsendQueryParams,                                                                     \
      (PGconn * conn, const char *sql, int count, const Oid *types, const char *const *values,    \
       const int *lengths, const int *formats, int format),                                       \
      (conn, sql, count, types, values, lengths, formats, format))                                \
    X(int, PQsetSingleRowMode, (PGconn * conn), (conn))                                           \
    X(int, PQconsumeInput, (PGconn * conn), (conn))                                               \
    X(int, PQisBusy, (PGconn * conn), (conn))                                                     \
    X(int, PQflush, (PGconn * conn), (conn))                                                      \
    X(PGresult *, PQgetResult, (PGconn * conn), (conn))                                           \
    X(ExecStatusType, PQresultStatus, (const PGresult *result), (result))                         \
    X(char *, PQresultErrorField, (const PGresult *result, int field), (result, field))           \
    X(char *, PQcmdTuples, (PGresult * result), (result))                                         \
    X(int, PQntuples, (const PGresult *result), (result))                                         \
    X(int, PQnfields, (const PGresult *result), (result))                                         \
    X(char *, PQgetvalue, (const PGresult *result, int row, int field), (result, row, field))     \
    X(int, PQgetlength, (const PGresult *result, int row, int field), (result, row, field))       \
    X(int, PQgetisnull, (const PGresult *result, int row, int field), (result, row, field))       \
    X(int, PQgetCopyData, (PGconn * conn, char **out, int async), (conn, out, async))             \
    X(int, PQputCopyData, (PGconn * conn, const char *bytes, int size), (conn, bytes, size))      \
    X(int, PQputCopyEnd, (PGconn * conn, const char *refusal), (conn, refusal))                   \
    X(int, lo_open, (PGconn * conn, Oid object, int mode), (conn, object, mode))                  \
    X(int, lo_write, (PGconn * conn, int object, const char *bytes, size_t size),                 \
      (conn, object, bytes, size))                                                                \
    X(int, lo_close, (PGconn * conn, int object), (conn, object))

#define THAT_FREE(X)                                \
    X(void, PQfinish, (PGconn * conn), (conn))      \
    X(void, PQclear, (PGresult * result), (result)) \
    X(void, PQfreemem, (void *memory), (memory))

static struct {
    FUNCTIONS(LIBRARY_FIELD)
    THAT_FREE(LIBRARY_FIELD)
} at;

static const struct library_function functions[] = {FUNCTIONS(LIBRARY_FUNCTION)
                                                        THAT_FREE(LIBRARY_FUNCTION)};

static struct library library = {
    .file = LIBPQ_FILE,
    .purpose = "databases",
    .package = "libpq5 on Debian",
    .functions = functions,
    .count = sizeof(functions) / sizeof(functions[0]),
    .lock = PTHREAD_MUTEX_INITIALIZER,
};

int libpq_load(struct err *err)
{
    return library_load(&library, err);
}

FUNCTIONS(LIBRARY_FORWARD)

void PQfinish(PGconn *conn)
{
    if (conn)
        at.PQfinish(conn);
}

void PQclear(PGresult *result)
{
    if (result)
        at.PQclear(result);
}

void PQfreemem(void *memory)
{
    if (memory)
        at.PQfreemem(memory);
}
