#include "backup/job/fileread.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backup/archive/repo.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/io.h"
#include "backup/job/xattrs.h"
#include "backup/source/srcdir.h"

struct fileread *fileread_new(struct srcdir *dir, const char *name, uint64_t size, void *owner)
{
    struct fileread *file = calloc(1, sizeof(*file));
    if (!file)
        return NULL;
    file->name = strdup(name);
    if (!file->name) {
        free(file);
        return NULL;
    }
    file->dir = dir ? srcdir_ref(dir) : NULL;
    file->fd = dir ? -1 : STDIN_FILENO;
    file->size = size;
    file->owner = owner;
    file->xattrs.limit = XATTRS_SET_MAX;
    return file;
}

void fileread_close(struct fileread *file)
{
    if (file->dir)
        closep(&file->fd);
    file->fd = -1;
}

void fileread_detach(struct fileread *file)
{
    fileread_close(file);
    srcdir_unref(file->dir);
    file->dir = NULL;
}

void fileread_free(struct fileread *file)
{
    if (!file)
        return;
    fileread_detach(file);
    buf_clear(&file->xattrs);
    free(file->extents);
    free(file->name);
    free(file);
}

void fileread_fail(struct fileread *file, const struct err *err)
{
    fileread_close(file);
    file->failed = true;
    file->vanished = err->code == ERR_NOT_FOUND;
    file->err = *err;
}

/* Somebody holds a lease on it (Samba, an NFS server) and is being asked to give it up: waits for
 * that, once it is certain that this is a file. */
static int open_leased(struct fileread *file, struct err *err)
{
    enum { FLAGS = O_PATH | O_NOFOLLOW };
    CLEANUP(closep) int fd = -1;
    struct stat st;
    char path[64];

    int r = io_openat(file->dir->fd, file->name, FLAGS, 0, &fd, err);
    if (r < 0)
        return r;
    if (fstat(fd, &st) < 0)
        return err_sys(err, "cannot stat");
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_NOT_FOUND, "became something else while the backup ran");
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return io_openat(AT_FDCWD, path, O_RDONLY, 0, &file->fd, err);
}

static int open_quietly(struct fileread *file, struct err *err)
{
    /* O_NONBLOCK: what was a file may be a fifo by now. */
    enum { FLAGS = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY };
    int r = io_openat(file->dir->fd, file->name, FLAGS | O_NOATIME, 0, &file->fd, err);

    if (r < 0 && err->cause == EPERM)
        r = io_openat(file->dir->fd, file->name, FLAGS, 0, &file->fd, err);
    if (r < 0 && err->cause == EWOULDBLOCK)
        return open_leased(file, err);
    if (r < 0 && err->cause == ELOOP)
        return err_set(err, ERR_NOT_FOUND, "became a symlink while the backup ran");
    return r;
}

/* That there is no descriptor left says nothing about the file: others are about to be closed. */
static int open_patiently(struct fileread *file, struct err *err)
{
    enum { TRIES = 500, PAUSE_NS = 10 * 1000 * 1000 };
    const struct timespec pause = {.tv_nsec = PAUSE_NS};
    int r = open_quietly(file, err);

    for (unsigned i = 0; r < 0 && srcdir_none_free(err) && i < TRIES; i++) {
        (void)nanosleep(&pause, NULL);
        r = open_quietly(file, err);
    }
    return r;
}

/* Content without its attributes is worth more than nothing. */
static void read_xattrs(struct fileread *file)
{
    file->xattrs.size = 0;
    file->bare = xattrs_of_fd(file->fd, &file->xattrs, &file->err) < 0;
}

int fileread_open(struct fileread *file, struct err *err)
{
    struct err trouble;

    if (!file->dir)
        return 1;
    int r = open_patiently(file, &trouble);
    if (r < 0 && srcdir_none_free(&trouble)) {
        *err = trouble;
        return r;
    }
    if (r == 0 &&
        statx(file->fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &file->st) < 0)
        r = err_sys(&trouble, "cannot stat");
    if (r == 0 && !S_ISREG(file->st.stx_mode))
        r = err_set(&trouble, ERR_NOT_FOUND, "became something else while the backup ran");
    if (r < 0)
        fileread_fail(file, &trouble);
    else
        read_xattrs(file);
    return r == 0;
}

