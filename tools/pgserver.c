#include "tools/pgserver.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/base/progress.h"
#include "backup/source/pg.h"
#include "backup/source/pgchild.h"
#include "tools/console.h"
#include "tools/pgserver_internal.h"

#define TRUST "local all all trust\n"
#define FETCH_FAILED "could not restore file "

enum { SETTINGS_MAX = 40, LOG_MAX = 64 * 1024 * 1024, WAIT_NS = 100 * 1000 * 1000 };

/* ---- where its programs are ---- */

static int keep_version(void *context, const void *bytes, size_t size, struct err *err)
{
    (void)err;
    char *text = context;
    size_t used = strlen(text);

    if (used + size < 128) {
        memcpy(text + used, bytes, size);
        text[used + size] = 0;
    }
    return 0;
}

/* "postgres (PostgreSQL) 15.18 (Debian …)" */
static bool is_major(const char *directory, int major)
{
    char program[PGSERVER_PATH_SIZE + 16], text[128] = "";
    const struct pg_server none = {0};
    const char *const argv[] = {program, "--version", NULL};
    struct err err;

    (void)snprintf(program, sizeof(program), "%s/postgres", directory);
    if (access(program, X_OK) < 0)
        return false;
    const struct pgchild child = {
        .server = &none, .argv = argv, .input = -1, .take = keep_version, .context = text};
    const char *number = pgchild_run(&child, &err) == 0 ? strstr(text, ") ") : NULL;
    return number && strtol(number + 2, NULL, 10) == major;
}

int pgserver_find(int major, char out[PGSERVER_PATH_SIZE], struct err *err)
{
    const char *path = getenv("PATH");

    (void)snprintf(out, PGSERVER_PATH_SIZE, "/usr/lib/postgresql/%d/bin", major); /* Debian */
    if (is_major(out, major))
        return 0;
    (void)snprintf(out, PGSERVER_PATH_SIZE, "/usr/pgsql-%d/bin", major); /* Red Hat */
    if (is_major(out, major))
        return 0;
    while (path && *path) {
        size_t size = strcspn(path, ":");

        (void)snprintf(out, PGSERVER_PATH_SIZE, "%.*s", (int)size, path);
        if (size > 0 && is_major(out, major))
            return 0;
        path += size + (path[size] == ':');
    }
    return err_set(err, ERR_NOT_FOUND, "PostgreSQL %d is not installed here", major);
}

/* ---- its start ---- */

static int write_file(const char *name, const char *text, const struct stat *owner, struct err *err)
{
    CLEANUP(closep) int fd = -1;

    int r = io_openat(AT_FDCWD, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600, &fd, err);
    if (r == 0)
        r = io_write_full(fd, text, strlen(text), err);
    if (r == 0 && geteuid() == 0 && fchown(fd, owner->st_uid, owner->st_gid) < 0)
        r = err_sys(err, "%s", name);
    return r;
}

static int make_place(struct pgserver *server, const struct stat *owner, struct err *err)
{
    strcpy(server->place, "/tmp/yester-check-XXXXXX"); /* short: a socket's name has 107 bytes */
    if (!mkdtemp(server->place)) {
        server->place[0] = 0;
        return err_sys(err, "a directory in /tmp");
    }
    (void)snprintf(server->hba, sizeof(server->hba), "%s/hba", server->place);
    (void)snprintf(server->log, sizeof(server->log), "%s/log", server->place);
    int r = write_file(server->hba, TRUST, owner, err);
    if (r == 0)
        r = write_file(server->log, "", owner, err);
    if (r == 0 && geteuid() == 0 && chown(server->place, owner->st_uid, owner->st_gid) < 0)
        r = err_sys(err, "%s", server->place);
    return r;
}

/* In the child: only what is safe after fork(). */
static void become_server(const struct pgserver *server, const struct stat *owner,
                          char *const *argv)
{
    int in = open("/dev/null", O_RDONLY), out = open(server->log, O_WRONLY | O_APPEND);
    sigset_t none;

    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    bool root = geteuid() == 0;
    if (root && (setgroups(1, &owner->st_gid) < 0 || setgid(owner->st_gid) < 0 ||
                 setuid(owner->st_uid) < 0))
        _exit(126);
    if (in < 0 || out < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0 ||
        setsid() < 0 || chdir("/") < 0)
        _exit(126);
    execv(argv[0], argv);
    _exit(127);
}

static int spawn(struct pgserver *server, const struct stat *owner, struct err *err)
{
    char program[PGSERVER_PATH_SIZE + 16], sockets[128], hba[128];
    char data[PGSERVER_PATH_SIZE];
    char *const argv[] = {program,
                          (char *)"-D",
                          data,
                          (char *)"-p",
                          (char *)"5432",
                          (char *)"-c",
                          sockets,
                          (char *)"-c",
                          hba,
                          (char *)"-c",
                          (char *)"listen_addresses=",
                          (char *)"-c",
                          (char *)"unix_socket_permissions=0700",
                          (char *)"-c",
                          (char *)"archive_mode=off",
                          (char *)"-c",
                          (char *)"ssl=off",
                          (char *)"-c",
                          (char *)"logging_collector=off",
                          (char *)"-c",
                          (char *)"log_destination=stderr",
                          (char *)"-c",
                          (char *)"lc_messages=C",
                          (char *)"-c",
                          (char *)"shared_preload_libraries=",
                          (char *)"-c",
                          (char *)"max_logical_replication_workers=0",
                          (char *)"-c",
                          (char *)"autovacuum=off",
                          NULL};

    (void)snprintf(program, sizeof(program), "%s/postgres", server->settings->programs);
    (void)snprintf(data, sizeof(data), "%s", server->settings->directory);
    (void)snprintf(sockets, sizeof(sockets), "unix_socket_directories=%s", server->place);
    (void)snprintf(hba, sizeof(hba), "hba_file=%s", server->hba);
    pid_t pid = fork();
    if (pid < 0)
        return err_sys(err, "start the server");
    if (pid == 0)
        become_server(server, owner, argv);
    server->pid = pid;
    return 0;
}

