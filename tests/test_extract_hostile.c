#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "backup/job/treewalk.h"
#include "fs/diff.h"
#include "tests/harness/restoring.h"

/* Restores by root where others own a part of the target, and trees that nobody honest writes. */

enum { NOBODY = 65534 };

static void make_source(struct restoring *test)
{
    assert_int_equal(shell(test, "cd source && mkdir -p d/e && echo right > d/tool && "
                                 "chmod 4755 d/tool && echo e > d/e/1 && touch -d 2001-01-01 "
                                 "d/tool"),
                     0);
}

/* What size and time say of a file is its owner's word. */
static void a_prepared_file_gets_neither_a_better_owner_nor_set_id_bits(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();

    if (geteuid() != 0)
        restoring_skip(&test);
    make_source(test);
    assert_int_equal(shell(test,
                           "cd source/d && echo right > group && chown %d:0 group && chmod "
                           "2755 group && echo right > plain && touch -d 2001-01-01 plain "
                           "group",
                           NOBODY),
                     0);
    take(test);
    assert_int_equal(shell(test,
                           "mkdir -p target/src/d && cd target/src/d && for i in tool group plain; "
                           "do echo wrong > $i; touch -d 2001-01-01 $i; done; chown -R %d:%d .",
                           NOBODY, NOBODY),
                     0);
    restore_well(test, "target");
    assert_true(alike(test, "source", "target/src", ""));
    /* The same owner, but the bits are yet to come. */
    assert_int_equal(shell(test,
                           "cd target/src/d && for i in group; do echo wrong > $i; chown "
                           "%d:0 $i; chmod 755 $i; touch -d 2001-01-01 $i; done",
                           NOBODY),
                     0);
    restore_well(test, "target");
    assert_true(alike(test, "source", "target/src", ""));
}

static void a_prepared_file_gets_no_capabilities(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();

    if (geteuid() != 0)
        restoring_skip(&test);
    make_source(test);
    assert_int_equal(
        shell(test, "cd source/d && echo right > able && chown %d:%d able", NOBODY, NOBODY), 0);
    if (shell(test, "setfattr -n security.capability -v "
                    "0x0100000280000000000000000000000000000000 source/d/able 2>/dev/null") != 0)
        restoring_skip(&test);
    assert_int_equal(shell(test, "touch -d 2001-01-01 source/d/able"), 0);
    take(test);
    assert_int_equal(shell(test,
                           "mkdir -p target/src/d && cd target/src/d && echo wrong > able && "
                           "chown %d:%d able && touch -d 2001-01-01 able",
                           NOBODY, NOBODY),
                     0);
    restore_well(test, "target");
    assert_true(alike(test, "source", "target/src", ""));
    test->options.no_setuid = true;
    restore_well(test, "other");
    assert_int_equal(
        shell(test, "! getfattr -n security.capability other/src/d/able >/dev/null 2>&1"), 0);
}

static void a_link_in_place_of_the_marker_is_not_written_to(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();

    make_source(test);
    take(test);
    assert_int_equal(shell(test, "mkdir target && seq 100 > precious && cp precious copy && "
                                 "ln precious target/.yester-restore"),
                     0);
    restore_well(test, "target");
    assert_true(alike(test, "source", "target/src", ""));
    assert_int_equal(shell(test, "cmp precious copy"), 0);
    assert_int_equal(shell(test, "rm target/.yester-restore && mkfifo target/.yester-restore"), 0);
    restore_well(test, "target");
    assert_true(there(test, "target/.yester-restore"));
}

static void the_markers_name_can_be_restored(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();

    assert_int_equal(shell(test, "cd source && echo mine > .yester-restore && echo x > x"), 0);
    take(test);
    test->options.content_path = "/src";
    restore_well(test, "target");
    assert_true(alike(test, "source", "target", ""));
}

/* Says that an earlier restore did not come to its end. */
static void leave_marker(struct restoring *test)
{
    assert_int_equal(shell(test, "cat /proc/sys/kernel/random/boot_id > target/.yester-restore && "
                                 "truncate -s 64 target/.yester-restore"),
                     0);
}

