#include "fs/extract.h"

#include "tests/harness/restoring.h"

static void everything_that_failures_md_names_comes_back(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();

    assert_int_equal(shell(test, "rmdir source && python3 "
                                 "$YESTER_SOURCE_ROOT/tests/harness/awkward.py source --small "
                                 "> awkward.out 2>&1"),
                     0);
    take(test);
    test->options.verify = true;
    restore_well(test, "target");
    assert_true(alike(test, "source", "target/src", ""));
    assert_int_equal(test->result.failed + test->result.damaged, 0);
    assert_true(test->result.verified >= 780);
    assert_false(there(test, "target/.yester-restore"));
    /* Again: nothing is written. */
    restore_well(test, "target");
    assert_int_equal(test->result.files, 0);
    assert_int_equal(test->result.directories, 0);
    assert_true(alike(test, "source", "target/src", ""));
}

static void make_small_source(struct restoring *test)
{
    assert_int_equal(shell(test, "cd source && mkdir -p a/b/c keep && echo one > a/one && "
                                 "echo two > a/b/two && echo three > a/b/c/three.txt && "
                                 "head -c 300000 /dev/urandom > big && ln -s a/one link && "
                                 "ln a/one a/b/also && touch empty && chmod 750 a/b && "
                                 "chmod 4755 a/b/two && "
                                 "touch -d 2001-02-03T04:05:06.789 a/b a keep big empty"),
                     0);
    take(test);
}

static void the_content_of_a_path_goes_straight_into_the_target(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();

    make_small_source(test);
    test->options.content_path = "/src/a";
    restore_well(test, "target");
    assert_true(alike(test, "source/a", "target", "")); /* made, so it is like the source, too */
    test->options.content_path = "files/src/a/b/two";
    restore_well(test, "one");
    assert_int_equal(shell(test, "cmp source/a/b/two one/two && test $(ls -A one) = two"), 0);
    test->options.content_path = "/src/none";
    assert_int_equal(restore_to(test, "none"), -ERR_NOT_FOUND);
    assert_false(there(test, "none"));
}

static void paths_come_back_at_their_absolute_place_and_nothing_else(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();
    const char *const paths[] = {"/src/a/b/c", "files/src/a/one", "/src/big"};

    make_small_source(test);
    test->options.paths = paths;
    test->options.path_count = 3;
    restore_well(test, "target");
    assert_true(alike(test, "source/a/b/c", "target/src/a/b/c", ""));
    assert_int_equal(shell(test, "cd target && test \"$(find . -type f | sort | tr '\\n' ' ')\" = "
                                 "'./src/a/b/c/three.txt ./src/a/one ./src/big '"),
                     0);
    /* Directories on the way that were not there are as in the source, for all of the paths. */
    assert_int_equal(shell(test,
                           "for d in . a a/b; do test \"$(stat -c '%%a %%U %%y' source/$d)\" = "
                           "\"$(stat -c '%%a %%U %%y' target/src/$d)\" || exit 1; done"),
                     0);
}

static void directories_on_the_way_that_exist_stay_as_they_are(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();
    const char *const paths[] = {"/src/a/b/c"};

    make_small_source(test);
    test->options.paths = paths;
    test->options.path_count = 1;
    assert_int_equal(shell(test, "mkdir -p target/src/a/b && chmod 711 target/src target/src/a/b"),
                     0);
    restore_well(test, "target");
    assert_int_equal(shell(test, "test $(stat -c %%a target/src target/src/a/b | tr '\\n' ' ' | "
                                 "tr -d ' ') = 711711"),
                     0);
    assert_true(alike(test, "source/a/b/c", "target/src/a/b/c", ""));
}

static void patterns_choose_what_comes_back(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();
    const char *const includes[] = {"*.txt", "one"}, *const excludes[] = {"b/", "big"};

    make_small_source(test);
    test->options.includes = includes;
    test->options.include_count = 2;
    restore_well(test, "only");
    assert_int_equal(shell(test, "cd only && test \"$(find . ! -type d | sort | tr '\\n' ' ')\" = "
                                 "'./src/a/b/c/three.txt ./src/a/one ' && test ! -e src/keep"),
                     0);
    test->options.include_count = 0;
    test->options.excludes = excludes;
    test->options.exclude_count = 2;
    restore_well(test, "but");
    assert_int_equal(shell(test, "cd but/src && test ! -e a/b && test ! -e big && test -e a/one && "
                                 "test -e keep"),
                     0);
}

