/* What is forgotten in a bucket that still locks it. */
#include "tests/harness/pruning.h"

static char locked_snapshot[SNAPSHOT_NAME_SIZE];

static int until_tomorrow(struct store *store, const char *name, int64_t *out_ns, struct err *why)
{
    char prefix[64];

    (void)store;
    (void)why;
    (void)snprintf(prefix, sizeof(prefix), "snapshots/%s/", locked_snapshot);
    *out_ns = strncmp(name, prefix, strlen(prefix)) == 0 ? now.time_ns + 24 * HOUR : 0;
    return 0;
}

static void lock_snapshot(const struct root *root)
{
    strcpy(locked_snapshot, root->name);
    retained = until_tomorrow;
}

/* Of an archive that a snapshot's run wrote. */
static uint64_t written_bytes(const struct root *root)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < root->archive_count; i++)
        sum += root->archives[i].size;
    return sum;
}

static void what_is_locked_is_counted_once(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(root_clear) struct root root = {0};
    uint64_t size[3], all = 0;

    two_snapshots(fixture);
    assert_int_equal(root_read(fixture->temp.repo, fixture->before.name, 0, &root, &err), 0);
    for (root.revision = 1; root.revision < 3; root.revision++)
        assert_int_equal(root_publish(fixture->temp.repo, &root, &size[root.revision], &err), 0);
    size[0] = size[1]; /* both say the same but for their number */
    lock_snapshot(&root);
    decide(fixture, &root, NOTE_FORGET, 0);
    prune(fixture);
    assert_true(result.locked == 1 && result.locked_snapshots == 0);
    later(GRACE);
    prune(fixture);
    for (int i = 0; i < 3; i++)
        all += size[i];
    assert_int_equal(result.locked_snapshots, 1);
    assert_int_equal(result.locked, 3 + root.archive_count);
    assert_int_equal(result.locked_bytes, all + written_bytes(&root));
    assert_int_equal(result.deleted, 0);
    retained = NULL;
    prune(fixture);
    assert_true(result.snapshots == 1 && result.locked == 0);
    must_be_whole(fixture);
}

/* Its marks are old, since it was wanted again for a while. */
static void what_may_come_back_is_not_counted_as_locked(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(root_clear) struct root first = {0}, second = {0};

    two_snapshots(fixture);
    assert_int_equal(root_read(fixture->temp.repo, fixture->before.name, 0, &first, &err), 0);
    shell(fixture, "rm d/new && head -c 300000 /dev/urandom > d/newest");
    must_back_up(fixture);
    assert_int_equal(root_read(fixture->temp.repo, fixture->before.name, 0, &second, &err), 0);
    lock_snapshot(&first);
    decide(fixture, &first, NOTE_FORGET, 0);
    decide(fixture, &second, NOTE_FORGET, 0);
    prune(fixture);
    later(GRACE - 2 * HOUR);
    decide(fixture, &second, NOTE_UNFORGET, 1);
    prune(fixture);
    assert_true(result.stuck > 0);
    later(HOUR);
    decide(fixture, &second, NOTE_FORGET, 2);
    later(HOUR);
    prune(fixture);
    assert_int_equal(result.locked_snapshots, 1);
    assert_int_equal(result.locked, 1 + first.archive_count);
    assert_true(result.waiting >= second.archive_count && result.deleted == 0);
    must_be_whole(fixture);
}

static int fresh(void **state)
{
    retained = NULL;
    return start(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fresh, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_locked_is_counted_once),
        TEST(what_may_come_back_is_not_counted_as_locked),
    };
    int here = cmocka_run_group_tests_name("in a directory", tests, NULL, NULL);
    is_remote = true;
    return here +
           cmocka_run_group_tests_name("where many are asked for at once", tests, NULL, NULL);
}
