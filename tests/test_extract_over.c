#include <stdatomic.h>
#include <sys/syscall.h>

#include "tests/harness/restoring.h"

/* Restores over what is there: what is replaced, what is kept, what never leads outside. */

static void make_source(struct restoring *test)
{
    assert_int_equal(shell(test, "cd source && mkdir -p d/e && for i in 1 2 3; do echo $i > d/$i; "
                                 "echo e$i > d/e/$i; done && ln -s 1 d/link && ln d/3 d/e/other"),
                     0);
    take(test);
}

static void only_what_changed_is_written(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();

    make_source(test);
    restore_well(test, "target");
    assert_int_equal(shell(test,
                           "cd target/src/d && echo changed > 1 && chmod 600 2 && "
                           "rm e/2 && ln -sf elsewhere link && rm e/other && cp -p 3 e/other && "
                           "setfattr -n user.extra -v x e/1 2>/dev/null; stat -c %%i 2 > "
                           "../../../inode; cp -a . ../../../before"),
                     0);
    restore_well(test, "target");
    assert_true(alike(test, "source", "target/src", ""));
    assert_int_equal(test->result.files, 3); /* 1, e/2, and the link e/other */
    assert_int_equal(test->result.others, 1);
    assert_int_equal(shell(test, "test $(stat -c %%i target/src/d/2) = $(cat inode)"), 0);
}

static void always_writes_all_and_never_leaves_all(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();

    make_source(test);
    restore_well(test, "target");
    /* A change that keeps size and time. */
    assert_int_equal(shell(test, "cd target/src/d && touch -r 1 ../ref && echo X > 1 && "
                                 "touch -r ../ref 1 && rm ../ref 2 && chmod 700 . && "
                                 "touch -d 2001-01-01 ."),
                     0);
    test->options.overwrite = OVERWRITE_NEVER;
    restore_well(test, "target");
    assert_int_equal(test->result.files, 1);
    assert_int_equal(shell(test, "cd target/src/d && test $(cat 1) = X && test $(cat 2) = 2 && "
                                 "test $(stat -c %%a .) = 700"),
                     0);
    test->options.overwrite = OVERWRITE_ALWAYS;
    restore_well(test, "target");
    assert_true(alike(test, "source", "target/src", ""));
    assert_int_equal(test->result.files, 7);
    assert_int_equal(test->result.unchanged, 0);
}

static void a_replaced_file_keeps_its_other_names_unhurt(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();

    make_source(test);
    assert_int_equal(shell(test, "mkdir -p target/src/d && echo mine > precious && "
                                 "ln precious target/src/d/1 && echo 2 > same && "
                                 "touch -r source/d/2 same && chmod 600 same && "
                                 "ln same target/src/d/2"),
                     0);
    restore_well(test, "target");
    assert_true(alike(test, "source", "target/src", ""));
    assert_int_equal(shell(test, "test $(cat precious) = mine && test $(stat -c %%a same) = 600 && "
                                 "test $(stat -c %%h same) = 1"),
                     0);
}

static void planted_symlinks_are_not_followed(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();

    make_source(test);
    assert_int_equal(shell(test, "mkdir -p outside target/src && echo safe > outside/1 && "
                                 "ln -s ../../outside target/src/d && ln -s target way"),
                     0);
    restore_well(test, "way"); /* the target itself may be one */
    assert_true(alike(test, "source", "target/src", ""));
    assert_int_equal(shell(test, "test $(ls outside) = 1 && test $(cat outside/1) = safe"), 0);
    /* A link in the place of a file. */
    assert_int_equal(shell(test, "cd target/src/d && for i in 1 2 3; do ln -sf ../../../outside/1 "
                                 "$i; done"),
                     0);
    test->options.overwrite = OVERWRITE_ALWAYS;
    restore_well(test, "target");
    assert_true(alike(test, "source", "target/src", ""));
    assert_int_equal(shell(test, "test $(ls outside) = 1 && test $(cat outside/1) = safe && "
                                 "test $(stat -c %%h outside/1) = 1"),
                     0);
    /* Never: neither followed nor replaced. */
    assert_int_equal(shell(test, "rm -r target/src/d && ln -s ../../outside target/src/d"), 0);
    test->options.overwrite = OVERWRITE_NEVER;
    assert_int_equal(restore_to(test, "target"), -ERR_SYSTEM);
    assert_int_equal(shell(test, "test $(ls outside) = 1 && test -L target/src/d"), 0);
}

