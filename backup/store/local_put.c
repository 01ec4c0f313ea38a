#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/base/random.h"
#include "backup/store/local_internal.h"

enum {
    WRITE_OUT = 8 * 1024 * 1024, /* a disk's worth of work to begin before the commit waits */
    MOST_TRIES = 100, /* who empties a directory that often, at just that moment, is testing us */
};

struct local_put {
    struct store_put put;
    int fd;
    int tmp; /* the directory that it is in */
    _Atomic uint64_t written;
    char name[LOCAL_TMP_SIZE];
};

static struct local *local_of(const struct local_put *put)
{
    return (struct local *)put->put.store;
}

static void free_put(struct local_put *put)
{
    closep(&put->fd);
    closep(&put->tmp);
    free(put);
}

static void abortp(struct local_put **put)
{
    if (*put)
        local_put_abort(&(*put)->put);
}

static void closedirp(DIR **directory)
{
    if (*directory)
        (void)closedir(*directory);
}

static int open_tmp(struct local *local, bool make, int *out_fd, struct err *err)
{
    const char *last;

    return make ? local_make_parent(local, "tmp/", out_fd, &last, err)
                : local_parent(local, "tmp/", out_fd, &last, err);
}

static void remove_stale(int tmp, const char *name, const struct local_owner *self)
{
    struct local_owner owner;

    if (local_owner_parse(name, &owner) && local_owner_is_dead(self, &owner))
        (void)unlinkat(tmp, name, 0);
}

void local_tidy(struct local *local)
{
    CLEANUP(closedirp) DIR *directory = NULL;
    struct local_owner self;
    struct err ignored;
    int fd = -1;

    pthread_mutex_lock(&local->lock);
    bool was_tidy = local->is_tidy;
    local->is_tidy = true;
    pthread_mutex_unlock(&local->lock);
    if (was_tidy || open_tmp(local, false, &fd, &ignored) < 0)
        return;

    directory = fdopendir(fd);
    if (!directory) {
        closep(&fd);
        return;
    }
    local_owner_self(&self);
    for (struct dirent *entry; (entry = readdir(directory));)
        remove_stale(fd, entry->d_name, &self);
}

static int open_file(struct local *local, struct local_put *put, struct err *err)
{
    struct local_owner self;
    uint64_t random;
    int r = random_bytes(&random, sizeof(random), err);

    if (r == 0)
        r = open_tmp(local, true, &put->tmp, err);
    if (r < 0)
        return r;
    local_owner_self(&self);
    local_owner_format(&self, random, put->name);
    return io_openat(put->tmp, put->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600, &put->fd,
                     err);
}

int local_put_begin(struct store *store, struct store_put **out, struct err *err)
{
    struct local *local = (struct local *)store;
    struct local_put *put = calloc(1, sizeof(*put));

    if (!put)
        return err_set(err, ERR_NOMEM, "no memory to write an object");
    put->put.store = store;
    put->fd = put->tmp = -1;
    local_tidy(local);
    if (open_file(local, put, err) < 0) {
        free_put(put);
        return local_error(local, "tmp", err);
    }
    *out = &put->put;
    return 0;
}

int local_put_write(struct store_put *base, uint64_t offset, const void *bytes, size_t count,
                    struct err *err)
{
    struct local_put *put = (struct local_put *)base;

    if (io_pwrite_full(put->fd, bytes, count, offset, err) < 0)
        return local_error(local_of(put), "tmp", err);
    uint64_t before = atomic_fetch_add(&put->written, count);
    if (before / WRITE_OUT != (before + count) / WRITE_OUT)
        (void)sync_file_range(put->fd, 0, 0, SYNC_FILE_RANGE_WRITE); /* what fails, fsync tells */
    return 0;
}

static bool is_unsupported(void)
{
    return errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP || errno == EPERM ||
           errno == EMLINK;
}

/* A network file system may answer EEXIST to the second asking for what it has done at the first.
 */
static bool is_same_file(const struct local_put *put, int parent, const char *last)
{
    struct stat mine;
    struct stat found;

    return fstat(put->fd, &mine) == 0 && fstatat(parent, last, &found, AT_SYMLINK_NOFOLLOW) == 0 &&
           mine.st_dev == found.st_dev && mine.st_ino == found.st_ino;
}

static int name_by_link(struct local_put *put, int parent, const char *last)
{
    int r = linkat(put->tmp, put->name, parent, last, 0);

    if (r < 0 && errno == EEXIST && is_same_file(put, parent, last))
        r = 0;
    if (r == 0)
        (void)unlinkat(put->tmp, put->name, 0);
    return r;
}

/* For file systems that know neither call; every writer of the repository takes this lock. */
static int name_under_lock(struct local_put *put, int parent, const char *last)
{
    CLEANUP(closep)
    int lock = openat(put->tmp, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int r;

    if (lock < 0)
        return -1;
    do
        r = flock(lock, LOCK_EX);
    while (r < 0 && errno == EINTR);
    if (r < 0)
        return -1;
    if (faccessat(parent, last, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
        errno = EEXIST;
        return -1;
    }
    return errno == ENOENT ? renameat(put->tmp, put->name, parent, last) : -1;
}

static int name_in_one_way(enum local_way way, struct local_put *put, int parent, const char *last)
{
    switch (way) {
    case LOCAL_RENAME:
        return renameat2(put->tmp, put->name, parent, last, RENAME_NOREPLACE);
    case LOCAL_LINK:
        return name_by_link(put, parent, last);
    default:
        return name_under_lock(put, parent, last);
    }
}

/* None of the ways overwrites. */
static int give_name(struct local_put *put, int parent, const char *last, struct err *err)
{
    enum local_way way = atomic_load(&local_of(put)->way);
    int r = name_in_one_way(way, put, parent, last);

    while (r < 0 && way < LOCAL_LOCKED && is_unsupported()) {
        r = name_in_one_way(++way, put, parent, last);
        if (r == 0)
            atomic_store(&local_of(put)->way, way);
    }
    return r < 0 ? err_sys(err, "give the file its name") : 0;
}

static int publish(struct local_put *put, const char *name, struct err *err)
{
    CLEANUP(closep) int parent = -1;
    const char *last;
    int r = local_make_parent(local_of(put), name, &parent, &last, err);

    if (r == 0)
        r = give_name(put, parent, last, err);
    return r < 0 ? r : io_fsync(parent, "the directory", err);
}

int local_put_commit(struct store_put *base, const char *name, struct err *err)
{
    CLEANUP(abortp) struct local_put *put = (struct local_put *)base;
    struct local *local = local_of(put);
    int r = io_fsync(put->fd, "the file", err);

    /* A directory that just became empty may be taken away between two steps. */
    for (int tries = 0; r == 0 && tries < MOST_TRIES; tries++) {
        int published = publish(put, name, err);
        if (published == 0) {
            free_put(STEAL(put));
            return 0;
        }
        if (published != -ERR_NOT_FOUND || tries + 1 == MOST_TRIES)
            r = published;
    }
    return local_error(local, name, err);
}

void local_put_abort(struct store_put *base)
{
    struct local_put *put = (struct local_put *)base;
    int saved = errno;

    (void)unlinkat(put->tmp, put->name, 0);
    free_put(put);
    errno = saved;
}
