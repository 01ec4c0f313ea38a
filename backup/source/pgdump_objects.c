/* Large objects: each one's content as a file, and who may do what with them. */
#include <inttypes.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/hex.h"
#include "backup/source/pgdump_internal.h"

/* A page of a large object as the server keeps it: a quarter of a block, 8 KiB at most. */
enum { PATH_LIMIT = 4096, PAGE_MAX = 8192 };

struct objects {
    struct dump_database *database;
    const struct sink *sink;
    struct sink_file *file; /* of the object that is being read */
    char oid[24];
    uint64_t at; /* its content so far */
    uint64_t page_size;
};

static const char owners_sql[] =
    "SELECT line FROM ("
    " SELECT m.oid, 1 AS part, format('SELECT pg_catalog.lo_create(%s);', m.oid) AS line"
    "  FROM pg_largeobject_metadata m"
    " UNION ALL SELECT m.oid, 2, format('ALTER LARGE OBJECT %s OWNER TO %I;', m.oid,"
    "  pg_get_userbyid(m.lomowner)) FROM pg_largeobject_metadata m"
    " UNION ALL SELECT m.oid, 3, format('GRANT %s ON LARGE OBJECT %s TO %s%s;', a.privilege_type,"
    "  m.oid, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,"
    "  CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)"
    "  FROM pg_largeobject_metadata m, aclexplode(m.lomacl) AS a WHERE a.grantee <> m.lomowner"
    " UNION ALL SELECT m.oid, 4, format('COMMENT ON LARGE OBJECT %s IS %L;', m.oid, s.description)"
    "  FROM pg_largeobject_metadata m JOIN pg_description s ON s.objoid = m.oid"
    "  AND s.classoid = 'pg_largeobject'::regclass"
    ") AS lines ORDER BY oid, part, line";

static const char pages_sql[] =
    "COPY (SELECT m.oid, coalesce(p.pageno, 0), coalesce(encode(p.data, 'hex'), '')"
    " FROM pg_largeobject_metadata m LEFT JOIN pg_largeobject p ON p.loid = m.oid"
    " ORDER BY m.oid, p.pageno) TO STDOUT";

/* There may be more lines than fit in memory: row by row.  1: the server failed. */
static int push_lines(struct objects *objects, struct sink_file *file, struct err *why,
                      struct err *err)
{
    struct pg_conn *conn = objects->database->leader;
    struct pg_result *next = NULL;
    int r = 0, failed = 0;

    if (!PQsendQuery(conn, owners_sql) || !PQsetSingleRowMode(conn))
        return pg_error(conn, NULL, why) < 0;
    while (failed == 0 && (failed = pg_next(conn, &next, why)) == 0 && next) {
        CLEANUP(pg_clearp) struct pg_result *result = next;
        ExecStatusType status = PQresultStatus(result);
        if (status == PGRES_SINGLE_TUPLE && r == 0) {
            r = objects->sink->push(file, PQgetvalue(result, 0, 0),
                                    (size_t)PQgetlength(result, 0, 0), err);
            if (r == 0)
                r = objects->sink->push(file, "\n", 1, err);
        }
        if (status != PGRES_SINGLE_TUPLE && status != PGRES_TUPLES_OK)
            failed = pg_error(conn, result, why);
    }
    return r < 0 ? r : failed < 0;
}

static int end_object(struct objects *objects, struct err *err)
{
    return objects->file ? objects->sink->close(STEAL(objects->file), err) : 0;
}

static int begin_object(struct objects *objects, const char *oid, size_t size, struct err *err)
{
    CLEANUP(text_clear) struct text path = {.buf.limit = PATH_LIMIT};
    int r = end_object(objects, err);

    if (r < 0)
        return r;
    memcpy(objects->oid, oid, size);
    objects->oid[size] = 0;
    objects->at = 0;
    objects->database->object_count++;
    text_format(&path, "%s/large_objects/%s", objects->database->directory, objects->oid);
    r = text_end(&path, err);
    return r < 0 ? r
                 : objects->sink->open(objects->sink->context, text_of(&path), PGDUMP_MODE,
                                       &objects->file, err);
}

/* Pages that are not there read as zeros. */
static int push_zeros(struct objects *objects, uint64_t until, struct err *err)
{
    static const uint8_t zeros[64 * 1024];
    int r = 0;

    while (r == 0 && objects->at < until) {
        uint64_t left = until - objects->at;
        size_t count = left < sizeof(zeros) ? (size_t)left : sizeof(zeros);
        r = objects->sink->push(objects->file, zeros, count, err);
        objects->at += count;
    }
    return r;
}

