#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/io.h"
#include "backup/base/path.h"
#include "fs/extract_internal.h"

enum { KEPT_ON_THE_WAY = 32 }; /* descriptors that stay after a way down was walked again */

struct dirs {
    struct dir *target;
    size_t limit;
    pthread_mutex_t lock; /* guards what follows, and what struct dir says */
    struct dir *newest, *oldest;
    size_t open;
};

static void unlink_open(struct dirs *dirs, struct dir *dir)
{
    *(dir->newer ? &dir->newer->older : &dirs->newest) = dir->older;
    *(dir->older ? &dir->older->newer : &dirs->oldest) = dir->newer;
    dir->newer = dir->older = NULL;
}

static void link_newest(struct dirs *dirs, struct dir *dir)
{
    dir->older = dirs->newest;
    *(dirs->newest ? &dirs->newest->newer : &dirs->oldest) = dir;
    dirs->newest = dir;
}

/* Takes the descriptor used longest ago out of the list; -1: not needed, or all are in use. */
static int evict(struct dirs *dirs)
{
    struct dir *dir = dirs->oldest;

    if (dirs->open <= dirs->limit)
        return -1;
    while (dir && (dir->pins > 0 || !dir->parent))
        dir = dir->newer;
    if (!dir)
        return -1;
    int fd = dir->fd;
    unlink_open(dirs, dir);
    dir->fd = -1;
    dirs->open--;
    return fd;
}

/* Gives a directory its descriptor, pinned; what is not needed is closed. */
static void install(struct dirs *dirs, struct dir *dir, int fd)
{
    int spare = -1;

    pthread_mutex_lock(&dirs->lock);
    dir->pins++;
    if (dir->fd < 0) {
        dir->fd = fd;
        link_newest(dirs, dir);
        dirs->open++;
        spare = evict(dirs);
    } else {
        spare = fd; /* another thread was first */
    }
    pthread_mutex_unlock(&dirs->lock);
    closep(&spare);
}

static bool hold_open(struct dirs *dirs, struct dir *dir, int *out_fd)
{
    bool open = false;

    pthread_mutex_lock(&dirs->lock);
    if (dir->fd >= 0) {
        dir->pins++;
        unlink_open(dirs, dir);
        link_newest(dirs, dir);
        *out_fd = dir->fd;
        open = true;
    }
    pthread_mutex_unlock(&dirs->lock);
    return open;
}

int dir_is_mounted(struct extract *x, struct dir *dir, bool *out, struct err *err)
{
    struct statx st;
    int fd;

    int r = dir_hold(x, dir, &fd, err);
    if (r < 0)
        return r;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &st) < 0)
        r = err_sys(err, "stat");
    else
        *out = (st.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
    dir_let(x, dir);
    return r;
}

/* Opens one name again; it must be the directory that it was. */
static int open_again(const struct dir *dir, int parent, int *out_fd, struct err *err)
{
    CLEANUP(closep) int fd = -1;
    struct stat st;
    int r = io_openat(parent, dir->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, &fd, err);

    if (r < 0)
        return r;
    if (fstat(fd, &st) < 0)
        return err_sys(err, "stat %s", dir->name);
    if (st.st_dev != dir->dev || st.st_ino != dir->ino)
        return err_set(err, ERR_SYSTEM, "directory %s was replaced meanwhile", dir->name);
    *out_fd = fd;
    fd = -1;
    return 0;
}

struct way {
    struct dir **down; /* from the one below the open ancestor to the directory itself */
    size_t count;
    struct dir *from;
    int fd;
};

/* The way up to the nearest directory that is open, which is held. */
static int find_way(struct dirs *dirs, struct dir *dir, struct way *out, struct err *err)
{
    size_t count = 0;
    struct dir *from = dir;

    for (; !hold_open(dirs, from, &out->fd); from = from->parent)
        count++;
    out->from = from;
    out->count = count;
    out->down = count > 0 ? malloc(count * sizeof(struct dir *)) : NULL;
    if (count > 0 && !out->down)
        return err_set(err, ERR_NOMEM, "no memory for a path");
    for (struct dir *at = dir; count > 0; at = at->parent)
        out->down[--count] = at;
    return 0;
}

