#include "backup/source/pgload.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/text.h"
#include "backup/source/pgload_internal.h"

enum { NAME_MAX_SIZE = 63, SQL_MAX = 64 * 1024 * 1024, STATEMENT_MAX = 16 * 1024, NOTE_SIZE = 400 };

/* PostgreSQL cuts longer names without a word. */
static void make_name(const char *name, const char *between, const char *stamp,
                      char out[NAME_MAX_SIZE + 1])
{
    size_t room = NAME_MAX_SIZE - strlen(between) - strlen(stamp);
    size_t size = strlen(name) < room ? strlen(name) : room;

    while (size > 0 && ((unsigned char)name[size] & 0xC0) == 0x80)
        size--; /* not within a letter */
    (void)snprintf(out, NAME_MAX_SIZE + 1, "%.*s%s%s", (int)size, name, between, stamp);
}

static const char *target_of(const struct pgload_options *options,
                             const struct pgload_database *database)
{
    return options->into ? options->into : database->name;
}

__attribute__((format(printf, 2, 3))) static void note(const struct pgload_options *options,
                                                       const char *format, ...)
{
    char line[NOTE_SIZE];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    options->note(options->context, line);
}

/* From where databases are made and renamed: never the one that it is about.  What an interrupted
 * load began is taken away over it, so once it is there no interrupt ends what it does. */
static int connect_home(const struct pgload_options *options, const char *target,
                        struct pg_conn **out, struct err *err)
{
    const struct pg_server *server = &options->server;
    const char *home = strcmp(target, "postgres") == 0 ? "template1" : "postgres";
    int r = pg_connect(server, home, PG_PLAIN, out, err);

    if (r == -ERR_NOT_FOUND)
        r = pg_connect(server, "template1", PG_PLAIN, out, err);
    if (r == 0)
        pg_unwatch(*out);
    return r;
}

enum presence { ABSENT, EMPTY, FILLED };

/* What there is of that name.  Empty is what has no object of a user's. */
static int look(const struct pgload_options *options, const char *name, enum presence *out,
                struct err *err)
{
    static const char sql[] =
        "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema')"
        " OR EXISTS (SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
        " WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema')"
        " OR EXISTS (SELECT FROM pg_namespace WHERE nspname !~ '^pg_'"
        " AND nspname NOT IN ('information_schema', 'public'))"
        " OR EXISTS (SELECT FROM pg_largeobject_metadata)";
    CLEANUP(pg_closep) struct pg_conn *conn = NULL;
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;

    int r = pg_connect(&options->server, name, PG_PLAIN, &conn, err);
    if (r == -ERR_NOT_FOUND) {
        *out = ABSENT;
        return 0;
    }
    if (r == 0)
        r = pg_query(conn, sql, &rows, err);
    if (r == 0)
        *out = pg_is_true(rows, 0, 0) ? FILLED : EMPTY;
    return r;
}

static int check(const struct pgload_options *options, const struct pgload_database *database,
                 enum presence *out, struct err *err)
{
    const char *target = target_of(options, database);

    if (strlen(target) > NAME_MAX_SIZE || !*target)
        return err_set(err, ERR_USAGE, "a name of %zu bytes", strlen(target));
    int r = look(options, target, out, err);
    if (r == 0 && *out == FILLED && !options->replace)
        r = err_set(err, ERR_EXISTS,
                    "the database %s exists and is not empty: --overwrite always loads beside it "
                    "and renames it, --into NAME loads under another name",
                    target);
    return r;
}

int pgload_check(const struct pgload_options *options, const struct pgload_database *database,
                 struct err *err)
{
    enum presence there;
    CLEANUP(pg_closep) struct pg_conn *home = NULL;
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;

    int r = check(options, database, &there, err);
    if (r == 0)
        r = connect_home(options, target_of(options, database), &home, err);
    if (r == 0)
        r = pg_query(home,
                     "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user",
                     &rows, err);
    if (r == 0 && !pg_is_true(rows, 0, 0))
        r = err_set(err, ERR_DENIED, "the role may not make databases: it needs CREATEDB");
    return r;
}

