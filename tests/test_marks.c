#include "backup/job/marks.h"

#include <stdio.h>

#include "backup/archive/idtable.h"
#include "backup/archive/remap.h"
#include "backup/archive/writer.h"
#include "backup/base/cleanup.h"
#include "backup/base/hex.h"
#include "backup/job/references.h"
#include "tests/harness/temprepo.h"

static const struct archive_id some = {{1, 2, 3}}, other = {{4, 5, 6}};
static struct err err;

static int set_up(void **state)
{
    struct temprepo *temp = malloc(sizeof(*temp));

    *temp = temprepo_make();
    *state = temp;
    return 0;
}

static int tear_down(void **state)
{
    temprepo_clear(*state);
    free(*state);
    return 0;
}

static void a_mark_says_when_and_by_which_clock_it_was_made(void **state)
{
    const struct marks_moment made = {-5, 42, 1000};
    struct temprepo *temp = *state;
    struct mark mark;

    assert_int_equal(marks_read(temp->repo, &some, &mark, &err), -ERR_NOT_FOUND);
    assert_int_equal(marks_put(temp->repo, &some, &made, 77, &err), 0);
    assert_int_equal(marks_put(temp->repo, &some, &made, 99, &err), 0); /* it is marked already */
    assert_int_equal(marks_read(temp->repo, &some, &mark, &err), 0);
    assert_true(mark.sound && mark.made.time_ns == -5 && mark.made.boot == 42);
    assert_true(mark.made.boot_ns == 1000 && mark.grace_ns == 77);
    assert_int_equal(marks_remove(temp->repo, &some, &err), 0);
    assert_int_equal(marks_remove(temp->repo, &some, &err), 0);
    assert_int_equal(marks_read(temp->repo, &some, &mark, &err), -ERR_NOT_FOUND);
}

static void only_the_clock_of_the_same_boot_tells_an_age(void **state)
{
    struct mark mark = {.sound = true, .made = {0, 42, 1000}};
    const struct marks_moment later = {9, 42, 1500}, rebooted = {9, 43, 1500}, back = {9, 42, 999};

    (void)state;
    assert_int_equal(marks_age(&mark, &later), 500);
    assert_int_equal(marks_age(&mark, &rebooted), -1);
    assert_int_equal(marks_age(&mark, &back), -1);
    mark.made.boot = 0;
    assert_int_equal(marks_age(&mark, &(struct marks_moment){9, 0, 1500}), -1);
    mark.made.boot = 42;
    mark.sound = false;
    assert_int_equal(marks_age(&mark, &later), -1);
}

static void a_mark_of_any_other_content_is_not_sound_and_counts_all_the_same(void **state)
{
    struct temprepo *temp = *state;
    CLEANUP(references_clear) struct references marked = {0};
    uint8_t bytes[64] = "YSTRMARK";
    char name[128] = "marks/";
    struct mark mark;
    uint32_t number, unmarked;

    assert_true(references_init(&marked));
    assert_int_equal(idtable_number(temp->repo->ids, &some, ARCHIVE_DATA, &number, &err), 0);
    assert_int_equal(idtable_number(temp->repo->ids, &other, ARCHIVE_DATA, &unmarked, &err), 0);
    hex_encode(some.bytes, sizeof(some.bytes), name + 6);
    for (size_t size = 8; size <= 64; size += 56) {
        assert_int_equal(store_create(temp->repo->store, name, bytes, size, &err), 0);
        assert_int_equal(marks_read(temp->repo, &some, &mark, &err), 0);
        assert_false(mark.sound);
        assert_int_equal(marks_note(temp->repo, &marked, &err), 0);
        assert_true(references_has(&marked, number) && !references_has(&marked, unmarked));
        assert_int_equal(store_remove(temp->repo->store, name, &err), 0);
    }
}

/* Asked for at once, the marks may well be listed before the remap that one of them is on has been
 * read, and has a number. */
static void a_mark_on_a_remap_that_comes_with_it_counts(void **state)
{
    const struct remap_entry moved = {some, other, ARCHIVE_DATA, 0, 100, 0};
    struct temprepo *temp = *state;
    struct writer_result made = {0};

    assert_int_equal(remap_publish(temp->repo, &moved, 1, NULL, NULL, &made, &err), 0);
    for (int remote = 0; remote < 2; remote++)
        for (int marked = 0; marked < 2; marked++) {
            const struct marks_moment now = {1, 2, 3};
            CLEANUP(repo_freep) struct repo *repo = temprepo_open_again(temp);
            CLEANUP(references_clear) struct references found = {0};
            if (marked)
                assert_int_equal(marks_put(temp->repo, &made.id, &now, 0, &err), 0);
            else
                assert_int_equal(marks_remove(temp->repo, &made.id, &err), 0);
            repo->store->is_remote = remote == 1; /* which is all that makes it ask at once */
            assert_true(references_init(&found));
            assert_int_equal(marks_note_and_moves(repo, &found, &err), 0);
            uint32_t number = idtable_find(repo->ids, &made.id);
            assert_int_not_equal(number, NO_ARCHIVE);
            assert_int_equal(references_has(&found, number), marked == 1);
        }
}

static void what_the_store_has_no_more_is_found(void **state)
{
    struct temprepo *temp = *state;
    CLEANUP(references_clear) struct references needed = {0};
    CLEANUP(references_clear) struct references gone = {0};
    char name[OBJECT_NAME_SIZE];
    uint32_t there, missing;

    assert_true(references_init(&needed) && references_init(&gone));
    assert_int_equal(idtable_number(temp->repo->ids, &some, ARCHIVE_METADATA, &there, &err), 0);
    assert_int_equal(idtable_number(temp->repo->ids, &other, ARCHIVE_DATA, &missing, &err), 0);
    repo_object_name(ARCHIVE_METADATA, &some, name);
    assert_int_equal(store_create(temp->repo->store, name, "x", 1, &err), 0);
    references_note(&needed, there);
    assert_int_equal(marks_find_gone(temp->repo, &needed, &gone, &err), 0);
    assert_false(references_has(&gone, there) || references_has(&gone, missing));
    references_note(&needed, missing);
    assert_int_equal(marks_find_gone(temp->repo, &needed, &gone, &err), 0);
    assert_true(!references_has(&gone, there) && references_has(&gone, missing));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_mark_says_when_and_by_which_clock_it_was_made),
        TEST(only_the_clock_of_the_same_boot_tells_an_age),
        TEST(a_mark_of_any_other_content_is_not_sound_and_counts_all_the_same),
        TEST(a_mark_on_a_remap_that_comes_with_it_counts),
        TEST(what_the_store_has_no_more_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
