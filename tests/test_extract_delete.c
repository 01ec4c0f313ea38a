/* Restores that delete what the snapshot has not: what they must leave. */
#include <sys/mount.h>

#include "tests/harness/restoring.h"

static void delete_leaves_other_file_systems_alone(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();

    assert_int_equal(shell(test, "mkdir -p source/d/empty && echo f > source/d/f"), 0);
    take(test);
    restore_well(test, "target");
    assert_int_equal(shell(test, "mkdir -p target/src/d/bound elsewhere && touch elsewhere/x"), 0);
    if (mount("none", in_top(test, "target/src/d/empty"), "tmpfs", 0, "size=1m") < 0)
        restoring_skip(&test);
    bool bound = mount(in_top(test, "elsewhere"), in_top(test, "target/src/d/bound"), NULL, MS_BIND,
                       NULL) == 0;
    assert_int_equal(shell(test, "mkdir target/src/d/empty/sub && touch target/src/d/empty/f "
                                 "target/src/d/empty/sub/f target/src/d/extra"),
                     0);
    test->options.delete_extra = true;
    int r = restore_to(test, "target");
    bool left = there(test, "target/src/d/empty/f") && there(test, "target/src/d/empty/sub/f");
    bool extra = there(test, "target/src/d/extra");
    umount(in_top(test, "target/src/d/empty"));
    umount(in_top(test, "target/src/d/bound"));
    assert_int_equal(r, 0);
    assert_true(left);
    assert_false(extra);
    assert_true(!bound || there(test, "elsewhere/x"));
}

static void a_dry_run_says_what_it_would_delete(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();

    assert_int_equal(shell(test, "mkdir -p source/d/e && echo 1 > source/d/e/1"), 0);
    take(test);
    restore_well(test, "target");
    assert_int_equal(shell(test, "cd target/src && mkdir -p more/below && touch more/below/x extra "
                                 "&& mkdir kept && echo '" CACHE_SIGNATURE
                                 "' > kept/CACHEDIR.TAG && cp -a .. ../../before"),
                     0);
    test->options.delete_extra = test->options.dry_run = true;
    assert_int_equal(restore_to(test, "target"), 0);
    assert_int_equal(test->result.deleted, 4);
    assert_non_null(strstr(test->said, "would delete /src/extra\n"));
    assert_non_null(strstr(test->said, "would delete /src/more/below/x\n"));
    assert_non_null(strstr(test->said, "would delete /src/more\n"));
    assert_true(alike(test, "before", "target", ""));
    test->options.dry_run = false;
    assert_int_equal(restore_to(test, "target"), 0);
    assert_int_equal(test->result.deleted, 4);
}

/* A file in config, another one in files, and an extra one where both are to come to. */
static void take_two_types(struct restoring *test)
{
    struct minisnap *snap = test->snap;

    assert_int_equal(shell(test, "mkdir source/d && echo secret > source/d/.env"), 0);
    minisnap_take(snap, in_top(test, "source"), "/src", TYPE_CONFIG);
    struct root_type config = snap->roots[0].types[TYPE_CONFIG];
    assert_int_equal(shell(test, "cd source/d && rm .env && echo f > file"), 0);
    snap->roots[1] = snap->roots[0];
    snap->roots[0] = (struct root){0};
    minisnap_take(snap, in_top(test, "source"), "/src", TYPE_FILES);
    snap->roots[0].types[TYPE_CONFIG] = config;
    snap->roots[1] = (struct root){0};
    snap->selection.types[TYPE_CONFIG] = NULL; /* --type files */
    assert_int_equal(shell(test, "mkdir -p target/src/d && echo mine > target/src/d/.env && touch "
                                 "target/src/d/extra"),
                     0);
    test->options.delete_extra = true;
}

static void delete_of_one_type_leaves_what_the_other_one_has(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();

    take_two_types(test);
    test->options.types = 1 << TYPE_FILES;
    assert_int_equal(restore_to(test, "target"), 0);
    assert_true(there(test, "target/src/d/.env") && there(test, "target/src/d/file"));
    assert_false(there(test, "target/src/d/extra"));
}

static void delete_of_a_path_leaves_what_the_other_type_has_there(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();
    const char *const paths[] = {"/src/d"};

    take_two_types(test);
    test->options.paths = paths;
    test->options.path_count = 1;
    assert_int_equal(restore_to(test, "target"), 0);
    assert_true(there(test, "target/src/d/.env") && there(test, "target/src/d/file"));
    assert_false(there(test, "target/src/d/extra"));
}

static void nothing_is_deleted_where_nobody_knows_what_the_other_type_has(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();
    const char *const paths[] = {"/src/d"};

    take_two_types(test);
    test->snap->roots[0].types[TYPE_CONFIG].directory.place.raw += 3;
    test->options.paths = paths;
    test->options.path_count = 1;
    assert_int_equal(restore_to(test, "target"), -ERR_CORRUPT);
    assert_true(there(test, "target/src/d/.env") && there(test, "target/src/d/file"));
    assert_true(there(test, "target/src/d/extra"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delete_leaves_other_file_systems_alone),
        cmocka_unit_test(a_dry_run_says_what_it_would_delete),
        cmocka_unit_test(delete_of_one_type_leaves_what_the_other_one_has),
        cmocka_unit_test(delete_of_a_path_leaves_what_the_other_type_has_there),
        cmocka_unit_test(nothing_is_deleted_where_nobody_knows_what_the_other_type_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
