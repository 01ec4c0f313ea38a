/* What others do between a pruner's first look at the repository and its second. */
#include "backup/job/roster.h"
#include "tests/harness/pruning.h"

/* What happens between the first look and the second. */
static void (*between)(struct fixture *fixture);
static struct fixture *between_fixture;
static unsigned looks;

static void begin(struct fixture *fixture)
{
    looks = 0;
    between_fixture = fixture;
}

int __real_roster_load(struct repo *repo, struct roster *out, struct err *error);
int __wrap_roster_load(struct repo *repo, struct roster *out, struct err *error);

int __wrap_roster_load(struct repo *repo, struct roster *out, struct err *error)
{
    void (*act)(struct fixture * fixture) = between;

    if (++looks == 2 && act) {
        between = NULL;
        act(between_fixture);
    }
    return __real_roster_load(repo, out, error);
}

/* A writer that had taken the archive for good, and whose root comes between both looks. */
static void publish_another(struct fixture *fixture)
{
    CLEANUP(root_clear) struct root root = {0};
    uint64_t size;

    assert_int_equal(root_read(fixture->temp.repo, fixture->before.name, 0, &root, &err), 0);
    strcpy(root.name, "20300101_000000");
    root.sequence = 50;
    assert_int_equal(root_publish(fixture->temp.repo, &root, &size, &err), 0);
}

static void a_root_that_comes_before_the_second_look_keeps_what_it_needs(void **state)
{
    struct fixture *fixture = *state;

    two_snapshots(fixture);
    decide(fixture, &fixture->before, NOTE_FORGET, 0);
    prune(fixture);
    unsigned before = archives(fixture);
    later(GRACE);
    between = publish_another;
    prune(fixture);
    assert_null(between);
    assert_int_equal(archives(fixture), before);
    assert_int_equal(objects(fixture, "snapshots"), 2); /* the forgotten root itself is gone */
    must_be_whole(fixture);
}

static void take_back(struct fixture *fixture)
{
    decide(fixture, &fixture->before, NOTE_UNFORGET, 1);
}

static void hold(struct fixture *fixture)
{
    decide(fixture, &fixture->before, NOTE_HOLD, 0);
}

static void what_is_taken_back_or_held_before_the_second_look_stays(void **state)
{
    void (*const acts[])(struct fixture * fixture) = {take_back, hold};
    struct fixture *fixture = *state;

    two_snapshots(fixture);
    decide(fixture, &fixture->before, NOTE_FORGET, 0);
    prune(fixture);
    later(GRACE);
    for (size_t i = 0; i < 2; i++) {
        between = acts[i];
        prune(fixture);
        assert_true(result.deleted == 0 && !between);
        must_be_whole(fixture);
        if (i == 0)
            decide(fixture, &fixture->before, NOTE_FORGET, 2);
        later(GRACE);
    }
}

static void prune_too(struct fixture *fixture)
{
    const struct prune_result before = result;
    unsigned seen = looks;

    prune(fixture);
    assert_true(result.deleted > 0);
    result = before;
    looks = seen;
}

static void a_pruner_whom_another_one_forestalls_is_content(void **state)
{
    struct fixture *fixture = *state;

    two_snapshots(fixture);
    decide(fixture, &fixture->before, NOTE_FORGET, 0);
    prune(fixture);
    later(GRACE);
    between = prune_too;
    prune(fixture);
    assert_true(result.deleted == 0 && result.freed == 0);
    must_be_whole(fixture);
}

static int fresh(void **state)
{
    between = NULL;
    return start(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fresh, tear_down)

int main(void)
{
    before_prune = begin;
    const struct CMUnitTest tests[] = {
        TEST(a_root_that_comes_before_the_second_look_keeps_what_it_needs),
        TEST(what_is_taken_back_or_held_before_the_second_look_stays),
        TEST(a_pruner_whom_another_one_forestalls_is_content),
    };
    int here = cmocka_run_group_tests_name("in a directory", tests, NULL, NULL);
    is_remote = true;
    return here +
           cmocka_run_group_tests_name("where many are asked for at once", tests, NULL, NULL);
}
