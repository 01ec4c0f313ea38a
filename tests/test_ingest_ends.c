/* Backups that do not come to their end, or come to it beside another. */
#include <pthread.h>
#include <stdatomic.h>

#include "backup/base/hex.h"
#include "backup/base/progress.h"
#include "tests/harness/backingup.h"
#include "tests/harness/fulldisk.h"

/* A pruner that saw the new archives before there was a root that needs them. */
static atomic_bool prune_before_root;

int __wrap_root_publish(struct repo *repo, const struct root *root, uint64_t *out_size,
                        struct err *err);
int __real_root_publish(struct repo *repo, const struct root *root, uint64_t *out_size,
                        struct err *err);

int __wrap_root_publish(struct repo *repo, const struct root *root, uint64_t *out_size,
                        struct err *err)
{
    for (size_t i = 0; prune_before_root && i < root->archive_count; i++) {
        char name[128] = "marks/";

        hex_encode(root->archives[i].id.bytes, sizeof(root->archives[i].id.bytes), name + 6);
        assert_true(store_create(repo->store, name, "YSTRMARK", 8, err) == 0);
    }
    prune_before_root = false;
    return __real_root_publish(repo, root, out_size, err);
}

static int set_up_all(void **state)
{
    writes_left = INT32_MAX;
    prune_before_root = false;
    raise_descriptors();
    return set_up(state);
}

static void a_repository_error_is_no_trouble_of_the_source(void **state)
{
    struct fixture *fixture = *state;
    struct err err;

    shell(fixture, "for f in $(seq 300); do echo $f > $f; done && "
                   "head -c 9000000 /dev/urandom > large && truncate -s 1G endless");
    for (int left = 0; left < 60; left += 3) {
        writes_left = left;
        assert_true(back_up(fixture, &err) == -ERR_SYSTEM);
        assert_string_equal(err.text, "the disk is full");
        assert_true(fixture->troubles == 0 && temprepo_count(&fixture->temp, "snapshots/") == 0);
    }
    writes_left = INT32_MAX;
    must_back_up(fixture);
    must_hold(fixture, "large");
}

static void what_was_marked_before_its_root_was_there_is_stored_again(void **state)
{
    struct fixture *fixture = *state;

    shell(fixture, "echo precious > f");
    prune_before_root = true;
    must_back_up(fixture);
    assert_true(fixture->result.root.revision == 1);
    must_hold(fixture, "f");
}

static void *cancel_soon(void *argument)
{
    struct progress *progress = argument;

    while (progress->files < 100 && progress->bytes < 1000000)
        usleep(1000);
    progress->cancelled = 1;
    return NULL;
}

static void an_interrupted_backup_leaves_no_snapshot(void **state)
{
    struct fixture *fixture = *state;
    struct progress progress = {.cancelled = 0};
    pthread_t thread;
    struct err err;

    shell(fixture, "for f in $(seq 3000); do echo $f > $f; done && "
                   "head -c 200000000 /dev/zero | tr '\\0' x > large && cp large larger");
    fixture->progress = &progress;
    assert_true(pthread_create(&thread, NULL, cancel_soon, &progress) == 0);
    assert_true(back_up(fixture, &err) == -ERR_CANCELLED);
    pthread_join(thread, NULL);
    assert_true(fixture->troubles == 0 && temprepo_count(&fixture->temp, "snapshots/") == 0);
}

static void *cancel_later(void *argument)
{
    struct progress *progress = argument;

    usleep(100000);
    progress->cancelled = 1;
    return NULL;
}

static void a_silent_standard_input_can_be_interrupted(void **state)
{
    struct fixture *fixture = *state;
    struct progress progress = {.cancelled = 0};
    int ends[2], before = dup(STDIN_FILENO);
    pthread_t thread;
    struct err err;

    assert_true(pipe(ends) == 0 && dup2(ends[0], STDIN_FILENO) == STDIN_FILENO);
    fixture->progress = &progress;
    fixture->stdin_name = "dump";
    assert_true(pthread_create(&thread, NULL, cancel_later, &progress) == 0);
    assert_true(back_up(fixture, &err) == -ERR_CANCELLED);
    pthread_join(thread, NULL);
    assert_true(fixture->troubles == 0 && temprepo_count(&fixture->temp, "snapshots/") == 0);
    assert_true(dup2(before, STDIN_FILENO) == STDIN_FILENO);
    close(before);
    close(ends[0]);
    close(ends[1]);
}

struct other {
    struct fixture fixture;
    int result;
    struct err err;
};

static void *back_up_too(void *argument)
{
    struct other *other = argument;

    other->result = back_up(&other->fixture, &other->err);
    return NULL;
}

static void two_backups_at_once_are_two_snapshots(void **state)
{
    struct fixture *fixture = *state;
    struct other other = {.fixture = *fixture};
    pthread_t thread;

    shell(fixture, "for f in $(seq 500); do echo $f > $f; done && "
                   "head -c 9000000 /dev/urandom > large");
    other.fixture.temp.repo = temprepo_open_again(&fixture->temp);
    assert_true(pthread_create(&thread, NULL, back_up_too, &other) == 0);
    must_back_up(fixture);
    pthread_join(thread, NULL);
    assert_int_equal(other.result, 0);
    assert_true(temprepo_count(&fixture->temp, "snapshots/") == 2);
    assert_string_not_equal(fixture->result.root.name, other.fixture.result.root.name);
    must_hold(fixture, "large");
    must_hold(&other.fixture, "large");
    backup_result_clear(&other.fixture.result);
    repo_free(other.fixture.temp.repo);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up_all, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_repository_error_is_no_trouble_of_the_source),
        CASE(what_was_marked_before_its_root_was_there_is_stored_again),
        CASE(an_interrupted_backup_leaves_no_snapshot),
        CASE(a_silent_standard_input_can_be_interrupted),
        CASE(two_backups_at_once_are_two_snapshots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
