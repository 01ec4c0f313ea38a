#include "backup/job/xattrs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "backup/archive/entry.h"
#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/source/srcdir.h"

enum {
    NAMES_MAX = XATTR_LIST_MAX,
    VALUE_MAX = XATTR_SIZE_MAX,
    COUNT_MAX = NAMES_MAX / 2, /* of one byte each */
};

/* One file, by descriptor or by a path below /proc. */
struct subject {
    int fd;
    const char *path; /* NULL: fd */
};

static ssize_t list_names(const struct subject *subject, char *out, size_t size)
{
    return subject->path ? llistxattr(subject->path, out, size)
                         : flistxattr(subject->fd, out, size);
}

static ssize_t get_value(const struct subject *subject, const char *name, void *out, size_t size)
{
    return subject->path ? lgetxattr(subject->path, name, out, size)
                         : fgetxattr(subject->fd, name, out, size);
}

static int compare_names(const void *a, const void *b)
{
    const char *const *left = a, *const *right = b;

    return strcmp(*left, *right);
}

/* One pair; an attribute that went meanwhile is passed over. */
static int add_pair(const struct subject *subject, const char *name, struct buf *out,
                    struct err *err)
{
    uint8_t small[512];
    CLEANUP(buf_clear) struct buf large = {.limit = VALUE_MAX};
    uint8_t *value = small;
    ssize_t got = get_value(subject, name, small, sizeof(small));

    if (got < 0 && errno == ERANGE) {
        int r = buf_reserve(&large, VALUE_MAX, err);
        if (r < 0)
            return r;
        value = large.data;
        got = get_value(subject, name, value, VALUE_MAX);
    }
    if (got < 0 && (errno == ENODATA || errno == EOPNOTSUPP))
        return 0;
    if (got < 0)
        return err_sys(err, "cannot read attribute %s", name);
    return xattrs_append(out, name, strlen(name), value, (size_t)got, err);
}

static int add_all(const struct subject *subject, char *names, size_t size, struct buf *out,
                   struct err *err)
{
    const char *sorted[COUNT_MAX];
    size_t count = 0;
    int r = 0;

    for (size_t at = 0; at < size && count < COUNT_MAX; at += strlen(names + at) + 1)
        sorted[count++] = names + at;
    qsort(sorted, count, sizeof(sorted[0]), compare_names);
    for (size_t i = 0; r == 0 && i < count; i++)
        r = add_pair(subject, sorted[i], out, err);
    return r;
}

static int read_all(const struct subject *subject, struct buf *out, struct err *err)
{
    char first[1024];
    CLEANUP(buf_clear) struct buf many = {.limit = NAMES_MAX};
    char *names = first;
    ssize_t size = list_names(subject, first, sizeof(first));

    if (size == 0 || (size < 0 && (errno == EOPNOTSUPP || errno == ENODATA)))
        return 0;
    if (size < 0 && errno == ERANGE) {
        int r = buf_reserve(&many, NAMES_MAX, err);
        if (r < 0)
            return r;
        names = (char *)many.data;
        size = list_names(subject, names, NAMES_MAX);
    }
    if (size < 0)
        return err_sys(err, "cannot list attributes");
    return add_all(subject, names, (size_t)size, out, err);
}

int xattrs_of_fd(int fd, struct buf *out, struct err *err)
{
    struct subject subject = {.fd = fd};

    return read_all(&subject, out, err);
}

int xattrs_of_name(const struct srcdir *dir, const char *name, struct buf *out, struct err *err)
{
    char path[64 + 256];
    struct subject subject = {.fd = -1, .path = path};

    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir->fd, name);
    int r = read_all(&subject, out, err);
    /* It is not the name that is missing where there is no /proc. */
    if (r == -ERR_NOT_FOUND && faccessat(dir->fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return err_set(err, ERR_SYSTEM, "cannot list attributes without /proc");
    return r;
}
