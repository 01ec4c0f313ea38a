#include <signal.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "tests/harness/restoring.h"

/* Damage, interruptions, full disks, and users who are not root. */

static void make_source(struct restoring *test, int files)
{
    assert_int_equal(shell(test, "cd source && mkdir 1 2 3 4 5"), 0);
    for (int i = 0; i < 5 * files; i++) {
        char name[32];
        snprintf(name, sizeof(name), "source/%d/%d", 1 + i / files, 1 + i % files);
        make_noise(test, name, (size_t)((1 + i % files) * 311 % 5000));
    }
    assert_int_equal(shell(test, "cd source && head -c 3000000 /dev/urandom > large && "
                                 "ln large 3/large && truncate -s 5M 4/holes && "
                                 "touch -d 2002-02-02 1 2 3 4 5 */* large"),
                     0);
    take(test);
}

/* Nothing is there that was not in the source, and nothing is other than it was. */
static bool what_is_there_is_right(struct restoring *test)
{
    return shell(test, "diff -rq source target/src > judged; test $? -lt 2 && "
                       "! grep -v '^Only in source' judged") == 0;
}

static bool no_temporaries(struct restoring *test)
{
    return shell(test, "test -z \"$(find target -name '.yester-*')\"") == 0;
}

/* Changes a bit in the middle of every data archive. */
static void damage_data(struct restoring *test)
{
    assert_int_equal(
        shell(test,
              "for f in $(find %s/data -type f); do chmod 600 $f; python3 -c \"\nimport sys\n"
              "f=open('$f','r+b'); f.seek(0,2); f.seek(f.tell()//2); c=f.read(1)[0]\n"
              "f.seek(-1,1); f.write(bytes([c^4]))\n\" || exit 1; done",
              test->snap->repo.directory),
        0);
}

static void damage_is_named_and_the_rest_comes_back(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();

    make_source(test, 100);
    damage_data(test);
    test->options.delete_extra = true;
    assert_int_equal(shell(test, "mkdir -p target/src && touch target/src/extra"), 0);
    assert_int_equal(restore_to(test, "target"), -ERR_CORRUPT);
    assert_true(test->result.damaged > 0 && test->result.damaged < 100);
    assert_true(test->result.files > 300);
    assert_non_null(strstr(test->said, "trouble /src/"));
    assert_true(no_temporaries(test));
    assert_true(there(test, "target/src/extra")); /* not all is back: nothing is deleted */
    assert_int_equal(unlink(in_top(test, "target/src/extra")), 0);
    /* What is there is right; what is damaged is not there at all. */
    assert_true(what_is_there_is_right(test));
    assert_int_equal(shell(test,
                           "test $(find target/src -type f | wc -l) -eq "
                           "$(($(find source -type f | wc -l) - %d))",
                           (int)test->result.damaged),
                     0);
}

static void a_damaged_directory_is_named_and_the_rest_comes_back(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();

    make_source(test, 300);
    assert_int_equal(shell(test,
                           "f=$(find %s/meta -type f | head -1); chmod 600 $f; "
                           "printf XXXX | dd of=$f bs=1 seek=400 conv=notrunc 2>/dev/null",
                           test->snap->repo.directory),
                     0);
    assert_int_equal(restore_to(test, "target"), -ERR_CORRUPT);
    assert_true(test->result.damaged > 0);
}

struct canceller {
    struct progress *progress;
    unsigned after;
};

static void *cancel(void *context)
{
    struct canceller *canceller = context;

    usleep(canceller->after);
    atomic_store(&canceller->progress->cancelled, 1);
    return NULL;
}

static void a_cancelled_restore_goes_on_where_it_stopped(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();
    unsigned cancelled = 0;

    make_source(test, 300);
    /* On a busy machine many come too late. */
    for (unsigned i = 1; i < 25 || (cancelled <= 3 && i < 250); i++) {
        struct canceller canceller = {&test->progress, (i % 25) * (i % 25) * 150};
        pthread_t thread;

        atomic_store(&test->progress.cancelled, 0);
        assert_int_equal(pthread_create(&thread, NULL, cancel, &canceller), 0);
        int r = restore_to(test, "target");
        pthread_join(thread, NULL);
        assert_true(r == 0 || r == -ERR_CANCELLED);
        assert_string_equal(test->said, "");
        cancelled += r != 0;
        if (r != 0)
            assert_int_equal(
                shell(test, "test -z \"$(find target -name '.yester-*' ! -name .yester-restore)\""),
                0);
        if (r == 0)
            assert_int_equal(shell(test, "rm -rf target"), 0);
    }
    assert_true(cancelled > 3);
    atomic_store(&test->progress.cancelled, 0);
    restore_well(test, "target");
    assert_true(no_temporaries(test));
    assert_true(alike(test, "source", "target/src", ""));
}

