#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/crypto/keyring.h"
#include "catalog/catalog_internal.h"
#include "catalog/schema.h"

enum { LINE_SIZE = 512 };

int seen_insert(struct catalog *catalog, const struct root *root, struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *insert = NULL;
    int r = sql_prepare(&catalog->sql,
                        "INSERT INTO seen_snapshots VALUES (?, ?, ?, ?, ?, ?)"
                        " ON CONFLICT DO UPDATE SET revision = max(revision, excluded.revision)",
                        &insert, err);

    if (r < 0)
        return r;
    sql_bind_text(insert, 1, root->name);
    sql_bind_text(insert, 2, root->host);
    sql_bind_number(insert, 3, root->sequence);
    sql_bind_number(insert, 4, (uint64_t)root->start_ns);
    sql_bind_number(insert, 5, root->revision);
    sql_bind_number(insert, 6, (uint64_t)clock_system()->now_ns(clock_system()));
    return sql_run(&catalog->sql, insert, err);
}

/* Epoch and generation in one number, of which the highest counts. */
static uint64_t current_keys(const struct catalog *catalog)
{
    const struct keyring *keyring = catalog->repo->keyring;

    return (uint64_t)keyring_epoch(keyring) << 32 | keyring_generation(keyring);
}

static int seen_keys(struct catalog *catalog, uint64_t *out, struct err *err)
{
    int64_t number = 0;
    int r =
        sql_number(&catalog->sql, "SELECT value FROM meta WHERE key = 'seen_keys'", &number, err);

    *out = (uint64_t)number;
    return r;
}

int seen_sync_keys(struct catalog *catalog, struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *replace = NULL;
    uint64_t seen = 0;
    int r = seen_keys(catalog, &seen, err);

    if (r < 0 || current_keys(catalog) <= seen)
        return r;
    r = sql_prepare(&catalog->sql, "REPLACE INTO meta VALUES ('seen_keys', ?)", &replace, err);
    if (r < 0)
        return r;
    sql_bind_number(replace, 1, current_keys(catalog));
    return sql_run(&catalog->sql, replace, err);
}

/* ---- what is missing ---- */

/* A snapshot whose root is damaged is told as that. */
#define LOST                                                                                   \
    " FROM seen_snapshots AS s LEFT JOIN snapshots AS n ON n.name = s.name AND " SAME(         \
        "n",                                                                                   \
        "s") " WHERE (n.revision IS NULL OR n.revision < s.revision)"                          \
             "  AND NOT EXISTS (SELECT 1 FROM damaged_roots AS d WHERE d.name = s.name"        \
             "                  AND d.revision >= s.revision)"                                 \
             "  AND NOT EXISTS (SELECT 1 FROM forgotten AS f WHERE f.name = s.name AND " SAME( \
                 "f", "s") ")"

static int add_line(struct strings *out, const char *line, struct err *err)
{
    return strings_add(out, line, strlen(line), err);
}

static int add_snapshots(struct catalog *catalog, struct strings *out, struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *statement = NULL;
    char line[LINE_SIZE], seen[CLOCK_TEXT_SIZE];
    int r =
        sql_prepare(&catalog->sql,
                    "SELECT s.name, s.host, s.sequence, s.revision, s.seen_ns, n.revision,"
                    " s.sequence > coalesce((SELECT max(sequence) FROM snapshots AS o"
                    "                        WHERE o.host = s.host), 0)" LOST " ORDER BY s.name",
                    &statement, err);

    while (r == 0 && (r = sql_step(&catalog->sql, statement, err)) == 1) {
        const char *name = (const char *)sqlite3_column_text(statement, 0);
        const char *host = (const char *)sqlite3_column_text(statement, 1);
        clock_format_local((int64_t)sql_column_number(statement, 4), seen);
        if (sqlite3_column_type(statement, 5) == SQLITE_NULL)
            (void)snprintf(line, sizeof(line),
                           "snapshot %s of %s (its number %" PRIu64
                           "%s), first seen %s, is gone and was never forgotten",
                           name ? name : "", host ? host : "", sql_column_number(statement, 2),
                           sql_column_number(statement, 6) ? ", higher than any that is left" : "",
                           seen);
        else
            (void)snprintf(line, sizeof(line),
                           "snapshot %s of %s went back from revision %" PRIu64 " to %" PRIu64,
                           name ? name : "", host ? host : "", sql_column_number(statement, 3),
                           sql_column_number(statement, 5));
        r = add_line(out, line, err);
    }
    return r;
}