/* "oid TAB page TAB hex NEWLINE" */
static int take_page(struct objects *objects, const char *row, struct err *err)
{
    const char *tab = strchr(row, '\t');
    char *hex;
    uint8_t page[PAGE_MAX];
    int r = 0;

    if (!tab || (size_t)(tab - row) >= sizeof(objects->oid))
        return err_set(err, ERR_REMOTE, "the server sent no large object");
    size_t oid_size = (size_t)(tab - row);
    uint64_t number = strtoull(tab + 1, &hex, 10);
    size_t size = *hex == '\t' ? strcspn(++hex, "\n") : SIZE_MAX;
    if (size % 2 != 0 || size / 2 > sizeof(page) || number > INT32_MAX ||
        !hex_decode(hex, size, page, size / 2))
        return err_set(err, ERR_REMOTE, "the server sent no large object");
    if (!objects->file || strlen(objects->oid) != oid_size ||
        memcmp(objects->oid, row, oid_size) != 0)
        r = begin_object(objects, row, oid_size, err);
    if (r == 0)
        r = push_zeros(objects, number * objects->page_size, err);
    if (r == 0 && size > 0)
        r = objects->sink->push(objects->file, page, size / 2, err);
    objects->at += size / 2;
    return r;
}

/* A negative result is the sink's; 1: the server failed. */
static int push_pages(struct objects *objects, struct err *why, struct err *err)
{
    struct pg_conn *conn = objects->database->leader;
    struct pg_flow flow = pg_flow_start();
    char *row = NULL;
    uint64_t count;
    size_t size;
    int r = 0;

    int failed = pg_copy_begin(conn, pages_sql, why);
    if (failed < 0)
        return 1;
    while (r == 0 && (failed = pg_copy_read(conn, &flow, &row, &size, why)) == 0 && row) {
        r = pgdump_cancelled(objects->database->dump, err) ? -ERR_CANCELLED
                                                           : take_page(objects, row, err);
        pg_copy_free(row);
    }
    if (r < 0)
        pg_stop(conn);
    if (r == 0 && failed == 0)
        failed = pg_copy_finish(conn, &count, why);
    if (r == 0 && failed == 0)
        return end_object(objects, err);
    objects->sink->drop(STEAL(objects->file));
    return r < 0 ? r : 1;
}

static int put_owners(struct objects *objects, struct err *why, struct err *err)
{
    CLEANUP(text_clear) struct text path = {.buf.limit = PATH_LIMIT};
    struct sink_file *file;

    text_format(&path, "%s/large_objects/objects.sql", objects->database->directory);
    int r = text_end(&path, err);
    if (r == 0)
        r = objects->sink->open(objects->sink->context, text_of(&path), PGDUMP_MODE, &file, err);
    if (r < 0)
        return r;
    r = push_lines(objects, file, why, err);
    if (r == 0)
        return objects->sink->close(file, err);
    objects->sink->drop(file);
    return r;
}

static int put_all(struct objects *objects, struct err *why, struct err *err)
{
    struct err ignored;

    (void)pg_run(objects->database->leader, "SAVEPOINT objects", &ignored);
    int r = put_owners(objects, why, err);
    if (r == 0)
        r = push_pages(objects, why, err);
    if (r > 0)
        (void)pg_run(objects->database->leader, "ROLLBACK TO objects", &ignored);
    return r;
}

int pgdump_objects(struct dump_database *database, struct err *err)
{
    struct objects objects = {.database = database, .sink = database->dump->sink};
    CLEANUP(text_clear) struct text path = {.buf.limit = PATH_LIMIT};
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;
    struct err why;

    text_format(&path, "%s/large_objects", database->directory);
    int r = text_end(&path, err);
    if (r < 0)
        return r;
    if (pgdump_ask(database,
                   "SELECT current_setting('block_size')::int / 4,"
                   " EXISTS (SELECT FROM pg_largeobject_metadata)",
                   &rows, &why) < 0)
        return pgdump_trouble(database, text_of(&path), &why, err);
    objects.page_size = strtoull(pg_text(rows, 0, 0), NULL, 10);
    if (!pg_is_true(rows, 0, 1))
        return 0;
    r = objects.sink->directory(objects.sink->context, text_of(&path), PGDUMP_DIRECTORY_MODE, err);
    if (r == 0)
        r = put_all(&objects, &why, err);
    return r <= 0 ? r : pgdump_trouble(database, text_of(&path), &why, err);
}