static void a_resumed_restore_takes_only_its_own_leftovers_away(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();

    make_source(test);
    take(test);
    restore_well(test, "target");
    leave_marker(test);
    assert_int_equal(shell(test, "cd target/src/d && touch .yester-backup .yester-config "
                                 ".yester-20240101"),
                     0);
    restore_well(test, "target");
    assert_true(there(test, "target/src/d/.yester-backup"));
    assert_true(there(test, "target/src/d/.yester-config"));
    assert_true(there(test, "target/src/d/.yester-20240101"));
    assert_false(there(test, "target/.yester-restore"));
}

static void a_dry_run_into_a_new_directory_says_what_room_there_is(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();

    make_source(test);
    take(test);
    test->options.dry_run = true;
    assert_int_equal(restore_to(test, "not/yet//there/"), 0);
    assert_true(test->result.room_free > 0);
    assert_false(there(test, "not"));
    assert_non_null(strstr(test->said, "would write /\n"));
    assert_null(strstr(test->said, "would write \n"));
    test->options.dry_run = false;
}

/* On a system whose /lib is a link, a snapshot with a directory /lib must not take the link away.
 */
static void a_symlink_on_the_way_is_neither_followed_nor_removed(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();
    const char *const paths[] = {"/src/d/e"}, *const keep[] = {"/src/d"};

    make_source(test);
    take(test);
    assert_int_equal(shell(test, "mkdir -p target/src outside/e && ln -s ../../outside "
                                 "target/src/d"),
                     0);
    test->options.paths = paths;
    test->options.path_count = 1;
    assert_int_equal(restore_to(test, "target"), -ERR_SYSTEM);
    assert_int_equal(shell(test, "test -L target/src/d && test -z \"$(ls outside/e)\""), 0);
    /* What is to be kept is kept, whatever it is. */
    test->options.path_count = 0;
    test->options.keep = keep;
    test->options.keep_count = 1;
    assert_int_equal(restore_to(test, "target"), 0);
    assert_non_null(strstr(test->said, "kept /src/d\n"));
    assert_int_equal(shell(test, "test -L target/src/d && test -z \"$(ls outside/e)\""), 0);
}

/* The list names places of the target, wherever in the snapshot their content comes from. */
static void what_is_kept_is_kept_under_another_content_too(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();
    const char *const keep[] = {"/d/e/1"};

    make_source(test);
    take(test);
    assert_int_equal(shell(test, "mkdir -p target/d/e && echo mine > target/d/e/1"), 0);
    test->options.content_path = "/src";
    test->options.keep = keep;
    test->options.keep_count = 1;
    assert_int_equal(restore_to(test, "target"), 0);
    assert_int_equal(test->result.kept, 1);
    assert_int_equal(shell(test, "test $(cat target/d/e/1) = mine && cmp source/d/tool "
                                 "target/d/tool"),
                     0);
}

static void xattrs_that_do_not_fit_cost_one_file_only(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();

    if (mount("none", in_top(test, "source"), "tmpfs", 0, "size=8m") < 0)
        restoring_skip(&test);
    int set = shell(test, "cd source && mkdir d && for i in $(seq 50); do echo $i > d/$i; done && "
                          "python3 -c \"import os; os.setxattr('d/20', 'user.big', b'x' * 4070)\" "
                          "2>/dev/null");
    if (set == 0)
        take(test);
    umount(in_top(test, "source"));
    if (set != 0)
        restoring_skip(&test);
    int r = restore_to(test, "target");
    if (r == 0)
        restoring_skip(&test); /* a file system that has room for it */
    assert_int_equal(test->result.failed, 1);
    assert_int_equal(test->result.files, 49);
    assert_non_null(strstr(test->said, "/src/d/20: set attribute user.big"));
}

/* ---- trees without end ------------------------------------------------------------------- */

static struct entry directory_entry(struct place place, char name[2])
{
    return (struct entry){.type = ENTRY_DIRECTORY,
                          .name = name,
                          .name_size = 1,
                          .mode = 0755,
                          .links = 1,
                          .mtime_s = 1000000000,
                          .directory = {.place = place, .entries = 2},
                          .below_entries = 1000000,
                          .below_bytes = 1};
}

