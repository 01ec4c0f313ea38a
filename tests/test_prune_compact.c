#include "tests/harness/pruning.h"

/* Both in one data archive: what both snapshots have, and eight times as much that only the first
 * has. */
static void one_sparse_archive(struct fixture *fixture)
{
    shell(fixture, "for i in 1 2 3 4; do head -c 200000 /dev/urandom > old$i; done && "
                   "head -c 100000 /dev/urandom > shared && ln shared link && sleep 0.05");
    must_back_up(fixture);
    shell(fixture, "rm old*");
    must_back_up(fixture);
    compact = 50;
}

static uint64_t stored(const struct fixture *fixture)
{
    char command[128];
    unsigned long long bytes = 0;

    (void)snprintf(command, sizeof(command), "cd %s && cat data/* meta/* | wc -c",
                   fixture->temp.directory);
    FILE *pipe = popen(command, "r");
    assert_true(pipe && fscanf(pipe, "%llu", &bytes) == 1);
    pclose(pipe);
    return bytes;
}

static void what_is_needed_of_a_sparse_archive_is_moved_out_of_it(void **state)
{
    struct fixture *fixture = *state;

    one_sparse_archive(fixture);
    decide(fixture, &fixture->before, NOTE_FORGET, 0);
    prune(fixture);
    assert_int_equal(result.compacted, 0); /* the forgotten one needs all of it */
    later(GRACE);
    prune(fixture);
    assert_true(result.snapshots == 1 && result.compacted == 1);
    assert_true(result.compacted_bytes > 900000 && result.moved_bytes < 400000);
    assert_true(result.marked == 1 && stored(fixture) > 1000000);
    must_be_whole(fixture);
    later(GRACE);
    prune(fixture);
    assert_true(result.compacted == 0 && result.freed > 900000 && stored(fixture) < 400000);
    must_be_whole(fixture);
    must_hold(fixture, "shared");
    /* It goes on: backups refer to what was moved, and its own forgetting frees that, too. */
    must_back_up(fixture);
    must_hold(fixture, "shared");
    for (int i = 0; i < 3; i++) {
        prune(fixture);
        assert_int_equal(result.compacted, 0);
        later(GRACE);
    }
    must_be_whole(fixture);
}

static void alone_it_compacts_and_frees_at_once(void **state)
{
    struct fixture *fixture = *state;

    one_sparse_archive(fixture);
    decide(fixture, &fixture->before, NOTE_FORGET, 0);
    assert_int_equal(prune_with(fixture, NULL, true), 0);
    assert_true(result.compacted == 1 && result.freed > 900000 && stored(fixture) < 400000);
    assert_int_equal(objects(fixture, "marks"), 0);
    must_be_whole(fixture);
    must_hold(fixture, "link");
}

/* Enough to decide about a snapshot when its root is no longer at hand. */
static struct root identity(const struct root *root)
{
    struct root out = {.sequence = root->sequence, .start_ns = root->start_ns};

    strcpy(out.name, root->name);
    strcpy(out.host, root->host);
    return out;
}

/* What a forgotten snapshot needs is moved as well: it may come back, and be read from there. */
static void who_is_taken_back_finds_what_was_moved_meanwhile(void **state)
{
    struct fixture *fixture = *state;

    shell(fixture, "head -c 200000 /dev/urandom > old1 && head -c 2000000 /dev/urandom > old2 && "
                   "head -c 50000 /dev/urandom > shared && sleep 0.05");
    must_back_up(fixture);
    const struct root first = identity(&fixture->result.root);
    shell(fixture, "rm old2");
    must_back_up(fixture);
    const struct root second = identity(&fixture->result.root);
    shell(fixture, "rm old1");
    must_back_up(fixture);
    compact = 50;
    decide(fixture, &first, NOTE_FORGET, 0);
    prune(fixture);
    later(GRACE);
    decide(fixture, &second, NOTE_FORGET, 0);
    prune(fixture);
    assert_true(result.snapshots == 1 && result.compacted == 1);
    /* Blocks are moved whole, and who shares one with whom is for the workers to say. */
    assert_true(result.moved_bytes > 250000 && result.moved_bytes < 700000);
    later(HOUR);
    decide(fixture, &second, NOTE_UNFORGET, 1);
    for (int i = 0; i < 2; i++) {
        prune(fixture);
        assert_int_equal(result.compacted, 0);
        must_be_whole(fixture);
        later(GRACE);
    }
    assert_true(stored(fixture) < 800000);
    assert_int_equal(objects(fixture, "snapshots"), 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_needed_of_a_sparse_archive_is_moved_out_of_it),
        TEST(alone_it_compacts_and_frees_at_once),
        TEST(who_is_taken_back_finds_what_was_moved_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
