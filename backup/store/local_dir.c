#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/store/local_internal.h"

enum { DIRECTORY = O_RDONLY | O_DIRECTORY | O_NOFOLLOW };

static void freep(char **text)
{
    free(*text);
}

static bool is_known(struct local *local, const char *top)
{
    bool known = false;

    pthread_mutex_lock(&local->lock);
    for (size_t i = 0; i < local->tops && !known; i++)
        known = strcmp(local->top[i], top) == 0;
    pthread_mutex_unlock(&local->lock);
    return known;
}

static void remember(struct local *local, const char *top)
{
    pthread_mutex_lock(&local->lock);
    if (local->tops < LOCAL_TOPS && strlen(top) < LOCAL_TOP_SIZE)
        strcpy(local->top[local->tops++], top);
    pthread_mutex_unlock(&local->lock);
}

static int open_step(int at, const char *name, int *out_fd, struct err *err)
{
    return io_openat(at, name, DIRECTORY, 0, out_fd, err);
}

/*
 * Whoever made the directory may not have synced it yet, so that is done here too.  The top ones,
 * which are never removed, are synced once a process.
 */
static int make_step(struct local *local, int at, const char *name, bool is_top, struct err *err)
{
    bool made = mkdirat(at, name, 0700) == 0;

    if (!made && errno != EEXIST)
        return err_sys(err, "make directory %s", name);
    if (!made && is_top && is_known(local, name))
        return 0;
    int r = io_fsync(at, "the directory", err);
    if (r == 0 && is_top && !is_known(local, name))
        remember(local, name);
    return r;
}

static int walk(struct local *local, const char *name, bool make, int *out_fd,
                const char **out_last, struct err *err)
{
    CLEANUP(closep) int at = -1;
    char part[STORE_NAME_MAX + 1];
    const char *next = name;
    int r = open_step(local->fd, ".", &at, err);

    for (const char *slash; r == 0 && (slash = strchr(next, '/')); next = slash + 1) {
        CLEANUP(closep) int below = -1;
        memcpy(part, next, (size_t)(slash - next));
        part[slash - next] = '\0';
        if (make)
            r = make_step(local, at, part, next == name, err);
        if (r == 0)
            r = open_step(at, part, &below, err);
        int done = at;
        at = below;
        below = done;
    }
    if (r < 0)
        return r;
    *out_last = next;
    *out_fd = at;
    at = -1;
    return 0;
}

int local_parent(struct local *local, const char *name, int *out_fd, const char **out_last,
                 struct err *err)
{
    return walk(local, name, false, out_fd, out_last, err);
}

int local_make_parent(struct local *local, const char *name, int *out_fd, const char **out_last,
                      struct err *err)
{
    return walk(local, name, true, out_fd, out_last, err);
}

/* One of the directories above the repository, or the repository's own; "" is the root. */
static int make_above(char *path, mode_t mode, struct err *err)
{
    char *slash = strrchr(path, '/');

    if (mkdir(path, mode) < 0)
        return errno == EEXIST ? 0 : err_sys(err, "make directory %s", path);
    if (!slash)
        return io_fsync_dir_at(AT_FDCWD, ".", err);
    *slash = '\0';
    int r = io_fsync_dir_at(AT_FDCWD, slash == path ? "/" : path, err);
    *slash = '/';
    return r;
}

int local_make_directory(const char *directory, struct err *err)
{
    CLEANUP(freep) char *path = strdup(directory);
    int r = 0;

    if (!path)
        return err_set(err, ERR_NOMEM, "no memory for a path");
    if (path[0] == '\0')
        return err_set(err, ERR_USAGE, "the name of a directory is empty");
    for (size_t end = strlen(path); end > 1 && path[end - 1] == '/'; end--)
        path[end - 1] = '\0';
    for (char *slash = strchr(path + 1, '/'); r == 0 && slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        r = make_above(path, 0755, err);
        *slash = '/';
    }
    return r < 0 ? r : make_above(path, 0700, err);
}
