#include "catalog/catalog.h"

#include <pthread.h>
#include <sys/stat.h>

#include "backup/base/cleanup.h"
#include "backup/base/log.h"
#include "tests/harness/tempcatalog.h"

enum { FILES = 1 << TYPE_FILES, CONFIG = 1 << TYPE_CONFIG };

static void snapshots_come_and_go_with_the_repository(void **state)
{
    (void)state;
    CLEANUP(tempcatalog_clear) struct tempcatalog made = tempcatalog_make();
    CLEANUP(catalog_closep) struct catalog *catalog = tempcatalog_open(&made, made.temp.repo);
    CLEANUP(snapshot_rows_clear) struct snapshot_rows rows = {0};
    CLEANUP(strings_clear) struct strings hosts = {0};
    struct root one = make_root("20260201_120000", "here", FILES);
    struct root two = make_root("20260202_120000", "there", FILES | CONFIG);
    struct err err;

    two.types[TYPE_CONFIG].complete = false;
    two.types[TYPE_CONFIG].unreadable = 3;
    publish(made.temp.repo, &two);
    publish(made.temp.repo, &one);
    sync_it(catalog, false);
    assert_int_equal(catalog_snapshots(catalog, NULL, &rows, &err), 0);
    assert_int_equal(rows.count, 2);
    assert_string_equal(rows.at[0].name, one.name);
    assert_string_equal(rows.at[1].host, "there");
    assert_int_equal(rows.at[1].types, FILES | CONFIG);
    assert_int_equal(rows.at[1].complete_types, FILES);
    assert_int_equal(rows.at[1].files, 3);
    assert_int_equal(rows.at[1].bytes, 2000);
    assert_int_equal(rows.at[1].unreadable, 3);
    assert_true(rows.at[1].start_ns == two.start_ns && rows.at[1].end_ns == two.end_ns);
    assert_int_equal(catalog_hosts(catalog, &hosts, &err), 0);
    assert_true(hosts.count == 2 && strcmp(hosts.at[0], "here") == 0);

    remove_object(&made, "snapshots/20260201_120000/00000000");
    sync_it(catalog, false);
    assert_int_equal(count_snapshots(catalog, NULL), 1);
    assert_int_equal(count_snapshots(catalog, "here"), 0);
}

static void the_highest_revision_counts(void **state)
{
    (void)state;
    CLEANUP(tempcatalog_clear) struct tempcatalog made = tempcatalog_make();
    CLEANUP(catalog_closep) struct catalog *catalog = tempcatalog_open(&made, made.temp.repo);
    CLEANUP(root_clear) struct root read = {0};
    struct root root = make_root("20260201_120000", "here", FILES);
    struct err err;

    publish(made.temp.repo, &root);
    sync_it(catalog, false);
    root.revision = 1;
    root.sequence = 77;
    publish(made.temp.repo, &root);
    sync_it(catalog, false);
    assert_int_equal(count_snapshots(catalog, NULL), 1);
    assert_int_equal(catalog_root(catalog, root.name, &read, &err), 0);
    assert_true(read.revision == 1 && read.sequence == 77);
    assert_int_equal(catalog_root(catalog, "20260201_120001", &read, &err), -ERR_NOT_FOUND);

    remove_object(&made, "snapshots/20260201_120000/00000000"); /* as erasure does */
    sync_it(catalog, false);
    assert_int_equal(count_snapshots(catalog, NULL), 1);
}

static void chunks_of_other_machines_are_found(void **state)
{
    (void)state;
    CLEANUP(tempcatalog_clear) struct tempcatalog made = tempcatalog_make();
    CLEANUP(catalog_closep) struct catalog *catalog = tempcatalog_open(&made, made.temp.repo);

    foreign_run(&made, 1, true, NULL);
    foreign_run(&made, 2, false, NULL); /* no index: its tail is read */
    assert_int_equal(run_found(catalog, 1), 0);
    sync_it(catalog, true);
    assert_int_equal(run_found(catalog, 1), RUN_CHUNKS);
    assert_int_equal(run_found(catalog, 2), RUN_CHUNKS);
    assert_int_equal(run_found(catalog, 3), 0);
    foreign_run(&made, 3, true, NULL);
    sync_it(catalog, true);
    assert_int_equal(run_found(catalog, 3), RUN_CHUNKS);
}

