#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "fs/extract_internal.h"

enum { SET_ID_BITS = 06000 };

void attributes_of(const struct entry *entry, struct attributes *out)
{
    *out = (struct attributes){
        .type = entry->type,
        .mode = entry->mode & 07777,
        .uid = entry->uid,
        .gid = entry->gid,
        .mtime_s = entry->mtime_s,
        .mtime_ns = entry->mtime_ns,
        .has_xattrs = (entry->flags & ENTRY_XATTRS) != 0,
        .shared = entry->shared,
        .place = entry->place,
    };
}

static int change_mode(const struct handle *handle, mode_t mode)
{
    char path[40];

    if (!handle->path_only)
        return fchmod(handle->fd, mode);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", handle->fd);
    return chmod(path, mode);
}

/* A set-id bit is for the owner that it was given by: without that one it goes. */
static mode_t wanted_mode(const struct extract *x, const struct attributes *attributes,
                          const struct stat *st)
{
    mode_t mode = attributes->mode & 07777;

    if (x->options->no_setuid)
        mode &= (mode_t)~SET_ID_BITS;
    if (st->st_uid != attributes->uid)
        mode &= (mode_t)~S_ISUID;
    if (st->st_gid != attributes->gid)
        mode &= (mode_t)~S_ISGID;
    return mode;
}

static int set_owner(struct extract *x, const struct handle *handle,
                     const struct attributes *attributes, struct stat *st, struct err *err)
{
    if (st->st_uid == attributes->uid && st->st_gid == attributes->gid)
        return 0;
    int r = fchownat(handle->fd, "", attributes->uid, attributes->gid, AT_EMPTY_PATH);
    if (r < 0 && errno == EPERM && !x->root) {
        if (st->st_gid != attributes->gid) /* one of the user's own groups it may be */
            (void)!fchownat(handle->fd, "", (uid_t)-1, attributes->gid, AT_EMPTY_PATH);
        r = fstat(handle->fd, st);
        if (r == 0 && (st->st_uid != attributes->uid || st->st_gid != attributes->gid))
            extract_remark(x, REMARK_OWNER, "owners were not restored: not root");
        return r < 0 ? err_sys(err, "stat") : 0;
    }
    if (r < 0)
        return err_sys(err, "set the owner");
    st->st_uid = attributes->uid;
    st->st_gid = attributes->gid;
    /* Set-id bits may have gone. */
    return (st->st_mode & SET_ID_BITS) && fstat(handle->fd, st) < 0 ? err_sys(err, "stat") : 0;
}

static int set_mode(const struct handle *handle, mode_t mode, struct stat *st, struct err *err)
{
    if ((st->st_mode & 07777) == mode)
        return 0;
    if (change_mode(handle, mode) < 0)
        return err_sys(err, "set the mode");
    st->st_mode = (st->st_mode & S_IFMT) | mode;
    return 0;
}

bool meta_time_equal(const struct stat *st, int64_t seconds, uint32_t ns)
{
    return st->st_mtim.tv_sec == seconds && st->st_mtim.tv_nsec == (long)ns;
}

static int set_time(const struct handle *handle, const struct attributes *attributes,
                    const struct stat *st, struct err *err)
{
    const struct timespec times[2] = {
        {.tv_nsec = UTIME_OMIT},
        {.tv_sec = attributes->mtime_s, .tv_nsec = (long)attributes->mtime_ns},
    };

    if (meta_time_equal(st, attributes->mtime_s, attributes->mtime_ns))
        return 0;
    if (utimensat(handle->fd, "", times, AT_EMPTY_PATH) < 0)
        return err_sys(err, "set the time");
    return 0;
}

/* Owner first, since changing it clears set-id bits and capabilities; those bits last of all. */
int meta_apply(struct extract *x, const struct handle *handle, const struct attributes *attributes,
               struct stat *st, struct err *err)
{
    bool changed = false;

