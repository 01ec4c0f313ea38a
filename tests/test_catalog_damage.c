/* A catalog whose own files are damaged, foreign or not to be written. */
#include <sqlite3.h>
#include <sys/stat.h>

#include "backup/base/cleanup.h"
#include "backup/base/log.h"
#include "catalog/catalog.h"
#include "catalog/schema.h"
#include "tests/harness/tempcatalog.h"

enum { FILES = 1 << TYPE_FILES };

/* A repository with one snapshot and one run, and a catalog that knows them. */
static struct tempcatalog make_known(void)
{
    struct tempcatalog made = tempcatalog_make();
    struct root root = make_root("20260201_120000", "here", FILES);
    CLEANUP(run_clear) struct run run;
    struct err err;

    write_run(made.temp.repo, 1, true, &run);
    publish(made.temp.repo, &root);
    struct catalog *catalog = tempcatalog_open(&made, made.temp.repo);
    assert_int_equal(catalog_sync(catalog, true, &err), 0);
    catalog_close(catalog);
    return made;
}

/* Opens the catalog: whatever became of its files, it knows the snapshot and the chunks. */
static void assert_knows(const struct tempcatalog *made)
{
    CLEANUP(repo_freep) struct repo *repo = temprepo_open_again(&made->temp);
    CLEANUP(catalog_closep) struct catalog *catalog = tempcatalog_open(made, repo);
    CLEANUP(snapshot_rows_clear) struct snapshot_rows rows = {0};
    struct err err;

    if (catalog_sync(catalog, true, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(catalog_snapshots(catalog, "here", &rows, &err), 0);
    assert_int_equal(rows.count, 1);
    assert_int_equal(run_found(catalog, 1), RUN_CHUNKS);
}

/* Changes the file of the database directly. */
static void alter(const struct tempcatalog *made, const char *sql)
{
    char path[160];
    sqlite3 *db;

    tempcatalog_path(made, "catalog.sqlite", path);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static int64_t number_of(const struct tempcatalog *made, const char *name, const char *sql)
{
    char path[160];
    sqlite3 *db;
    sqlite3_stmt *statement;

    tempcatalog_path(made, name, path);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return number;
}

/* Writes bytes over a file of the catalog from `from` to `to` (-1: its end). */
static void overwrite(const struct tempcatalog *made, const char *name, long from, long to)
{
    char path[160];

    tempcatalog_path(made, name, path);
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    if (to < 0) {
        fseek(file, 0, SEEK_END);
        to = ftell(file);
    }
    fseek(file, from, SEEK_SET);
    for (long at = from; at < to; at++)
        fputc(0x5A, file);
    fclose(file);
}

static void a_file_that_is_no_database_is_made_anew(void **state)
{
    (void)state;
    CLEANUP(tempcatalog_clear) struct tempcatalog made = make_known();

    overwrite(&made, "catalog.sqlite", 0, -1);
    assert_knows(&made);
    assert_knows(&made);
    assert_int_equal(number_of(&made, "catalog.sqlite", "SELECT count(*) FROM snapshots"), 1);
}

static void damaged_pages_are_found_and_made_anew(void **state)
{
    (void)state;

    for (long page = 0; page < 16; page++) {
        CLEANUP(tempcatalog_clear) struct tempcatalog made = make_known();
        overwrite(&made, "catalog.sqlite", page * 4096 + (page == 0 ? 100 : 0), page * 4096 + 4096);
        assert_knows(&made);
    }
}

static void a_truncated_file_is_made_anew(void **state)
{
    (void)state;
    CLEANUP(tempcatalog_clear) struct tempcatalog made = make_known();
    char path[160];

    tempcatalog_path(&made, "catalog.sqlite", path);
    assert_int_equal(truncate(path, 5000), 0);
    assert_knows(&made);
    assert_int_equal(truncate(path, 0), 0);
    assert_knows(&made);
}

static void tables_that_are_missing_are_made_anew(void **state)
{
    (void)state;
    CLEANUP(tempcatalog_clear) struct tempcatalog made = make_known();

    alter(&made, "DROP TABLE snapshot_types");
    assert_knows(&made);
    assert_int_equal(number_of(&made, "catalog.sqlite", "SELECT count(*) FROM snapshot_types"), 1);
}

static void damage_that_comes_while_it_is_open_is_repaired(void **state)
{
    (void)state;
    CLEANUP(tempcatalog_clear) struct tempcatalog made = make_known();
    CLEANUP(catalog_closep) struct catalog *catalog = tempcatalog_open(&made, made.temp.repo);
    CLEANUP(snapshot_rows_clear) struct snapshot_rows rows = {0};
    struct err err;

    alter(&made, "DROP TABLE runs; DROP TABLE snapshot_types");
    assert_int_equal(catalog_snapshots(catalog, NULL, &rows, &err), 0);
    assert_int_equal(rows.count, 1);
}

static void a_catalog_of_another_repository_is_not_believed(void **state)
{
    (void)state;
    CLEANUP(tempcatalog_clear) struct tempcatalog made = make_known();

    alter(&made, "UPDATE meta SET value = zeroblob(16);"
                 "UPDATE snapshots SET name = '19990101_000000', revision = 7");
    assert_knows(&made);
    assert_int_equal(
        number_of(&made, "catalog.sqlite", "SELECT count(*) FROM snapshots WHERE revision = 7"), 0);
}

static void a_file_of_a_newer_version_is_left_alone(void **state)
{
    (void)state;
    CLEANUP(tempcatalog_clear) struct tempcatalog made = make_known();
    char own[40];

    (void)snprintf(own, sizeof(own), "v%d/catalog.sqlite", SCHEMA_VERSION);
    alter(&made, "PRAGMA user_version = 99; ALTER TABLE snapshots RENAME TO renamed");
    assert_knows(&made);
    assert_knows(&made);
    assert_int_equal(number_of(&made, "catalog.sqlite", "PRAGMA user_version"), 99);
    assert_int_equal(number_of(&made, "catalog.sqlite", "SELECT count(*) FROM renamed"), 1);
    assert_int_equal(number_of(&made, own, "SELECT count(*) FROM snapshots"), 1);
}

/* Runs a shell command on each segment, as "$1". */
static void to_segments(const struct tempcatalog *made, const char *command)
{
    char path[160], whole[500];

    tempcatalog_path(made, "", path);
    snprintf(whole, sizeof(whole), "for f in %ssegment-*; do set -- $f; %s; done", path, command);
    assert_int_equal(system(whole), 0);
}

static void segments_that_are_gone_or_damaged_are_made_anew(void **state)
{
    (void)state;
    static const char *const damage[] = {
        "rm $1",
        "truncate -s -1 $1",
        "truncate -s 100 $1",
        "printf x | dd of=$1 bs=1 seek=20 conv=notrunc status=none",
        "head -c 20000 /dev/urandom >$1",
        "rm $1; mkdir $1",
    };

    for (size_t i = 0; i < sizeof(damage) / sizeof(damage[0]); i++) {
        CLEANUP(tempcatalog_clear) struct tempcatalog made = make_known();
        to_segments(&made, damage[i]);
        assert_knows(&made);
    }
}

static void a_damaged_record_is_noticed_and_read_again(void **state)
{
    (void)state;
    CLEANUP(tempcatalog_clear) struct tempcatalog made = make_known();
    CLEANUP(catalog_closep) struct catalog *catalog = tempcatalog_open(&made, made.temp.repo);
    struct err err;

    assert_int_equal(catalog_sync(catalog, true, &err), 0);
    /* The raw offset in the last record: 12 bytes before the end. */
    to_segments(&made, "printf '\\377' | dd of=$1 bs=1 seek=$(($(stat -c %s $1) - 12))"
                       " conv=notrunc status=none");
    assert_int_equal(run_found(catalog, 1), RUN_CHUNKS - 1); /* unknown, not wrong */
    assert_int_equal(catalog_sync(catalog, true, &err), 0);
    assert_int_equal(run_found(catalog, 1), RUN_CHUNKS);
}

static void without_a_directory_it_is_kept_in_memory(void **state)
{
    (void)state;
    CLEANUP(tempcatalog_clear) struct tempcatalog made = make_known();
    size_t used = strlen(made.directory);

    snprintf(made.directory, sizeof(made.directory), "/dev/null/catalog");
    assert_true(used > 0);
    assert_knows(&made);
}

static void a_run_is_known_in_memory_too(void **state)
{
    (void)state;
    CLEANUP(tempcatalog_clear) struct tempcatalog made = tempcatalog_make();
    CLEANUP(run_clear) struct run run;
    struct root root = make_root("20260203_120000", "here", FILES);
    struct err err;

    snprintf(made.directory, sizeof(made.directory), "/dev/null/catalog");
    CLEANUP(catalog_closep) struct catalog *catalog = tempcatalog_open(&made, made.temp.repo);
    struct baseline *baseline = catalog_baseline(catalog);
    assert_int_equal(catalog_sync(catalog, true, &err), 0);
    write_run(made.temp.repo, 2, true, &run);
    assert_int_equal(
        baseline->ops->add_archive(baseline, &run.data, run.record.data, run.record.size, &err), 0);
    publish(made.temp.repo, &root);
    assert_int_equal(catalog_commit_run(catalog, &root, &err), 0);
    assert_int_equal(run_found(catalog, 2), RUN_CHUNKS);
    assert_int_equal(catalog_sync(catalog, true, &err), 0);
    assert_int_equal(run_found(catalog, 2), RUN_CHUNKS);
}

static void the_default_directory_follows_the_environment(void **state)
{
    (void)state;
    char path[256];
    struct err err;

    setenv("YESTER_CATALOG", "/a", 1);
    setenv("XDG_CACHE_HOME", "/b", 1);
    assert_int_equal(catalog_default_directory(path, sizeof(path), &err), 0);
    assert_string_equal(path, "/a");
    assert_int_equal(catalog_default_directory(path, 2, &err), -ERR_TOO_LARGE);
    setenv("YESTER_CATALOG", "", 1);
    assert_int_equal(catalog_default_directory(path, sizeof(path), &err), 0);
    assert_string_equal(path, "/b/yester");
    unsetenv("XDG_CACHE_HOME");
    setenv("HOME", "/c", 1);
    assert_int_equal(catalog_default_directory(path, sizeof(path), &err), 0);
    assert_string_equal(path, geteuid() == 0 ? "/var/lib/yester" : "/c/.cache/yester");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_that_is_no_database_is_made_anew),
        cmocka_unit_test(damaged_pages_are_found_and_made_anew),
        cmocka_unit_test(a_truncated_file_is_made_anew),
        cmocka_unit_test(tables_that_are_missing_are_made_anew),
        cmocka_unit_test(damage_that_comes_while_it_is_open_is_repaired),
        cmocka_unit_test(a_catalog_of_another_repository_is_not_believed),
        cmocka_unit_test(a_file_of_a_newer_version_is_left_alone),
        cmocka_unit_test(segments_that_are_gone_or_damaged_are_made_anew),
        cmocka_unit_test(a_damaged_record_is_noticed_and_read_again),
        cmocka_unit_test(without_a_directory_it_is_kept_in_memory),
        cmocka_unit_test(a_run_is_known_in_memory_too),
        cmocka_unit_test(the_default_directory_follows_the_environment),
    };
    log_set_level(LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
