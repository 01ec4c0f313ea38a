#include "catalog/schema.h"

#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "catalog/sql.h"

#define APPLICATION_ID 0x59535452 /* "YSTR" */

/* One script for each version, from the one before. */
static const char *const migrations[] = {
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;"
    /* imported: its chunks (data) or its records (index) are in a segment of this catalog. */
    "CREATE TABLE archives ("
    "  id BLOB PRIMARY KEY CHECK (length(id) = 32), kind INTEGER NOT NULL, size INTEGER NOT NULL,"
    "  present INTEGER NOT NULL DEFAULT 1, imported INTEGER NOT NULL DEFAULT 0,"
    "  damaged INTEGER NOT NULL DEFAULT 0, marked INTEGER NOT NULL DEFAULT 0,"
    "  indexed_by BLOB) WITHOUT ROWID;"
    "CREATE INDEX archives_to_import ON archives (kind) WHERE imported = 0;"
    "CREATE TABLE snapshots ("
    "  name TEXT PRIMARY KEY, revision INTEGER NOT NULL, host TEXT NOT NULL,"
    "  sequence INTEGER NOT NULL, start_ns INTEGER NOT NULL, end_ns INTEGER NOT NULL,"
    "  complete INTEGER NOT NULL, adhoc INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX snapshots_by_host ON snapshots (host, name);"
    "CREATE TABLE snapshot_types ("
    "  snapshot TEXT NOT NULL REFERENCES snapshots (name) ON DELETE CASCADE,"
    "  type INTEGER NOT NULL, complete INTEGER NOT NULL, files INTEGER NOT NULL,"
    "  bytes INTEGER NOT NULL, new_bytes INTEGER NOT NULL, unreadable INTEGER NOT NULL,"
    "  PRIMARY KEY (snapshot, type)) WITHOUT ROWID;"
    "CREATE TABLE runs ("
    "  snapshot TEXT PRIMARY KEY REFERENCES snapshots (name) ON DELETE CASCADE,"
    "  archives INTEGER NOT NULL, stored INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE damaged_roots ("
    "  name TEXT NOT NULL, revision INTEGER NOT NULL, reason TEXT NOT NULL,"
    "  PRIMARY KEY (name, revision)) WITHOUT ROWID;"
    "CREATE TABLE segments ("
    "  file TEXT PRIMARY KEY, entries INTEGER NOT NULL, archives INTEGER NOT NULL) WITHOUT ROWID;",

    "CREATE TABLE snapshot_tags ("
    "  snapshot TEXT NOT NULL REFERENCES snapshots (name) ON DELETE CASCADE,"
    "  tag TEXT NOT NULL, PRIMARY KEY (snapshot, tag)) WITHOUT ROWID;"
    /* Each snapshot that this catalog ever knew, in its highest revision. */
    "CREATE TABLE seen_snapshots ("
    "  name TEXT NOT NULL, host TEXT NOT NULL, sequence INTEGER NOT NULL,"
    "  start_ns INTEGER NOT NULL, revision INTEGER NOT NULL, seen_ns INTEGER NOT NULL,"
    "  PRIMARY KEY (name, host, sequence, start_ns)) WITHOUT ROWID;"
    "INSERT INTO seen_snapshots SELECT name, host, sequence, start_ns, revision,"
    "  CAST(strftime('%s', 'now') AS INTEGER) * 1000000000 FROM snapshots;"
    "DELETE FROM snapshots;" /* they come again, with tags */
    /* what: as docs/format.md has it; of a damaged one only what its name says is known. */
    "CREATE TABLE notes ("
    "  object TEXT PRIMARY KEY, what INTEGER NOT NULL, snapshot TEXT NOT NULL,"
    "  host TEXT NOT NULL, sequence INTEGER NOT NULL, start_ns INTEGER NOT NULL,"
    "  number INTEGER NOT NULL, hold BLOB NOT NULL, made_ns INTEGER NOT NULL, by TEXT NOT NULL,"
    "  reason TEXT NOT NULL, damaged INTEGER NOT NULL, gone INTEGER NOT NULL DEFAULT 0)"
    "  WITHOUT ROWID;"
    "CREATE INDEX notes_by_snapshot ON notes (snapshot);"
    "CREATE VIEW forgotten AS SELECT n.snapshot AS name, n.host, n.sequence, n.start_ns, n.made_ns"
    "  FROM notes AS n WHERE n.what = 1 AND NOT n.damaged AND NOT EXISTS"
    "  (SELECT 1 FROM notes AS m WHERE m.snapshot = n.snapshot AND m.what IN (1, 2)"
    "   AND m.number > n.number AND (m.damaged OR (m.host = n.host AND m.sequence = n.sequence"
    "                                              AND m.start_ns = n.start_ns)));"
    "CREATE VIEW holds AS SELECT h.* FROM notes AS h WHERE h.what = 3 AND NOT EXISTS"
    "  (SELECT 1 FROM notes AS r WHERE r.snapshot = h.snapshot AND r.what = 4"
    "   AND r.hold = h.hold AND NOT r.damaged);",

    /* What servers' logs are stored; of a damaged one only its name is known. */
    "CREATE TABLE wal ("
    "  object TEXT PRIMARY KEY, damaged INTEGER NOT NULL, what INTEGER NOT NULL,"
    "  system INTEGER NOT NULL, timeline INTEGER NOT NULL, segment_size INTEGER NOT NULL,"
    "  start INTEGER NOT NULL, length INTEGER NOT NULL, size INTEGER NOT NULL,"
    "  made_ns INTEGER NOT NULL, magic INTEGER NOT NULL, commits INTEGER NOT NULL,"
    "  first_lsn INTEGER NOT NULL, first_xid INTEGER NOT NULL, first_us INTEGER NOT NULL,"
    "  last_lsn INTEGER NOT NULL, last_xid INTEGER NOT NULL, last_us INTEGER NOT NULL,"
    "  earliest_us INTEGER NOT NULL, latest_us INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX wal_by_place ON wal (system, timeline, start);"
    "CREATE TABLE wal_points ("
    "  object TEXT NOT NULL REFERENCES wal (object) ON DELETE CASCADE,"
    "  lsn INTEGER NOT NULL, time_us INTEGER NOT NULL, name TEXT NOT NULL,"
    "  PRIMARY KEY (object, lsn)) WITHOUT ROWID;",

    /* Until when objects are locked, where this catalog had a part in it. */
    "CREATE TABLE retained ("
    "  location TEXT NOT NULL, object TEXT NOT NULL, until_ns INTEGER NOT NULL,"
    "  PRIMARY KEY (location, object)) WITHOUT ROWID;",
};
_Static_assert(sizeof(migrations) / sizeof(migrations[0]) == SCHEMA_VERSION, "one for each");