static void a_catalog_that_is_opened_again_knows_all(void **state)
{
    (void)state;
    CLEANUP(tempcatalog_clear) struct tempcatalog made = tempcatalog_make();
    CLEANUP(repo_freep) struct repo *again = NULL;
    struct catalog *catalog = tempcatalog_open(&made, made.temp.repo);
    struct root root = make_root("20260201_120000", "here", FILES);

    foreign_run(&made, 1, true, NULL);
    publish(made.temp.repo, &root);
    sync_it(catalog, true);
    catalog_close(catalog);
    again = temprepo_open_again(&made.temp);
    catalog = tempcatalog_open(&made, again);
    assert_int_equal(count_snapshots(catalog, "here"), 1); /* without asking the repository */
    sync_it(catalog, true);
    assert_int_equal(run_found(catalog, 1), RUN_CHUNKS);
    catalog_close(catalog);
}

/* A backup with this catalog: archives are told as they come, then the root is published. */
static void own_run(struct catalog *catalog, unsigned number, const char *name)
{
    CLEANUP(run_clear) struct run run;
    struct repo *repo = catalog_repo(catalog);
    struct baseline *baseline = catalog_baseline(catalog);
    struct root_archive archives[2];
    struct root root = make_root(name, "here", FILES);
    struct err err;

    write_run(repo, number, true, &run);
    assert_int_equal(
        baseline->ops->add_archive(baseline, &run.data, run.record.data, run.record.size, &err), 0);
    assert_int_equal(run_found(catalog, number), RUN_CHUNKS);
    archives[0] =
        (struct root_archive){.id = run.data.id, .kind = ARCHIVE_DATA, .size = run.data.size};
    archives[1] =
        (struct root_archive){.id = run.index.id, .kind = ARCHIVE_INDEX, .size = run.index.size};
    root.archives = archives;
    root.archive_count = 2;
    publish(repo, &root);
    assert_int_equal(catalog_commit_run(catalog, &root, &err), 0);
}

static void a_run_is_known_at_once_and_later(void **state)
{
    (void)state;
    CLEANUP(tempcatalog_clear) struct tempcatalog made = tempcatalog_make();
    CLEANUP(repo_freep) struct repo *again = temprepo_open_again(&made.temp);
    struct catalog *catalog = tempcatalog_open(&made, made.temp.repo);

    sync_it(catalog, true);
    own_run(catalog, 1, "20260201_120000");
    own_run(catalog, 2, "20260202_120000");
    assert_int_equal(run_found(catalog, 1), RUN_CHUNKS);
    assert_int_equal(count_snapshots(catalog, "here"), 2);
    catalog_close(catalog);

    /* Index archives gone: what is found now comes from the catalog's own segments. */
    catalog = tempcatalog_open(&made, again);
    sync_it(catalog, true);
    assert_int_equal(run_found(catalog, 1), RUN_CHUNKS);
    assert_int_equal(run_found(catalog, 2), RUN_CHUNKS);
    catalog_close(catalog);
}

static void a_run_that_is_not_committed_leaves_nothing_wrong(void **state)
{
    (void)state;
    CLEANUP(tempcatalog_clear) struct tempcatalog made = tempcatalog_make();
    CLEANUP(run_clear) struct run run;
    struct catalog *catalog = tempcatalog_open(&made, made.temp.repo);
    struct baseline *baseline = catalog_baseline(catalog);
    struct err err;

    sync_it(catalog, true);
    write_run(made.temp.repo, 1, false, &run);
    assert_int_equal(
        baseline->ops->add_archive(baseline, &run.data, run.record.data, run.record.size, &err), 0);
    catalog_close(catalog); /* killed before the root */
    catalog = tempcatalog_open(&made, made.temp.repo);
    sync_it(catalog, true);
    assert_int_equal(run_found(catalog, 1), RUN_CHUNKS); /* by the tail */
    catalog_close(catalog);
}

static void rebuilding_gives_the_same_again(void **state)
{
    (void)state;
    CLEANUP(tempcatalog_clear) struct tempcatalog made = tempcatalog_make();
    CLEANUP(catalog_closep) struct catalog *catalog = tempcatalog_open(&made, made.temp.repo);
    struct err err;

    sync_it(catalog, true);
    own_run(catalog, 1, "20260201_120000");
    foreign_run(&made, 2, true, NULL);
    assert_int_equal(catalog_rebuild(catalog, &err), 0);
    assert_int_equal(count_snapshots(catalog, NULL), 1);
    assert_int_equal(run_found(catalog, 1), RUN_CHUNKS);
    assert_int_equal(run_found(catalog, 2), RUN_CHUNKS);
}

