/* What pg_amcheck says of a server's databases. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/text.h"
#include "backup/source/pgchild.h"
#include "tools/pgserver_internal.h"

enum { OUTPUT_MAX = 16 * 1024 * 1024, PG_AMCHECK_SINCE = 140000 };

static int keep_output(void *context, const void *bytes, size_t size, struct err *err)
{
    struct text *text = context;

    (void)err;
    text_bytes(text, bytes, size);
    return 0;
}

/* Prints what was found; how many lines. */
static unsigned say_lines(struct text *text, void (*found)(const char *line))
{
    unsigned count = 0;
    char *rest = NULL;

    for (char *line = strtok_r((char *)text->buf.data, "\n", &rest); line;
         line = strtok_r(NULL, "\n", &rest)) {
        found(line);
        count++;
    }
    return count;
}

/* It exits with an error when it found something, and writes that to stdout. */
static int run_amcheck(struct pgserver *server, const char *database,
                       void (*found)(const char *line), struct err *err)
{
    CLEANUP(text_clear) struct text text = {.buf.limit = OUTPUT_MAX};
    char program[PGSERVER_PATH_SIZE + 16];
    const char *const argv[] = {program, NULL};
    struct err unused;

    (void)snprintf(program, sizeof(program), "%s/pg_amcheck", server->settings->programs);
    const struct pgchild child = {.server = &server->address,
                                  .database = database,
                                  .argv = argv,
                                  .input = -1,
                                  .progress = server->settings->progress,
                                  .take = keep_output,
                                  .context = &text};
    int r = pgchild_run(&child, err);
    (void)text_end(&text, &unused);
    if (r == -ERR_CANCELLED || text_size(&text) == 0)
        return r;
    if (say_lines(&text, found) > 0)
        return err_set(err, ERR_CORRUPT, "amcheck finds damage in database %s", database);
    return r;
}

/* With the extension, in a schema of its own that goes again where the database has none. */
static int check_database(struct pgserver *server, const char *database,
                          void (*found)(const char *line), struct err *err)
{
    CLEANUP(pg_closep) struct pg_conn *conn = NULL;
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;
    struct err after;

    int r = pg_connect(&server->address, database, PG_PLAIN, &conn, err);
    if (r == 0)
        r = pg_query(conn, "SELECT FROM pg_extension WHERE extname = 'amcheck'", &rows, err);
    if (r < 0)
        return err_context(err, "database %s", database);
    bool own = pg_count(rows) == 0;
    if (own)
        r = pg_run(conn,
                   "CREATE SCHEMA yester_amcheck; CREATE EXTENSION amcheck WITH SCHEMA "
                   "yester_amcheck",
                   err);
    if (r < 0)
        return err_context(err, "the extension amcheck (contrib) in database %s", database);
    r = pg_version(conn) < PG_AMCHECK_SINCE ? pgserver_check_by_reading(conn, database, found, err)
                                            : run_amcheck(server, database, found, err);
    if (own && pg_run(conn, "DROP SCHEMA yester_amcheck CASCADE", &after) < 0 && r == 0) {
        *err = after;
        r = -(int)err->code;
    }
    return r;
}

int pgserver_check(struct pgserver *server, void (*found)(const char *line), struct err *err)
{
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;
    int worst = 0;

    int r =
        pg_query(server->conn,
                 "SELECT datname FROM pg_database WHERE datallowconn ORDER BY datname", &rows, err);
    for (int i = 0; r == 0 && i < pg_count(rows); i++) {
        struct err one;
        int here = check_database(server, pg_text(rows, i, 0), found, &one);

        if (here < 0 && worst == 0) {
            worst = here;
            *err = one;
        }
        r = here == -ERR_CORRUPT ? 0 : here; /* the other databases are checked all the same */
    }
    return worst < 0 ? worst : r;
}
