#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/hex.h"
#include "backup/base/io.h"
#include "backup/base/log.h"
#include "catalog/catalog_internal.h"
#include "catalog/schema.h"
#include "catalog/segments.h"

#define PATIENCE_NS (10 * NS_PER_SECOND)

enum { PAUSE_NS = 50000000 };

static void freep(void *pointer)
{
    free(*(void **)pointer);
}

static int make_directories(char *path, struct err *err)
{
    for (char *at = path + 1;; at++) {
        char end = *at;
        if (end != '/' && end != '\0')
            continue;
        *at = '\0';
        int failed = mkdir(path, 0700) < 0 && errno != EEXIST;
        if (failed)
            return err_sys(err, "make directory %s", path);
        *at = end;
        if (end == '\0')
            return 0;
    }
}

/* Takes `path`. */
static int open_directory(struct catalog *catalog, char *path, struct err *err)
{
    CLEANUP(freep) char *mine = path;
    CLEANUP(closep) int dirfd = -1;
    CLEANUP(closep) int lock_fd = -1;
    int r = make_directories(mine, err);

    if (r == 0)
        r = io_openat(AT_FDCWD, mine, O_RDONLY | O_DIRECTORY, 0, &dirfd, err);
    if (r == 0)
        r = io_openat(dirfd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600, &lock_fd, err);
    if (r < 0)
        return err_context(err, "catalog %s", mine);
    home_close(catalog);
    catalog->home.dirfd = dirfd;
    catalog->lock_fd = lock_fd;
    catalog->directory = STEAL(mine);
    dirfd = lock_fd = -1;
    return 0;
}

void home_close(struct catalog *catalog)
{
    closep(&catalog->home.dirfd);
    closep(&catalog->lock_fd);
    free(STEAL(catalog->directory));
}

void home_lock_shared(struct catalog *catalog)
{
    while (flock(catalog->lock_fd, LOCK_SH) < 0 && errno == EINTR)
        continue;
}

bool home_try_lock(struct catalog *catalog)
{
    return flock(catalog->lock_fd, LOCK_EX | LOCK_NB) == 0;
}

void home_unlock(struct catalog *catalog)
{
    flock(catalog->lock_fd, LOCK_UN);
}

void home_remove_segments(struct catalog *catalog, bool (*keep)(void *context, const char *name),
                          void *context)
{
    int fd = openat(catalog->home.dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;

    if (!directory) {
        closep(&fd);
        return;
    }
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        bool segment = strncmp(entry->d_name, "segment-", 8) == 0;
        if (segment && (!keep || !keep(context, entry->d_name)))
            unlinkat(catalog->home.dirfd, entry->d_name, 0);
    }
    closedir(directory);
}

static int open_once(struct catalog *catalog, struct err *err)
{
    char *path = NULL;
    struct stat st;

    /* Made here for its mode, and without opening it: closing a descriptor of the file would end
     * the locks that another connection of this process has. */
    if (mknodat(catalog->home.dirfd, "catalog.sqlite", S_IFREG | 0600, 0) < 0 && errno != EEXIST)
        return err_sys(err, "catalog %s", catalog->directory);
    if (asprintf(&path, "%s/catalog.sqlite", catalog->directory) < 0)
        return err_set(err, ERR_NOMEM, "out of memory");
    int r = sql_open(path, &catalog->sql, err);
    free(path);
    if (r == 0)
        r = schema_prepare(&catalog->sql, catalog->repo->id, err);
    if (r < 0)
        sql_close(&catalog->sql);
    else if (fstatat(catalog->home.dirfd, "catalog.sqlite", &st, AT_SYMLINK_NOFOLLOW) == 0)
        catalog->inode = st.st_ino;
    return r;
}

/* To turn WAL on takes the file alone for a moment, and SQLite does not wait for that. */
static int open_patiently(struct catalog *catalog, struct err *err)
{
    int64_t deadline = clock_monotonic_ns() + PATIENCE_NS;
    int r = open_once(catalog, err);

    while (r == -ERR_BUSY && clock_monotonic_ns() < deadline) {
        struct clock *clock = clock_system();
        clock->sleep_ns(clock, PAUSE_NS);
        r = open_once(catalog, err);
    }
    return r;
}