static int not_ours(struct sql *sql, const char *what, struct err *err)
{
    sql->trouble = SQL_DAMAGED;
    return err_set(err, ERR_SYSTEM, "catalog: %s", what);
}

static int check_repository(struct sql *sql, const uint8_t repo_id[REPO_ID_SIZE], struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *statement = NULL;
    uint8_t found[REPO_ID_SIZE];
    int r = sql_prepare(sql, "SELECT value FROM meta WHERE key = 'repository'", &statement, err);

    if (r == 0)
        r = sql_step(sql, statement, err);
    if (r < 0)
        return r;
    if (r == 0 || !sql_column_blob(statement, 0, found, sizeof(found)) ||
        memcmp(found, repo_id, sizeof(found)) != 0)
        return not_ours(sql, "of another repository", err);
    return 0;
}

static int note_repository(struct sql *sql, const uint8_t repo_id[REPO_ID_SIZE], struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *statement = NULL;
    int r = sql_prepare(sql, "INSERT INTO meta VALUES ('repository', ?)", &statement, err);

    if (r < 0)
        return r;
    sql_bind_blob(statement, 1, repo_id, REPO_ID_SIZE);
    return sql_run(sql, statement, err);
}

/* An empty file, or one of ours; *out is its version. */
static int check_version(struct sql *sql, int64_t *out, struct err *err)
{
    int64_t application = 0, tables = 0;
    int r = sql_number(sql, "PRAGMA user_version", out, err);

    if (r == 0)
        r = sql_number(sql, "PRAGMA application_id", &application, err);
    if (r == 0)
        r = sql_number(sql, "SELECT count(*) FROM sqlite_master", &tables, err);
    if (r < 0)
        return r;
    if (*out == 0 && application == 0 && tables == 0)
        return 0;
    if (application != APPLICATION_ID || *out <= 0)
        return not_ours(sql, "not a catalog of yester", err);
    if (*out > SCHEMA_VERSION)
        return err_set(err, ERR_EXISTS, "catalog: of a newer version of yester");
    return 0;
}

