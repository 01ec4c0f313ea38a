/*
 * The calls on files that are put in front of libc's.  Built without large-file names: x86-64 and
 * aarch64 have one off_t, and each name with 64 is the same function once more.
 */
#include "tests/harness/faultshim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ALSO(name, other) extern __typeof(name) other __attribute__((alias(#name))) EXPORT

/* What fortified programs call instead. */
EXPORT ssize_t __read_chk(int fd, void *bytes, size_t count, size_t room);
EXPORT ssize_t __pread_chk(int fd, void *bytes, size_t count, off_t offset, size_t room);
EXPORT int __open_2(const char *path, int flags);
EXPORT int __openat_2(int dirfd, const char *path, int flags);

static bool exists(int dirfd, const char *path)
{
    struct stat st;

    return fault_raw(SYS_newfstatat, (long)dirfd, path, &st, (long)AT_SYMLINK_NOFOLLOW, 0L, 0L) ==
           0;
}

/* What the open did: made a name, or emptied a file. */
static void log_open(int fd, int dirfd, const char *path, int flags, bool was_there)
{
    char whole[FAULT_PATH_SIZE];

    if ((flags & O_TMPFILE) == O_TMPFILE)
        return;
    fault_path(dirfd, path, whole);
    if (!was_there)
        fault_log_name('C', whole);
    else if (flags & O_TRUNC)
        fault_log_fd('T', fd, 0, NULL, 0);
}

static int do_open(int dirfd, const char *path, int flags, mode_t mode)
{
    bool changes = (flags & (O_CREAT | O_TRUNC)) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
    struct fate fate = fault_begin_at(changes ? FAULT_CREATE : FAULT_OPEN, "open", dirfd, path);

    if (fate.error)
        return fault_refuse(&fate);
    bool was_there = fate.is_logged && exists(dirfd, path);
    long fd = fault_raw(SYS_openat, (long)dirfd, path, (long)flags, (long)mode, 0L, 0L);
    if (fate.is_logged && fd >= 0)
        log_open((int)fd, dirfd, path, flags, was_there);
    return (int)fault_end(&fate, fd);
}

static mode_t mode_of(int flags, va_list *more)
{
    bool has_mode = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;

    return has_mode ? va_arg(*more, mode_t) : 0;
}

EXPORT int open(const char *path, int flags, ...)
{
    va_list more;

    va_start(more, flags);
    mode_t mode = mode_of(flags, &more);
    va_end(more);
    return do_open(AT_FDCWD, path, flags, mode);
}
ALSO(open, open64);

EXPORT int openat(int dirfd, const char *path, int flags, ...)
{
    va_list more;

    va_start(more, flags);
    mode_t mode = mode_of(flags, &more);
    va_end(more);
    return do_open(dirfd, path, flags, mode);
}
ALSO(openat, openat64);

EXPORT int __open_2(const char *path, int flags)
{
    return do_open(AT_FDCWD, path, flags, 0);
}
ALSO(__open_2, __open64_2);

EXPORT int __openat_2(int dirfd, const char *path, int flags)
{
    return do_open(dirfd, path, flags, 0);
}
ALSO(__openat_2, __openat64_2);

EXPORT int creat(const char *path, mode_t mode)
{
    return do_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}
ALSO(creat, creat64);

static size_t cut(const struct fate *fate, size_t count)
{
    return fate->is_short && count > 1 ? count / 2 : count;
}

EXPORT ssize_t read(int fd, void *bytes, size_t count)
{
    struct fate fate = fault_begin_at(FAULT_READ, "read", fd, NULL);

    if (fate.error)
        return fault_refuse(&fate);
    return fault_end(&fate, fault_raw(SYS_read, (long)fd, bytes, cut(&fate, count), 0L, 0L, 0L));
}

EXPORT ssize_t __read_chk(int fd, void *bytes, size_t count, size_t room)
{
    (void)room;
    return read(fd, bytes, count);
}

EXPORT ssize_t pread(int fd, void *bytes, size_t count, off_t offset)
{
    struct fate fate = fault_begin_at(FAULT_READ, "pread", fd, NULL);

    if (fate.error)
        return fault_refuse(&fate);
    return fault_end(&fate,
                     fault_raw(SYS_pread64, (long)fd, bytes, cut(&fate, count), offset, 0L, 0L));
}
ALSO(pread, pread64);