    int r = set_owner(x, handle, attributes, st, err);
    if (r == 0)
        r = xattr_sync(x, handle, attributes, &changed, err);
    if (r < 0)
        return r;
    if (attributes->type == ENTRY_SYMLINK)
        return set_time(handle, attributes, st, err);
    if (changed && fstat(handle->fd, st) < 0) /* an ACL changes the mode */
        return err_sys(err, "stat");
    mode_t mode = wanted_mode(x, attributes, st);
    bool equal = (st->st_mode & 07777) == mode;
    if (!equal)
        r = set_mode(handle, mode & (mode_t)~SET_ID_BITS, st, err);
    if (r == 0)
        r = set_time(handle, attributes, st, err);
    return r < 0 || equal ? r : set_mode(handle, mode, st, err);
}

/* Root gives nobody's file an owner or bits that make its content count for more. */
bool meta_trusts(const struct extract *x, const struct entry *entry, const struct stat *st)
{
    if (!x->root || entry->type != ENTRY_FILE || st->st_uid == 0)
        return true;
    bool bits = (entry->mode & SET_ID_BITS) != 0 && !x->options->no_setuid;
    bool has_bits = st->st_gid == entry->gid && (st->st_mode & 07777) == entry->mode;
    return st->st_uid == entry->uid && (!bits || has_bits);
}

/* File systems end at some year: a time beyond it is the last that they have. */
static bool time_as_far_as_can_be(const struct stat *st, const struct attributes *attributes)
{
    static const int64_t first = -2147483648, last = 2147483647;

    if (meta_time_equal(st, attributes->mtime_s, attributes->mtime_ns))
        return true;
    if (attributes->mtime_s > last)
        return st->st_mtim.tv_sec >= last && st->st_mtim.tv_sec < attributes->mtime_s;
    return attributes->mtime_s < first && st->st_mtim.tv_sec > attributes->mtime_s &&
           st->st_mtim.tv_sec <= 0;
}

int meta_compare(struct extract *x, const struct handle *handle, const struct stat *st,
                 const struct attributes *attributes, struct err *err)
{
    bool owner = st->st_uid == attributes->uid && st->st_gid == attributes->gid;
    mode_t mode = wanted_mode(x, attributes, st);

    if (!owner && x->root)
        return err_set(err, ERR_EXISTS, "its owner is %u:%u, not %u:%u", st->st_uid, st->st_gid,
                       attributes->uid, attributes->gid);
    if (attributes->type != ENTRY_SYMLINK && (st->st_mode & 07777) != mode)
        return err_set(err, ERR_EXISTS, "its mode is %04o, not %04o", st->st_mode & 07777U, mode);
    if (!time_as_far_as_can_be(st, attributes))
        return err_set(err, ERR_EXISTS, "its time is another one");
    return xattr_compare(x, handle, attributes, err);
}

static bool same_target(int dirfd, const char *name, const struct entry *entry)
{
    char target[ENTRY_TARGET_MAX + 2];
    ssize_t got = readlinkat(dirfd, name, target, sizeof(target));

    return got >= 0 && (size_t)got == entry->target_size &&
           memcmp(target, entry->target, (size_t)got) == 0;
}

bool meta_same(int dirfd, const char *name, const struct entry *entry, const struct stat *st)
{
    if ((st->st_mode & S_IFMT) != (entry_st_mode(entry) & S_IFMT))
        return false;
    if (st->st_nlink > entry->links) /* what else has this file must not change with it */
        return false;
    switch (entry->type) {
    case ENTRY_FILE:
        return (uint64_t)st->st_size == entry->size &&
               meta_time_equal(st, entry->mtime_s, entry->mtime_ns);
    case ENTRY_SYMLINK:
        return same_target(dirfd, name, entry);
    case ENTRY_CHARDEV:
    case ENTRY_BLOCKDEV:
        return st->st_rdev == entry->rdev;
    default:
        return true;
    }
}
