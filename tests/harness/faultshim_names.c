/* The calls that look at names and change them.  Built as faultshim_calls.c is. */
#include "tests/harness/faultshim.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ALSO(name, other) extern __typeof(other) other __attribute__((alias(#name))) EXPORT

EXPORT int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    char old[FAULT_PATH_SIZE];
    char new[FAULT_PATH_SIZE];

    fault_path(from_dir, from, old);
    fault_path(to_dir, to, new);
    struct fate fate = fault_begin(FAULT_NAME, "rename", new);
    if (fate.error)
        return fault_refuse(&fate);
    long r = fault_raw(SYS_renameat2, (long)from_dir, from, (long)to_dir, to, (long)flags, 0L);
    if (fate.is_logged && r == 0)
        fault_log_rename(old, new);
    return (int)fault_end(&fate, r);
}

EXPORT int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    return renameat2(from_dir, from, to_dir, to, 0);
}

EXPORT int rename(const char *from, const char *to)
{
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

EXPORT int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    char new[FAULT_PATH_SIZE];

    fault_path(to_dir, to, new);
    struct fate fate = fault_begin(FAULT_NAME, "link", new);
    if (fate.error)
        return fault_refuse(&fate);
    long r = fault_raw(SYS_linkat, (long)from_dir, from, (long)to_dir, to, (long)flags, 0L);
    if (fate.is_logged && r == 0)
        fault_log_name('L', new);
    return (int)fault_end(&fate, r);
}