/* The last FATAL or PANIC, but for what it told us while it was not ready. */
static const char *find_cause(const char *log)
{
    static const char *const words[] = {"FATAL:  ", "PANIC:  "};
    const char *cause = NULL;

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        for (const char *at = log; (at = strstr(at, words[i])) != NULL;) {
            at += strlen(words[i]);
            if (strncmp(at, "the database system is", strlen("the database system is")) != 0)
                cause = at;
        }
    return cause;
}

/* What its restore_command, which is yester, said last before `end`: of a fetch that failed the
 * server itself knows no more than the status. */
static const char *find_fetch(const char *log, const char *end)
{
    const char *said = NULL;

    for (const char *at = log; (at = strstr(at, CONSOLE_SAYS)) != NULL && at < end;
         at += strlen(CONSOLE_SAYS))
        if (at == log || at[-1] == '\n')
            said = at + strlen(CONSOLE_SAYS);
    return said;
}

static int line_of(const char *text)
{
    return (int)strcspn(text, "\n");
}

static int tell_end(const struct pgserver *server, struct err *err)
{
    CLEANUP(buf_clear) struct buf log = {.limit = LOG_MAX + 1};
    struct err unread;
    const char *cause = NULL, *fetch = NULL;

    if (io_read_file(AT_FDCWD, server->log, LOG_MAX, &log, &unread) == 0 &&
        buf_append(&log, "", 1, &unread) == 0)
        cause = find_cause((const char *)log.data);
    if (!cause)
        return err_set(err, ERR_REMOTE, "it ended before it had recovered");
    if (strncmp(cause, FETCH_FAILED, strlen(FETCH_FAILED)) == 0)
        fetch = find_fetch((const char *)log.data, cause);
    if (fetch)
        return err_set(err, ERR_REMOTE, "it ended: `yester wal fetch`, as %s: %.*s", server->owner,
                       line_of(fetch), fetch);
    return err_set(err, ERR_REMOTE, "it ended: %.*s", line_of(cause), cause);
}

/* 1: it has recovered; 0: not yet, or it does not answer. */
static int look(struct pgserver *server)
{
    const char *users[] = {server->settings->user, "postgres", server->owner};
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;
    struct err err;

    for (size_t i = 0; i < 3 && !server->conn; i++) {
        server->address =
            (struct pg_server){.host = server->place, .port = "5432", .user = users[i]};
        if (users[i] &&
            pg_connect(&server->address, "template1", PG_PLAIN, &server->conn, &err) < 0)
            server->conn = NULL;
    }
    if (!server->conn)
        return 0;
    if (pg_query(server->conn, "SELECT pg_is_in_recovery()", &rows, &err) < 0) {
        pg_close(server->conn);
        server->conn = NULL;
        return 0;
    }
    return pg_is_true(rows, 0, 0) ? 0 : 1;
}

static int wait_recovered(struct pgserver *server, struct err *err)
{
    struct clock *clock = clock_system();
    int status;

    while (look(server) == 0) {
        if (waitpid(server->pid, &status, WNOHANG) == server->pid) {
            server->pid = 0;
            return tell_end(server, err);
        }
        if (progress_cancelled(server->settings->progress))
            return err_set(err, ERR_CANCELLED, "interrupted");
        clock->sleep_ns(clock, WAIT_NS);
    }
    return 0;
}

int pgserver_start(const struct pgserver_settings *settings, struct pgserver **out, struct err *err)
{
    CLEANUP(pgserver_stopp) struct pgserver *server = calloc(1, sizeof(*server));
    struct stat owner;

    if (!server)
        return err_set(err, ERR_NOMEM, "no memory for a server");
    server->settings = settings;
    if (stat(settings->directory, &owner) < 0)
        return err_sys(err, "%s", settings->directory);
    const struct passwd *user = getpwuid(owner.st_uid);
    (void)snprintf(server->owner, sizeof(server->owner), "%s", user ? user->pw_name : "");
    int r = make_place(server, &owner, err);
    if (r == 0)
        r = spawn(server, &owner, err);
    if (r == 0)
        r = wait_recovered(server, err);
    if (r == 0)
        *out = STEAL(server);
    return r;
}

void pgserver_stop(struct pgserver *server)
{
    if (!server)
        return;
    pg_close(server->conn);
    if (server->pid > 0 && kill(server->pid, SIGINT) == 0)
        while (waitpid(server->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    if (server->place[0]) {
        (void)unlink(server->hba);
        (void)unlink(server->log);
        (void)rmdir(server->place);
    }
    free(server);
}

void pgserver_stopp(struct pgserver **server)
{
    pgserver_stop(*server);
}
