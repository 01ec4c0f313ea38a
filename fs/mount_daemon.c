#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/io.h"
#include "backup/base/memory.h"
#include "fs/mount_internal.h"

/* In the parent: what the child has to say, or that it ended without a word. */
static int await(int fd, pid_t child, struct err *err)
{
    struct err report, ignored;
    size_t got = 0;

    if (io_read_full(fd, &report, sizeof(report), &got, &ignored) == 0 && got == sizeof(report)) {
        if (report.code == ERR_NONE)
            return 0;
        *err = report;
        err->text[sizeof(err->text) - 1] = '\0';
    } else {
        (void)err_set(err, ERR_SYSTEM, "the mount's process ended before it answered");
    }
    (void)waitpid(child, NULL, 0);
    return -(int)err->code;
}

static void report(struct mount *mount, const struct err *err)
{
    struct err ignored;

    if (mount->ready_fd < 0)
        return;
    (void)io_write_full(mount->ready_fd, err, sizeof(*err), &ignored);
    closep(&mount->ready_fd);
    mount->ready_fd = -1;
}

/* What the caller's shell left open, such as its lock files, is not for the life of a mount.  What
 * this program opens is closed at an exec. */
static void close_inherited(void)
{
    DIR *directory = opendir("/proc/self/fd");
    const struct dirent *entry;

    while (directory && (entry = readdir(directory))) {
        int fd = atoi(entry->d_name); /* "." and ".." are 0 */
        int flags = fd > STDERR_FILENO ? fcntl(fd, F_GETFD) : -1;
        if (flags >= 0 && (flags & FD_CLOEXEC) == 0)
            (void)close(fd);
    }
    if (directory)
        (void)closedir(directory);
}

int daemon_run(struct mount *mount, int (*serve)(struct mount *mount, struct err *err),
               struct err *err)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_sys(err, "cannot make a pipe");
    (void)fflush(NULL);
    repo_rest(mount->repo);
    pid_t child = fork();
    if (child < 0) {
        (void)err_sys(err, "cannot make a process");
        closep(&ends[0]);
        closep(&ends[1]);
        return -(int)err->code;
    }
    if (child > 0) {
        closep(&ends[1]);
        int rc = await(ends[0], child, err);
        closep(&ends[0]);
        return rc;
    }
    closep(&ends[0]);
    mount->ready_fd = ends[1];
    (void)setsid();
    secure_after_fork();
    close_inherited();
    struct err failure = {0};
    int rc = serve(mount, &failure);
    if (rc < 0)
        report(mount, &failure);
    _exit(rc < 0 ? err_exit_status(rc) : 0);
}

/* ---- the log of who has no terminal ------------------------------------------------------ */

static void forward_line(const char *line)
{
    static const struct {
        const char *prefix;
        int priority;
    } levels[] = {{"error: ", LOG_ERR}, {"warning: ", LOG_WARNING}, {"debug: ", LOG_DEBUG}};
    int priority = LOG_INFO;

    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
        if (strncmp(line, levels[i].prefix, strlen(levels[i].prefix)) == 0)
            priority = levels[i].priority;
    syslog(priority, "%s", line);
}

/* Takes what is written to stderr to the system's log, line by line. */
static void *forward(void *context)
{
    FILE *lines = context;
    char *line = NULL;
    size_t room = 0;

    openlog("yester-mount", LOG_PID, LOG_DAEMON);
    while (getline(&line, &room, lines) > 0) {
        line[strcspn(line, "\n")] = '\0';
        forward_line(line);
    }
    free(line);
    (void)fclose(lines);
    return NULL;
}

/* False: nothing reads the log. */
static bool log_to_system(void)
{
    pthread_t thread;
    int ends[2];

    if (access("/dev/log", W_OK) < 0 || pipe2(ends, O_CLOEXEC) < 0)
        return false;
    FILE *lines = fdopen(ends[0], "r");
    bool started = lines && pthread_create(&thread, NULL, forward, lines) == 0;
    if (started) {
        (void)pthread_detach(thread);
        (void)dup2(ends[1], STDERR_FILENO);
    } else if (lines) {
        (void)fclose(lines);
    }
    closep(&ends[1]);
    return started;
}

void daemon_ready(struct mount *mount)
{
    const struct err none = {0};

    if (mount->ready_fd < 0)
        return;
    CLEANUP(closep) int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        (void)dup2(null, STDIN_FILENO);
        (void)dup2(null, STDOUT_FILENO);
        (void)dup2(null, STDERR_FILENO);
    }
    (void)log_to_system();
    (void)!chdir("/");
    report(mount, &none);
}