static void other_kinds_of_things_in_the_way_are_replaced(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();

    make_source(test);
    assert_int_equal(shell(test, "mkdir -p target/src/d/1 target/src/d/2/full target/src/d/link && "
                                 "echo x > target/src/d/e && mkfifo target/src/d/3"),
                     0);
    assert_int_equal(restore_to(test, "target"), -ERR_SYSTEM);
    assert_non_null(strstr(test->said, "/src/d/2: a directory that is not empty is in its place"));
    assert_int_equal(test->result.failed, 1);
    assert_int_equal(shell(test, "rmdir target/src/d/2/full"), 0);
    restore_well(test, "target");
    assert_true(alike(test, "source", "target/src", ""));
}

struct swapper {
    struct restoring *test;
    atomic_bool end;
    unsigned swaps;
};

/* Puts a symlink that leads outside in the place of a directory, and back, as fast as it can; a new
 * one when the restore has removed it. */
static void *swap(void *context)
{
    struct swapper *swapper = context;
    char place[512], link[512], outside[512], byte;

    snprintf(place, sizeof(place), "%s/target/src/d", swapper->test->top);
    snprintf(link, sizeof(link), "%s/bait", swapper->test->top);
    snprintf(outside, sizeof(outside), "%s/outside", swapper->test->top);
    while (!atomic_load(&swapper->end)) {
        if (syscall(SYS_renameat2, AT_FDCWD, link, AT_FDCWD, place, 2 /* exchange */) < 0)
            continue;
        swapper->swaps++;
        usleep(200);
        if (readlink(place, &byte, 1) < 0 && readlink(link, &byte, 1) < 0) {
            snprintf(link, sizeof(link), "%s/bait%u", swapper->test->top, swapper->swaps);
            (void)!symlink(outside, link);
        }
    }
    return NULL;
}

static void a_directory_swapped_for_a_symlink_leads_nowhere(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();
    struct swapper swapper = {.test = test};
    pthread_t thread;

    assert_int_equal(shell(test, "cd source && mkdir -p d/e && for i in $(seq 300); do echo $i > "
                                 "d/$i; mkdir d/e/$i; echo $i > d/e/$i/f; done && chmod 4755 d/7"),
                     0);
    take(test);
    assert_int_equal(shell(test,
                           "mkdir -p outside/e/1 target/src/d && ln -s %s/outside bait && "
                           "cp -a outside before",
                           test->top),
                     0);
    assert_int_equal(pthread_create(&thread, NULL, swap, &swapper), 0);
    for (int i = 0; i < 10; i++) {
        test->options.overwrite = i % 2 ? OVERWRITE_ALWAYS : OVERWRITE_IF_CHANGED;
        test->options.verify = i % 3 == 0;
        (void)restore_to(test, "target"); /* it may well complain */
    }
    atomic_store(&swapper.end, true);
    pthread_join(thread, NULL);
    assert_true(swapper.swaps > 10);
    assert_true(alike(test, "before", "outside", ""));
}

