/* What is in a database, as one query tells it, and the locks that keep it there. */
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/source/pgdump_internal.h"
#include "backup/source/pgname.h"

/* How many tables one LOCK names. */
enum { LOCK_TABLES = 100 };

/*
 * Plain tables and leaves of partitioned ones; of an extension only its configuration tables, as
 * far as the extension says that rows are the user's.  Rows come in the order of the primary key
 * where that is cheap: for small tables (docs/decisions/row-order.md).  Large ones are read in
 * ranges of blocks where that is wanted and the server can (docs/decisions/ranges.md).
 */
static const char tables_sql[] =
    "WITH config AS ("
    " SELECT x.oid, x.condition FROM pg_extension e,"
    " unnest(e.extconfig, e.extcondition) AS x(oid, condition)),"
    " keys AS ("
    " SELECT i.indrelid, string_agg(quote_ident(a.attname), ', ' ORDER BY k.number) AS columns"
    " FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, number), pg_attribute "
    "a"
    " WHERE i.indisprimary AND k.number <= i.indnkeyatts AND a.attrelid = i.indrelid"
    " AND a.attnum = k.attnum GROUP BY i.indrelid)"
    " SELECT n.nspname, c.relname,"
    " quote_ident(n.nspname) || '.' || quote_ident(c.relname),"
    " coalesce((SELECT '(' || string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) || ')'"
    "  FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
    "  AND a.attgenerated = ''), ''),"
    " CASE WHEN pg_relation_size(c.oid) < 67108864 THEN coalesce(k.columns, '') ELSE '' END,"
    " coalesce(config.condition, ''), config.oid IS NOT NULL,"
    " coalesce((SELECT string_agg(quote_ident(a.attname) || ' '"
    "  || format_type(a.atttypid, a.atttypmod)"
    "  || CASE WHEN a.attcollation <> t.typcollation THEN ' COLLATE '"
    "     || quote_ident(ln.nspname) || '.' || quote_ident(l.collname) ELSE '' END"
    "  || CASE a.attgenerated WHEN '' THEN '' ELSE ' GENERATED ALWAYS AS ('"
    "     || pg_get_expr(d.adbin, d.adrelid) || ')'"
    "     || CASE a.attgenerated WHEN 's' THEN ' STORED' ELSE ' VIRTUAL' END END"
    "  || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END, ', ' ORDER BY a.attnum)"
    "  FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid"
    "  LEFT JOIN pg_collation l ON l.oid = a.attcollation"
    "  LEFT JOIN pg_namespace ln ON ln.oid = l.collnamespace"
    "  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum"
    "  WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), ''),"
    " coalesce((SELECT string_agg('ADD ' || pg_get_constraintdef(o.oid), ', ' ORDER BY o.contype)"
    "  FROM pg_constraint o WHERE o.conrelid = c.oid AND o.contype IN ('p', 'u')), ''),"
    " c.oid, c.relfilenode,"
    " CASE WHEN pg_relation_size(c.oid) >= 67108864 AND config.oid IS NULL"
    "  AND current_setting('server_version_num')::int >= 140000"
    "  AND c.relam = (SELECT oid FROM pg_am WHERE amname = 'heap')"
    "  THEN pg_relation_size(c.oid) / (current_setting('block_size')::bigint * 4096) + 1"
    "  ELSE 0 END"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " LEFT JOIN config ON config.oid = c.oid LEFT JOIN keys k ON k.indrelid = c.oid"
    " WHERE c.relkind = 'r' AND c.relpersistence <> 't'"
    " AND (config.oid IS NOT NULL OR (n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
    "  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass"
    "  AND d.objid = c.oid AND d.deptype = 'e')))"
    " ORDER BY pg_relation_size(c.oid) DESC NULLS LAST, c.oid";

enum {
    COLUMN_SCHEMA,
    COLUMN_NAME,
    COLUMN_QUALIFIED,
    COLUMN_COLUMNS,
    COLUMN_ORDER,
    COLUMN_CONDITION,
    COLUMN_EXTENSION,
    COLUMN_DEFINITION,
    COLUMN_KEYS,
    COLUMN_OID,
    COLUMN_NODE,
    COLUMN_RANGES,
};

void pgdump_tables_clear(struct dump_database *database)
{
    for (size_t i = 0; i < database->table_count; i++) {
        struct dump_table *table = &database->tables[i];
        char *const all[] = {table->schema,  table->name,  table->path,      table->qualified,
                             table->columns, table->order, table->condition, table->definition,
                             table->keys,    table->oid,   table->node,      table->current};
        for (size_t k = 0; k < sizeof(all) / sizeof(all[0]); k++)
            free(all[k]);
    }
    free(database->tables);
    database->tables = NULL;
    database->table_count = 0;
}

static int make_path(const struct dump_database *database, struct dump_table *table,
                     struct err *err)
{
    CLEANUP(text_clear) struct text path = {.buf.limit = 4096};

