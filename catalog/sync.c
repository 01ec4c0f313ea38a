#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/crew.h"
#include "backup/base/err.h"
#include "backup/base/log.h"
#include "backup/store/store.h"
#include "catalog/catalog_internal.h"

enum { ROOTS_AT_ONCE = 64, ROOT_READERS = 16 };

/* One revision of a snapshot. */
struct revision {
    char name[SNAPSHOT_NAME_SIZE];
    uint64_t number;
};

struct revisions {
    struct revision *at;
    size_t count, capacity;
};

static void revisions_clear(struct revisions *revisions)
{
    free(revisions->at);
}

bool sync_is_damage(int r, const struct err *err)
{
    return r == -ERR_CORRUPT || r == -ERR_WRONG_KEY || (r == -ERR_SYSTEM && err->cause == EIO);
}

int sync_is_gone(struct catalog *catalog, const char *name, struct err *err)
{
    CLEANUP(store_object_closep) struct store_object *object = NULL;
    int r = store_open(catalog->repo->store, name, &object, err);

    return r == -ERR_NOT_FOUND ? 1 : r;
}

/* "YYYYMMDD_HHMMSS/RRRRRRRR" */
static bool parse_revision(const char *text, struct revision *out)
{
    enum { NAME = SNAPSHOT_NAME_SIZE - 1, DIGITS = 8 };
    uint64_t number = 0;

    if (strlen(text) != NAME + 1 + DIGITS || text[8] != '_' || text[NAME] != '/')
        return false;
    for (size_t i = 0; i < NAME + 1 + DIGITS; i++) {
        bool digit = text[i] >= '0' && text[i] <= '9';
        if (i != 8 && i != NAME && !digit)
            return false;
        if (i > NAME)
            number = number * 10 + (uint64_t)(text[i] - '0');
    }
    memcpy(out->name, text, NAME);
    out->name[NAME] = '\0';
    out->number = number;
    return true;
}

static int note_revision(void *context, const char *name, uint64_t size, struct err *err)
{
    struct listing *listing = context;
    struct revision revision;

    (void)size;
    if (!parse_revision(name, &revision))
        return 0; /* not the repository's */
    sql_bind_text(listing->insert, 1, revision.name);
    sql_bind_number(listing->insert, 2, revision.number);
    return sql_run(listing->sql, listing->insert, err);
}

static int list_snapshots(struct catalog *catalog, struct err *err)
{
    static const struct sync_list snapshots = {
        "snapshots/", note_revision, "INSERT OR IGNORE INTO temp.listed VALUES (?, ?)", 0};

    return sync_list(catalog, "DELETE FROM temp.listed", &snapshots, 1, err);
}

static int select_revisions(struct catalog *catalog, const char *query, struct revisions *out,
                            struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *statement = NULL;
    int r = sql_prepare(&catalog->sql, query, &statement, err);

    while (r == 0 && (r = sql_step(&catalog->sql, statement, err)) == 1) {
        r = 0;
        if (out->count == out->capacity) {
            size_t capacity = out->capacity ? 2 * out->capacity : 64;
            void *at = reallocarray(out->at, capacity, sizeof(*out->at));
            if (!at)
                return err_set(err, ERR_NOMEM, "out of memory");
            out->at = at;
            out->capacity = capacity;
        }
        struct revision *revision = &out->at[out->count];
        if (sql_column_text(statement, 0, revision->name, sizeof(revision->name)))
            out->count++;
        revision->number = sql_column_number(statement, 1);
    }
    return r;
}

static int run_for_revision(struct catalog *catalog, const char *text,
                            const struct revision *revision, struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *statement = NULL;
    int r = sql_prepare(&catalog->sql, text, &statement, err);

    if (r < 0)
        return r;
    sql_bind_text(statement, 1, revision->name);
    sql_bind_number(statement, 2, revision->number);
    return sql_run(&catalog->sql, statement, err);
}

static int remove_gone(struct catalog *catalog, struct err *err)
{
    CLEANUP(revisions_clear) struct revisions gone = {0};
    char object[OBJECT_NAME_SIZE];
    int r = select_revisions(catalog,
                             "SELECT name, revision FROM snapshots EXCEPT SELECT * FROM temp.listed"
                             " UNION SELECT name, revision FROM damaged_roots"
                             " EXCEPT SELECT * FROM temp.listed",
                             &gone, err);

    for (size_t i = 0; r == 0 && i < gone.count; i++) {
        const struct revision *revision = &gone.at[i];
        root_object_name(revision->name, revision->number, object);
        int missing = sync_is_gone(catalog, object, err);
        if (missing < 0)
            r = missing;
        if (missing == 1)
            r = run_for_revision(catalog, "DELETE FROM snapshots WHERE name = ? AND revision = ?",
                                 revision, err);
        if (missing == 1 && r == 0)
            r = run_for_revision(catalog,
                                 "DELETE FROM damaged_roots WHERE name = ? AND revision = ?",
                                 revision, err);
    }
    return r;
}

static int insert_damaged(struct catalog *catalog, const struct revision *revision,
                          const char *reason, struct err *err)
{
    CLEANUP(sql_finalizep) sqlite3_stmt *statement = NULL;
    int r = run_for_revision(catalog, "DELETE FROM snapshots WHERE name = ? AND revision < ?",
                             revision, err);

    if (r == 0)
        r = sql_prepare(&catalog->sql, "REPLACE INTO damaged_roots VALUES (?, ?, ?)", &statement,
                        err);
    if (r < 0)
        return r;
    sql_bind_text(statement, 1, revision->name);
    sql_bind_number(statement, 2, revision->number);
    sql_bind_text(statement, 3, reason);
    return sql_run(&catalog->sql, statement, err);
}

