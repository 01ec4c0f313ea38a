#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/base/path.h"
#include "fs/mount_internal.h"

/* For so long a mount that is in use is tried again, and so often. */
#define BUSY_PATIENCE_NS (2 * NS_PER_SECOND)
#define BUSY_PAUSE_NS (50 * 1000 * 1000)

extern char **environ;

static void freep(char **text)
{
    free(*text);
}

static void fclosep(FILE **file)
{
    if (*file)
        (void)fclose(*file);
}

/* "DIR" of "DIR/name/": resolved, while the mount point itself is not touched. */
int mount_point_path(const char *directory, char **out, struct err *err)
{
    CLEANUP(buf_clear) struct buf clean = {.limit = 64 * 1024};
    CLEANUP(freep) char *parent = NULL;
    int rc = path_absolute(directory, strlen(directory), &clean, err);

    if (rc < 0)
        return err_context(err, "%s", directory);
    rc = buf_append(&clean, "", 1, err);
    if (rc < 0)
        return rc;
    char *name = strrchr((char *)clean.data, '/');
    *name++ = '\0';
    parent = realpath(clean.data[0] != '\0' ? (char *)clean.data : "/", NULL);
    if (!parent)
        return err_sys(err, "%s", directory);
    bool top = strcmp(parent, "/") == 0;
    if (asprintf(out, "%s/%s", top ? "" : parent, name) < 0)
        return err_set(err, ERR_NOMEM, "out of memory");
    return 0;
}

/* A symlink is followed, as far as something is there. */
static int resolved_point(const char *directory, char **out, struct err *err)
{
    *out = realpath(directory, NULL);
    return *out ? 0 : mount_point_path(directory, out, err);
}

/* mountinfo writes white space and backslashes as \ooo. */
static void unescape(char *text)
{
    char *to = text;

    for (const char *at = text; *at != '\0';) {
        unsigned value;
        if (at[0] == '\\' && sscanf(at + 1, "%3o", &value) == 1) {
            *to++ = (char)value;
            at += 4;
        } else {
            *to++ = *at++;
        }
    }
    *to = '\0';
}

/* "36 35 98:0 /root POINT options - TYPE source options" */
static bool line_is_ours(char *line, const char *path)
{
    char *rest = line, *point = NULL;

    for (int i = 0; i < 5; i++)
        point = strsep(&rest, " ");
    if (!point || !rest)
        return false;
    unescape(point);
    char *type = strstr(rest, " - ");
    return type && strcmp(point, path) == 0 && strncmp(type, " - fuse.yester ", 15) == 0;
}

int mount_point_is_ours(const char *path, bool *out, struct err *err)
{
    CLEANUP(fclosep) FILE *mounts = fopen("/proc/self/mountinfo", "re");
    CLEANUP(freep) char *line = NULL;
    size_t room = 0;

    if (!mounts)
        return err_sys(err, "/proc/self/mountinfo");
    *out = false;
    while (!*out && getline(&line, &room, mounts) > 0)
        *out = line_is_ours(line, path);
    return 0;
}

/* Attributes may still be in the kernel's cache: only statfs asks for certain. */
bool mount_point_answers(const char *path)
{
    struct statvfs st;

    return statvfs(path, &st) == 0 || errno != ENOTCONN;
}

static int busy(const char *path, struct err *err)
{
    return err_set(err, ERR_BUSY, "%s is in use; `fuser -vm %s` shows by whom", path, path);
}

static int spawn_fusermount(const char *path, bool lazy, int said, pid_t *out, struct err *err)
{
    const char *const argv[] = {"fusermount3", lazy ? "-uz" : "-u", "--", path, NULL};
    posix_spawn_file_actions_t actions;
    int failed = posix_spawn_file_actions_init(&actions);

    if (failed == 0) {
        failed = posix_spawn_file_actions_adddup2(&actions, said, STDERR_FILENO);
        if (failed == 0)
            failed =
                posix_spawnp(out, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv, environ);
        posix_spawn_file_actions_destroy(&actions);
    }
    if (failed == 0)
        return 0;
    errno = failed;
    return err_sys(err, "cannot run fusermount3 (of the package fuse3)");
}

/* As a user: the program that may.  Why it could not, only its words tell. */
static int run_fusermount(const char *path, bool lazy, struct err *err)
{
    CLEANUP(closep) int said = -1, end = -1;
    char words[512] = "";
    int fds[2], status = 0;
    struct err ignored;
    size_t got = 0;
    pid_t child;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return err_sys(err, "pipe");
    said = fds[0];
    end = fds[1];
    int r = spawn_fusermount(path, lazy, end, &child, err);
    if (r < 0)
        return r;
    closep(&end); /* the child's copy is the last */
    (void)io_read_full(said, words, sizeof(words) - 1, &got, &ignored);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    words[strcspn(words, "\n")] = '\0';
    if (strstr(words, strerror(EBUSY)))
        return busy(path, err);
    return err_set(err, ERR_SYSTEM, "cannot unmount %s: %s", path,
                   words[0] != '\0' ? words : "fusermount3 failed");
}

static int unmount_once(const char *path, bool lazy, struct err *err)
{
    if (geteuid() != 0)
        return run_fusermount(path, lazy, err);
    if (umount2(path, lazy ? MNT_DETACH : 0) == 0)
        return 0;
    return errno == EBUSY ? busy(path, err) : err_sys(err, "cannot unmount %s", path);
}

/* Some are there for a moment only: a monitor that asks each file system for its free room, a
 * program that is just ending. */
static int unmount(const char *path, struct err *err)
{
    const struct timespec moment = {.tv_nsec = BUSY_PAUSE_NS};
    bool dead = !mount_point_answers(path);
    int64_t until = clock_monotonic_ns() + BUSY_PATIENCE_NS;

    for (;;) {
        int rc = unmount_once(path, dead, err);
        if (rc != -ERR_BUSY || clock_monotonic_ns() >= until)
            return rc;
        (void)nanosleep(&moment, NULL);
    }
}

int mount_undo(const char *directory, struct err *err)
{
    CLEANUP(freep) char *path = NULL;
    bool ours = false;
    int rc = resolved_point(directory, &path, err);

    if (rc == 0)
        rc = mount_point_is_ours(path, &ours, err);
    if (rc < 0)
        return rc;
    if (!ours)
        return err_set(err, ERR_NOT_FOUND, "%s: no yester is mounted there", path);
    return unmount(path, err);
}
