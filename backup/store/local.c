#include "backup/store/local.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/store/local_internal.h"

enum { DEEPEST = 8, PATH_SIZE = STORE_NAME_MAX + 1 };

struct local_object {
    struct store_object object;
    int fd;
    char name[PATH_SIZE];
};

struct level {
    DIR *directory;
    size_t length; /* of the path to it, with the last '/' */
};

/* A listing under way: the path is that of the innermost level's directory, or of its entry. */
struct walk {
    char path[PATH_SIZE + 1]; /* a '/' more */
    size_t skip;              /* the prefix */
    size_t depth;
    struct level levels[DEEPEST];
    store_list_fn *each;
    void *context;
};

int local_error(const struct local *local, const char *name, struct err *err)
{
    int cause = err->cause;

    if (cause != ENOSPC && cause != EDQUOT)
        return err_context(err, "%.90s/%.90s", local->store.location, name);
    err_set(err, ERR_SYSTEM, "repository %.150s is full", local->store.location);
    err->cause = cause;
    return -(int)err->code;
}

static void free_object(struct local_object *object)
{
    closep(&object->fd);
    free(object);
}

static void free_objectp(struct local_object **object)
{
    if (*object)
        free_object(*object);
}

static void close_object(struct store_object *base)
{
    free_object((struct local_object *)base);
}

/* A fifo or a device under an object's name must neither hang nor act. */
static int open_file(struct local *local, const char *name, struct local_object *object,
                     struct err *err)
{
    CLEANUP(closep) int parent = -1;
    const char *last;
    struct stat found;
    int r = local_parent(local, name, &parent, &last, err);

    if (r == 0)
        r = io_openat(parent, last, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0, &object->fd,
                      err);
    if (r == 0 && fstat(object->fd, &found) < 0)
        r = err_sys(err, "stat");
    if (r == 0 && !S_ISREG(found.st_mode))
        r = err_set(err, ERR_CORRUPT, "not a regular file");
    if (r == 0)
        object->object.size = (uint64_t)found.st_size;
    return r;
}

static int open_object(struct store *store, const char *name, struct store_object **out,
                       struct err *err)
{
    CLEANUP(free_objectp) struct local_object *object = calloc(1, sizeof(*object));
    struct local *local = (struct local *)store;

    if (!object)
        return err_set(err, ERR_NOMEM, "no memory to open an object");
    object->object.store = store;
    object->fd = -1;
    strcpy(object->name, name); /* store.c has looked at its length */
    if (open_file(local, name, object, err) < 0)
        return local_error(local, name, err);
    *out = &STEAL(object)->object;
    return 0;
}

static int read_object(struct store_object *base, uint64_t offset, void *out, size_t count,
                       struct err *err)
{
    struct local_object *object = (struct local_object *)base;
    size_t got;
    int r = io_pread_full(object->fd, out, count, offset, &got, err);

    if (r == 0 && got < count)
        r = err_set(err, ERR_CORRUPT, "ends at byte %llu, before what was asked for",
                    (unsigned long long)(offset + got));
    return r < 0 ? local_error((struct local *)base->store, object->name, err) : 0;
}

static int push_level(struct walk *walk, int fd, size_t length, struct err *err)
{
    DIR *directory = fdopendir(fd);

    if (!directory) {
        int r = err_sys(err, "open a directory");
        closep(&fd);
        return r;
    }
    walk->levels[walk->depth++] = (struct level){directory, length};
    return 0;
}

static void pop_level(struct walk *walk)
{
    (void)closedir(walk->levels[--walk->depth].directory);
}

static void end_walk(struct walk *walk)
{
    while (walk->depth > 0)
        pop_level(walk);
}

/* False for names that no object can have. */
static bool make_path(struct walk *walk, const char *name)
{
    size_t length = walk->levels[walk->depth - 1].length;
    size_t size = strlen(name);

    if (size + length > STORE_NAME_MAX)
        return false;
    memcpy(walk->path + length, name, size + 1);
    return store_is_name(walk->path);
}

static int enter(struct walk *walk, int at, const char *name, struct err *err)
{
    size_t length = strlen(walk->path);
    int fd;

    if (walk->depth == DEEPEST)
        return 0;
    if (io_openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, &fd, err) < 0)
        return err->cause == ENOENT ? 0 : -(int)err->code;
    strcpy(walk->path + length, "/");
    return push_level(walk, fd, length + 1, err);
}

