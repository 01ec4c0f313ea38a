/* The schema and the globals, by pg_dump and pg_dumpall; sequences; the database itself. */
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/io.h"
#include "backup/source/pgchild.h"
#include "backup/source/pgdump_internal.h"

/* So that two dumps of the same schema are the same. */
#define RESTRICT_KEY "--restrict-key=yester"

enum { PATH_LIMIT = 4096 };

/* A child's output on its way into a file of the sink. */
struct child_file {
    const struct sink *sink;
    struct sink_file *file;
    bool failed; /* the sink's error, not the child's */
};

static int take(void *context, const void *bytes, size_t size, struct err *err)
{
    struct child_file *out = context;
    int r = out->sink->push(out->file, bytes, size, err);

    out->failed = r < 0;
    return r;
}

/* A negative result is the sink's; 1: the child failed, and `why` says why. */
static int run_into(struct dump *dump, const char *path, const char *database,
                    const char *const *argv, struct err *why, struct err *err)
{
    struct child_file out = {.sink = dump->sink};
    const struct pgchild child = {
        .server = &dump->options->server,
        .database = database,
        .argv = argv,
        .input = -1,
        .progress = dump->sink->progress,
        .take = take,
        .context = &out,
    };

    int r = dump->sink->open(dump->sink->context, path, PGDUMP_MODE, &out.file, err);
    if (r < 0)
        return r;
    r = pgchild_run(&child, why);
    if (r == 0)
        return dump->sink->close(out.file, err);
    dump->sink->drop(out.file);
    if (!out.failed && r != -ERR_CANCELLED)
        return 1;
    *err = *why;
    return r;
}

int pgdump_put(struct dump *dump, const char *path, const char *bytes, size_t size, struct err *err)
{
    const struct sink *sink = dump->sink;
    struct sink_file *file;

    int r = sink->open(sink->context, path, PGDUMP_MODE, &file, err);
    if (r < 0)
        return r;
    r = sink->push(file, bytes, size, err);
    if (r < 0) {
        sink->drop(file);
        return r;
    }
    return sink->close(file, err);
}

static int take_text(void *context, const void *bytes, size_t size, struct err *err)
{
    struct text *text = context;

    text_bytes(text, bytes, size);
    *err = text->err;
    return text->failed;
}

/* What a child writes, into a text. */
static int run_into_text(const struct dump_database *database, const char *const *argv, int input,
                         struct text *out, struct err *why)
{
    const struct pgchild child = {
        .server = &database->dump->options->server,
        .database = database->name,
        .argv = argv,
        .input = input,
        .progress = database->dump->sink->progress,
        .take = take_text,
        .context = out,
    };

    text_clear(out);
    int r = pgchild_run(&child, why);
    return r < 0 ? r : text_end(out, why);
}

/*
 * pg_dump's own locks wait behind whoever waits for the leader's: in vain, unless that one gives
 * up.  So they may not wait for long; then all is let go, and begun again.
 */
static int dump_archive(struct dump_database *database, struct err *why)
{
    CLEANUP(text_clear) struct text snapshot = {.buf.limit = PATH_LIMIT};

    text_format(&snapshot, "--snapshot=%s", database->snapshot);
    int r = text_end(&snapshot, why);
    if (r < 0)
        return r;
    const char *const argv[] = {"pg_dump",         "--schema-only",          "--encoding=UTF8",
                                "--compress=0",    "--lock-wait-timeout=1s", "--no-password",
                                "--format=custom", text_of(&snapshot),       NULL};
    r = run_into_text(database, argv, -1, &database->archive, why);
    if (r == -ERR_REMOTE && strstr(why->text, "due to statement timeout"))
        return err_set(why, ERR_BUSY,
                       "pg_dump waited too long for its locks: tables are altered or dropped "
                       "again and again");
    return r;
}

/* The same to read: what pg_dump itself would have written, without asking the server again. */
static int print_archive(struct dump_database *database, struct err *why)
{
    CLEANUP(closep) int input = -1;
    const char *const argv[] = {"pg_restore", "--file=-", PGCHILD_INPUT_NAME,
                                database->dump->restrict_key ? RESTRICT_KEY : NULL, NULL};

    int r = pgchild_input(text_of(&database->archive), text_size(&database->archive), &input, why);
    return r < 0 ? r : run_into_text(database, argv, input, &database->schema, why);
}

/* Until both forms are there nothing is put into the sink. */
int pgdump_schema(struct dump_database *database, struct err *why)
{
    int r = dump_archive(database, why);

    return r < 0 ? r : print_archive(database, why);
}

int pgdump_globals(struct dump *dump, bool passwords, struct err *err)
{
    const struct sink *sink = dump->sink;
    const char *argv[] = {
        "pg_dumpall", "--globals-only", "--no-password", "--database", dump->home, NULL, NULL,
        NULL};
    size_t count = 5;
    struct err why;

    if (!passwords)
        argv[count++] = "--no-role-passwords";
    if (dump->restrict_key)
        argv[count++] = RESTRICT_KEY;
    int r = run_into(dump, "globals.sql", dump->home, argv, &why, err);
    if (r > 0)
        return pgdump_tell(dump, "globals.sql", &why, err);
    if (r < 0 || passwords)
        return r;
    return sink->note(sink->context, "globals.sql",
                      "without the passwords of roles: only a superuser may read them", err);
}

/* Where a sequence stands, by what it is called now; its row knows no snapshots, as with pg_dump.
 */
static int add_sequence(struct dump_database *database, const char *qualified, const char *current,
                        struct err *err)
{
    CLEANUP(text_clear) struct text sql = {.buf.limit = PATH_LIMIT};
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;
    struct err why;