static int walk_down(struct extract *x, struct way *way, int *out_fd, struct err *err)
{
    struct dir *held = way->from;
    int fd = way->fd;
    int r = 0;

    for (size_t i = 0; r == 0 && i < way->count; i++) {
        struct dir *next = way->down[i];
        int next_fd = -1;

        r = open_again(next, fd, &next_fd, err);
        if (r < 0)
            break;
        bool keep = way->count - i <= KEPT_ON_THE_WAY;
        if (held)
            dir_let(x, held);
        else
            close(fd);
        held = keep ? next : NULL;
        if (keep) {
            install(x->dirs, next, next_fd);
            fd = next->fd; /* pinned: it stays what it is */
        } else {
            fd = next_fd;
        }
    }
    if (r < 0 && held)
        dir_let(x, held);
    else if (r < 0)
        close(fd);
    else
        *out_fd = fd;
    return r;
}

int dir_hold(struct extract *x, struct dir *dir, int *out_fd, struct err *err)
{
    struct way way = {.fd = -1};

    if (dir->state != DIR_THERE)
        return err_set(err, ERR_NOT_FOUND, "its directory is not there");
    if (hold_open(x->dirs, dir, out_fd))
        return 0;
    int r = find_way(x->dirs, dir, &way, err);
    if (r < 0)
        dir_let(x, way.from);
    else
        r = walk_down(x, &way, out_fd, err);
    free(way.down);
    return r;
}

void dir_let(struct extract *x, struct dir *dir)
{
    pthread_mutex_lock(&x->dirs->lock);
    dir->pins--;
    int spare = evict(x->dirs);
    pthread_mutex_unlock(&x->dirs->lock);
    closep(&spare);
}

static struct dir *dir_alloc(const char *name, size_t size)
{
    struct dir *dir = calloc(1, sizeof(*dir) + size + 1);

    if (!dir)
        return NULL;
    dir->fd = -1;
    dir->name_size = size;
    if (size > 0)
        memcpy(dir->name, name, size);
    atomic_init(&dir->refs, 1);
    return dir;
}

int dir_new(struct extract *x, struct dir *parent, const char *name, size_t size,
            const struct entry *entry, bool aside, struct dir **out, struct err *err)
{
    if (!path_is_name(name, size) || size > ENTRY_NAME_MAX)
        return err_set(err, ERR_CORRUPT, "a name that no directory can have");
    struct dir *dir = dir_alloc(name, size);
    if (!dir)
        return err_set(err, ERR_NOMEM, "no memory for a directory");
    dir->aside = aside;
    dir->attributes.type = ENTRY_DIRECTORY;
    dir->attributes.mode = 0755;
    if (entry)
        attributes_of(entry, &dir->attributes);
    if (entry && x->pass == PASS_COUNT)
        count_attributes(x, entry);
    dir->parent = parent;
    dir_ref(parent);
    *out = dir;
    return 0;
}

void dir_ref(struct dir *dir)
{
    atomic_fetch_add_explicit(&dir->refs, 1, memory_order_relaxed);
}

/* All below is done: now the directory gets what it is to have. */
static void settle(struct extract *x, struct dir *dir)
{
    struct stat st;
    struct err err;
    int fd;

    if (dir->state != DIR_THERE || !dir->settle || x->pass != PASS_WRITE)
        return;
    int r = dir_hold(x, dir, &fd, &err);
    if (r == 0) {
        r = fstat(fd, &st) < 0
                ? err_sys(&err, "stat")
                : meta_apply(x, &(struct handle){.fd = fd}, &dir->attributes, &st, &err);
        dir_let(x, dir);
    }
    if (r < 0)
        extract_trouble(x, dir, NULL, 0, SIDE_TARGET, &err);
}