static void a_dry_run_counts_and_writes_nothing(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();

    make_small_source(test);
    test->options.dry_run = true;
    assert_int_equal(restore_to(test, "target"), 0);
    assert_false(there(test, "target"));
    assert_int_equal(test->result.files, 6);
    assert_true(test->result.bytes >= 300000 && test->result.room_needed > 300000);
    assert_non_null(strstr(test->said, "would write /src/a/b/two\n"));
    test->options.dry_run = false;
    restore_well(test, "target");
    assert_int_equal(test->result.files, 6);
    test->options.dry_run = true;
    assert_int_equal(restore_to(test, "target"), 0);
    assert_string_equal(test->said, "");
    assert_int_equal(test->result.files, 0);
    assert_true(test->result.room_free > 0);
}

static void a_path_in_files_and_config_comes_from_the_newer_one(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();
    struct minisnap *snap = test->snap;

    assert_int_equal(shell(test, "cd source && mkdir d && echo old > d/both && echo f > d/files"),
                     0);
    take(test);
    assert_int_equal(shell(test, "cd source && rm d/files && echo newer > d/both && echo c > "
                                 "d/config && chmod 700 d"),
                     0);
    snap->roots[1] = snap->roots[0];
    snap->roots[0] = (struct root){0};
    minisnap_take(snap, in_top(test, "source"), "/src", TYPE_CONFIG);
    snap->selection.types[TYPE_FILES] = &snap->roots[1];
    snap->roots[0].start_ns = 2;
    snap->roots[1].start_ns = 1;
    restore_well(test, "target");
    assert_int_equal(shell(test, "cd target/src/d && test $(cat both) = newer && test -e files && "
                                 "test -e config && test $(stat -c %%a .) = 700"),
                     0);
    assert_int_equal(test->result.files, 3);
    snap->roots[1].start_ns = 3;
    restore_well(test, "other");
    assert_int_equal(shell(test, "cd other/src/d && test $(cat both) = old && test -e config"), 0);
}

static void what_is_special_can_be_left_out(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();

    assert_int_equal(shell(test, "cd source && mkfifo fifo && echo x > x && chmod 6755 x"), 0);
    take(test);
    test->options.no_special = test->options.no_setuid = true;
    assert_int_equal(restore_to(test, "target"), 0);
    assert_non_null(strstr(test->said, "were not restored"));
    assert_false(there(test, "target/src/fifo"));
    assert_int_equal(shell(test, "test $(stat -c %%a target/src/x) = 755"), 0);
}

/* Each worker's block is decoded again and again if it is not grouped: by the cache's count. */
static void a_block_is_decoded_once_for_all_its_files(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();
    struct blockcache_stats stats;

    for (unsigned i = 0; i < 3000; i++) {
        char name[32];
        snprintf(name, sizeof(name), "source/file%u", i);
        make_noise(test, name, 2000);
    }
    take(test);
    restore_well(test, "target");
    assert_true(alike(test, "source", "target/src", ""));
    blocks_stats(test->snap->blocks, &stats);
    assert_in_range(stats.loads, 46, 80);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_that_failures_md_names_comes_back),
        cmocka_unit_test(the_content_of_a_path_goes_straight_into_the_target),
        cmocka_unit_test(paths_come_back_at_their_absolute_place_and_nothing_else),
        cmocka_unit_test(directories_on_the_way_that_exist_stay_as_they_are),
        cmocka_unit_test(patterns_choose_what_comes_back),
        cmocka_unit_test(a_dry_run_counts_and_writes_nothing),
        cmocka_unit_test(a_path_in_files_and_config_comes_from_the_newer_one),
        cmocka_unit_test(what_is_special_can_be_left_out),
        cmocka_unit_test(a_block_is_decoded_once_for_all_its_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
