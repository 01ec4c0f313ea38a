#include "backup/source/pgdump.h"

#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/together.h"
#include "backup/source/pgchild.h"
#include "backup/source/pgdump_internal.h"

/* Whatever the settings say, these are there on nearly every server. */
static const char *const homes[] = {"postgres", "template1"};

static int look_for(void *context, const void *bytes, size_t size, struct err *err)
{
    struct text *help = context;

    (void)err;
    text_bytes(help, bytes, size);
    return 0;
}

static int ask_client(const struct dump *dump, const char *option, struct text *out,
                      struct err *why)
{
    const char *const argv[] = {"pg_dump", option, NULL};
    const struct pgchild child = {.server = &dump->options->server,
                                  .argv = argv,
                                  .input = -1,
                                  .take = look_for,
                                  .context = out};

    int r = pgchild_run(&child, why);
    return r < 0 ? r : text_end(out, why);
}

/* Fixed in 2025 in all branches, so that the version does not tell. */
static int find_restrict_key(void *context, struct err *why)
{
    struct dump *dump = context;
    CLEANUP(text_clear) struct text help = {.buf.limit = 1024 * 1024};

    int r = ask_client(dump, "--help", &help, why);
    if (r == 0)
        dump->restrict_key = strstr(text_of(&help), "--restrict-key") != NULL;
    return r;
}

static int find_client_version(void *context, struct err *why)
{
    struct dump *dump = context;
    static const char before[] = "(PostgreSQL) ";
    CLEANUP(text_clear) struct text version = {.buf.limit = 1024 * 1024};

    int r = ask_client(dump, "--version", &version, why);
    if (r < 0)
        return r;
    const char *number = strstr(text_of(&version), before);
    dump->client_version = number ? strtoul(number + strlen(before), NULL, 10) : 0;
    return 0;
}

/* pg_dump refuses a server that is newer; what to do about it is better said before. */
static int check_client(const struct dump *dump, struct err *why)
{
    int server = pg_version(dump->conn) / PG_VERSION_MAJOR;

    if (dump->client_version == 0 || dump->client_version >= (unsigned long)server)
        return 0;
    return err_set(why, ERR_USAGE,
                   "the server is PostgreSQL %d, and pg_dump here is of %lu: install the newer "
                   "client (package postgresql-client-%d), or put its directory first into PATH",
                   server, dump->client_version, server);
}

static int connect_home(void *context, struct err *why)
{
    struct dump *dump = context;
    const struct pgdump_options *options = dump->options;
    int r = -ERR_NOT_FOUND;

    for (size_t i = 0; r == -ERR_NOT_FOUND && i < sizeof(homes) / sizeof(homes[0]); i++) {
        dump->home = homes[i];
        r = pg_connect(&options->server, homes[i], PG_PLAIN, &dump->conn, why);
    }
    for (size_t i = 0; r == -ERR_NOT_FOUND && i < options->database_count; i++) {
        dump->home = options->databases[i];
        r = pg_connect(&options->server, dump->home, PG_PLAIN, &dump->conn, why);
    }
    return r;
}

static int dump_named(struct dump *dump, struct err *err)
{
    const struct pgdump_options *options = dump->options;
    int r = 0;

    for (size_t i = 0; r == 0 && i < options->database_count; i++)
        r = pgdump_cancelled(dump, err) ? -ERR_CANCELLED
                                        : pgdump_database(dump, options->databases[i], err);
    return r;
}

static int dump_all(struct dump *dump, struct err *err)
{
    static const char sql[] = "SELECT datname FROM pg_database"
                              " WHERE datallowconn AND NOT datistemplate ORDER BY datname";
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;
    struct err why;
    int r = 0;

    if (pg_query(dump->conn, sql, &rows, &why) < 0)
        return pgdump_tell(dump, "database", &why, err);
    for (int i = 0; r == 0 && i < pg_count(rows); i++)
        r = pgdump_cancelled(dump, err) ? -ERR_CANCELLED
                                        : pgdump_database(dump, pg_text(rows, i, 0), err);
    return r;
}

/* Databases that the settings leave out: whoever looks at the snapshot should know of them. */
static void add_left_out(const struct dump *dump, struct text *text)
{
    static const char sql[] = "SELECT datname FROM pg_database"
                              " WHERE datallowconn AND NOT datistemplate ORDER BY datname";
    const struct pgdump_options *options = dump->options;
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;
    struct err ignored;
    bool any = false;

    if (options->database_count == 0 || pg_query(dump->conn, sql, &rows, &ignored) < 0)
        return;
    for (int i = 0; i < pg_count(rows); i++) {
        bool kept = false;
        for (size_t k = 0; k < options->database_count; k++)
            kept = kept || strcmp(options->databases[k], pg_text(rows, i, 0)) == 0;
        if (kept)
            continue;
        text_add(text, any ? ", " : "");
        text_json(text, pg_text(rows, i, 0));
        any = true;
    }
}

static int put_manifest(struct dump *dump, struct err *err)
{
    CLEANUP(text_clear) struct text text = {.buf.limit = PGDUMP_TEXT_MAX};

    int r = text_end(&dump->databases, err);
    if (r < 0)
        return r;
    text_add(&text, "{\n  \"method\": \"logical\",\n  \"server_version\": ");
    text_json(&text, pg_version_text(dump->conn));
    text_format(&text, ",\n  \"server_version_number\": %d,\n  \"left_out\": [",
                pg_version(dump->conn));
    add_left_out(dump, &text);
    text_add(&text, "],\n  \"databases\": [\n");
    text_add(&text, text_of(&dump->databases));
    text_add(&text, "\n  ]\n}\n");
    r = text_end(&text, err);
    return r < 0 ? r : pgdump_put(dump, "manifest.json", text_of(&text), text_size(&text), err);
}

static int put_globals(void *context, struct err *err)
{
    struct dump *dump = context;

    return pgdump_globals(dump, dump->passwords, err);
}

static int put_databases(void *context, struct err *err)
{
    struct dump *dump = context;

    return dump->options->database_count > 0 ? dump_named(dump, err) : dump_all(dump, err);
}

/* With a server that answers; nothing waits for pg_dumpall. */
static int dump_server(struct dump *dump, struct err *err)
{
    static const char sql[] = "SELECT has_table_privilege('pg_catalog.pg_authid', 'SELECT')";
    struct together_call calls[] = {{.run = put_databases, .context = dump},
                                    {.run = put_globals, .context = dump}};
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;
    bool asked = pg_query(dump->conn, sql, &rows, &calls[1].err) == 0;
    int r = asked ? 0 : pgdump_tell(dump, "globals.sql", &calls[1].err, err);

    dump->passwords = asked && pg_is_true(rows, 0, 0);
    if (r == 0)
        r = together(calls, asked ? 2 : 1, true, err);
    return r < 0 ? r : put_manifest(dump, err);
}

int pgdump_run(const struct pgdump_options *options, struct err *err)
{
    struct dump dump = {
        .options = options, .sink = options->sink, .databases = {.buf.limit = PGDUMP_TEXT_MAX}};
    struct together_call calls[] = {{.run = find_restrict_key, .context = &dump},
                                    {.run = connect_home, .context = &dump},
                                    {.run = find_client_version, .context = &dump}};
    struct err why;

    int r = together(calls, sizeof(calls) / sizeof(calls[0]), true, &why);
    if (r == 0)
        r = check_client(&dump, &why);
    r = r < 0 ? pgdump_tell(&dump, "database", &why, err) : dump_server(&dump, err);
    pg_close(dump.conn);
    text_clear(&dump.databases);
    return r;
}