/* Kills restores, then lets one come to its end. */
static void kill_and_go_on(enum extract_overwrite overwrite, enum extract_overwrite last)
{
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();

    make_source(test, 300);
    test->options.overwrite = overwrite;
    for (unsigned i = 1; i < 12; i++) {
        int status;
        pid_t child = fork();

        if (child == 0)
            _exit(restore_to(test, "target") == 0 ? 0 : 1);
        usleep(i * i * 700);
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    }
    test->options.overwrite = last;
    restore_well(test, "target");
    assert_true(no_temporaries(test));
    /* Directories that were there are not touched when nothing is overwritten. */
    assert_true(alike(test, "source", "target/src",
                      last == OVERWRITE_NEVER ? "--no-times --no-owner" : ""));
}

static void a_killed_restore_goes_on_where_it_stopped(void **state)
{
    (void)state;
    kill_and_go_on(OVERWRITE_IF_CHANGED, OVERWRITE_IF_CHANGED);
    kill_and_go_on(OVERWRITE_ALWAYS, OVERWRITE_IF_CHANGED); /* by way of temporary files */
}

static void a_killed_restore_leaves_no_half_file_that_is_never_overwritten(void **state)
{
    (void)state;
    kill_and_go_on(OVERWRITE_NEVER, OVERWRITE_NEVER);
}

static void after_a_power_cut_size_and_time_prove_nothing(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();

    make_source(test, 10);
    restore_well(test, "target");
    /* A file whose data did not reach the disk, and the marker of a boot before this one. */
    assert_int_equal(shell(test,
                           "cd target/src && truncate -s 0 2/7 large && truncate -s 2177 2/7 && "
                           "truncate -s 3000000 large && touch -d 2002-02-02 2/7 large && "
                           "touch -r ../../source/2 2"),
                     0);
    restore_well(test, "target");
    assert_int_equal(test->result.files, 0); /* nothing said that it was interrupted */
    assert_int_equal(shell(test, "echo 01234567-89ab-cdef-0123-456789abcdef > "
                                 "target/.yester-restore"),
                     0);
    restore_well(test, "target");
    assert_int_equal(test->result.files, 3); /* 2/7, and large with both names */
    assert_true(no_temporaries(test));
    assert_true(alike(test, "source", "target/src", ""));
}

