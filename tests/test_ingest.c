/* Backups of sources that are not what one expects. */
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/xattr.h>

#include "tests/harness/backingup.h"

/* Devices move, and file systems round times. */
static unsigned device_shift;
static bool whole_seconds;

int __wrap_statx(int dir, const char *name, int flags, unsigned mask, struct statx *out);
int __real_statx(int dir, const char *name, int flags, unsigned mask, struct statx *out);

int __wrap_statx(int dir, const char *name, int flags, unsigned mask, struct statx *out)
{
    int r = __real_statx(dir, name, flags, mask, out);

    out->stx_dev_minor += device_shift;
    if (whole_seconds)
        out->stx_ctime.tv_nsec = out->stx_mtime.tv_nsec = 0;
    return r;
}

static int set_up_all(void **state)
{
    device_shift = 0;
    whole_seconds = false;
    raise_descriptors();
    return set_up(state);
}

static void few_descriptors_are_enough(void **state)
{
    struct fixture *fixture = *state;
    struct rlimit few, before;

    shell(fixture, "for d in $(seq 300); do mkdir $d && echo $d > $d/f; done && mkdir many && "
                   "for f in $(seq 600); do echo $f > many/$f; done && "
                   "d=deep; for i in $(seq 120); do mkdir $d && echo $i > $d/f && d=$d/d; done");
    assert_true(getrlimit(RLIMIT_NOFILE, &before) == 0);
    few = before;
    few.rlim_cur = 64;
    assert_true(setrlimit(RLIMIT_NOFILE, &few) == 0);
    struct err err;
    int r = back_up(fixture, &err);
    assert_true(setrlimit(RLIMIT_NOFILE, &before) == 0);
    if (r < 0)
        fail_msg("%s", err.text);
    assert_true(fixture->troubles == 0 && fixture->notes == 0);
    assert_true(fixture->result.root.types[TYPE_FILES].files == 300 + 600 + 120);
}

static void a_missing_source_below_a_missing_directory_is_told(void **state)
{
    struct fixture *fixture = *state;
    char path[128];
    struct err err;

    (void)snprintf(path, sizeof(path), "%s/not/there", fixture->source);
    fixture->path = path;
    assert_true(back_up(fixture, &err) == -ERR_NOT_FOUND);
    assert_true(fixture->troubles == 1 && temprepo_count(&fixture->temp, "snapshots/") == 0);
}

static void another_device_number_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(fixture->temp.repo, 1 << 20);
    CLEANUP(held_entry_clear) struct held_entry before = {0};
    CLEANUP(held_entry_clear) struct held_entry after = {0};

    shell(fixture, "mkdir d && echo f > d/f && ln d/f d/g && ln -s x d/s");
    usleep(50000);
    must_back_up(fixture);
    find(fixture, blocks, "d", &before);
    device_shift = 7;
    must_back_up(fixture);
    find(fixture, blocks, "d", &after);
    assert_true(fixture->result.files_read == 0);
    assert_true(place_equal(before.entry.directory.place, after.entry.directory.place));
    must_hold(fixture, "d/g");
}

static void times_in_whole_seconds_are_not_trusted_at_once(void **state)
{
    struct fixture *fixture = *state;

    whole_seconds = true;
    shell(fixture, "echo aaaa > f");
    usleep(50000);
    must_back_up(fixture);
    shell(fixture, "echo bbbb > f");
    must_back_up(fixture);
    must_hold(fixture, "f");
}

static void a_dry_run_takes_attributes_and_extents_of_any_size(void **state)
{
    struct fixture *fixture = *state;
    char path[128], value[3000] = {1};

    shell(fixture, "mkdir d && echo f > d/f && ln d/f d/g");
    (void)snprintf(path, sizeof(path), "%s/d", fixture->source);
    if (setxattr(path, "user.a", value, sizeof(value), 0) < 0 ||
        setxattr(path, "user.b", value, 500, 0) < 0)
        skip();
    fixture->dry_run = true;
    must_back_up(fixture);
    assert_true(fixture->troubles == 0 && temprepo_count(&fixture->temp, "snapshots/") == 0);
    fixture->dry_run = false;
    must_back_up(fixture);
    must_hold(fixture, "d/f");
}

/* An old directory whose archive is damaged. */
static void a_damaged_snapshot_before_is_as_none(void **state)
{
    struct fixture *fixture = *state;
    char command[256];

    shell(fixture, "mkdir d && for f in $(seq 50); do echo $f > d/$f; done");
    usleep(50000);
    must_back_up(fixture);
    (void)snprintf(command, sizeof(command),
                   "for f in $(find %s/meta -type f); do chmod u+w $f && "
                   "dd if=/dev/urandom of=$f bs=512 seek=1 count=8 conv=notrunc status=none; done",
                   fixture->temp.directory);
    assert_true(system(command) == 0);
    must_back_up(fixture);
    assert_true(fixture->result.files_read == 50 && fixture->troubles == 0);
    must_hold(fixture, "d/7");
}

static void a_file_of_the_kernel_has_no_size_and_is_read_to_its_end(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(fixture->temp.repo, 1 << 20);
    CLEANUP(held_entry_clear) struct held_entry held = {0};
    static uint8_t want[65536];
    struct err err;

    FILE *file = fopen("/proc/crypto", "rb");
    if (!file)
        skip();
    size_t size = fread(want, 1, sizeof(want), file);
    fclose(file);
    fixture->path = "/proc/crypto";
    must_back_up(fixture);
    assert_true(tree_resolve(blocks, &fixture->result.root.types[TYPE_FILES].directory,
                             "proc/crypto", 11, &held, &err) == 0);
    assert_true(held.entry.size == size);
}

/* Whoever holds a lease gives it up when he is told to. */
static int leased = -1;

static void give_lease_up(int number)
{
    (void)number;
    (void)fcntl(leased, F_SETLEASE, F_UNLCK);
}

static void a_leased_file_is_waited_for(void **state)
{
    struct fixture *fixture = *state;
    struct sigaction action = {.sa_handler = give_lease_up, .sa_flags = SA_RESTART}, before;
    char path[128];

    shell(fixture, "echo shared > f");
    (void)snprintf(path, sizeof(path), "%s/f", fixture->source);
    leased = open(path, O_RDWR | O_CLOEXEC);
    assert_true(leased >= 0 && sigaction(SIGIO, &action, &before) == 0);
    if (fcntl(leased, F_SETLEASE, F_WRLCK) < 0)
        skip();
    must_back_up(fixture);
    close(leased);
    assert_true(sigaction(SIGIO, &before, NULL) == 0 && fixture->troubles == 0);
    must_be(fixture, "f", "shared\n");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up_all, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(few_descriptors_are_enough),
        CASE(a_missing_source_below_a_missing_directory_is_told),
        CASE(another_device_number_changes_nothing),
        CASE(times_in_whole_seconds_are_not_trusted_at_once),
        CASE(a_dry_run_takes_attributes_and_extents_of_any_size),
        CASE(a_damaged_snapshot_before_is_as_none),
        CASE(a_file_of_the_kernel_has_no_size_and_is_read_to_its_end),
        CASE(a_leased_file_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