static int migrate(struct sql *sql, const uint8_t repo_id[REPO_ID_SIZE], struct err *err)
{
    CLEANUP(sql_rollbackp) struct sql *transaction = NULL;
    int64_t version = 0;
    char text[96];
    int r = sql_begin(sql, &transaction, err);

    if (r == 0)
        r = check_version(sql, &version, err); /* again: another process may have been first */
    if (r < 0 || version == SCHEMA_VERSION)
        return r;
    for (int64_t i = version; r == 0 && i < SCHEMA_VERSION; i++)
        r = sql_exec(sql, migrations[i], err);
    if (r == 0 && version == 0)
        r = note_repository(sql, repo_id, err);
    sqlite3_snprintf(sizeof(text), text, "PRAGMA application_id = %d; PRAGMA user_version = %d",
                     APPLICATION_ID, SCHEMA_VERSION);
    if (r == 0)
        r = sql_exec(sql, text, err);
    return r < 0 ? r : sql_commit(&transaction, err);
}

int schema_prepare(struct sql *sql, const uint8_t repo_id[REPO_ID_SIZE], struct err *err)
{
    int64_t version = 0;
    int r = check_version(sql, &version, err);

    if (r == 0)
        r = sql_exec(sql,
                     "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
                     "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;"
                     "PRAGMA temp_store = MEMORY;",
                     err);
    if (r == 0 && version < SCHEMA_VERSION)
        r = migrate(sql, repo_id, err);
    if (r == 0)
        r = check_repository(sql, repo_id, err);
    if (r == 0) /* what a listing found; this connection's own, so it locks nobody out */
        r = sql_exec(sql,
                     "CREATE TEMP TABLE listed (name TEXT NOT NULL, number INTEGER NOT NULL,"
                     "  PRIMARY KEY (name, number)) WITHOUT ROWID;"
                     "CREATE TEMP TABLE listed_archives (id BLOB PRIMARY KEY,"
                     "  kind INTEGER NOT NULL, size INTEGER NOT NULL) WITHOUT ROWID;"
                     "CREATE TEMP TABLE listed_marks (id BLOB PRIMARY KEY) WITHOUT ROWID;"
                     "CREATE TEMP TABLE listed_notes (object TEXT PRIMARY KEY) WITHOUT ROWID;"
                     "CREATE TEMP TABLE listed_wal (object TEXT PRIMARY KEY) WITHOUT ROWID;",
                     err);
    return r;
}

int schema_empty(struct sql *sql, struct err *err)
{
    CLEANUP(sql_rollbackp) struct sql *transaction = NULL;
    int r = sql_begin(sql, &transaction, err);

    if (r == 0)
        r = sql_exec(sql,
                     "DELETE FROM snapshots; DELETE FROM damaged_roots; DELETE FROM archives;"
                     "DELETE FROM segments; DELETE FROM notes WHERE damaged; DELETE FROM wal;"
                     "DELETE FROM retained;",
                     err);
    return r < 0 ? r : sql_commit(&transaction, err);
}

int schema_unsee(struct sql *sql, struct err *err)
{
    CLEANUP(sql_rollbackp) struct sql *transaction = NULL;
    int r = sql_begin(sql, &transaction, err);

    if (r == 0)
        r = sql_exec(sql,
                     "DELETE FROM seen_snapshots; DELETE FROM notes;"
                     "DELETE FROM meta WHERE key = 'seen_keys';",
                     err);
    return r < 0 ? r : sql_commit(&transaction, err);
}