/* What vanishes while it is listed was removed, which is no failure. */
static int visit(struct walk *walk, const char *name, bool *out_ended, struct err *err)
{
    struct stat found;

    if (!make_path(walk, name))
        return 0;
    int at = dirfd(walk->levels[walk->depth - 1].directory);
    if (fstatat(at, name, &found, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(err, "stat %.90s", name);
    if (S_ISDIR(found.st_mode))
        return enter(walk, at, name, err);
    if (!S_ISREG(found.st_mode))
        return 0;
    int r = walk->each(walk->context, walk->path + walk->skip, (uint64_t)found.st_size, err);
    *out_ended = r != 0;
    return r;
}

static int run_walk(struct walk *walk, const struct local *local, struct err *err)
{
    bool ended = false;
    int r = 0;

    while (r == 0 && walk->depth > 0) {
        errno = 0;
        struct dirent *entry = readdir(walk->levels[walk->depth - 1].directory);
        if (entry)
            r = visit(walk, entry->d_name, &ended, err);
        else if (errno != 0)
            r = err_sys(err, "list");
        else
            pop_level(walk);
    }
    if (r < 0 && !ended)
        (void)local_error(local, walk->path, err);
    return r;
}

static int list(struct store *store, const char *prefix, store_list_fn *each, void *context,
                struct err *err)
{
    CLEANUP(end_walk) struct walk walk = {.each = each, .context = context};
    struct local *local = (struct local *)store;
    const char *last;
    int fd;

    if (local_parent(local, prefix, &fd, &last, err) < 0)
        return err->cause == ENOENT ? 0 : local_error(local, prefix, err);
    walk.skip = strlen(prefix);
    memcpy(walk.path, prefix, walk.skip + 1);
    if (push_level(&walk, fd, walk.skip, err) < 0)
        return local_error(local, prefix, err);
    return run_walk(&walk, local, err);
}

/* The directory of a name that is gone, such as a snapshot's, would be left behind for ever. */
static void remove_parent(struct local *local, const char *name)
{
    CLEANUP(closep) int above = -1;
    char path[PATH_SIZE];
    const char *last;
    struct err ignored;
    char *slash;

    strcpy(path, name);
    slash = strrchr(path, '/');
    if (!slash)
        return;
    *slash = '\0';
    if (strchr(path, '/') && local_parent(local, path, &above, &last, &ignored) == 0)
        (void)unlinkat(above, last, AT_REMOVEDIR);
}

static int remove_object(struct store *store, const char *name, struct err *err)
{
    CLEANUP(closep) int parent = -1;
    struct local *local = (struct local *)store;
    const char *last;
    int r = local_parent(local, name, &parent, &last, err);

    if (r == 0 && unlinkat(parent, last, 0) < 0)
        r = err_sys(err, "remove");
    if (r == 0)
        r = io_fsync(parent, "the directory", err);
    if (r < 0)
        return local_error(local, name, err);
    remove_parent(local, name);
    return 0;
}

static int room(struct store *store, uint64_t *out_free, struct err *err)
{
    struct local *local = (struct local *)store;
    struct statvfs found;

    if (fstatvfs(local->fd, &found) < 0)
        return err_sys(err, "%.150s", store->location);
    uint64_t unit = found.f_frsize > 0 ? found.f_frsize : found.f_bsize;
    if (__builtin_mul_overflow((uint64_t)found.f_bavail, unit, out_free))
        *out_free = UINT64_MAX;
    return 0;
}

static int modified(struct store *store, const char *name, int64_t *out_ns, struct err *err)
{
    CLEANUP(closep) int parent = -1;
    struct local *local = (struct local *)store;
    struct stat found;
    const char *last;
    int r = local_parent(local, name, &parent, &last, err);

    if (r == 0 && fstatat(parent, last, &found, AT_SYMLINK_NOFOLLOW) < 0)
        r = err_sys(err, "stat");
    if (r < 0)
        return local_error(local, name, err);
    if (__builtin_mul_overflow((int64_t)found.st_mtim.tv_sec, NS_PER_SECOND, out_ns) ||
        __builtin_add_overflow(*out_ns, found.st_mtim.tv_nsec, out_ns))
        *out_ns = INT64_MAX;
    return 0;
}

static void tidy(struct store *store)
{
    local_tidy((struct local *)store);
}

static void close_local(struct store *store)
{
    struct local *local = (struct local *)store;

    closep(&local->fd);
    pthread_mutex_destroy(&local->lock);
    free(store->location);
    free(local);
}

static void close_localp(struct local **local)
{
    if (*local)
        close_local(&(*local)->store);
}

static const struct store_ops local_ops = {
    .close = close_local,
    .list = list,
    .open = open_object,
    .read = read_object,
    .close_object = close_object,
    .begin = local_put_begin,
    .write = local_put_write,
    .commit = local_put_commit,
    .abort = local_put_abort,
    .remove = remove_object,
    .room = room,
    .tidy = tidy,
    .modified = modified,
    .lock = local_lock,
    .unlock = local_unlock,
};

static int open_directory(struct local *local, bool create, struct err *err)
{
    const char *location = local->store.location;

    if (create && local_make_directory(location, err) < 0)
        return err_context(err, "%.150s", location);
    int r = io_openat(AT_FDCWD, location, O_RDONLY | O_DIRECTORY, 0, &local->fd, err);
    if (r < 0 && err->cause == ENOENT)
        return err_set(err, ERR_NO_REPOSITORY, "no repository at %.150s: no such directory",
                       location);
    return r < 0 ? err_context(err, "repository") : 0;
}

int local_store_open(const char *directory, bool create, struct store **out, struct err *err)
{
    CLEANUP(close_localp) struct local *local = calloc(1, sizeof(*local));

    if (!local)
        return err_set(err, ERR_NOMEM, "no memory to open a repository");
    local->fd = -1;
    pthread_mutex_init(&local->lock, NULL);
    local->store.ops = &local_ops;
    local->store.location = strdup(directory);
    if (!local->store.location)
        return err_set(err, ERR_NOMEM, "no memory to open a repository");
    int r = open_directory(local, create, err);
    if (r == 0)
        *out = &STEAL(local)->store;
    return r;
}
