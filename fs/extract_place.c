#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/io.h"
#include "fs/extract_internal.h"

/* Long enough that no file of the user's is taken for one of these. */
enum { ATTEMPTS = 16, SUFFIX = 12 };

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

static int temporary_name(char name[EXTRACT_NAME_SIZE], struct err *err)
{
    uint8_t random[SUFFIX];

    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return err_sys(err, "random numbers");
    size_t at = strlen(EXTRACT_TEMPORARY);
    memcpy(name, EXTRACT_TEMPORARY, at);
    for (size_t i = 0; i < SUFFIX; i++)
        name[at++] = alphabet[random[i] % (sizeof(alphabet) - 1)];
    name[at] = 0;
    return 0;
}

bool place_is_temporary(const char *name)
{
    size_t prefix = strlen(EXTRACT_TEMPORARY);

    return strncmp(name, EXTRACT_TEMPORARY, prefix) == 0 && strlen(name) == prefix + SUFFIX &&
           strspn(name + prefix, alphabet) == SUFFIX;
}

int place_open(int dirfd, const char *name, int flags, mode_t mode)
{
    int fd;

    do
        fd = openat(dirfd, name, flags, mode);
    while (fd < 0 && errno == EINTR);
    return fd;
}

int place_create(int dirfd, const char *name, char temporary[EXTRACT_NAME_SIZE], bool over,
                 int *out_fd, struct err *err)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;

    temporary[0] = 0;
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        if (over) {
            int r = temporary_name(temporary, err);
            if (r < 0)
                return r;
        }
        int fd = place_open(dirfd, over ? temporary : name, flags, 0600);
        if (fd >= 0) {
            *out_fd = fd;
            return 0;
        }
        if (errno != EEXIST || !over)
            break;
    }
    return err_sys(err, "create");
}

int place_look(int dirfd, const char *name, struct handle *out, struct stat *out_st,
               struct err *err)
{
    CLEANUP(closep) int fd = place_open(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);

    if (fd < 0)
        return err_sys(err, "look at it");
    if (fstat(fd, out_st) < 0)
        return err_sys(err, "stat");
    *out = (struct handle){.fd = fd, .path_only = true};
    fd = -1;
    return 0;
}

static int make_symlink(int dirfd, const char *name, const struct entry *entry)
{
    char target[ENTRY_TARGET_MAX + 1];

    if (entry->target_size > ENTRY_TARGET_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(target, entry->target, entry->target_size);
    target[entry->target_size] = 0;
    return symlinkat(target, dirfd, name);
}

/* By descriptor, so that the link leads to the very file that was looked at. */
static int make_link(int dirfd, const char *name, int source)
{
    char path[40];

    if (linkat(source, "", dirfd, name, AT_EMPTY_PATH) == 0)
        return 0;
    if (errno == EEXIST)
        return -1;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", source);
    return linkat(AT_FDCWD, path, dirfd, name, AT_SYMLINK_FOLLOW);
}

static int make_at(int dirfd, const char *name, const struct entry *entry, int source)
{
    if (source >= 0)
        return make_link(dirfd, name, source);
    if (entry->type == ENTRY_SYMLINK)
        return make_symlink(dirfd, name, entry);
    mode_t type = entry_st_mode(entry) & S_IFMT;
    bool device = entry->type == ENTRY_CHARDEV || entry->type == ENTRY_BLOCKDEV;
    return mknodat(dirfd, name, type | 0600, device ? (dev_t)entry->rdev : 0);
}

static int make_over(int dirfd, const char *name, const struct entry *entry, int source,
                     struct err *err)
{
    char temporary[EXTRACT_NAME_SIZE];
    int r = -1;

    for (int attempt = 0; attempt < ATTEMPTS && r < 0; attempt++) {
        r = temporary_name(temporary, err);
        if (r < 0)
            return r;
        r = make_at(dirfd, temporary, entry, source);
        if (r < 0 && errno != EEXIST)
            break;
    }
    if (r < 0)
        return err_sys(err, "make");
    if (renameat(dirfd, temporary, dirfd, name) == 0)
        return 0;
    r = err_sys(err, "put it in its place");
    (void)unlinkat(dirfd, temporary, 0);
    return r;
}

int place_make(int dirfd, const char *name, const struct entry *entry, int source, bool over,
               struct err *err)
{
    if (over)
        return make_over(dirfd, name, entry, source, err);
    if (make_at(dirfd, name, entry, source) < 0)
        return err_sys(err, "make");
    return 0;
}
