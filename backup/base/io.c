#include "backup/base/io.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"

enum {
    MOST_AT_ONCE = 1 << 30, /* far below where the kernel cuts a call short */
    FILE_STEP = 64 * 1024,
};

static size_t at_once(size_t count)
{
    return count < MOST_AT_ONCE ? count : MOST_AT_ONCE;
}

int io_read_full(int fd, void *bytes, size_t count, size_t *out_got, struct err *err)
{
    uint8_t *at = bytes;
    size_t got = 0;

    while (got < count) {
        ssize_t n = read(fd, at + got, at_once(count - got));
        if (n == 0)
            break;
        if (n < 0 && errno != EINTR)
            return err_sys(err, "read");
        if (n > 0)
            got += (size_t)n;
    }
    *out_got = got;
    return 0;
}

static int check_range(size_t count, uint64_t offset, struct err *err)
{
    if (count > INT64_MAX || offset > INT64_MAX - count) {
        errno = EOVERFLOW;
        return err_sys(err, "offset %llu", (unsigned long long)offset);
    }
    return 0;
}

int io_pread_full(int fd, void *bytes, size_t count, uint64_t offset, size_t *out_got,
                  struct err *err)
{
    uint8_t *at = bytes;
    size_t got = 0;
    int r = check_range(count, offset, err);

    while (r == 0 && got < count) {
        ssize_t n = pread(fd, at + got, at_once(count - got), (off_t)(offset + got));
        if (n == 0)
            break;
        if (n < 0 && errno != EINTR)
            return err_sys(err, "read");
        if (n > 0)
            got += (size_t)n;
    }
    if (r == 0)
        *out_got = got;
    return r;
}

/* A write that stores nothing and gives no reason would be tried for ever. */
static bool is_write_failure(ssize_t n)
{
    if (n == 0)
        errno = EIO;
    return n == 0 || (n < 0 && errno != EINTR);
}

int io_write_full(int fd, const void *bytes, size_t count, struct err *err)
{
    const uint8_t *at = bytes;
    size_t done = 0;

    while (done < count) {
        ssize_t n = write(fd, at + done, at_once(count - done));
        if (is_write_failure(n))
            return err_sys(err, "write");
        if (n > 0)
            done += (size_t)n;
    }
    return 0;
}

int io_pwrite_full(int fd, const void *bytes, size_t count, uint64_t offset, struct err *err)
{
    const uint8_t *at = bytes;
    size_t done = 0;
    int r = check_range(count, offset, err);

    while (r == 0 && done < count) {
        ssize_t n = pwrite(fd, at + done, at_once(count - done), (off_t)(offset + done));
        if (is_write_failure(n))
            return err_sys(err, "write");
        if (n > 0)
            done += (size_t)n;
    }
    return r;
}

int io_fsync(int fd, const char *what, struct err *err)
{
    int r;

    do
        r = fsync(fd);
    while (r < 0 && errno == EINTR);
    return r < 0 ? err_sys(err, "sync %s", what) : 0;
}

int io_truncate(int fd, uint64_t size, struct err *err)
{
    int r = check_range(0, size, err);

    if (r < 0)
        return r;
    do
        r = ftruncate(fd, (off_t)size);
    while (r < 0 && errno == EINTR);
    return r < 0 ? err_sys(err, "set the size") : 0;
}

int io_fsync_dir_at(int dirfd, const char *name, struct err *err)
{
    CLEANUP(closep) int fd = -1;
    int r = io_openat(dirfd, name, O_RDONLY | O_DIRECTORY, 0, &fd, err);

    return r < 0 ? r : io_fsync(fd, name, err);
}

int io_openat(int dirfd, const char *name, int flags, mode_t mode, int *out_fd, struct err *err)
{
    int fd;

    do
        fd = openat(dirfd, name, flags | O_CLOEXEC, mode);
    while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return err_sys(err, "open %s", name);
    *out_fd = fd;
    return 0;
}

/* For file systems without O_TMPFILE. */
static int open_and_unlink(const char *dir, int *out_fd, struct err *err)
{
    char *name;

    if (asprintf(&name, "%s/.yester-XXXXXX", dir) < 0)
        return err_set(err, ERR_NOMEM, "no memory for a name");
    int fd = mkostemp(name, O_CLOEXEC);
    int r = fd < 0 ? err_sys(err, "temporary file in %s", dir) : 0;
    if (fd >= 0) {
        (void)unlink(name);
        *out_fd = fd;
    }
    free(name);
    return r;
}

const char *io_scratch(void)
{
    const char *dir = getenv("TMPDIR");

    return dir && dir[0] == '/' ? dir : "/var/tmp";
}

int io_open_temporary(const char *dir, int *out_fd, struct err *err)
{
    int r = io_openat(AT_FDCWD, dir, O_TMPFILE | O_RDWR | O_EXCL, 0600, out_fd, err);

    if (r < 0 && (err->cause == EOPNOTSUPP || err->cause == EISDIR))
        return open_and_unlink(dir, out_fd, err);
    return r < 0 ? err_context(err, "temporary file") : 0;
}

int io_close(int fd)
{
    /* Linux has released the descriptor even when it says EINTR. */
    return close(fd) < 0 && errno != EINTR ? -ERR_SYSTEM : 0;
}

void closep(int *fd)
{
    int saved = errno;

    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
    errno = saved;
}

/* Only a read beyond the limit tells a file of exactly that size from a longer one. */
static int expect_end(int fd, size_t limit, struct err *err)
{
    uint8_t byte;
    size_t got;
    int r = io_read_full(fd, &byte, 1, &got, err);

    if (r == 0 && got > 0)
        r = err_set(err, ERR_TOO_LARGE, "more than %zu bytes", limit);
    return r;
}

static int read_to_end(int fd, size_t limit, struct buf *out, struct err *err)
{
    size_t left = limit;

    while (left > 0) {
        size_t step = left < FILE_STEP ? left : FILE_STEP;
        size_t got;
        int r = buf_reserve(out, step, err);
        if (r == 0)
            r = io_read_full(fd, out->data + out->size, step, &got, err);
        if (r < 0)
            return r;
        out->size += got;
        left -= got;
        if (got < step)
            return 0;
    }
    return expect_end(fd, limit, err);
}

int io_read_file(int dirfd, const char *name, size_t limit, struct buf *out, struct err *err)
{
    CLEANUP(closep) int fd = -1;
    size_t before = out->size;
    size_t room = out->limit - out->size;
    int r = io_openat(dirfd, name, O_RDONLY, 0, &fd, err);
    if (r < 0)
        return r;

    r = read_to_end(fd, limit < room ? limit : room, out, err);
    if (r < 0) {
        out->size = before;
        return err_context(err, "%s", name);
    }
    return 0;
}