static void dir_free(struct dirs *dirs, struct dir *dir)
{
    pthread_mutex_lock(&dirs->lock);
    int fd = dir->fd;
    if (fd >= 0) {
        unlink_open(dirs, dir);
        dirs->open--;
    }
    pthread_mutex_unlock(&dirs->lock);
    closep(&fd);
    free(dir);
}

void dir_unref(struct extract *x, struct dir *dir)
{
    while (dir && atomic_fetch_sub_explicit(&dir->refs, 1, memory_order_acq_rel) == 1) {
        struct dir *parent = dir->parent;

        settle(x, dir);
        if (!parent)
            x->dirs->target = NULL;
        dir_free(x->dirs, dir);
        dir = parent;
    }
}

/* The one above which all is there or failed, nearest to the target. */
static struct dir *first_planned(struct dir *dir)
{
    while (dir->parent && dir->parent->state == DIR_PLANNED)
        dir = dir->parent;
    return dir;
}

static int make_one(struct extract *x, struct dir *dir, struct err *err)
{
    int parent, fd = -1;

    if (dir->parent->state == DIR_ABSENT) {
        dir->state = DIR_ABSENT;
        return 0;
    }
    dir->state = DIR_FAILED;
    int r = dir_hold(x, dir->parent, &parent, err);
    if (r < 0)
        return r;
    r = dir_make(x, dir, parent, &fd, err);
    dir_let(x, dir->parent);
    if (r < 0)
        return r;
    dir->state = fd >= 0 ? DIR_THERE : DIR_ABSENT;
    if (fd >= 0) {
        install(x->dirs, dir, fd);
        dir_let(x, dir);
    }
    return 0;
}

int dir_ensure(struct extract *x, struct dir *dir, struct err *err)
{
    while (dir->state == DIR_PLANNED) {
        struct dir *next = first_planned(dir);
        int r = make_one(x, next, err);
        if (r < 0)
            return r;
    }
    if (dir->state == DIR_FAILED)
        return err_set(err, ERR_SYSTEM, "its directory could not be made");
    return 0;
}

int dirs_new(struct extract *x, int target, size_t limit, struct dirs **out, struct err *err)
{
    struct dirs *dirs = calloc(1, sizeof(*dirs));
    struct dir *dir = dir_alloc(NULL, 0);
    struct stat st = {0};

    (void)x;
    if (!dirs || !dir || (target >= 0 && fstat(target, &st) < 0)) {
        free(dirs);
        free(dir);
        return err_set(err, ERR_NOMEM, "no memory for directories");
    }
    pthread_mutex_init(&dirs->lock, NULL);
    dirs->limit = limit;
    dirs->target = dir;
    dir->aside = true;
    dir->dev = st.st_dev;
    dir->ino = st.st_ino;
    dir->state = target >= 0 ? DIR_THERE : DIR_ABSENT;
    dir->pins = 1; /* always open: the way down begins here */
    dir->fd = target;
    if (target >= 0) {
        link_newest(dirs, dir);
        dirs->open++;
    }
    *out = dirs;
    return 0;
}

void dirs_free(struct dirs *dirs)
{
    if (!dirs)
        return;
    pthread_mutex_destroy(&dirs->lock);
    free(dirs);
}

struct dir *dirs_target(struct dirs *dirs)
{
    return dirs->target;
}

int dir_path(const struct dir *dir, const char *name, size_t size, struct buf *out, struct err *err)
{
    size_t total = size;
    size_t start = out->size;

    for (const struct dir *at = dir; at && at->parent; at = at->parent)
        total += at->name_size + 1;
    int r = buf_reserve(out, total + 1, err);
    if (r < 0)
        return r;
    if (size == 0 && total > 0)
        total--; /* no slash at the end */
    uint8_t *end = out->data + start + total;
    out->size = start + total;
    if (size > 0)
        memcpy(end -= size, name, size);
    for (const struct dir *at = dir; at && at->parent; at = at->parent) {
        if (end < out->data + out->size)
            *--end = '/';
        end -= at->name_size;
        memcpy(end, at->name, at->name_size);
    }
    return 0;
}
