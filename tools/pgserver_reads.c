/* Servers of 13, which have no pg_amcheck: each index by the extension, each table by reading it.
 */
#include <stdio.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "tools/pgserver_internal.h"

enum { LINE_SIZE = 400 };

/* An index is compared with its whole table.  What is to be asked, and of what. */
static const char list_sql[] =
    "SELECT format('index %s', c.oid::regclass),"
    " format('SELECT %I.bt_index_check(%s, true)', n.nspname, c.oid)"
    " FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid JOIN pg_am a ON a.oid = c.relam"
    " JOIN pg_extension e ON e.extname = 'amcheck' JOIN pg_namespace n ON n.oid = e.extnamespace"
    " WHERE c.relkind = 'i' AND a.amname = 'btree' AND c.relpersistence = 'p'"
    " AND i.indisready AND i.indisvalid"
    " UNION ALL SELECT format('table %s', c.oid::regclass),"
    " format('SELECT count(*) FROM ONLY %s', c.oid::regclass)"
    " FROM pg_class c WHERE c.relkind IN ('r', 'm', 't') AND c.relpersistence = 'p'"
    " ORDER BY 1";

int pgserver_check_by_reading(struct pg_conn *conn, const char *database,
                              void (*found)(const char *line), struct err *err)
{
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;
    unsigned count = 0;
    struct err why;

    int r = pg_query(conn, list_sql, &rows, err);
    for (int i = 0; r == 0 && i < pg_count(rows); i++) {
        CLEANUP(pg_clearp) struct pg_result *answer = NULL;
        char line[LINE_SIZE];

        if (pg_query(conn, pg_text(rows, i, 1), &answer, &why) == 0)
            continue;
        if (why.code == ERR_CANCELLED || pg_is_lost(conn)) {
            *err = why;
            return -(int)why.code;
        }
        (void)snprintf(line, sizeof(line), "%.140s: %s", pg_text(rows, i, 0), why.text);
        found(line);
        count++;
    }
    if (r == 0 && count > 0)
        r = err_set(err, ERR_CORRUPT, "amcheck finds damage in database %s", database);
    return r;
}
