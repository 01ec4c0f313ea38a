#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/io.h"
#include "backup/base/spill.h"
#include "fs/extract_internal.h"

enum { OPEN_DIR = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };

/* A user's own directory that he may not read or write is opened up until it is settled. */
static void make_usable(int parent, const char *name)
{
    CLEANUP(closep) int fd = -1;
    struct stat st;
    char path[40];

    fd = place_open(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_uid != geteuid() || (st.st_mode & 0700) == 0700)
        return;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    (void)!chmod(path, (st.st_mode & 07777) | 0700);
}

/* 1: open; 0: nothing there; ERR_EXISTS: something else is. */
static int open_there(struct extract *x, const struct dir *dir, int parent, int *out_fd,
                      struct err *err)
{
    if (!x->root && x->pass == PASS_WRITE && !dir->aside)
        make_usable(parent, dir->name);
    int fd = place_open(parent, dir->name, OPEN_DIR, 0);
    if (fd >= 0) {
        *out_fd = fd;
        return 1;
    }
    if (errno == ENOENT)
        return 0;
    if (errno == ENOTDIR || errno == ELOOP)
        return err_set(err, ERR_EXISTS, "something that is no directory is in its place");
    return err_sys(err, "open");
}

/* What stands where a directory must be goes, whatever it is: a symlink is never followed. */
static int clear_way(const struct dir *dir, int parent, struct err *err)
{
    if (dir->aside) /* not asked for: perhaps its path leads elsewhere on this system */
        return err_set(err, ERR_EXISTS, "something that is no directory is in its place");
    if (unlinkat(parent, dir->name, 0) < 0 && errno != ENOENT)
        return err_sys(err, "remove what is in its place");
    return 0;
}

/* An intermediate directory gets owner and mode at once: if the run ends here, nobody else will
 * know that it was made for this. */
static mode_t first_mode(const struct dir *dir)
{
    return dir->aside ? (dir->attributes.mode & 01777) | 0700 : 0700;
}

static int make_fresh(struct extract *x, struct dir *dir, int parent, int *out_fd, struct err *err)
{
    CLEANUP(closep) int fd = -1;
    struct stat st;

    if (mkdirat(parent, dir->name, first_mode(dir)) < 0)
        return err_sys(err, "make directory");
    fd = place_open(parent, dir->name, OPEN_DIR, 0);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, "open new directory");
    if (st.st_uid != geteuid())
        return err_set(err, ERR_SYSTEM, "directory was replaced meanwhile");
    dir->fresh = true;
    dir->settle = true;
    if (dir->aside) {
        marker_made(x, &st);
        if (x->root && fchown(fd, dir->attributes.uid, dir->attributes.gid) < 0)
            return err_sys(err, "set the owner");
        if (fchmod(fd, first_mode(dir)) < 0) /* without the umask */
            return err_sys(err, "set the mode");
    }
    extract_add(x, &x->result.directories, 1);
    *out_fd = fd;
    fd = -1;
    return 0;
}

static void take_over(struct extract *x, struct dir *dir, int fd)
{
    struct stat st = {0};
    uint64_t value;

    (void)fstat(fd, &st);
    dir->dev = st.st_dev;
    dir->ino = st.st_ino;
    if (x->pass != PASS_WRITE)
        return;
    sync_note(x, fd, st.st_dev);
    if (dir->fresh)
        return;
    /* Whoever should not own it has no business in it from now on. */
    if (x->root && !dir->aside && st.st_uid != dir->attributes.uid)
        (void)!fchown(fd, dir->attributes.uid, dir->attributes.gid);
    dir->settle = !dir->aside || spillmap_get(x->made, st.st_dev, st.st_ino, &value);
    if (x->resumed)
        place_sweep(fd);
}

int dir_make(struct extract *x, struct dir *dir, int parent, int *out_fd, struct err *err)
{
    CLEANUP(closep) int fd = -1;
    bool new_there = x->pass == PASS_WRITE && dir->parent->fresh; /* so there is nothing to find */
    int r = new_there ? make_fresh(x, dir, parent, &fd, err) : -ERR_EXISTS;

    if (r < 0 && (!new_there || err->cause == EEXIST))
        r = open_there(x, dir, parent, &fd, err);
    if (x->pass != PASS_WRITE) {
        if (r == 1)
            take_over(x, dir, fd);
        *out_fd = fd;
        fd = -1;
        return r == 0 || r == -ERR_EXISTS || r == 1 ? 0 : r;
    }
    if (r == -ERR_EXISTS)
        r = clear_way(dir, parent, err);
    if (r == 0 && fd < 0)
        r = make_fresh(x, dir, parent, &fd, err);
    if (r < 0)
        return r;
    take_over(x, dir, fd);
    *out_fd = fd;
    fd = -1;
    return 0;
}

/* Names of a directory, read by a descriptor of its own; the position of `dirfd` is not touched. */
void place_sweep(int dirfd)
{
    int fd = place_open(dirfd, ".", OPEN_DIR, 0);
    DIR *stream = fd >= 0 ? fdopendir(fd) : NULL;

    if (!stream) {
        closep(&fd);
        return;
    }
    for (struct dirent *entry; (entry = readdir(stream));)
        if (place_is_temporary(entry->d_name))
            (void)unlinkat(dirfd, entry->d_name, 0);
    closedir(stream);
}