static bool same_time(const struct statx_timestamp *a, const struct statx_timestamp *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool fileread_unchanged(const struct fileread *file, uint64_t got)
{
    struct statx now;

    if (!file->dir)
        return true;
    if (statx(file->fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &now) < 0)
        return false;
    return got == now.stx_size && got == file->st.stx_size &&
           same_time(&now.stx_mtime, &file->st.stx_mtime) &&
           same_time(&now.stx_ctime, &file->st.stx_ctime);
}

void fileread_restart(struct fileread *file)
{
    fileread_close(file);
    file->extent_count = 0;
    file->content_size = 0;
    file->digest_started = false;
}

bool fileread_region(const struct fileread *file, uint64_t at, uint64_t *out_end)
{
    /* As far as it went when it was opened: one that grows for ever would be read for ever.  Those
     * of the kernel have no size and end somewhere. */
    *out_end = file->dir && file->st.stx_size > 0 ? file->st.stx_size : UINT64_MAX;
    if (!file->dir || file->st.stx_blocks * 512 >= file->st.stx_size)
        return true;
    off_t data = lseek(file->fd, (off_t)at, SEEK_DATA);
    if (data < 0) {
        *out_end = file->st.stx_size;
        return errno != ENXIO; /* ENXIO: a hole up to the end; else nobody knows of holes */
    }
    if ((uint64_t)data > at) {
        *out_end = (uint64_t)data;
        return false;
    }
    off_t hole = lseek(file->fd, (off_t)at, SEEK_HOLE);
    if (hole > 0 && (uint64_t)hole < file->st.stx_size)
        *out_end = (uint64_t)hole;
    return true;
}

static void start_digest(struct fileread *file, const struct repo *repo)
{
    if (!file->digest_started)
        digest_stream_start(&file->digest, keyring_id_key(repo->keyring));
    file->digest_started = true;
}

void fileread_fold_region(struct fileread *file, const struct repo *repo)
{
    uint8_t mark = 1;

    start_digest(file, repo);
    digest_stream_add(&file->digest, &mark, 1);
}

/* Touching extents become one: most files have one in each archive that they are in. */
static int add_extent(struct fileread *file, uint64_t length, struct place place, struct err *err)
{
    struct extent *last = file->extent_count > 0 ? &file->extents[file->extent_count - 1] : NULL;
    bool touches = last && last->place.archive == place.archive &&
                   (place.archive == NO_ARCHIVE || last->place.raw + last->length == place.raw);

    file->content_size += length;
    if (touches) {
        last->length += length;
        return 0;
    }
    if (file->extent_count == file->extent_capacity) {
        size_t capacity = file->extent_capacity > 0 ? file->extent_capacity * 2 : 4;
        struct extent *extents = realloc(file->extents, capacity * sizeof(*extents));
        if (!extents)
            return err_set(err, ERR_NOMEM, "no memory for %zu extents", capacity);
        file->extents = extents;
        file->extent_capacity = capacity;
    }
    file->extents[file->extent_count++] = (struct extent){.length = length, .place = place};
    return 0;
}

int fileread_fold_chunk(struct fileread *file, const uint8_t id[32], uint32_t length,
                        struct place place, struct err *err)
{
    digest_stream_add(&file->digest, id, 32);
    return add_extent(file, length, place, err);
}

int fileread_fold_hole(struct fileread *file, const struct repo *repo, uint64_t length,
                       struct err *err)
{
    uint8_t mark[9] = {0};

    start_digest(file, repo);
    store_le64(mark + 1, length);
    digest_stream_add(&file->digest, mark, sizeof(mark));
    return add_extent(file, length, (struct place){.archive = NO_ARCHIVE}, err);
}