static void one_restore_at_a_time_writes_to_a_target(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();

    make_source(test, 3);
    assert_int_equal(mkdir(in_top(test, "target"), 0755), 0);
    int fd = open(in_top(test, "target/.yester-restore"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && flock(fd, LOCK_EX) == 0);
    assert_int_equal(restore_to(test, "target"), -ERR_BUSY);
    close(fd);
    restore_well(test, "target");
    assert_true(alike(test, "source", "target/src", ""));
}

static void verify_finds_what_is_not_as_it_was(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();

    make_source(test, 20);
    restore_well(test, "target");
    assert_int_equal(shell(test, "cd target/src && printf Z | dd of=large bs=1 seek=1500000 "
                                 "conv=notrunc 2>/dev/null && printf Z | dd of=4/holes bs=1 "
                                 "seek=2500000 conv=notrunc 2>/dev/null && "
                                 "touch -d 2002-02-02 large 4/holes"),
                     0);
    test->options.verify = true;
    test->options.overwrite = OVERWRITE_NEVER; /* so it stays */
    assert_int_equal(restore_to(test, "target"), -ERR_SYSTEM);
    assert_int_equal(test->result.failed, 3);
    assert_non_null(strstr(test->said, "/src/large: its content is not what was backed up"));
    assert_non_null(strstr(test->said, "/src/4/holes: there is something in its hole"));
    test->options.overwrite = OVERWRITE_ALWAYS;
    restore_well(test, "target");
    assert_int_equal(test->result.verified, 5 * 20 + 3 + 6);
}

static void a_disk_that_is_too_small_is_refused_before_the_first_write(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();

    make_source(test, 100);
    assert_int_equal(mkdir(in_top(test, "target"), 0755), 0);
    if (mount("none", in_top(test, "target"), "tmpfs", 0, "size=1m") < 0)
        restoring_skip(&test);
    int r = restore_to(test, "target");
    int empty = shell(test, "test -z \"$(ls -A target)\"");
    umount(in_top(test, "target"));
    assert_int_equal(r, -ERR_SYSTEM);
    assert_non_null(strstr(test->err.text, "not enough room"));
    assert_int_equal(empty, 0);
}

static void a_disk_that_fills_up_ends_it_with_counts(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();

    make_source(test, 100);
    assert_int_equal(mkdir(in_top(test, "target"), 0755), 0);
    /* Room enough, but not inodes enough. */
    if (mount("none", in_top(test, "target"), "tmpfs", 0, "size=64m,nr_inodes=200") < 0)
        restoring_skip(&test);
    int r = restore_to(test, "target");
    bool right = what_is_there_is_right(test);
    int clean = shell(test, "test -z \"$(find target -name '.yester-*' ! -name .yester-restore)\"");
    umount(in_top(test, "target"));
    assert_int_equal(r, -ERR_SYSTEM);
    assert_true(test->result.failed > 0);
    assert_true(right);
    assert_int_equal(clean, 0);
}

static void few_descriptors_are_enough(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();
    struct rlimit before, few = {128, 128};

    assert_int_equal(shell(test, "cd source && python3 -c \"\nimport os\nfor i in range(500):\n "
                                 "os.mkdir('deep'); os.chdir('deep')\n f=open('f','w'); "
                                 "f.write(str(i)); f.close()\n\""),
                     0);
    take(test);
    getrlimit(RLIMIT_NOFILE, &before);
    few.rlim_max = before.rlim_max;
    pid_t child = fork();
    if (child == 0) {
        few.rlim_max = few.rlim_cur;
        setrlimit(RLIMIT_NOFILE, &few);
        _exit(restore_to(test, "target") == 0 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_true(alike(test, "source", "target/src", ""));
}

static void whoever_is_not_root_gets_what_he_may_have(void **state)
{
    (void)state;
    CLEANUP(restoring_clear) struct restoring *test = restoring_make();
    int status;

    if (geteuid() != 0)
        restoring_skip(&test);
    assert_int_equal(shell(test,
                           "cd source && mkdir d ro && echo x > d/own && cp d/own d/suid && "
                           "chmod 4755 d/suid && mkfifo d/fifo && echo y > ro/file && "
                           "chmod 555 ro && touch -d 2003-03-03 d/* d ro . && "
                           "mkdir ../target && chown 65534:65534 ../target && "
                           "chmod 755 .. && chmod -R go+rX %s",
                           test->snap->repo.directory),
                     0);
    take(test);
    assert_int_equal(shell(test, "chmod -R a+rX %s", test->snap->repo.directory), 0);
    for (int i = 0; i < 2; i++) { /* the second time into directories that are read-only */
        pid_t child = fork();
        if (child == 0) {
            if (setgid(65534) < 0 || setuid(65534) < 0)
                _exit(2);
            int r = restore_to(test, "target");
            bool said = strcmp(test->said, "owners were not restored: not root\n") == 0;
            _exit(r == 0 && said ? 0 : 1);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        assert_int_equal(shell(test, "rm target/src/d/own"), 0);
    }
    assert_int_equal(shell(test, "cd target/src && test $(stat -c %%a d/suid) = 755 && "
                                 "test $(stat -c %%a ro) = 555 && test $(cat ro/file) = y"),
                     0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damage_is_named_and_the_rest_comes_back),
        cmocka_unit_test(a_damaged_directory_is_named_and_the_rest_comes_back),
        cmocka_unit_test(a_cancelled_restore_goes_on_where_it_stopped),
        cmocka_unit_test(a_killed_restore_goes_on_where_it_stopped),
        cmocka_unit_test(a_killed_restore_leaves_no_half_file_that_is_never_overwritten),
        cmocka_unit_test(after_a_power_cut_size_and_time_prove_nothing),
        cmocka_unit_test(one_restore_at_a_time_writes_to_a_target),
        cmocka_unit_test(verify_finds_what_is_not_as_it_was),
        cmocka_unit_test(a_disk_that_is_too_small_is_refused_before_the_first_write),
        cmocka_unit_test(a_disk_that_fills_up_ends_it_with_counts),
        cmocka_unit_test(few_descriptors_are_enough),
        cmocka_unit_test(whoever_is_not_root_gets_what_he_may_have),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
