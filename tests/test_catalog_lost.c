/* Objects of the repository that are gone, marked, cut short or damaged. */
#include "backup/base/cleanup.h"
#include "backup/base/log.h"
#include "catalog/catalog.h"
#include "tests/harness/tempcatalog.h"

static void archives_that_are_gone_marked_or_damaged_are_not_referred_to(void **state)
{
    (void)state;
    CLEANUP(tempcatalog_clear) struct tempcatalog made = tempcatalog_make();
    CLEANUP(catalog_closep) struct catalog *catalog = tempcatalog_open(&made, made.temp.repo);
    struct writer_result gone, marked, damaged;
    char object[OBJECT_NAME_SIZE], mark[OBJECT_NAME_SIZE + 8];
    struct err err;

    foreign_run(&made, 1, true, &gone);
    foreign_run(&made, 2, true, &marked);
    foreign_run(&made, 3, true, &damaged);
    sync_it(catalog, true);
    repo_object_name(ARCHIVE_DATA, &gone.id, object);
    remove_object(&made, object);
    repo_object_name(ARCHIVE_DATA, &marked.id, object);
    snprintf(mark, sizeof(mark), "marks/%s", object + strlen("data/"));
    assert_int_equal(store_create(made.temp.repo->store, mark, mark, 64, &err), 0);
    uint32_t number = idtable_find(made.temp.repo->ids, &damaged.id);
    assert_int_equal(catalog_set_damaged(catalog, number, true, &err), 0);
    assert_int_equal(run_found(catalog, 3), 0);
    sync_it(catalog, true);
    assert_int_equal(run_found(catalog, 1), 0);
    assert_int_equal(run_found(catalog, 2), 0);
    assert_int_equal(run_found(catalog, 3), 0);

    remove_object(&made, mark);
    assert_int_equal(catalog_set_damaged(catalog, number, false, &err), 0);
    sync_it(catalog, true);
    assert_int_equal(run_found(catalog, 2), RUN_CHUNKS);
    assert_int_equal(run_found(catalog, 3), RUN_CHUNKS);
}

static void an_archive_that_was_cut_short_is_not_referred_to(void **state)
{
    (void)state;
    CLEANUP(tempcatalog_clear) struct tempcatalog made = tempcatalog_make();
    CLEANUP(catalog_closep) struct catalog *catalog = tempcatalog_open(&made, made.temp.repo);
    struct writer_result known, unknown;
    char object[OBJECT_NAME_SIZE];
    size_t size;

    foreign_run(&made, 1, true, &known);
    foreign_run(&made, 2, true, NULL);
    sync_it(catalog, true);
    foreign_run(&made, 3, true, &unknown);
    repo_object_name(ARCHIVE_DATA, &known.id, object);
    uint8_t *bytes = temprepo_load(&made.temp, object, &size);
    temprepo_replace(&made.temp, object, bytes, size - 256);
    repo_object_name(ARCHIVE_DATA, &unknown.id, object);
    temprepo_replace(&made.temp, object, bytes, 512); /* and another archive's */
    free(bytes);
    sync_it(catalog, true);
    assert_int_equal(run_found(catalog, 1), 0);
    assert_int_equal(run_found(catalog, 2), RUN_CHUNKS);
    assert_int_equal(run_found(catalog, 3), 0);
}

static void a_damaged_root_hurts_no_other_snapshot(void **state)
{
    (void)state;
    CLEANUP(tempcatalog_clear) struct tempcatalog made = tempcatalog_make();
    CLEANUP(catalog_closep) struct catalog *catalog = tempcatalog_open(&made, made.temp.repo);
    CLEANUP(strings_clear) struct strings damaged = {0}, after = {0};
    struct root one = make_root("20260201_120000", "here", 1 << TYPE_FILES);
    struct root two = make_root("20260202_120000", "here", 1 << TYPE_FILES);
    struct root read = {0};
    struct err err;
    size_t size;

    publish(made.temp.repo, &one);
    publish(made.temp.repo, &two);
    uint8_t *bytes = temprepo_load(&made.temp, "snapshots/20260201_120000/00000000", &size);
    bytes[200] ^= 1; /* within the block: the rest may be padding */
    temprepo_replace(&made.temp, "snapshots/20260201_120000/00000000", bytes, size);
    sync_it(catalog, false);
    assert_int_equal(count_snapshots(catalog, NULL), 1);
    assert_int_equal(catalog_root(catalog, one.name, &read, &err), -ERR_CORRUPT);
    assert_int_equal(catalog_damaged_snapshots(catalog, &damaged, &err), 0);
    assert_int_equal(damaged.count, 1);
    assert_true(strncmp(damaged.at[0], "20260201_120000: ", 17) == 0);

    bytes[200] ^= 1; /* within the block: the rest may be padding */
    temprepo_replace(&made.temp, "snapshots/20260201_120000/00000000", bytes, size);
    free(bytes);
    sync_it(catalog, true); /* brought back: a deep look finds it whole */
    assert_int_equal(count_snapshots(catalog, NULL), 2);
    assert_int_equal(catalog_damaged_snapshots(catalog, &after, &err), 0);
    assert_int_equal(after.count, 0);
}

static void a_damaged_index_archive_costs_only_time(void **state)
{
    (void)state;
    CLEANUP(tempcatalog_clear) struct tempcatalog made = tempcatalog_make();
    CLEANUP(catalog_closep) struct catalog *catalog = tempcatalog_open(&made, made.temp.repo);
    CLEANUP(run_clear) struct run run;
    char object[OBJECT_NAME_SIZE];
    size_t size;

    write_run(made.temp.repo, 1, true, &run);
    repo_object_name(ARCHIVE_INDEX, &run.index.id, object);
    uint8_t *bytes = temprepo_load(&made.temp, object, &size);
    bytes[size / 3] ^= 4;
    temprepo_replace(&made.temp, object, bytes, size);
    free(bytes);
    sync_it(catalog, true);
    assert_int_equal(run_found(catalog, 1), RUN_CHUNKS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(archives_that_are_gone_marked_or_damaged_are_not_referred_to),
        cmocka_unit_test(an_archive_that_was_cut_short_is_not_referred_to),
        cmocka_unit_test(a_damaged_root_hurts_no_other_snapshot),
        cmocka_unit_test(a_damaged_index_archive_costs_only_time),
    };
    log_set_level(LEVEL_ERROR); /* damage is told as a warning */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