static void delete_removes_what_the_snapshot_has_not(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();

    make_source(test);
    restore_well(test, "target");
    assert_int_equal(shell(test, "cd target && echo x > beside && cd src && echo x > extra && "
                                 "mkdir -p d/more/below d/node_modules && touch d/more/below/x && "
                                 "mkdir cache && echo '" CACHE_SIGNATURE "' > cache/CACHEDIR.TAG"),
                     0);
    restore_well(test, "target"); /* not without being asked */
    assert_true(there(test, "target/src/extra"));
    test->options.delete_extra = true;
    assert_int_equal(restore_to(test, "target"), 0);
    assert_non_null(strstr(test->said, "deleted /src/extra\n"));
    assert_non_null(strstr(test->said, "deleted /src/d/more/below/x\n"));
    assert_int_equal(test->result.deleted, 4);
    assert_true(there(test, "target/beside") && there(test, "target/src/d/node_modules") &&
                there(test, "target/src/cache/CACHEDIR.TAG"));
    assert_int_equal(shell(test, "rm -r target/src/d/node_modules target/src/cache && "
                                 "touch -r source target/src && touch -r source/d target/src/d"),
                     0);
    assert_true(alike(test, "source", "target/src", ""));
}

static void delete_leaves_what_excludes_left_out_and_what_was_not_asked_for(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();
    const char *const paths[] = {"/src/d/e"}, *const excludes[] = {"*.keep"};

    make_source(test);
    assert_int_equal(strings_add(&test->snap->roots[0].exclusions, "*.tmp", 5, &test->err), 0);
    restore_well(test, "target");
    assert_int_equal(shell(test, "cd target/src/d && touch extra e/extra e/a.tmp e/b.keep && "
                                 "mkdir e/dir && touch e/dir/c.tmp e/dir/c.txt"),
                     0);
    test->options.delete_extra = true;
    test->options.paths = paths;
    test->options.path_count = 1;
    test->options.excludes = excludes;
    test->options.exclude_count = 1;
    assert_int_equal(restore_to(test, "target"), 0);
    assert_int_equal(shell(test, "cd target/src/d && test -e extra && test ! -e e/extra && test -e "
                                 "e/a.tmp && test -e e/b.keep && test -e e/dir/c.tmp && test ! -e "
                                 "e/dir/c.txt"),
                     0);
}

static void a_very_deep_extra_tree_is_deleted(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();

    make_source(test);
    restore_well(test, "target");
    assert_int_equal(shell(test,
                           "cd target/src && python3 -c \"\nimport os\nfor i in range(3000):\n "
                           "os.mkdir('deep'); os.chdir('deep'); open('f','w').close()\n\""),
                     0);
    test->options.delete_extra = true;
    (void)restore_to(test, "target");
    assert_int_equal(test->result.deleted, 6000);
    assert_true(alike(test, "source", "target/src", ""));
}

static void what_is_to_be_kept_is_kept_and_listed(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();
    const char *const keep[] = {"/src/d/1", "/src/d/e"};

    make_source(test);
    assert_int_equal(shell(test, "mkdir -p target/src/d/e && echo mine > target/src/d/1 && "
                                 "echo mine > target/src/d/e/1 && touch target/src/d/e/own"),
                     0);
    test->options.keep = keep;
    test->options.keep_count = 2;
    test->options.delete_extra = true;
    assert_int_equal(restore_to(test, "target"), 0);
    assert_string_equal(test->said, "kept /src/d/1\nkept /src/d/e/1\n");
    assert_int_equal(test->result.kept, 2);
    assert_int_equal(shell(test,
                           "cd target/src/d && test $(cat 1) = mine && test $(cat e/1) = mine "
                           "&& test $(cat e/2) = e2 && test -e e/own"),
                     0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_changed_is_written),
        cmocka_unit_test(always_writes_all_and_never_leaves_all),
        cmocka_unit_test(a_replaced_file_keeps_its_other_names_unhurt),
        cmocka_unit_test(planted_symlinks_are_not_followed),
        cmocka_unit_test(other_kinds_of_things_in_the_way_are_replaced),
        cmocka_unit_test(a_directory_swapped_for_a_symlink_leads_nowhere),
        cmocka_unit_test(delete_removes_what_the_snapshot_has_not),
        cmocka_unit_test(delete_leaves_what_excludes_left_out_and_what_was_not_asked_for),
        cmocka_unit_test(a_very_deep_extra_tree_is_deleted),
        cmocka_unit_test(what_is_to_be_kept_is_kept_and_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
