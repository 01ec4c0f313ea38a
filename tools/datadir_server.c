/* datadir_server — whether the server will be able to fetch its log: it runs as the data
 * directory's owner, who may read less than root does. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "tools/console.h"
#include "tools/datadir_internal.h"

/* No timeline comes before the first, so nobody has a history of it. */
#define NOT_THERE "00000001.history"

enum { NOT_THERE_STATUS = 1, SAID_MAX = 4096, USER_SIZE = 64, TRIED_MAX = 128 * 1024 };

struct server_user {
    uid_t uid;
    gid_t gid;
    char name[USER_SIZE];
};

/* What the server makes of its restore_command, with a file that cannot be there. */
static int compose(const struct datadir *run, struct text *out, struct err *err)
{
    for (const char *c = run->how.recovery.restore_command; *c; c++) {
        if (*c != '%') {
            text_bytes(out, c, 1);
            continue;
        }
        c++;
        text_add(out, *c == '%' ? "%" : *c == 'f' ? NOT_THERE : "/dev/null");
    }
    text_add(out, " --dry-run");
    return text_end(out, err);
}

/* In the child: only what is safe after fork(). */
static void become(const struct server_user *user, int said, const char *command)
{
    int nothing = open("/dev/null", O_RDWR);

    if (setgroups(1, &user->gid) < 0 || setgid(user->gid) < 0 || setuid(user->uid) < 0 ||
        chdir("/") < 0 || nothing < 0 || dup2(nothing, STDIN_FILENO) < 0 ||
        dup2(nothing, STDOUT_FILENO) < 0 || dup2(said, STDERR_FILENO) < 0)
        _exit(127);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

static void drain(int fd)
{
    char waste[512];

    while (read(fd, waste, sizeof(waste)) > 0 || errno == EINTR)
        errno = 0;
}

/* `said` is what it wrote to stderr. */
static int try_command(const struct server_user *user, const char *command, char said[SAID_MAX],
                       int *out_status, struct err *err)
{
    size_t size = 0;
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_sys(err, "try restore_command");
    pid_t child = fork();
    if (child == 0)
        become(user, ends[1], command);
    io_close(ends[1]);
    int r = child < 0 ? err_sys(err, "try restore_command")
                      : io_read_full(ends[0], said, SAID_MAX - 1, &size, err);
    said[size] = 0;
    drain(ends[0]); /* so that it is never kept waiting */
    io_close(ends[0]);
    while (child > 0 && waitpid(child, out_status, 0) < 0 && errno == EINTR)
        ;
    return r;
}

/* What it says is wrong, cut out of `said`; a hint may follow it. */
static const char *find_reason(char *said)
{
    const char *reason = said;

    for (char *line = said, *end; *line; line = end) {
        end = line + strcspn(line, "\n");
        if (strncmp(line, CONSOLE_SAYS, strlen(CONSOLE_SAYS)) == 0)
            reason = line + strlen(CONSOLE_SAYS);
        if (*end)
            *end++ = 0;
    }
    return reason;
}

static void find_user(const struct datadir *run, struct server_user *out)
{
    const struct pgdata_facts *facts = pgdata_facts(run->data);
    const struct passwd *user = getpwuid(facts->uid);

    out->uid = facts->uid;
    out->gid = facts->gid;
    if (user)
        (void)snprintf(out->name, sizeof(out->name), "%s", user->pw_name);
    else
        (void)snprintf(out->name, sizeof(out->name), "user %u", (unsigned)facts->uid);
}

int datadir_server(struct datadir *run, struct err *err)
{
    CLEANUP(text_clear) struct text command = {.buf.limit = TRIED_MAX};
    struct server_user user;
    char said[SAID_MAX];
    int status = 0;

    if (geteuid() != 0 || pgdata_facts(run->data)->uid == 0)
        return 0; /* it is who restores */
    find_user(run, &user);
    int r = compose(run, &command, err);
    if (r == 0)
        r = try_command(&user, text_of(&command), said, &status, err);
    if (r < 0 || (WIFEXITED(status) && WEXITSTATUS(status) == NOT_THERE_STATUS))
        return r;
    app_hint(run->app,
             "the server runs as %s, who has to be able to read the repository, the "
             "settings file and the key file",
             user.name);
    return err_set(err, ERR_SYSTEM, "%s cannot fetch the server's log: %.200s", user.name,
                   find_reason(said));
}