    text_format(&sql, "SELECT last_value, is_called FROM %s", current);
    int r = text_end(&sql, err);
    if (r < 0)
        return r;
    if (pgdump_ask(database, text_of(&sql), &rows, &why) < 0)
        return pgdump_trouble(database, qualified, &why, err);
    text_add(&database->sequences, "SELECT pg_catalog.setval(");
    text_literal(&database->sequences, qualified);
    text_format(&database->sequences, ", %s, %s);\n", pg_text(rows, 0, 0),
                pg_is_true(rows, 0, 1) ? "true" : "false");
    database->sequence_count++;
    return 0;
}

/* Puts what was collected; a path that cannot be made is no more than no memory. */
static int put_below(struct dump_database *database, const char *name, struct text *content,
                     struct err *err)
{
    CLEANUP(text_clear) struct text path = {.buf.limit = PATH_LIMIT};

    text_format(&path, "%s/%s", database->directory, name);
    int r = text_end(&path, err);
    if (r == 0)
        r = text_end(content, err);
    return r < 0 ? r
                 : pgdump_put(database->dump, text_of(&path), text_of(content), text_size(content),
                              err);
}

int pgdump_put_schema(struct dump_database *database, struct err *err)
{
    int r = put_below(database, "schema.sql", &database->schema, err);

    return r < 0 ? r : put_below(database, "schema.dump", &database->archive, err);
}

int pgdump_sequences(struct dump_database *database, struct err *err)
{
    static const char sql[] =
        "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname),"
        " CASE WHEN c.oid::regclass::text <> c.oid::text THEN c.oid::regclass::text"
        "  ELSE quote_ident(n.nspname) || '.' || quote_ident(c.relname) END"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relkind = 'S' AND c.relpersistence <> 't'"
        " AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass"
        "  AND d.objid = c.oid AND d.deptype = 'e'"
        "  AND c.oid <> ALL (SELECT unnest(e.extconfig) FROM pg_extension e"
        "   WHERE e.extconfig IS NOT NULL))"
        " ORDER BY 1";
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;
    struct err why;
    int r = 0;

    if (pgdump_ask(database, sql, &rows, &why) < 0)
        return pgdump_trouble(database, database->directory, &why, err);
    for (int i = 0; r == 0 && i < pg_count(rows); i++)
        r = add_sequence(database, pg_text(rows, i, 0), pg_text(rows, i, 1), err);
    return r < 0 ? r : put_below(database, "sequences.sql", &database->sequences, err);
}

/* Statements in which psql's :"DBNAME" stands for the database, whatever it is called then. */
static const char properties_sql[] =
    "SELECT line FROM ("
    " SELECT 1 AS part, 0 AS row, format('ALTER DATABASE :\"DBNAME\" OWNER TO %I;',"
    "  pg_get_userbyid(datdba)) AS line FROM pg_database WHERE datname = current_database()"
    " UNION ALL SELECT 2, 0, format('ALTER DATABASE :\"DBNAME\" CONNECTION LIMIT %s;', "
    "datconnlimit)"
    "  FROM pg_database WHERE datname = current_database() AND datconnlimit >= 0"
    " UNION ALL SELECT 3, 0, format('COMMENT ON DATABASE :\"DBNAME\" IS %L;', s.description)"
    "  FROM pg_database d JOIN pg_shdescription s ON s.objoid = d.oid"
    "  AND s.classoid = 'pg_database'::regclass WHERE d.datname = current_database()"
    " UNION ALL SELECT 4, x.number, CASE WHEN s.setrole = 0 THEN 'ALTER DATABASE :\"DBNAME\"'"
    "   ELSE format('ALTER ROLE %I IN DATABASE :\"DBNAME\"', pg_get_userbyid(s.setrole)) END"
    "  || format(' SET %I TO ', split_part(x.setting, '=', 1))"
    "  || CASE WHEN split_part(x.setting, '=', 1) IN ('search_path', 'temp_tablespaces',"
    "   'local_preload_libraries', 'session_preload_libraries')"
    "   THEN CASE WHEN substr(x.setting, strpos(x.setting, '=') + 1) = '' THEN ''''''"
    "    ELSE substr(x.setting, strpos(x.setting, '=') + 1) END"
    "   ELSE quote_literal(substr(x.setting, strpos(x.setting, '=') + 1)) END || ';'"
    "  FROM pg_db_role_setting s, unnest(s.setconfig) WITH ORDINALITY AS x(setting, number)"
    "  WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " UNION ALL SELECT 5, 0, 'REVOKE ALL ON DATABASE :\"DBNAME\" FROM PUBLIC;'"
    "  FROM pg_database WHERE datname = current_database() AND datacl IS NOT NULL"
    " UNION ALL SELECT 6, 0, format('GRANT %s ON DATABASE :\"DBNAME\" TO %s%s;', a.privilege_type,"
    "  CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,"
    "  CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)"
    "  FROM pg_database d, aclexplode(d.datacl) AS a"
    "  WHERE d.datname = current_database() AND a.grantee <> d.datdba"
    ") AS lines ORDER BY part, row, line";

int pgdump_properties(struct dump_database *database, struct err *err)
{
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;
    CLEANUP(text_clear) struct text lines = {.buf.limit = PGDUMP_TEXT_MAX};
    struct err why;

    if (pgdump_ask(database, properties_sql, &rows, &why) < 0)
        return pgdump_trouble(database, database->directory, &why, err);
    for (int i = 0; i < pg_count(rows); i++) {
        text_add(&lines, pg_text(rows, i, 0));
        text_add(&lines, "\n");
    }
    return put_below(database, "database.sql", &lines, err);
}