EXPORT int link(const char *from, const char *to)
{
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* The calls that make or remove one name; `kind` is the log's. */
static int do_name(const char *call, char kind, int dirfd, const char *path, long number,
                   long argument, long argument2)
{
    char whole[FAULT_PATH_SIZE];

    fault_path(dirfd, path, whole);
    struct fate fate = fault_begin(FAULT_NAME, call, whole);
    if (fate.error)
        return fault_refuse(&fate);
    long r = fault_raw(number, (long)dirfd, path, argument, argument2, 0L, 0L);
    if (fate.is_logged && r == 0)
        fault_log_name(kind, whole);
    return (int)fault_end(&fate, r);
}

EXPORT int unlinkat(int dirfd, const char *path, int flags)
{
    return do_name("unlink", 'U', dirfd, path, SYS_unlinkat, flags, 0);
}

EXPORT int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

EXPORT int rmdir(const char *path)
{
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

EXPORT int mkdirat(int dirfd, const char *path, mode_t mode)
{
    return do_name("mkdir", 'M', dirfd, path, SYS_mkdirat, mode, 0);
}

EXPORT int mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}

EXPORT int mknodat(int dirfd, const char *path, mode_t mode, dev_t device)
{
    return do_name("mknod", 'C', dirfd, path, SYS_mknodat, mode, (long)device);
}

EXPORT int symlinkat(const char *content, int dirfd, const char *path)
{
    struct fate fate = fault_begin_at(FAULT_NAME, "symlink", dirfd, path);

    if (fate.error)
        return fault_refuse(&fate);
    return (int)fault_end(&fate, fault_raw(SYS_symlinkat, content, (long)dirfd, path, 0L, 0L, 0L));
}

EXPORT int fstatat(int dirfd, const char *path, struct stat *out, int flags)
{
    struct fate fate = fault_begin_at(FAULT_LOOK, "stat", dirfd, path);

    if (fate.error)
        return fault_refuse(&fate);
    return (int)fault_end(&fate,
                          fault_raw(SYS_newfstatat, (long)dirfd, path, out, (long)flags, 0L, 0L));
}
ALSO(fstatat, fstatat64);

EXPORT int fstat(int fd, struct stat *out)
{
    return fstatat(fd, "", out, AT_EMPTY_PATH);
}
ALSO(fstat, fstat64);

EXPORT int stat(const char *path, struct stat *out)
{
    return fstatat(AT_FDCWD, path, out, 0);
}
ALSO(stat, stat64);

EXPORT int lstat(const char *path, struct stat *out)
{
    return fstatat(AT_FDCWD, path, out, AT_SYMLINK_NOFOLLOW);
}
ALSO(lstat, lstat64);

EXPORT int statx(int dirfd, const char *path, int flags, unsigned mask, struct statx *out)
{
    struct fate fate = fault_begin_at(FAULT_LOOK, "statx", dirfd, path);

    if (fate.error)
        return fault_refuse(&fate);
    return (int)fault_end(
        &fate, fault_raw(SYS_statx, (long)dirfd, path, (long)flags, (long)mask, out, 0L));
}

/* libc reads a directory inside itself. */
EXPORT struct dirent *readdir(DIR *directory)
{
    struct dirent *(*real)(DIR *) = NULL;
    void *found = dlsym(RTLD_NEXT, "readdir");
    struct fate fate = fault_begin_at(FAULT_LOOK, "readdir", dirfd(directory), NULL);

    memcpy(&real, &found, sizeof(real));
    if (fate.error) {
        errno = fate.error;
        return NULL;
    }
    struct dirent *entry = real(directory);
    (void)fault_end(&fate, 0);
    return entry;
}
ALSO(readdir, readdir64);

EXPORT ssize_t getdents64(int fd, void *out, size_t size)
{
    struct fate fate = fault_begin_at(FAULT_LOOK, "getdents64", fd, NULL);

    if (fate.error)
        return fault_refuse(&fate);
    return fault_end(&fate, fault_raw(SYS_getdents64, (long)fd, out, size, 0L, 0L, 0L));
}

/* Only the listing of a directory is looked at.  io_uring is refused, as many a container does:
 * what is read by it would not be seen here. */
EXPORT long syscall(long number, ...)
{
    long word[6];
    va_list words;

    va_start(words, number);
    for (int i = 0; i < 6; i++)
        word[i] = va_arg(words, long);
    va_end(words);
    if (number == SYS_getdents64)
        return getdents64((int)word[0], (void *)word[1], (size_t)word[2]);
    if (number == SYS_io_uring_setup) {
        errno = EPERM;
        return -1;
    }
    return fault_raw(number, word[0], word[1], word[2], word[3], word[4], word[5]);
}

static int do_attribute(const char *call, int dirfd, const char *path, long number, long a, long b,
                        long c, long d)
{
    struct fate fate = fault_begin_at(FAULT_ATTRIBUTE, call, dirfd, path);

    if (fate.error)
        return fault_refuse(&fate);
    return (int)fault_end(&fate, fault_raw(number, (long)dirfd, a, b, c, d, 0L));
}

EXPORT int fchmod(int fd, mode_t mode)
{
    return do_attribute("fchmod", fd, NULL, SYS_fchmod, mode, 0, 0, 0);
}

EXPORT int fchown(int fd, uid_t user, gid_t group)
{
    return do_attribute("fchown", fd, NULL, SYS_fchown, user, group, 0, 0);
}

EXPORT int fchownat(int dirfd, const char *path, uid_t user, gid_t group, int flags)
{
    return do_attribute("fchownat", dirfd, path, SYS_fchownat, (long)path, user, group, flags);
}

EXPORT int utimensat(int dirfd, const char *path, const struct timespec times[2], int flags)
{
    return do_attribute("utimensat", dirfd, path, SYS_utimensat, (long)path, (long)times, flags, 0);
}

EXPORT int futimens(int fd, const struct timespec times[2])
{
    return do_attribute("futimens", fd, NULL, SYS_utimensat, 0, (long)times, 0, 0);
}

EXPORT int fsetxattr(int fd, const char *name, const void *value, size_t size, int flags)
{
    return do_attribute("fsetxattr", fd, NULL, SYS_fsetxattr, (long)name, (long)value, (long)size,
                        flags);
}