static void remove_all(struct catalog *catalog)
{
    static const char *const names[] = {"catalog.sqlite", "catalog.sqlite-wal",
                                        "catalog.sqlite-shm"};

    log_warn("catalog %s is damaged or not of this repository: it is made anew, and what was seen "
             "of the repository before is not known any more",
             catalog->directory);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unlinkat(catalog->home.dirfd, names[i], 0);
    home_remove_segments(catalog, NULL, NULL);
}

/* Alone in the directory, and after another look: if it is another file than the one that was
 * damaged, somebody else has just made it anew. */
static int remake(struct catalog *catalog, struct err *err)
{
    ino_t before = catalog->inode;
    int64_t deadline = clock_monotonic_ns() + PATIENCE_NS;
    bool locked = home_try_lock(catalog);

    while (!locked && clock_monotonic_ns() < deadline) {
        struct clock *clock = clock_system();
        clock->sleep_ns(clock, PAUSE_NS);
        locked = home_try_lock(catalog);
    }
    if (!locked)
        return err_set(err, ERR_SYSTEM, "catalog %s is damaged, and in use", catalog->directory);
    int r = open_patiently(catalog, err);
    bool damaged = r < 0 ? catalog->sql.trouble == SQL_DAMAGED : catalog->inode == before;
    if (damaged) {
        if (r == 0)
            sql_close(&catalog->sql);
        remove_all(catalog);
        r = open_patiently(catalog, err);
    }
    home_unlock(catalog);
    return r;
}

static int open_database(struct catalog *catalog, struct err *err)
{
    char *beside = NULL;
    int r = open_patiently(catalog, err);

    if (r == -ERR_EXISTS) { /* a newer version's: ours gets its own place */
        if (asprintf(&beside, "%s/v%d", catalog->directory, SCHEMA_VERSION) < 0)
            return err_set(err, ERR_NOMEM, "out of memory");
        r = open_directory(catalog, beside, err);
        if (r == 0)
            r = open_patiently(catalog, err);
    }
    if (r < 0 && r != -ERR_NOMEM && catalog->sql.trouble == SQL_DAMAGED)
        r = remake(catalog, err);
    return r;
}

int home_open(struct catalog *catalog, const char *directory, struct err *err)
{
    char id[2 * REPO_ID_SIZE + 1];
    char *path = NULL;

    hex_encode(catalog->repo->id, REPO_ID_SIZE, id);
    if (asprintf(&path, "%s/%s", directory, id) < 0)
        return err_set(err, ERR_NOMEM, "out of memory");
    int r = open_directory(catalog, path, err);
    return r < 0 ? r : open_database(catalog, err);
}

int home_go_to_memory(struct catalog *catalog, struct err *err)
{
    if (catalog->sql.db)
        sql_close(&catalog->sql);
    catalog->deep = false;
    segments_remove_all(catalog->segments);
    atomic_store(&catalog->in_memory, true);
    int r = sql_open(NULL, &catalog->sql, err);
    if (r == 0)
        r = schema_prepare(&catalog->sql, catalog->repo->id, err);
    return r;
}

bool home_recover(struct catalog *catalog)
{
    enum sql_trouble trouble = catalog->sql.trouble;
    struct err err;
    int r = -ERR_SYSTEM;

    catalog->sql.trouble = SQL_FINE;
    if (atomic_load(&catalog->in_memory) || (trouble != SQL_DAMAGED && trouble != SQL_UNWRITABLE))
        return false;
    sql_close(&catalog->sql);
    catalog->deep = false;
    segments_remove_all(catalog->segments);
    chunks_drop_pending(catalog);
    baseline_lost(catalog);
    if (trouble == SQL_DAMAGED)
        r = remake(catalog, &err);
    if (r < 0) {
        log_debug("catalog %s cannot be written: kept in memory", catalog->directory);
        r = home_go_to_memory(catalog, &err);
    }
    return r == 0;
}