/* "CREATE DATABASE x", "ALTER DATABASE x RENAME TO y" … */
static int run_named(struct pg_conn *conn, const char *before, const char *first,
                     const char *between, const char *second, struct err *err)
{
    CLEANUP(text_clear) struct text sql = {.buf.limit = STATEMENT_MAX};

    text_add(&sql, before);
    text_identifier(&sql, first);
    text_add(&sql, between);
    if (second)
        text_identifier(&sql, second);
    int r = text_end(&sql, err);
    return r < 0 ? r : pg_run(conn, text_of(&sql), err);
}

static int create(struct pg_conn *home, const struct load *load, struct err *err)
{
    CLEANUP(text_clear) struct text how = {.buf.limit = STATEMENT_MAX};

    text_format(&how, " TEMPLATE template0 %s", load->database->making);
    int r = text_end(&how, err);
    return r < 0 ? r : run_named(home, "CREATE DATABASE ", load->name, text_of(&how), NULL, err);
}

/* Everything into the database load->name. */
static int fill(const struct load *load, struct err *err)
{
    CLEANUP(pg_closep) struct pg_conn *conn = NULL;

    int r = pgload_section(load, LOAD_PRE_DATA, err);
    if (r == 0)
        r = pgload_all_rows(load, err);
    if (r == 0)
        r = pg_connect(&load->options->server, load->name, PG_PLAIN, &conn, err);
    if (r == 0)
        r = pgload_sequences(load, conn, err);
    if (r == 0)
        r = pgload_objects(load, conn, err);
    if (r == 0)
        r = pgload_section(load, LOAD_POST_DATA, err);
    if (r == 0)
        r = pgload_views(load, conn, err);
    return r < 0 ? r : pgload_properties(load, conn, err);
}

/* The new one in the place of the old one. */
static int put_in_place(struct pg_conn *home, const struct load *load, const char *target,
                        bool replaces, struct err *err)
{
    char before[NAME_MAX_SIZE + 1];
    struct err ignored;
    int r = 0;

    make_name(target, "_before_", load->options->stamp, before);
    if (replaces)
        r = run_named(home, "ALTER DATABASE ", target, " RENAME TO ", before, err);
    if (r < 0)
        return r;
    r = run_named(home, "ALTER DATABASE ", load->name, " RENAME TO ", target, err);
    if (r < 0 && replaces)
        (void)run_named(home, "ALTER DATABASE ", before, " RENAME TO ", target, &ignored);
    if (r == 0 && replaces)
        note(load->options, "the database %s as it was is now %s", target, before);
    return r;
}

/* The server may have been started anew meanwhile, and its connections lost with it. */
static void take_away(const struct load *load, struct pg_conn *home, const char *target)
{
    CLEANUP(pg_closep) struct pg_conn *again = NULL;
    struct err ignored;

    if (run_named(home, "DROP DATABASE ", load->name, "", NULL, &ignored) == 0 ||
        (connect_home(load->options, target, &again, &ignored) == 0 &&
         run_named(again, "DROP DATABASE ", load->name, "", NULL, &ignored) == 0))
        return;
    note(load->options, "what was begun is still there: drop the database %s", load->name);
}

/* Under a name of its own first; what was begun and not finished is taken away again. */
static int load_beside(struct load *load, const char *target, bool replaces, struct err *err)
{
    CLEANUP(pg_closep) struct pg_conn *home = NULL;
    char name[NAME_MAX_SIZE + 1];

    make_name(target, "_loading_", load->options->stamp, name);
    load->name = name;
    int r = connect_home(load->options, target, &home, err);
    if (r == 0)
        r = create(home, load, err);
    if (r < 0)
        return r;
    r = fill(load, err);
    if (r == 0 && (r = put_in_place(home, load, target, replaces, err)) < 0)
        note(load->options, "what was loaded is taken away again: %s", name);
    if (r < 0)
        take_away(load, home, target);
    return r;
}