/* A root that was read, or why it could not be. */
struct attempt {
    bool read, damaged;
    struct root root;
    struct err err;
};

static int read_root(struct catalog *catalog, const struct revision *revision, struct attempt *out,
                     struct err *err)
{
    int r = root_read(catalog->repo, revision->name, revision->number, &out->root, &out->err);

    out->read = r == 0;
    if (r == 0 || r == -ERR_NOT_FOUND) /* gone since it was listed */
        return 0;
    out->damaged = sync_is_damage(r, &out->err);
    if (out->damaged) {
        log_warn("snapshot %s is damaged and left out: %s", revision->name, out->err.text);
        return 0;
    }
    *err = out->err;
    return r;
}

/* One of several that are read at once. */
struct reading {
    struct catalog *catalog;
    const struct revision *revision;
    struct attempt *attempt;
    struct crew *crew;
};

static void run_reading(void *argument)
{
    const struct reading *reading = argument;
    struct err err;

    if (!crew_ended(reading->crew) &&
        read_root(reading->catalog, reading->revision, reading->attempt, &err) < 0)
        crew_fail(reading->crew, &err);
}

static int read_roots(struct catalog *catalog, const struct revision *revisions,
                      struct attempt *attempts, size_t count, struct err *err)
{
    struct reading readings[ROOTS_AT_ONCE];
    struct crew crew = {0};
    int r = 0;

    if (count < 2 || !repo_is_remote(catalog->repo)) {
        for (size_t i = 0; r == 0 && i < count; i++)
            r = read_root(catalog, &revisions[i], &attempts[i], err);
        return r;
    }
    r = crew_open(&crew, count < ROOT_READERS ? count : ROOT_READERS, count, NULL,
                  "to read snapshots", err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < count; i++) {
        readings[i] = (struct reading){catalog, &revisions[i], &attempts[i], &crew};
        crew_submit(&crew, run_reading, &readings[i]);
    }
    r = crew_settle(&crew, r, err);
    crew_close(&crew);
    return r;
}

/* Who looks for what is new usually wants the newest next. */
static void keep_newest(struct catalog *catalog, struct attempt *attempts, size_t count)
{
    for (size_t i = count; i-- > 0 && catalog->kept_count < ROOTS_KEPT;)
        if (attempts[i].read) {
            catalog->kept[catalog->kept_count++] = attempts[i].root;
            attempts[i].root = (struct root){0};
        }
}

void sync_let_go(struct catalog *catalog)
{
    while (catalog->kept_count > 0)
        root_clear(&catalog->kept[--catalog->kept_count]);
}

static int insert_attempts(struct catalog *catalog, const struct revision *revisions,
                           const struct attempt *attempts, size_t count, struct err *err)
{
    CLEANUP(sql_rollbackp) struct sql *transaction = NULL;
    int r = sql_begin(&catalog->sql, &transaction, err);

    for (size_t i = 0; r == 0 && i < count; i++) {
        if (attempts[i].read)
            r = snapshots_insert(catalog, &attempts[i].root, err);
        else if (attempts[i].damaged)
            r = insert_damaged(catalog, &revisions[i], attempts[i].err.text, err);
    }
    return r < 0 ? r : sql_commit(&transaction, err);
}

/* Reads first and then writes, so that others wait for no repository. */
static int import_roots(struct catalog *catalog, const struct revision *revisions, size_t count,
                        struct err *err)
{
    struct attempt *attempts = calloc(ROOTS_AT_ONCE, sizeof(*attempts));
    int r = 0;

    if (!attempts)
        return err_set(err, ERR_NOMEM, "out of memory");
    r = read_roots(catalog, revisions, attempts, count, err);
    if (r == 0)
        r = insert_attempts(catalog, revisions, attempts, count, err);
    sync_let_go(catalog);
    if (r == 0)
        keep_newest(catalog, attempts, count);
    for (size_t i = 0; i < count; i++)
        root_clear(&attempts[i].root);
    free(attempts);
    return r;
}

static int import_new(struct catalog *catalog, struct err *err)
{
    CLEANUP(revisions_clear) struct revisions new = {0};
    int r = select_revisions(
        catalog,
        "SELECT name, revision FROM"
        "  (SELECT name, max(number) AS revision FROM temp.listed GROUP BY name) AS l"
        " WHERE NOT EXISTS (SELECT 1 FROM snapshots AS s"
        "                   WHERE s.name = l.name AND s.revision >= l.revision)"
        "   AND NOT EXISTS (SELECT 1 FROM damaged_roots AS d"
        "                   WHERE d.name = l.name AND d.revision = l.revision)",
        &new, err);

    for (size_t i = 0; r == 0 && i < new.count; i += ROOTS_AT_ONCE) {
        size_t left = new.count - i;
        r = import_roots(catalog, new.at + i, left < ROOTS_AT_ONCE ? left : ROOTS_AT_ONCE, err);
    }
    return r;
}

int sync_snapshots(struct catalog *catalog, enum sync_depth depth, struct err *err)
{
    int r = 0;

    sync_let_go(catalog);
    if (depth >= SYNC_AGAIN)
        r = sql_exec(&catalog->sql, "DELETE FROM damaged_roots", err);
    if (r == 0)
        r = list_snapshots(catalog, err);
    if (r == 0)
        r = remove_gone(catalog, err);
    if (r == 0)
        r = import_new(catalog, err);
    /* After the snapshots: one that prune removes meanwhile has its forget in this listing, and
     * what a snapshot refers to was there before it. */
    if (r == 0)
        r = notes_sync(catalog, depth, err);
    if (r == 0)
        r = seen_sync_keys(catalog, err);
    return r;
}
