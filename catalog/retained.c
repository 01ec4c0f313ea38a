#include "catalog/retained.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "catalog/catalog_internal.h"

struct query {
    const char *location, *object;
    const struct retained_rows *rows;
    struct retained_rows *out;
    int64_t now_ns, *out_ns;
    size_t most;
};

void retained_rows_clear(struct retained_rows *rows)
{
    free(rows->at);
    *rows = (struct retained_rows){0};
}

int retained_rows_add(struct retained_rows *rows, const char *object, int64_t until_ns,
                      struct err *err)
{
    if (rows->count == rows->room) {
        size_t room = rows->room > 0 ? 2 * rows->room : 64;
        struct retained_row *more = reallocarray(rows->at, room, sizeof(*more));

        if (!more)
            return err_set(err, ERR_NOMEM, "no memory for %zu objects", room);
        rows->at = more;
        rows->room = room;
    }
    struct retained_row *row = &rows->at[rows->count++];
    (void)snprintf(row->object, sizeof(row->object), "%s", object);
    row->until_ns = until_ns;
    return 0;
}

static int select_one(struct catalog *catalog, void *context, struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *statement = NULL;
    struct query *query = context;
    int r = sql_prepare(&catalog->sql,
                        "SELECT until_ns FROM retained WHERE location = ? AND object = ?",
                        &statement, err);

    *query->out_ns = 0;
    if (r < 0)
        return r;
    sql_bind_text(statement, 1, query->location);
    sql_bind_text(statement, 2, query->object);
    r = sql_step(&catalog->sql, statement, err);
    if (r == 1)
        *query->out_ns = (int64_t)sql_column_number(statement, 0);
    return r < 0 ? r : 0;
}

int retained_get(struct catalog *catalog, const char *location, const char *object, int64_t *out_ns,
                 struct err *err)
{
    struct query query = {.location = location, .object = object, .out_ns = out_ns};

    return catalog_guarded(catalog, select_one, &query, err);
}

static int forget_ended(struct catalog *catalog, int64_t now_ns, struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *statement = NULL;
    int r = sql_prepare(&catalog->sql, "DELETE FROM retained WHERE until_ns < ?", &statement, err);

    if (r < 0)
        return r;
    sql_bind_number(statement, 1, (uint64_t)now_ns);
    return sql_run(&catalog->sql, statement, err);
}

static int insert_all(struct catalog *catalog, void *context, struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *insert = NULL;
    CLEANUP(sql_rollbackp) struct sql *transaction = NULL;
    const struct query *query = context;
    int r = sql_begin(&catalog->sql, &transaction, err);

    if (r == 0)
        r = forget_ended(catalog, query->now_ns, err);
    if (r == 0)
        r = sql_prepare(&catalog->sql, "INSERT OR REPLACE INTO retained VALUES (?, ?, ?)", &insert,
                        err);
    for (size_t i = 0; r == 0 && i < query->rows->count; i++) {
        sql_bind_text(insert, 1, query->location);
        sql_bind_text(insert, 2, query->rows->at[i].object);
        sql_bind_number(insert, 3, (uint64_t)query->rows->at[i].until_ns);
        r = sql_run(&catalog->sql, insert, err);
    }
    return r < 0 ? r : sql_commit(&transaction, err);
}

int retained_set(struct catalog *catalog, const char *location, const struct retained_rows *rows,
                 int64_t now_ns, struct err *err)
{
    struct query query = {.location = location, .rows = rows, .now_ns = now_ns};

    return catalog_guarded(catalog, insert_all, &query, err);
}

static int select_some(struct catalog *catalog, void *context, struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *statement = NULL;
    struct query *query = context;
    char object[OBJECT_NAME_SIZE];
    int r = sql_prepare(&catalog->sql,
                        "SELECT object, until_ns FROM retained WHERE location = ?"
                        " ORDER BY random() LIMIT ?",
                        &statement, err);

    retained_rows_clear(query->out);
    if (r < 0)
        return r;
    sql_bind_text(statement, 1, query->location);
    sql_bind_number(statement, 2, query->most);
    while ((r = sql_step(&catalog->sql, statement, err)) == 1) {
        if (!sql_column_text(statement, 0, object, sizeof(object)))
            continue;
        r = retained_rows_add(query->out, object, (int64_t)sql_column_number(statement, 1), err);
        if (r < 0)
            break;
    }
    return r;
}

int retained_sample(struct catalog *catalog, const char *location, size_t most,
                    struct retained_rows *out, struct err *err)
{
    struct query query = {.location = location, .most = most, .out = out};

    return catalog_guarded(catalog, select_some, &query, err);
}

static int delete_all(struct catalog *catalog, void *context, struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *statement = NULL;
    const struct query *query = context;
    int r = sql_prepare(&catalog->sql, "DELETE FROM retained WHERE location = ?", &statement, err);

    if (r < 0)
        return r;
    sql_bind_text(statement, 1, query->location);
    return sql_run(&catalog->sql, statement, err);
}

int retained_forget(struct catalog *catalog, const char *location, struct err *err)
{
    struct query query = {.location = location};

    return catalog_guarded(catalog, delete_all, &query, err);
}
