/* One database: the leader, which holds the snapshot, and what is done in it. */
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/progress.h"
#include "backup/source/pgdump_internal.h"
#include "backup/source/pgname.h"

/* How often a snapshot is tried for, and how often its locks: those cost little. */
enum { TRIES = 16, LOCK_TRIES = 50, COPY_TRIES = 4, STATEMENT_MAX = 512 };

int pgdump_tell(const struct dump *dump, const char *path, const struct err *why, struct err *err)
{
    if (pgdump_cancelled(dump, err))
        return -ERR_CANCELLED;
    return dump->sink->trouble(dump->sink->context, path, why, err);
}

int pgdump_trouble(struct dump_database *database, const char *path, const struct err *why,
                   struct err *err)
{
    pthread_mutex_lock(&database->lock);
    database->incomplete = true;
    pthread_mutex_unlock(&database->lock);
    return pgdump_tell(database->dump, path, why, err);
}

bool pgdump_cancelled(const struct dump *dump, struct err *err)
{
    if (!progress_cancelled(dump->sink->progress))
        return false;
    err_set(err, ERR_CANCELLED, "interrupted");
    return true;
}

int pgdump_join(struct pg_conn *conn, const char *snapshot, struct err *why)
{
    CLEANUP(text_clear) struct text sql = {.buf.limit = STATEMENT_MAX};

    text_add(&sql, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT ");
    text_literal(&sql, snapshot);
    int r = text_end(&sql, why);
    return r < 0 ? r : pg_run(conn, text_of(&sql), why);
}

static int query_text(struct pg_conn *conn, const char *sql, char **out, struct err *why)
{
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;

    int r = pg_query(conn, sql, &rows, why);
    if (r < 0)
        return r;
    free(*out);
    *out = strdup(pg_count(rows) > 0 ? pg_text(rows, 0, 0) : "");
    return *out ? 0 : err_set(why, ERR_NOMEM, "no memory for an answer");
}

/*
 * The position first: what the snapshot shows may be newer, never older.  Then the locks, and only
 * then the snapshot: of a table that is dropped, emptied or rewritten between the two it would show
 * no rows.
 */
static int begin_once(struct dump_database *database, struct err *why)
{
    int r = query_text(database->leader,
                       "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()"
                       " ELSE pg_current_wal_lsn() END",
                       &database->lsn, why);

    if (r == 0)
        r = pgdump_lock(database, why);
    if (r == 0)
        r = query_text(database->leader, "SELECT pg_export_snapshot()", &database->snapshot, why);
    return r < 0 ? r : pgdump_list(database, why);
}

static void let_go(struct dump_database *database)
{
    struct err ignored;

    (void)pg_run(database->leader, "ROLLBACK", &ignored);
    pgdump_tables_clear(database);
}

/* A table may be dropped before it is locked, and be one of two that another session waits for. */
static int begin(struct dump_database *database, struct err *why)
{
    int r;

    for (unsigned tries = 1;; tries++) {
        r = begin_once(database, why);
        if ((r != -ERR_NOT_FOUND && r != -ERR_BUSY) || tries == LOCK_TRIES)
            return r;
        let_go(database);
    }
}

/*
 * A lock that pg_dump waits for in vain, behind somebody who waits for the leader's, is free when
 * the leader's are; what it looked for in vain was dropped meanwhile.  *out_schema: it was content.
 * At the first try the workers copy already, but keep nothing until it is known that all is not
 * begun again; where somebody is in the way, pg_dump is to get its locks as soon as it can.
 */
static int begin_again(struct dump_database *database, int *out_schema, struct err *why)
{
    for (unsigned tries = 1;; tries++) {
        int r = *out_schema = begin(database, why);
        if (r < 0)
            return r;
        if (tries == 1)
            pgdump_workers_start(database, false);
        r = *out_schema = pgdump_schema(database, why);
        bool again = r < 0 && r != -ERR_CANCELLED && tries < TRIES;
        if (!pgdump_workers_settle(database, again)) {
            if (tries > 1)
                pgdump_workers_start(database, true);
            return 0;
        }
        pgdump_workers_end(database);
        let_go(database);
    }
}

int pgdump_ask(struct dump_database *database, const char *sql, struct pg_result **out,
               struct err *why)
{
    struct err ignored;

    int r = pg_run(database->leader, "SAVEPOINT ask", why);
    if (r == 0 && (r = pg_query(database->leader, sql, out, why)) < 0)
        (void)pg_run(database->leader, "ROLLBACK TO ask", &ignored);
    return r;
}

/* A schema gets another name whoever has locked what is in it, and another one its name. */
static int find_current(struct dump_database *database, struct dump_table *table, struct err *why)
{
    CLEANUP(text_clear) struct text sql = {.buf.limit = STATEMENT_MAX};
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;

    text_format(&sql, "SELECT %s::regclass", table->oid);
    int r = text_end(&sql, why);
    if (r == 0)
        r = pgdump_ask(database, text_of(&sql), &rows, why);
    if (r < 0)
        return r;
    free(table->current);
    table->current = strdup(pg_text(rows, 0, 0));
    return table->current ? 0 : err_set(why, ERR_NOMEM, "no memory for a name");
}

static int try_by_leader(struct dump_database *database, struct dump_table *table, bool again,
                         struct err *err)
{
    struct err why;

    if (pgdump_cancelled(database->dump, err))
        return -ERR_CANCELLED;
    if (find_current(database, table, &why) < 0 ||
        pg_run(database->leader, "SAVEPOINT copy", &why) < 0)
        return 0;
    int r = pgdump_copy(database, database->leader, table, again, err);
    if (r == 0 && table->state != TABLE_DONE)
        (void)pg_run(database->leader, "ROLLBACK TO copy", &why);
    return r;
}

/* A table that no worker has copied. */
static int copy_by_leader(struct dump_database *database, struct dump_table *table, struct err *err)
{
    int r = 0;

    for (int tries = 1; r == 0 && table->state == TABLE_TO_DO && tries <= COPY_TRIES; tries++)
        r = try_by_leader(database, table, tries < COPY_TRIES, err);
    return r;
}

static int copy_rest(struct dump_database *database, struct err *err)
{
    struct err why;
    size_t left = 0;
    int r = 0;

    for (size_t i = 0; r == 0 && i < database->table_count; i++) {
        struct dump_table *table = &database->tables[i];
        if (table->state == TABLE_TO_DO)
            r = copy_by_leader(database, table, err);
        left += table->state == TABLE_TO_DO;
    }
    if (r < 0 || left == 0)
        return r;
    (void)err_set(&why, ERR_REMOTE, "the connection to the server is gone; %zu tables are not read",
                  left);
    return pgdump_trouble(database, database->directory, &why, err);
}

/* What the leader does while the workers copy. */
static int lead(struct dump_database *database, struct err *err)
{
    int r = pgdump_properties(database, err);

    if (r == 0)
        r = pgdump_sequences(database, err);
    return r < 0 ? r : pgdump_objects(database, err);
}

static int copy_all(struct dump_database *database, struct err *err)
{
    int r = lead(database, err);

    if (r < 0)
        pgdump_fail(database, err);
    pgdump_workers_end(database);
    if (database->failed < 0) {
        *err = database->err;
        return database->failed;
    }
    r = copy_rest(database, err);
    return r < 0 ? r : pgdump_manifest_of(database, err);
}

static int make_directories(struct dump_database *database, struct err *err)
{
    static const char sql[] = "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_'"
                              " AND nspname <> 'information_schema'";
    const struct sink *sink = database->dump->sink;
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;
    struct err why;

    int r = sink->directory(sink->context, database->directory, PGDUMP_DIRECTORY_MODE, err);
    if (r == 0 && pgdump_ask(database, sql, &rows, &why) < 0)
        return pgdump_trouble(database, database->directory, &why, err);
    for (int i = 0; r == 0 && i < pg_count(rows); i++) {
        CLEANUP(text_clear) struct text path = {.buf.limit = 4096};
        text_format(&path, "%s/", database->directory);
        pgname_encode(&path, pg_text(rows, i, 0), pgname_reserved_schemas);
        r = text_end(&path, err);
        if (r == 0)
            r = sink->directory(sink->context, text_of(&path), PGDUMP_DIRECTORY_MODE, err);
    }
    return r;
}

static void clear(struct dump_database *database)
{
    pgdump_workers_end(database);
    pgdump_tables_clear(database);
    pg_close(database->leader);
    text_clear(&database->sequences);
    text_clear(&database->schema);
    text_clear(&database->archive);
    free(database->directory);
    free(database->snapshot);
    free(database->lsn);
    pthread_cond_destroy(&database->changed);
    pthread_mutex_destroy(&database->lock);
}

static int name_directory(struct dump_database *database, struct err *err)
{
    CLEANUP(text_clear) struct text name = {.buf.limit = 1024};

    pgname_encode(&name, database->name, pgname_reserved_databases);
    int r = text_end(&name, err);
    if (r == 0 && !(database->directory = strdup(text_of(&name))))
        r = err_set(err, ERR_NOMEM, "no memory for a name");
    return r;
}

int pgdump_database(struct dump *dump, const char *name, struct err *err)
{
    CLEANUP(clear)
    struct dump_database database = {.dump = dump,
                                     .name = name,
                                     .schema.buf.limit = PGDUMP_TEXT_MAX,
                                     .archive.buf.limit = PGDUMP_TEXT_MAX,
                                     .sequences.buf.limit = PGDUMP_TEXT_MAX};
    struct err why;
    int schema = 0;

    pthread_mutex_init(&database.lock, NULL);
    pthread_cond_init(&database.changed, NULL);
    int r = name_directory(&database, err);
    if (r < 0)
        return r;
    int began = pg_connect(&dump->options->server, name, PG_PLAIN, &database.leader, &why);
    if (began == 0)
        began = begin_again(&database, &schema, &why);
    if (pgdump_cancelled(dump, err))
        return -ERR_CANCELLED;
    if (began < 0 || schema < 0)
        r = pgdump_trouble(&database, database.directory, &why, err);
    if (began < 0 || r < 0)
        return r;
    r = make_directories(&database, err);
    if (r == 0 && schema == 0)
        r = pgdump_put_schema(&database, err);
    return r < 0 ? r : copy_all(&database, err);
}
