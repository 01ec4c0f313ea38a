/* The lock of a repository in a directory: flock(2) on its header, which is always there, so that
 * a full disk keeps nobody from taking it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/vfs.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/store/local_internal.h"

static const char header[] = "repository";

struct held {
    struct store_lock lock;
    int fd;
};

/* File systems on which the lock of one host need not be seen by another, by statfs(2). */
static bool is_remote(int fd)
{
    static const unsigned long remote[] = {
        0x6969,     /* NFS */
        0x517B,     /* SMB */
        0xFF534D42, /* CIFS */
        0xFE534D42, /* SMB2 */
        0x65735546, /* FUSE: sshfs, s3fs … */
        0x01021997, /* 9P */
        0x5346414F, /* AFS */
        0x73757245, /* Coda */
        0x00C36400, /* Ceph */
    };
    struct statfs found;

    if (fstatfs(fd, &found) < 0)
        return true;
    for (size_t i = 0; i < sizeof(remote) / sizeof(remote[0]); i++)
        if (((unsigned long)found.f_type & 0xFFFFFFFF) == remote[i])
            return true;
    return false;
}

/* Locking alone asks some file systems for the right to write; where we have none, reading does. */
static int open_header(struct local *local, int *out_fd, struct err *err)
{
    int r = io_openat(local->fd, header, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0, out_fd, err);

    if (r < 0 && (err->cause == EACCES || err->cause == EROFS || err->cause == EPERM))
        r = io_openat(local->fd, header, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, out_fd, err);
    return r < 0 ? local_error(local, header, err) : 0;
}

static int take(struct local *local, int fd, bool exclusive, struct err *err)
{
    int r;

    do
        r = flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB);
    while (r < 0 && errno == EINTR);
    if (r == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        return err_set(err, ERR_BUSY, "%.150s: %s", local->store.location,
                       exclusive ? "somebody is writing to it"
                                 : "it is being pruned (prune --now)");
    if (!exclusive) /* who works here alone is refused, too, so there is nobody to be kept from */
        return 0;
    r = err_sys(err, "lock");
    return local_error(local, header, err) < 0 ? r : 0;
}

int local_lock(struct store *store, bool exclusive, struct store_lock **out, struct err *err)
{
    CLEANUP(closep) int fd = -1;
    struct local *local = (struct local *)store;
    int r = open_header(local, &fd, err);

    if (r == 0 && exclusive && is_remote(fd))
        return err_set(err, ERR_USAGE,
                       "%.150s: it is on a network file system, where other hosts need not see a "
                       "lock",
                       store->location);
    if (r == 0)
        r = take(local, fd, exclusive, err);
    if (r < 0)
        return r;
    struct held *held = malloc(sizeof(*held));
    if (!held)
        return err_set(err, ERR_NOMEM, "no memory for a lock");
    *held = (struct held){.lock = {store}, .fd = fd};
    fd = -1;
    *out = &held->lock;
    return 0;
}

void local_unlock(struct store_lock *base)
{
    struct held *held = (struct held *)base;

    closep(&held->fd);
    free(held);
}
