#include "backup/base/io.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "tests/harness/cmocka.h"

static int memory_file(const char *text)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    struct err err;

    assert_true(fd >= 0);
    assert_true(io_write_full(fd, text, strlen(text), &err) == 0);
    assert_true(lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

static void fewer_bytes_arrive_only_at_the_end(void **state)
{
    (void)state;
    CLEANUP(closep) int fd = memory_file("abcdef");
    char bytes[8] = {0};
    size_t got;
    struct err err;

    assert_true(io_read_full(fd, bytes, 4, &got, &err) == 0 && got == 4);
    assert_true(io_read_full(fd, bytes, 4, &got, &err) == 0 && got == 2);
    assert_true(memcmp(bytes, "efcd", 4) == 0);
    assert_true(io_pread_full(fd, bytes, 8, 1, &got, &err) == 0 && got == 5);
    assert_true(memcmp(bytes, "bcdef", 5) == 0);
    assert_true(io_pread_full(fd, bytes, 8, 100, &got, &err) == 0 && got == 0);
}

static void written_bytes_lie_where_they_should(void **state)
{
    (void)state;
    CLEANUP(closep) int fd = memory_file("abcdef");
    char bytes[8];
    size_t got;
    struct err err;

    assert_true(io_pwrite_full(fd, "XY", 2, 5, &err) == 0);
    assert_true(io_pread_full(fd, bytes, 8, 0, &got, &err) == 0 && got == 7);
    assert_true(memcmp(bytes, "abcdeXY", 7) == 0);
}

static void a_file_is_cut_and_extended_by_zeros(void **state)
{
    (void)state;
    CLEANUP(closep) int fd = memory_file("abcdef");
    char bytes[8];
    size_t got;
    struct err err;

    assert_true(io_truncate(fd, 2, &err) == 0 && io_truncate(fd, 4, &err) == 0);
    assert_true(io_pread_full(fd, bytes, 8, 0, &got, &err) == 0 && got == 4);
    assert_true(memcmp(bytes, "ab\0", 4) == 0);
    assert_true(io_truncate(fd, UINT64_MAX, &err) < 0);
}

static void an_offset_beyond_any_file_is_an_error(void **state)
{
    (void)state;
    CLEANUP(closep) int fd = memory_file("abc");
    char byte;
    size_t got = 77;
    struct err err;

    assert_true(io_pread_full(fd, &byte, 1, UINT64_MAX, &got, &err) < 0 && got == 77);
    assert_true(err.cause == EOVERFLOW);
    assert_true(io_pwrite_full(fd, "x", 1, (uint64_t)INT64_MAX, &err) < 0);
}

static void nothing(int signal)
{
    (void)signal;
}

struct pipe_ends {
    int ends[2];
    pthread_t reader;
};

/* Sends its bytes one by one, and signals in between. */
static void *drip(void *context)
{
    struct pipe_ends *shared = context;
    struct err err;

    for (char c = 'a'; c <= 'j'; c++) {
        usleep(1000);
        pthread_kill(shared->reader, SIGUSR1);
        (void)io_write_full(shared->ends[1], &c, 1, &err);
    }
    close(shared->ends[1]);
    return NULL;
}

static void signals_and_short_reads_are_not_seen(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = nothing}; /* without SA_RESTART */
    struct pipe_ends shared = {.reader = pthread_self()};
    pthread_t thread;
    char bytes[32];
    size_t got;
    struct err err;

    sigaction(SIGUSR1, &action, NULL);
    assert_true(pipe(shared.ends) == 0);
    assert_true(pthread_create(&thread, NULL, drip, &shared) == 0);
    assert_true(io_read_full(shared.ends[0], bytes, sizeof(bytes), &got, &err) == 0);
    pthread_join(thread, NULL);
    close(shared.ends[0]);
    assert_true(got == 10 && memcmp(bytes, "abcdefghij", 10) == 0);
}

static void a_full_disk_is_an_error(void **state)
{
    (void)state;
    CLEANUP(closep) int fd = -1;
    struct err err;

    if (access("/dev/full", W_OK) != 0)
        skip();
    assert_true(io_openat(AT_FDCWD, "/dev/full", O_WRONLY, 0, &fd, &err) == 0);
    assert_true(io_write_full(fd, "x", 1, &err) < 0 && err.cause == ENOSPC);
}

static void an_opened_file_is_not_inherited(void **state)
{
    (void)state;
    CLEANUP(closep) int fd = -1;
    struct err err;

    assert_true(io_openat(AT_FDCWD, "/", O_RDONLY, 0, &fd, &err) == 0);
    assert_true(fcntl(fd, F_GETFD) == FD_CLOEXEC);
    assert_true(io_fsync_dir_at(AT_FDCWD, "/no/such", &err) == -ERR_NOT_FOUND);
    assert_true(io_openat(fd, "no/such", O_RDONLY, 0, &fd, &err) == -ERR_NOT_FOUND);
    assert_true(strcmp(err.text, "open no/such: No such file or directory") == 0);
}

static void a_temporary_file_has_no_name(void **state)
{
    (void)state;
    CLEANUP(closep) int fd = -1;
    struct stat st;
    struct err err;

    assert_true(io_open_temporary("/tmp", &fd, &err) == 0);
    assert_true(io_write_full(fd, "abc", 3, &err) == 0);
    assert_true(fstat(fd, &st) == 0 && st.st_nlink == 0 && st.st_size == 3);
    assert_true((st.st_mode & 0777) == 0600);
    closep(&fd);
    assert_true(io_open_temporary("/no/such", &fd, &err) == -ERR_NOT_FOUND && fd == -1);
}

static void closing_is_reported_and_keeps_errno(void **state)
{
    (void)state;
    int fd = memory_file("");
    int none = -1;

    errno = 42;
    closep(&none);
    closep(&fd);
    assert_true(errno == 42 && fd == -1);
    assert_true(io_close(memory_file("")) == 0);
    assert_true(io_close(-1) == -ERR_SYSTEM && errno == EBADF);
}

static void a_file_is_read_up_to_the_limit(void **state)
{
    (void)state;
    CLEANUP(closep) int fd = memory_file("abcdef");
    CLEANUP(buf_clear) struct buf buf = {.limit = 100};
    char name[64];
    struct err err;

    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    assert_true(buf_append(&buf, "-", 1, &err) == 0);
    assert_true(io_read_file(AT_FDCWD, name, 5, &buf, &err) == -ERR_TOO_LARGE && buf.size == 1);
    assert_true(io_read_file(AT_FDCWD, name, 6, &buf, &err) == 0);
    assert_true(buf.size == 7 && memcmp(buf.data, "-abcdef", 7) == 0);
    assert_true(io_read_file(AT_FDCWD, "/", 6, &buf, &err) < 0 && err.cause == EISDIR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fewer_bytes_arrive_only_at_the_end),
        cmocka_unit_test(written_bytes_lie_where_they_should),
        cmocka_unit_test(an_offset_beyond_any_file_is_an_error),
        cmocka_unit_test(signals_and_short_reads_are_not_seen),
        cmocka_unit_test(a_full_disk_is_an_error),
        cmocka_unit_test(a_file_is_cut_and_extended_by_zeros),
        cmocka_unit_test(an_opened_file_is_not_inherited),
        cmocka_unit_test(a_temporary_file_has_no_name),
        cmocka_unit_test(closing_is_reported_and_keeps_errno),
        cmocka_unit_test(a_file_is_read_up_to_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
