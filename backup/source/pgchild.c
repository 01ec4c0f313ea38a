#include "backup/source/pgchild.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/base/memory.h"
#include "backup/base/progress.h"
#include "backup/source/pg.h"

enum { PIECE = 64 * 1024, LINE = 512, OWN_VARIABLES = 8, VARIABLE_MAX = 4096, LOOK_UP_MS = 250 };

struct running {
    const struct pgchild *child;
    pid_t pid;
    int out, errors;
    char line[LINE]; /* what it said last */
    size_t line_size;
};

/* The environment of the child: this process's, with what the settings say in front of it. */
struct environment {
    char **at;
    size_t own;
};

static void environment_clear(struct environment *environment)
{
    for (size_t i = 0; i < environment->own; i++)
        secure_free(environment->at[i]);
    free(environment->at);
}

static int add(struct environment *environment, const char *name, const char *value,
               struct err *err)
{
    if (!value || !*value)
        return 0;
    if (strlen(name) + strlen(value) + 2 > VARIABLE_MAX)
        return err_set(err, ERR_USAGE, "%s is too long", name);
    char *variable = secure_alloc(VARIABLE_MAX);
    if (!variable)
        return err_set(err, ERR_NOMEM, "no memory for an environment");
    (void)snprintf(variable, VARIABLE_MAX, "%s=%s", name, value);
    environment->at[environment->own++] = variable;
    return 0;
}

static bool is_own(const struct environment *environment, const char *variable)
{
    size_t size = strcspn(variable, "=");

    for (size_t i = 0; i < environment->own; i++)
        if (strncmp(environment->at[i], variable, size + 1) == 0)
            return true;
    return false;
}

static int make_environment(const struct pgchild *child, struct environment *out, struct err *err)
{
    const struct pg_server *server = child->server;
    size_t count = 0;

    while (environ[count])
        count++;
    out->at = calloc(count + OWN_VARIABLES + 1, sizeof(*out->at));
    if (!out->at)
        return err_set(err, ERR_NOMEM, "no memory for an environment");
    int r = add(out, "PGHOST", server->host, err);
    if (r == 0)
        r = add(out, "PGPORT", server->port, err);
    if (r == 0)
        r = add(out, "PGUSER", server->user, err);
    if (r == 0)
        r = add(out, "PGPASSWORD", server->password, err);
    if (r == 0)
        r = add(out, "PGDATABASE", child->database, err);
    if (r == 0)
        r = add(out, "LC_ALL", "C", err);
    size_t at = out->own;
    for (size_t i = 0; r == 0 && i < count; i++)
        if (!is_own(out, environ[i]))
            out->at[at++] = environ[i];
    return r;
}

static int set_descriptors(posix_spawn_file_actions_t *actions, const struct pgchild *child,
                           int out, int errors)
{
    int failed = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);

    if (!failed)
        failed = posix_spawn_file_actions_adddup2(actions, out, STDOUT_FILENO);
    if (!failed)
        failed = posix_spawn_file_actions_adddup2(actions, errors, STDERR_FILENO);
    if (!failed && child->input >= 0)
        failed = posix_spawn_file_actions_adddup2(actions, child->input, PGCHILD_INPUT);
    return failed;
}

static int spawn(const struct pgchild *child, int out, int errors, pid_t *pid, struct err *err)
{
    CLEANUP(environment_clear) struct environment environment = {0};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;

    int r = make_environment(child, &environment, err);
    if (r < 0)
        return r;
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    int failed = set_descriptors(&actions, child, out, errors);
    if (!failed)
        failed = posix_spawnp(pid, child->argv[0], &actions, &attributes,
                              (char *const *)child->argv, environment.at);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    if (failed == ENOENT)
        return err_set(err, ERR_NOT_FOUND, "%s is not installed (package postgresql-client)",
                       child->argv[0]);
    errno = failed;
    return failed ? err_sys(err, "cannot start %s", child->argv[0]) : 0;
}

/* The last line that says "error", else the first one; cut at LINE. */
static void take_lines(struct running *running, const char *bytes, size_t size)
{
    static const char error[] = "error: ";
    const char *at = bytes, *end = bytes + size;

    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t length = (size_t)((stop ? stop : end) - at);
        if (length > 0 && (running->line_size == 0 || memmem(at, length, error, strlen(error)))) {
            running->line_size = length < LINE - 1 ? length : LINE - 1;
            memcpy(running->line, at, running->line_size);
            running->line[running->line_size] = 0;
        }
        at = stop ? stop + 1 : end;
    }
}

/* One piece of either stream; *open turns false at its end. */
static int take_piece(struct running *running, int fd, bool *open, struct err *err)
{
    const struct pgchild *child = running->child;
    char piece[PIECE];
    ssize_t got = read(fd, piece, sizeof(piece));

    if (got < 0)
        return errno == EINTR ? 0 : err_sys(err, "read from %s", child->argv[0]);
    *open = got > 0;
    if (fd == running->errors)
        take_lines(running, piece, (size_t)got);
    else if (child->take && got > 0)
        return child->take(child->context, piece, (size_t)got, err);
    return 0;
}

static int take_all(struct running *running, struct err *err)
{
    struct pollfd ends[2] = {{.fd = running->out, .events = POLLIN},
                             {.fd = running->errors, .events = POLLIN}};
    int r = 0;

    while (r == 0 && (ends[0].fd >= 0 || ends[1].fd >= 0)) {
        if (progress_cancelled(running->child->progress))
            return err_set(err, ERR_CANCELLED, "interrupted");
        if (poll(ends, 2, LOOK_UP_MS) <= 0)
            continue;
        for (size_t i = 0; r == 0 && i < 2; i++) {
            bool open = true;
            if (ends[i].fd >= 0 && ends[i].revents)
                r = take_piece(running, ends[i].fd, &open, err);
            if (!open)
                ends[i].fd = -1;
        }
    }
    return r;
}

static int wait_for(const struct running *running, struct err *err)
{
    const char *name = running->child->argv[0], *said = running->line;
    int status = 0;

    while (waitpid(running->pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (strncmp(said, name, strlen(name)) == 0)
        return err_set(err, ERR_REMOTE, "%.220s", said);
    return err_set(err, ERR_REMOTE, "%s: %.220s", name, *said ? said : "it ended with an error");
}

int pgchild_run(const struct pgchild *child, struct err *err)
{
    struct running running = {.child = child};
    int out[2], errors[2];
    struct err ignored;

    if (pipe2(out, O_CLOEXEC) < 0)
        return err_sys(err, "pipe");
    if (pipe2(errors, O_CLOEXEC) < 0) {
        (void)io_close(out[0]);
        (void)io_close(out[1]);
        return err_sys(err, "pipe");
    }
    int r = spawn(child, out[1], errors[1], &running.pid, err);
    bool started = r == 0;
    (void)io_close(out[1]);
    (void)io_close(errors[1]);
    running.out = out[0];
    running.errors = errors[0];
    if (started)
        r = take_all(&running, err);
    if (started && r < 0)
        (void)kill(running.pid, SIGTERM);
    (void)io_close(out[0]);
    (void)io_close(errors[0]);
    if (!started)
        return r;
    int waited = wait_for(&running, r < 0 ? &ignored : err);
    return r < 0 ? r : waited;
}

int pgchild_input(const void *bytes, size_t size, int *out_fd, struct err *err)
{
    int fd = memfd_create("input", MFD_CLOEXEC);

    if (fd < 0)
        return err_sys(err, "memfd_create");
    int r = io_write_full(fd, bytes, size, err);
    if (r < 0)
        (void)io_close(fd);
    else
        *out_fd = fd;
    return r;
}
