#include "backup/job/roster.h"

#include "backup/archive/note.h"
#include "tests/harness/temprepo.h"

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

static struct root publish(struct temprepo *temp, const char *name, uint64_t revision)
{
    struct root root = {.revision = revision, .sequence = 7, .start_ns = 1000, .host = "here"};
    uint64_t size;

    strcpy(root.name, name);
    root.types[TYPE_FILES].present = true;
    assert_int_equal(root_publish(temp->repo, &root, &size, &err), 0);
    return root;
}

static void decide(struct temprepo *temp, const struct root *root, enum note_kind kind,
                   uint64_t number, uint8_t id)
{
    struct note note = {.kind = kind,
                        .sequence = root->sequence,
                        .start_ns = root->start_ns,
                        .number = number,
                        .made_ns = 5000 + (int64_t)number,
                        .host = "here",
                        .by = "there"};

    strcpy(note.snapshot, root->name);
    if (kind == NOTE_HOLD || kind == NOTE_RELEASE)
        memset(note.id, id, sizeof(note.id));
    assert_int_equal(note_publish(temp->repo, &note, &err), 0);
}

static void break_object(struct temprepo *temp, const char *name)
{
    size_t size;
    uint8_t *bytes = temprepo_load(temp, name, &size);

    bytes[size - 1] ^= 1;
    temprepo_replace(temp, name, bytes, size);
    free(bytes);
}

static struct roster_snapshot look(struct temprepo *temp, const char *name)
{
    struct roster roster = {0};
    struct roster_snapshot copy = {0};

    assert_int_equal(roster_load(temp->repo, &roster, &err), 0);
    const struct roster_snapshot *found = roster_find(&roster, name);
    assert_non_null(found);
    copy = *found;
    copy.revisions = NULL;
    roster_clear(&roster);
    return copy;
}

static void the_highest_revision_counts_and_all_are_listed(void **state)
{
    struct temprepo *temp = *state;
    struct roster roster = {0};

    publish(temp, "20260102_000000", 0);
    publish(temp, "20260101_000000", 1);
    publish(temp, "20260101_000000", 0);
    publish(temp, "20260101_000000", 12);
    assert_int_equal(roster_load(temp->repo, &roster, &err), 0);
    assert_true(roster.count == 2 && strcmp(roster.at[0].name, "20260101_000000") == 0);
    assert_true(roster.at[0].revision_count == 3 && roster_revision(&roster.at[0]) == 12);
    assert_true(roster.at[0].root.revision == 12 && !roster.at[0].damaged);
    assert_null(roster_find(&roster, "20260103_000000"));
    roster_clear(&roster);
}

static void of_forgets_and_unforgets_the_last_word_counts(void **state)
{
    struct temprepo *temp = *state;
    struct root root = publish(temp, "20260101_000000", 0);

    assert_false(look(temp, root.name).forgotten);
    decide(temp, &root, NOTE_FORGET, 0, 0);
    assert_true(look(temp, root.name).forgotten && look(temp, root.name).forgotten_ns == 5000);
    decide(temp, &root, NOTE_UNFORGET, 1, 0);
    assert_false(look(temp, root.name).forgotten);
    decide(temp, &root, NOTE_FORGET, 2, 0);
    assert_true(look(temp, root.name).forgotten && look(temp, root.name).forgotten_ns == 5002);
    break_object(temp, "forgets/20260101_000000.00000002");
    assert_false(look(temp, root.name).forgotten);
}

static void a_note_about_an_earlier_snapshot_of_that_name_says_nothing(void **state)
{
    struct temprepo *temp = *state;
    struct root root = publish(temp, "20260101_000000", 0), earlier = root;

    earlier.start_ns = 999;
    decide(temp, &earlier, NOTE_FORGET, 0, 0);
    decide(temp, &earlier, NOTE_HOLD, 0, 1);
    assert_false(look(temp, root.name).forgotten || look(temp, root.name).held);
}

static void a_hold_is_one_until_it_is_released_and_in_doubt_it_is(void **state)
{
    struct temprepo *temp = *state;
    struct root root = publish(temp, "20260101_000000", 0);

    decide(temp, &root, NOTE_HOLD, 0, 0x11);
    decide(temp, &root, NOTE_HOLD, 0, 0x22);
    assert_true(look(temp, root.name).held);
    decide(temp, &root, NOTE_RELEASE, 0, 0x11);
    assert_true(look(temp, root.name).held);
    decide(temp, &root, NOTE_RELEASE, 0, 0x22);
    assert_false(look(temp, root.name).held);
    break_object(temp, "releases/20260101_000000.22222222222222222222222222222222");
    assert_true(look(temp, root.name).held);
    break_object(temp, "holds/20260101_000000.11111111111111111111111111111111");
    assert_true(look(temp, root.name).held);
}

static void a_root_that_cannot_be_read_is_a_damaged_snapshot(void **state)
{
    struct temprepo *temp = *state;
    struct root root = publish(temp, "20260101_000000", 0);

    break_object(temp, "snapshots/20260101_000000/00000000");
    assert_true(look(temp, root.name).damaged && !look(temp, root.name).forgotten);
    decide(temp, &root, NOTE_FORGET, 0, 0);
    assert_true(look(temp, root.name).damaged && look(temp, root.name).forgotten);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_highest_revision_counts_and_all_are_listed),
        TEST(of_forgets_and_unforgets_the_last_word_counts),
        TEST(a_note_about_an_earlier_snapshot_of_that_name_says_nothing),
        TEST(a_hold_is_one_until_it_is_released_and_in_doubt_it_is),
        TEST(a_root_that_cannot_be_read_is_a_damaged_snapshot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