static int add_keys(struct catalog *catalog, struct strings *out, struct err *err)
{
    char line[LINE_SIZE];
    uint64_t seen = 0;
    uint64_t now = current_keys(catalog);
    int r = seen_keys(catalog, &seen, err);

    if (r < 0 || now >= seen)
        return r;
    (void)snprintf(line, sizeof(line),
                   "the keys went back: epoch %" PRIu64 ", generation %" PRIu64
                   " was seen, this is %" PRIu64 ", %" PRIu64,
                   seen >> 32, seen & UINT32_MAX, now >> 32, now & UINT32_MAX);
    return add_line(out, line, err);
}

static int add_notes(struct catalog *catalog, struct strings *out, struct err *err)
{
    CLEANUP(strings_clear) struct strings gone = {0};
    char line[LINE_SIZE];
    int r = rows_select_strings(catalog, "SELECT object FROM notes WHERE gone ORDER BY object",
                                &gone, err);

    for (size_t i = 0; r == 0 && i < gone.count; i++) {
        (void)snprintf(line, sizeof(line), "%s is gone; it counts on this host all the same",
                       gone.at[i]);
        r = add_line(out, line, err);
    }
    return r;
}

static int select_losses(struct catalog *catalog, void *context, struct err *err)
{
    CLEANUP(strings_clear) struct strings found = {0};
    struct strings *out = context;
    int r = add_snapshots(catalog, &found, err);

    if (r == 0)
        r = add_keys(catalog, &found, err);
    if (r == 0)
        r = add_notes(catalog, &found, err);
    if (r < 0)
        return r;
    *out = found;
    found = (struct strings){0};
    return 0;
}

int catalog_losses(struct catalog *catalog, struct strings *out, struct err *err)
{
    return catalog_guarded(catalog, select_losses, out, err);
}

static int append_lost(sqlite3_stmt *statement, struct snapshot_rows *rows, struct err *err)
{
    struct snapshot_row row = {.sequence = sql_column_number(statement, 2),
                               .start_ns = (int64_t)sql_column_number(statement, 3),
                               .revision = sql_column_number(statement, 4)};
    void *at = reallocarray(rows->at, rows->count + 1, sizeof(*rows->at));

    if (!at)
        return err_set(err, ERR_NOMEM, "out of memory");
    rows->at = at;
    if (sql_column_text(statement, 0, row.name, sizeof(row.name)) &&
        sql_column_text(statement, 1, row.host, sizeof(row.host)))
        rows->at[rows->count++] = row;
    return 0;
}

static int select_lost(struct catalog *catalog, void *context, struct err *err)
{
    CLEANUP(snapshot_rows_clear) struct snapshot_rows rows = {0};
    CLEANUP(sql_finalizep) sqlite3_stmt *statement = NULL;
    struct snapshot_rows *out = context;
    int r = sql_prepare(&catalog->sql,
                        "SELECT s.name, s.host, s.sequence, s.start_ns, s.revision" LOST
                        " ORDER BY s.name",
                        &statement, err);

    while (r == 0 && (r = sql_step(&catalog->sql, statement, err)) == 1)
        r = append_lost(statement, &rows, err);
    if (r < 0)
        return r;
    *out = rows;
    rows = (struct snapshot_rows){0};
    return 0;
}

int catalog_lost_snapshots(struct catalog *catalog, struct snapshot_rows *out, struct err *err)
{
    return catalog_guarded(catalog, select_lost, out, err);
}

/* What is there comes in again and is then what was seen. */
static int accept_losses(struct catalog *catalog, void *context, struct err *err)
{
    (void)context;
    int r = schema_unsee(&catalog->sql, err);

    if (r == 0)
        r = sql_exec(&catalog->sql, "DELETE FROM snapshots", err);
    return r < 0 ? r : sync_snapshots(catalog, SYNC_AGAIN, err);
}

int catalog_accept_losses(struct catalog *catalog, struct err *err)
{
    return catalog_guarded(catalog, accept_losses, NULL, err);
}

struct sequence_query {
    const char *host;
    uint64_t *out;
};

static int select_sequence(struct catalog *catalog, void *context, struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *statement = NULL;
    const struct sequence_query *query = context;
    int r = sql_prepare(&catalog->sql,
                        "SELECT max(sequence) FROM (SELECT sequence FROM seen_snapshots"
                        "  WHERE host = ?1 UNION ALL SELECT sequence FROM notes WHERE host = ?1)",
                        &statement, err);

    if (r < 0)
        return r;
    sql_bind_text(statement, 1, query->host);
    r = sql_step(&catalog->sql, statement, err);
    if (r == 1)
        *query->out = sql_column_number(statement, 0);
    return r < 0 ? r : 0;
}

int catalog_sequence(struct catalog *catalog, const char *host, uint64_t *out, struct err *err)
{
    struct sequence_query query = {host, out};

    return catalog_guarded(catalog, select_sequence, &query, err);
}
