/* Roles and tablespaces: what is there stays as it is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/text.h"
#include "backup/source/pgload_internal.h"
#include "backup/source/pgsql.h"

enum { NAMES_MAX = 16 * 1024 * 1024, NOTE_SIZE = 600 };

/* Names of roles that were there, each with a newline behind it, quoted as the file has them. */
struct globals {
    const struct pgload_options *options;
    struct pg_conn *conn;
    struct text there;
};

static bool is_there(const struct globals *globals, const char *name, size_t size)
{
    const char *at = text_of(&globals->there), *end = at + text_size(&globals->there);

    for (const char *stop; at < end; at = stop + 1) {
        stop = memchr(at, '\n', (size_t)(end - at));
        if ((size_t)(stop - at) == size && memcmp(at, name, size) == 0)
            return true;
    }
    return false;
}

static void note(const struct globals *globals, const char *what, const char *name, size_t size,
                 const char *text)
{
    char line[NOTE_SIZE];

    (void)snprintf(line, sizeof(line), "%s %.*s %s", what, (int)(size < 200 ? size : 200), name,
                   text);
    globals->options->note(globals->options->context, line);
}

/* Quoted names: "%I" of the server is what pg_dumpall writes, too. */
static int list_roles(struct globals *globals, struct err *err)
{
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;

    int r = pg_query(globals->conn, "SELECT quote_ident(rolname) FROM pg_roles", &rows, err);
    for (int i = 0; r == 0 && i < pg_count(rows); i++) {
        text_add(&globals->there, pg_text(rows, i, 0));
        text_add(&globals->there, "\n");
    }
    return r < 0 ? r : text_end(&globals->there, err);
}

/* The role that a statement changes; NULL: it is about no role. */
static const char *role_of(const char *statement, size_t size)
{
    static const char *const about[] = {"CREATE ROLE ", "ALTER ROLE ", "COMMENT ON ROLE "};
    const char *rest;

    for (size_t i = 0; i < sizeof(about) / sizeof(about[0]); i++)
        if (pgsql_begins(statement, size, about[i], &rest))
            return rest;
    if (!pgsql_begins(statement, size, "GRANT ", &rest))
        return NULL;
    rest += pgsql_name_size(rest, statement + size);
    return pgsql_begins(rest, (size_t)(statement + size - rest), " TO ", &rest) ? rest : NULL;
}

static int run(struct globals *globals, const char *statement, size_t size, struct err *err)
{
    char *copy = strndup(statement, size);
    int r = copy ? pg_run(globals->conn, copy, err) : err_set(err, ERR_NOMEM, "no memory");

    free(copy);
    return r;
}

static int take(struct globals *globals, const char *statement, size_t size, struct err *err)
{
    const char *end = statement + size, *rest, *role = role_of(statement, size);
    bool makes = pgsql_begins(statement, size, "CREATE ROLE ", &rest);
    struct err why;

    if (role && is_there(globals, role, pgsql_name_size(role, end))) {
        if (makes)
            note(globals, "role", role, pgsql_name_size(role, end), "exists and stays as it is");
        return 0;
    }
    if (role || !pgsql_begins(statement, size, "SET ", &rest)) {
        int r = run(globals, statement, size, &why);
        if (r < 0 && role)
            *err = why;
        else if (r < 0)
            note(globals, "not done:", statement, size, why.text); /* a tablespace, mostly */
        return role ? r : 0;
    }
    return 0;
}

static int take_all(struct globals *globals, const char *sql, struct err *err)
{
    const char *statement;
    size_t size;
    int r = list_roles(globals, err);

    while (r == 0 && pgsql_next(&sql, &statement, &size))
        r = take(globals, statement, size, err);
    return r < 0 ? err_context(err, "globals.sql") : 0;
}

int pgload_globals(const struct pgload_options *options, struct err *err)
{
    CLEANUP(buf_clear) struct buf sql = {.limit = PGLOAD_FILE_MAX + 1};
    CLEANUP(pg_closep) struct pg_conn *conn = NULL;
    struct globals globals = {.options = options, .there.buf.limit = NAMES_MAX};

    int r = pgload_read(options, "globals.sql", &sql, err);
    if (r == 0)
        r = pg_connect(&options->server, "template1", PG_PLAIN, &conn, err);
    globals.conn = conn;
    if (r == 0)
        r = take_all(&globals, (const char *)sql.data, err);
    text_clear(&globals.there);
    return r;
}