/* Tablespaces that could not be made are done without. */
static bool lacks_tablespaces(const struct load *load)
{
    CLEANUP(buf_clear) struct buf globals = {.limit = PGLOAD_FILE_MAX + 1};
    CLEANUP(pg_closep) struct pg_conn *conn = NULL;
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;
    size_t wanted = 0;
    struct err err;

    if (pgload_read(load->options, "globals.sql", &globals, &err) < 0 ||
        pg_connect(&load->options->server, "template1", PG_PLAIN, &conn, &err) < 0 ||
        pg_query(conn, "SELECT FROM pg_tablespace WHERE spcname !~ '^pg_'", &rows, &err) < 0)
        return false;
    for (const char *at = (const char *)globals.data; (at = strstr(at, "\nCREATE TABLESPACE "));
         at++)
        wanted++;
    return wanted > (size_t)pg_count(rows);
}

int pgload_database(const struct pgload_options *options, const struct pgload_database *database,
                    struct err *err)
{
    struct load load = {.options = options, .database = database};
    const char *target = target_of(options, database);
    enum presence there;

    int r = check(options, database, &there, err);
    if (r < 0)
        return r;
    load.no_tablespaces = lacks_tablespaces(&load);
    if (there == EMPTY) {
        load.name = target;
        r = fill(&load, err);
    } else {
        r = load_beside(&load, target, there == FILLED, err);
    }
    if (r < 0 && there == EMPTY)
        return err_context(
            err, "database %.80s (it was empty, and may be half loaded now: drop it)", target);
    if (r < 0)
        return err_context(err, "database %.80s", target);
    note(options, "the database %s is loaded", target);
    return 0;
}

static int load_alone(const struct load *load, struct pg_conn *conn, const char *schema,
                      const struct pgload_table *table, struct err *err)
{
    CLEANUP(text_clear) struct text name = {.buf.limit = STATEMENT_MAX};
    CLEANUP(text_clear) struct text sql = {.buf.limit = SQL_MAX};

    text_identifier(&name, schema);
    text_add(&name, ".");
    text_identifier(&name, table->name);
    int r = text_end(&name, err);
    if (r < 0)
        return r;
    text_format(&sql, "CREATE TABLE %s (", text_of(&name));
    text_add(&sql, table->definition);
    text_add(&sql, ")");
    r = text_end(&sql, err);
    if (r == 0)
        r = pg_run(conn, text_of(&sql), err);
    if (r == 0)
        r = pgload_rows(load, conn, table, text_of(&name), true, err);
    if (r < 0 || !table->keys[0])
        return r;
    text_clear(&sql);
    text_format(&sql, "ALTER TABLE %s ", text_of(&name));
    text_add(&sql, table->keys);
    r = text_end(&sql, err);
    return r < 0 ? r : pg_run(conn, text_of(&sql), err);
}

int pgload_tables(const struct pgload_options *options, const struct pgload_database *database,
                  struct err *err)
{
    const struct load load = {.options = options, .database = database, .name = database->name};
    CLEANUP(pg_closep) struct pg_conn *conn = NULL;
    char own[NAME_MAX_SIZE + 1];
    const char *schema = options->into;

    if (!schema) {
        make_name(database->tables[0].schema, "_", options->stamp, own);
        schema = own;
    }
    int r = pg_connect(&options->server, database->name, PG_PLAIN, &conn, err);
    if (r == 0)
        r = pg_run(conn, "BEGIN", err);
    if (r == 0)
        r = run_named(conn, "CREATE SCHEMA ", schema, "", NULL, err);
    if (r == -ERR_EXISTS)
        return err_set(err, ERR_EXISTS,
                       "the schema %.80s is there already in %.80s: tables come into a new one, so "
                       "that nothing is overwritten; --into names another",
                       schema, database->name);
    for (size_t i = 0; r == 0 && !options->dry_run && i < database->table_count; i++)
        r = load_alone(&load, conn, schema, &database->tables[i], err);
    if (r == 0)
        r = pg_run(conn, options->dry_run ? "ROLLBACK" : "COMMIT", err);
    if (r == 0)
        note(options, "%s into the new schema %s of %s", options->dry_run ? "would load" : "loaded",
             schema, database->name);
    return r;
}