static unsigned count_segments(const struct tempcatalog *made)
{
    char path[160], command[300];
    unsigned count = 0;

    tempcatalog_path(made, "", path);
    snprintf(command, sizeof(command), "ls %s | grep -c segment-", path);
    FILE *pipe = popen(command, "r");
    assert_int_equal(fscanf(pipe, "%u", &count), 1);
    pclose(pipe);
    return count;
}

static void many_runs_become_few_segments(void **state)
{
    (void)state;
    CLEANUP(tempcatalog_clear) struct tempcatalog made = tempcatalog_make();
    CLEANUP(catalog_closep) struct catalog *catalog = tempcatalog_open(&made, made.temp.repo);
    char name[SNAPSHOT_NAME_SIZE];

    sync_it(catalog, true);
    for (unsigned i = 0; i < 25; i++) {
        snprintf(name, sizeof(name), "20260201_1200%02u", i % 60);
        own_run(catalog, i, name);
    }
    assert_true(count_segments(&made) < 10);
    for (unsigned i = 0; i < 25; i++)
        assert_int_equal(run_found(catalog, i), RUN_CHUNKS);
}

static void leftover_segments_are_removed(void **state)
{
    (void)state;
    CLEANUP(tempcatalog_clear) struct tempcatalog made = tempcatalog_make();
    CLEANUP(catalog_closep) struct catalog *catalog = tempcatalog_open(&made, made.temp.repo);
    char path[160];

    foreign_run(&made, 1, true, NULL);
    tempcatalog_path(&made, "segment-0000000000000001", path);
    fclose(fopen(path, "w"));
    sync_it(catalog, true);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(count_segments(&made), 1);
}

static void files_are_for_their_owner_alone(void **state)
{
    (void)state;
    CLEANUP(tempcatalog_clear) struct tempcatalog made = tempcatalog_make();
    CLEANUP(catalog_closep) struct catalog *catalog = tempcatalog_open(&made, made.temp.repo);
    char path[160], command[300];

    foreign_run(&made, 1, true, NULL);
    sync_it(catalog, true);
    tempcatalog_path(&made, "", path);
    snprintf(command, sizeof(command), "test -z \"$(find %s -perm /077)\"", path);
    assert_int_equal(system(command), 0);
}

/* Two processes as far as the files can tell: each has its own repository and catalog. */
struct writer_thread {
    const struct tempcatalog *made;
    unsigned first;
};

static void *run_backups(void *context)
{
    const struct writer_thread *thread = context;
    struct repo *repo = temprepo_open_again(&thread->made->temp);
    struct catalog *catalog = tempcatalog_open(thread->made, repo);
    char name[SNAPSHOT_NAME_SIZE];

    for (unsigned i = thread->first; i < thread->first + 12; i++) {
        sync_it(catalog, true);
        snprintf(name, sizeof(name), "20260201_1200%02u", i % 60);
        own_run(catalog, i, name);
    }
    catalog_close(catalog);
    repo_free(repo);
    return NULL;
}

static void two_at_once_lose_nothing(void **state)
{
    (void)state;
    CLEANUP(tempcatalog_clear) struct tempcatalog made = tempcatalog_make();
    struct writer_thread threads[] = {{&made, 0}, {&made, 30}};
    pthread_t ids[2];

    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&ids[i], NULL, run_backups, &threads[i]), 0);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(ids[i], NULL);
    CLEANUP(catalog_closep) struct catalog *catalog = tempcatalog_open(&made, made.temp.repo);
    assert_int_equal(count_snapshots(catalog, NULL), 24);
    sync_it(catalog, true);
    for (unsigned i = 0; i < 12; i++) {
        assert_int_equal(run_found(catalog, i), RUN_CHUNKS);
        assert_int_equal(run_found(catalog, 30 + i), RUN_CHUNKS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(snapshots_come_and_go_with_the_repository),
        cmocka_unit_test(the_highest_revision_counts),
        cmocka_unit_test(chunks_of_other_machines_are_found),
        cmocka_unit_test(a_catalog_that_is_opened_again_knows_all),
        cmocka_unit_test(a_run_is_known_at_once_and_later),
        cmocka_unit_test(a_run_that_is_not_committed_leaves_nothing_wrong),
        cmocka_unit_test(rebuilding_gives_the_same_again),
        cmocka_unit_test(many_runs_become_few_segments),
        cmocka_unit_test(leftover_segments_are_removed),
        cmocka_unit_test(files_are_for_their_owner_alone),
        cmocka_unit_test(two_at_once_lose_nothing),
    };
    log_set_level(LEVEL_ERROR); /* damage is told as a warning */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