/* A directory of two names, both of which are the directory at `place`. */
static struct dirref put_pair(struct minisnap *snap, struct place place)
{
    struct dirwriter *dir = NULL;
    struct dirref ref;
    char names[2][2] = {"a", "b"};

    assert_int_equal(dirwriter_new(snap->tree, NULL, &dir, &mini_err), 0);
    for (int i = 0; i < 2; i++) {
        struct entry entry = directory_entry(place, names[i]);
        assert_int_equal(dirwriter_add(dir, &entry, NULL, &mini_err), 0);
    }
    assert_int_equal(dirwriter_finish(dir, &ref, &mini_err), 0);
    return ref;
}

/* The place of what is written next is known before: the pairs are all of one length. */
static struct dirref put_circle(struct minisnap *snap)
{
    struct dirref last = put_pair(snap, (struct place){.raw = 1000});
    uint32_t step = 0;

    for (int i = 0; i < 100; i++) {
        struct place next = {.archive = last.place.archive, .raw = last.place.raw + step};
        struct dirref made = put_pair(snap, next);
        if (step > 0 && place_equal(made.place, next))
            return made;
        step = made.place.raw - last.place.raw;
        last = made;
    }
    fail_msg("no directory came to be in itself");
    return last;
}

static unsigned lines_with(const char *text, const char *word)
{
    unsigned count = 0;

    for (const char *at = text; (at = strstr(at, word)); at += strlen(word))
        count++;
    return count;
}

static int ignore(void *context, const struct diff_item *item, struct err *err)
{
    (void)context;
    (void)item;
    (void)err;
    return 0;
}

static void a_directory_that_is_in_itself_is_damage(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();
    struct minisnap *snap = test->snap;
    struct root_type *of = &snap->roots[0].types[TYPE_FILES];
    CLEANUP(treewalk_freep) struct treewalk *walk = NULL;
    const struct dirref none = {0};
    const struct entry *entry;
    const char *path;
    struct err err;
    bool damaged = false;
    int r = 0;

    assert_int_equal(treewriter_new(snap->repo.repo, 1, mini_done, NULL, &snap->tree, &mini_err),
                     0);
    of->directory = put_circle(snap);
    assert_int_equal(treewriter_finish(snap->tree, &mini_err), 0);
    treewriter_free(snap->tree);
    snap->tree = NULL;
    of->present = true;
    of->complete = true;
    of->directories = 1000000;
    of->bytes = UINT64_C(1) << 60; /* so that room is counted before */
    snap->selection.types[TYPE_FILES] = &snap->roots[0];
    assert_int_equal(restore_to(test, "target"), -ERR_CORRUPT);
    assert_int_equal(shell(test, "test $(find target | wc -l) -lt 100"), 0);
    assert_int_equal(lines_with(test->said, "trouble"), test->result.damaged);
    assert_int_equal(diff_trees(snap->blocks, &none, &of->directory, true, ignore, NULL, &err),
                     -ERR_CORRUPT);
    assert_int_equal(treewalk_new(snap->blocks, &of->directory, &walk, &err), 0);
    for (int i = 0; i < 100 && (r = treewalk_next(walk, &entry, &path, &err)) != 0; i++)
        damaged |= r == -ERR_CORRUPT;
    assert_int_equal(r, 0);
    assert_true(damaged);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prepared_file_gets_neither_a_better_owner_nor_set_id_bits),
        cmocka_unit_test(a_prepared_file_gets_no_capabilities),
        cmocka_unit_test(a_link_in_place_of_the_marker_is_not_written_to),
        cmocka_unit_test(the_markers_name_can_be_restored),
        cmocka_unit_test(a_resumed_restore_takes_only_its_own_leftovers_away),
        cmocka_unit_test(a_dry_run_into_a_new_directory_says_what_room_there_is),
        cmocka_unit_test(a_symlink_on_the_way_is_neither_followed_nor_removed),
        cmocka_unit_test(what_is_kept_is_kept_under_another_content_too),
        cmocka_unit_test(xattrs_that_do_not_fit_cost_one_file_only),
        cmocka_unit_test(a_directory_that_is_in_itself_is_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