EXPORT ssize_t __pread_chk(int fd, void *bytes, size_t count, off_t offset, size_t room)
{
    (void)room;
    return pread(fd, bytes, count, offset);
}
ALSO(__pread_chk, __pread64_chk);

EXPORT ssize_t write(int fd, const void *bytes, size_t count)
{
    struct fate fate = fault_begin_at(FAULT_WRITE, "write", fd, NULL);

    if (fate.error)
        return fault_refuse(&fate);
    long done = fault_raw(SYS_write, (long)fd, bytes, cut(&fate, count), 0L, 0L, 0L);
    if (fate.is_logged && done > 0) {
        long end = fault_raw(SYS_lseek, (long)fd, 0L, (long)SEEK_CUR, 0L, 0L, 0L);
        fault_log_fd('W', fd, (uint64_t)(end - done), bytes, (size_t)done);
    }
    return fault_end(&fate, done);
}

EXPORT ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset)
{
    struct fate fate = fault_begin_at(FAULT_WRITE, "pwrite", fd, NULL);

    if (fate.error)
        return fault_refuse(&fate);
    long done = fault_raw(SYS_pwrite64, (long)fd, bytes, cut(&fate, count), offset, 0L, 0L);
    if (fate.is_logged && done > 0)
        fault_log_fd('W', fd, (uint64_t)offset, bytes, (size_t)done);
    return fault_end(&fate, done);
}
ALSO(pwrite, pwrite64);

EXPORT int ftruncate(int fd, off_t size)
{
    struct fate fate = fault_begin_at(FAULT_SIZE, "ftruncate", fd, NULL);

    if (fate.error)
        return fault_refuse(&fate);
    long r = fault_raw(SYS_ftruncate, (long)fd, size, 0L, 0L, 0L, 0L);
    if (fate.is_logged && r == 0)
        fault_log_fd('T', fd, (uint64_t)size, NULL, 0);
    return (int)fault_end(&fate, r);
}
ALSO(ftruncate, ftruncate64);

EXPORT int fallocate(int fd, int mode, off_t offset, off_t size)
{
    struct fate fate = fault_begin_at(FAULT_SIZE, "fallocate", fd, NULL);

    if (fate.error)
        return fault_refuse(&fate);
    return (int)fault_end(&fate,
                          fault_raw(SYS_fallocate, (long)fd, (long)mode, offset, size, 0L, 0L));
}
ALSO(fallocate, fallocate64);

/* It returns the error. */
EXPORT int posix_fallocate(int fd, off_t offset, off_t size)
{
    return fallocate(fd, 0, offset, size) < 0 ? errno : 0;
}
ALSO(posix_fallocate, posix_fallocate64);

static int do_sync(int fd, const char *call, long number, char kind)
{
    struct fate fate = fault_begin_at(FAULT_SYNC, call, fd, NULL);

    if (fate.error)
        return fault_refuse(&fate);
    long r = fate.is_dropped ? 0 : fault_raw(number, (long)fd, 0L, 0L, 0L, 0L, 0L);
    if (fate.is_logged && !fate.is_dropped && r == 0)
        fault_log_fd(kind, fd, 0, NULL, 0);
    return (int)fault_end(&fate, r);
}

EXPORT int fsync(int fd)
{
    return do_sync(fd, "fsync", SYS_fsync, 'S');
}

EXPORT int fdatasync(int fd)
{
    return do_sync(fd, "fdatasync", SYS_fdatasync, 'S');
}

EXPORT int syncfs(int fd)
{
    return do_sync(fd, "syncfs", SYS_syncfs, 'A');
}

/* Begins to write out, and makes nothing durable. */
EXPORT int sync_file_range(int fd, off_t offset, off_t size, unsigned flags)
{
    struct fate fate = fault_begin_at(FAULT_WRITE, "sync_file_range", fd, NULL);

    if (fate.error)
        return fault_refuse(&fate);
    return (int)fault_end(
        &fate, fault_raw(SYS_sync_file_range, (long)fd, offset, size, (long)flags, 0L, 0L));
}

EXPORT void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    struct fate fate = {0};

    if (fd >= 0 && !(flags & MAP_ANONYMOUS))
        fate = fault_begin_at(FAULT_OPEN, "mmap", fd, NULL);
    if (fate.error) {
        errno = fate.error;
        return MAP_FAILED;
    }
    return (void *)fault_end(
        &fate, fault_raw(SYS_mmap, at, size, (long)protection, (long)flags, (long)fd, offset));
}
ALSO(mmap, mmap64);
