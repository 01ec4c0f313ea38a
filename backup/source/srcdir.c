#include "backup/source/srcdir.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"

static int adopt(int *fd, struct srcdir **out, struct err *err)
{
    struct stat st;

    if (fstat(*fd, &st) < 0)
        return err_sys(err, "cannot stat directory");
    struct srcdir *dir = malloc(sizeof(*dir));
    if (!dir)
        return err_set(err, ERR_NOMEM, "no memory for a directory");
    atomic_init(&dir->refs, 1);
    dir->fd = *fd;
    dir->device = st.st_dev;
    dir->inode = st.st_ino;
    *fd = -1;
    *out = dir;
    return 0;
}

int srcdir_open(const struct srcdir *parent, const char *name, struct srcdir **out, struct err *err)
{
    enum { FLAGS = O_RDONLY | O_DIRECTORY | O_NOFOLLOW };
    CLEANUP(closep) int fd = -1;
    int at = parent ? parent->fd : AT_FDCWD;

    /* O_NOATIME is for owners and root only. */
    int r = io_openat(at, name, FLAGS | O_NOATIME, 0, &fd, err);
    if (r < 0 && err->cause == EPERM)
        r = io_openat(at, name, FLAGS, 0, &fd, err);
    return r < 0 ? r : adopt(&fd, out, err);
}

int srcdir_open_parent(const struct srcdir *child, uint64_t device, uint64_t inode,
                       struct srcdir **out, struct err *err)
{
    struct srcdir *dir;
    int r = srcdir_open(child, "..", &dir, err);

    if (r < 0)
        return r;
    if (dir->device != device || dir->inode != inode) {
        srcdir_unref(dir);
        return err_set(err, ERR_SYSTEM, "directory was moved while it was read");
    }
    *out = dir;
    return 0;
}

bool srcdir_none_free(const struct err *err)
{
    return err->cause == EMFILE || err->cause == ENFILE;
}

struct srcdir *srcdir_ref(struct srcdir *dir)
{
    atomic_fetch_add_explicit(&dir->refs, 1, memory_order_relaxed);
    return dir;
}

void srcdir_unref(struct srcdir *dir)
{
    if (!dir || atomic_fetch_sub_explicit(&dir->refs, 1, memory_order_acq_rel) != 1)
        return;
    close(dir->fd);
    free(dir);
}