    text_format(&path, "%s/", database->directory);
    pgname_encode(&path, table->schema, pgname_reserved_schemas);
    text_add(&path, "/");
    pgname_encode(&path, table->name, NULL);
    int r = text_end(&path, err);
    if (r == 0 && !(table->path = strdup(text_of(&path))))
        r = err_set(err, ERR_NOMEM, "no memory for a table");
    return r;
}

static int take_row(struct dump_database *database, const struct pg_result *rows, int row,
                    struct err *err)
{
    struct dump_table *table = &database->tables[database->table_count++];
    char **const texts[] = {
        [COLUMN_SCHEMA] = &table->schema,
        [COLUMN_NAME] = &table->name,
        [COLUMN_QUALIFIED] = &table->qualified,
        [COLUMN_COLUMNS] = &table->columns,
        [COLUMN_ORDER] = &table->order,
        [COLUMN_CONDITION] = &table->condition,
        [COLUMN_DEFINITION] = &table->definition,
        [COLUMN_KEYS] = &table->keys,
        [COLUMN_OID] = &table->oid,
        [COLUMN_NODE] = &table->node,
    };

    for (int i = COLUMN_SCHEMA; i <= COLUMN_NODE; i++)
        if (i != COLUMN_EXTENSION && !(*texts[i] = strdup(pg_text(rows, row, i))))
            return err_set(err, ERR_NOMEM, "no memory for a table");
    table->extension = pg_is_true(rows, row, COLUMN_EXTENSION);
    if (database->dump->options->ranges && table->columns[0] && !table->order[0])
        table->ranges = strtoull(pg_text(rows, row, COLUMN_RANGES), NULL, 10);
    return make_path(database, table, err);
}

/* The tables whose quoted names are in that column. */
static int lock_tables(struct dump_database *database, const struct pg_result *rows, int column,
                       struct err *why)
{
    CLEANUP(text_clear) struct text sql = {.buf.limit = PGDUMP_TEXT_MAX};
    int r = 0;

    for (int at = 0; r == 0 && at < pg_count(rows); at += LOCK_TABLES) {
        text_clear(&sql);
        for (int i = at; i < pg_count(rows) && i < at + LOCK_TABLES; i++)
            text_format(&sql, "%s%s", i == at ? "LOCK TABLE ONLY " : ", ONLY ",
                        pg_text(rows, i, column));
        text_add(&sql, " IN ACCESS SHARE MODE");
        r = text_end(&sql, why);
        if (r == 0)
            r = pg_run(database->leader, text_of(&sql), why);
    }
    return r;
}

int pgdump_lock(struct dump_database *database, struct err *why)
{
    /* Partitioned ones as well: pg_dump wants them. */
    static const char sql[] =
        "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'"
        " AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
        " AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass"
        "  AND d.objid = c.oid AND d.deptype = 'e') ORDER BY c.oid";
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;

    int r = pg_query(database->leader, sql, &rows, why);
    if (r == 0)
        r = pg_run(database->leader, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", why);
    return r < 0 ? r : lock_tables(database, rows, 0, why);
}

/*
 * Names are looked up as they are now, rows as the snapshot has them: a table that was dropped and
 * made again, emptied or rewritten between the two would come out empty.  What the catalog has in
 * the snapshot is compared with what has that name, and that file, now.
 */
static int check_same(struct dump_database *database, struct err *why)
{
    CLEANUP(text_clear) struct text sql = {.buf.limit = PGDUMP_TEXT_MAX};
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;

    text_add(&sql, "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
                   " WHERE c.oid = ANY ('{");
    for (size_t i = 0; i < database->table_count; i++)
        text_format(&sql, "%s%s", i > 0 ? "," : "", database->tables[i].oid);
    text_add(&sql, "}'::oid[]) AND (pg_relation_filenode(c.oid) IS DISTINCT FROM c.relfilenode"
                   " OR to_regclass(quote_ident(n.nspname) || '.' || quote_ident(c.relname))::oid"
                   " IS DISTINCT FROM c.oid) LIMIT 1");
    int r = text_end(&sql, why);
    if (r == 0)
        r = pg_query(database->leader, text_of(&sql), &rows, why);
    if (r == 0 && pg_count(rows) > 0)
        r = err_set(why, ERR_NOT_FOUND, "the table %s is made anew again and again",
                    pg_text(rows, 0, 0));
    return r;
}

int pgdump_list(struct dump_database *database, struct err *why)
{
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;

    int r = pg_query(database->leader, tables_sql, &rows, why);
    if (r < 0)
        return r;
    database->tables = calloc((size_t)pg_count(rows) + 1, sizeof(*database->tables));
    if (!database->tables)
        return err_set(why, ERR_NOMEM, "no memory for tables");
    for (int i = 0; r == 0 && i < pg_count(rows); i++)
        r = take_row(database, rows, i, why);
    /* Those are locked but for what was made just before the snapshot. */
    if (r == 0)
        r = lock_tables(database, rows, COLUMN_QUALIFIED, why);
    return r < 0 ? r : check_same(database, why);
}
