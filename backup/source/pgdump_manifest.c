/* What a database's manifest says: names, numbers, order; what a restore has to know. */
#include <inttypes.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/source/pgdump_internal.h"

static void add_member(struct text *text, const char *name, const char *value)
{
    text_format(text, ", \"%s\": ", name);
    text_json(text, value);
}

static const char *order_of(const struct dump_table *table)
{
    return table->order[0] ? table->order : "as stored";
}

static void add_table(const struct dump_database *database, struct text *text,
                      const struct dump_table *table)
{
    text_add(text, "    {\"schema\": ");
    text_json(text, table->schema);
    add_member(text, "name", table->name);
    add_member(text, "file", table->path + strlen(database->directory) + 1);
    text_format(text, ", \"rows\": %" PRIu64 ", \"bytes\": %" PRIu64, table->rows, table->bytes);
    add_member(text, "order", order_of(table));
    add_member(text, "columns", table->columns);
    add_member(text, "definition", table->definition);
    add_member(text, "keys", table->keys);
    text_format(text, ", \"extension\": %s, \"complete\": %s}", table->extension ? "true" : "false",
                table->state == TABLE_DONE ? "true" : "false");
}

/* One array of quoted names; what cannot be asked is told, and left out. */
static int add_names(struct dump_database *database, struct text *text, const char *member,
                     const char *sql, struct err *err)
{
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;
    struct err why;

    if (pgdump_ask(database, sql, &rows, &why) < 0)
        return pgdump_trouble(database, database->directory, &why, err);
    text_format(text, "  \"%s\": [", member);
    for (int i = 0; i < pg_count(rows); i++) {
        text_add(text, i > 0 ? ", " : "");
        text_json(text, pg_text(rows, i, 0));
    }
    text_add(text, "],\n");
    return 0;
}

static const char views_sql[] = "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)"
                                " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
                                " WHERE c.relkind = 'm' AND c.relispopulated ORDER BY c.oid";
static const char foreign_sql[] = "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)"
                                  " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
                                  " WHERE c.relkind = 'f' ORDER BY c.oid";

/* With what it is to be made again.  Which columns say it differs from version to version. */
static int add_making(struct dump_database *database, struct text *text, struct err *err)
{
    int version = pg_version(database->leader);
    const char *locale = version >= 170000   ? "datlocale"
                         : version >= 150000 ? "daticulocale"
                                             : "NULL";
    const char *provider = version >= 150000 ? "datlocprovider::text" : "'c'";
    const char *rules = version >= 160000 ? "daticurules" : "NULL";
    CLEANUP(text_clear) struct text sql = {.buf.limit = 4096};
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;
    struct err why;

    text_format(&sql,
                "SELECT 'ENCODING ' || quote_literal(pg_encoding_to_char(encoding))"
                " || CASE %s WHEN 'i' THEN ' LOCALE_PROVIDER icu ICU_LOCALE ' || quote_literal(%s)"
                " || coalesce(' ICU_RULES ' || quote_literal(%s::text), '')"
                " WHEN 'b' THEN ' LOCALE_PROVIDER builtin BUILTIN_LOCALE ' || quote_literal(%s)"
                " ELSE '' END || ' LC_COLLATE ' || quote_literal(datcollate)"
                " || ' LC_CTYPE ' || quote_literal(datctype)"
                " FROM pg_database WHERE datname = current_database()",
                provider, locale, rules, locale);
    int r = text_end(&sql, err);
    if (r < 0)
        return r;
    if (pgdump_ask(database, text_of(&sql), &rows, &why) < 0)
        return pgdump_trouble(database, database->directory, &why, err);
    text_add(text, "  \"create\": ");
    text_json(text, pg_text(rows, 0, 0));
    text_add(text, ",\n");
    return 0;
}

static int tell_foreign(struct dump_database *database, struct err *err)
{
    const struct sink *sink = database->dump->sink;
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;
    struct err why;
    int r = 0;

    if (pgdump_ask(database, foreign_sql, &rows, &why) < 0)
        return 0;
    for (int i = 0; r == 0 && i < pg_count(rows); i++)
        r = sink->note(sink->context, pg_text(rows, i, 0),
                       "a foreign table: its rows are another server's", err);
    return r;
}

static int add_all(struct dump_database *database, struct text *text, struct err *err)
{
    text_add(text, "{\n  \"database\": ");
    text_json(text, database->name);
    text_add(text, ",\n  \"server_version\": ");
    text_json(text, pg_version_text(database->leader));
    text_add(text, ",\n  \"lsn\": ");
    text_json(text, database->lsn);
    text_add(text, ",\n");
    int r = add_making(database, text, err);
    if (r == 0)
        r = add_names(database, text, "materialized_views", views_sql, err);
    if (r == 0)
        r = add_names(database, text, "foreign_tables", foreign_sql, err);
    text_format(text, "  \"sequences\": %" PRIu64 ",\n  \"large_objects\": %" PRIu64 ",\n",
                database->sequence_count, database->object_count);
    text_add(text, "  \"tables\": [\n");
    for (size_t i = 0; i < database->table_count; i++) {
        add_table(database, text, &database->tables[i]);
        text_add(text, i + 1 < database->table_count ? ",\n" : "\n");
    }
    text_format(text, "  ],\n  \"complete\": %s\n}\n", database->incomplete ? "false" : "true");
    return r < 0 ? r : text_end(text, err);
}

/* Its line in the manifest of the server. */
static void add_line(struct dump_database *database)
{
    struct text *all = &database->dump->databases;
    uint64_t rows = 0, bytes = 0;

    for (size_t i = 0; i < database->table_count; i++) {
        rows += database->tables[i].rows;
        bytes += database->tables[i].bytes;
    }
    text_add(all, text_size(all) > 0 ? ",\n    {\"name\": " : "    {\"name\": ");
    text_json(all, database->name);
    add_member(all, "directory", database->directory);
    add_member(all, "lsn", database->lsn);
    text_format(all, ", \"tables\": %zu, \"rows\": %" PRIu64 ", \"bytes\": %" PRIu64,
                database->table_count, rows, bytes);
    text_format(all, ", \"complete\": %s}", database->incomplete ? "false" : "true");
}

int pgdump_manifest_of(struct dump_database *database, struct err *err)
{
    CLEANUP(text_clear) struct text text = {.buf.limit = PGDUMP_TEXT_MAX};
    CLEANUP(text_clear) struct text path = {.buf.limit = 4096};

    text_format(&path, "%s/manifest.json", database->directory);
    int r = text_end(&path, err);
    if (r == 0)
        r = add_all(database, &text, err);
    if (r == 0)
        r = tell_foreign(database, err);
    if (r < 0)
        return r;
    add_line(database);
    return pgdump_put(database->dump, text_of(&path), text_of(&text), text_size(&text), err);
}
