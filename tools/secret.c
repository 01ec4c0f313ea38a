#include "tools/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/base/memory.h"
#include "tools/config.h"
#include "tools/console.h"

enum { SECRET_MAX = 64 * 1024 };

static int read_secret(int fd, struct secret *out, struct err *err)
{
    CLEANUP(secure_freep) char *text = secure_alloc(SECRET_MAX + 1);
    size_t got;

    if (!text)
        return err_set(err, ERR_NOMEM, "no memory for a key");
    int r = io_read_full(fd, text, SECRET_MAX + 1, &got, err);
    if (r < 0)
        return r;
    if (got > SECRET_MAX)
        return err_set(err, ERR_USAGE, "more than %d bytes are no key", SECRET_MAX);
    return secret_parse(text, got, out, err);
}

int secret_from_file(const char *name, struct secret *out, struct err *err)
{
    CLEANUP(closep) int fd = -1;
    struct stat st;
    int r = io_openat(AT_FDCWD, name, O_RDONLY | O_NOCTTY, 0, &fd, err);

    if (r == 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 077))
        console_say("warning: others can read the key file %s; chmod 600 %s", name, name);
    if (r == 0)
        r = read_secret(fd, out, err);
    return r < 0 ? err_context(err, "key file %.120s", name) : 0;
}

static int wait_for(pid_t child, struct err *err)
{
    int status;

    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return err_sys(err, "wait");
    if (WIFSIGNALED(status))
        return err_set(err, ERR_SYSTEM, "ended by signal %d", WTERMSIG(status));
    if (WEXITSTATUS(status) != 0)
        return err_set(err, ERR_SYSTEM, "exit status %d", WEXITSTATUS(status));
    return 0;
}

static void run_child(const char *command, int output)
{
    if (dup2(output, STDOUT_FILENO) < 0)
        _exit(126);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

int secret_from_command(const char *command, struct secret *out, struct err *err)
{
    int ends[2];
    struct err failed;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_sys(err, "key command");
    pid_t child = fork();
    if (child == 0)
        run_child(command, ends[1]);
    io_close(ends[1]);
    int r = child < 0 ? err_sys(err, "fork") : read_secret(ends[0], out, err);
    io_close(ends[0]);
    /* A command that failed says more than the empty key that it left. */
    if (child > 0 && wait_for(child, &failed) < 0) {
        secret_clear(out);
        *err = failed;
        r = -(int)failed.code;
    }
    return r < 0 ? err_context(err, "key command") : 0;
}

static void wake(int number)
{
    (void)number;
}

/* Reads with these signals caught, so that the terminal gets its echo back before they act. */
static ssize_t read_interruptibly(int terminal, char *line)
{
    static const int caught[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    struct sigaction waking = {.sa_handler = wake};
    struct sigaction before[4];

    for (size_t i = 0; i < 4; i++)
        sigaction(caught[i], &waking, &before[i]);
    ssize_t got = read(terminal, line, SECRET_MAX);
    int cause = errno;
    for (size_t i = 0; i < 4; i++)
        sigaction(caught[i], &before[i], NULL);
    errno = cause;
    return got;
}

/* One line without echo; no longer than a key may be. */
static int ask(int terminal, const char *prompt, char *line, size_t *out_size, struct err *err)
{
    struct termios shown, hidden;

    if (tcgetattr(terminal, &shown) < 0)
        return err_sys(err, "terminal");
    hidden = shown;
    hidden.c_lflag &= ~(tcflag_t)ECHO;
    /* Before it asks: what is typed as soon as the question is there is neither shown nor lost. */
    if (tcsetattr(terminal, TCSAFLUSH, &hidden) < 0)
        return err_sys(err, "terminal");
    int r = io_write_full(terminal, prompt, strlen(prompt), err);
    ssize_t got = r == 0 ? read_interruptibly(terminal, line) : 0;
    int cause = errno;
    (void)tcsetattr(terminal, TCSAFLUSH, &shown);
    if (r < 0)
        return r;
    (void)io_write_full(terminal, "\n", 1, err);
    errno = cause;
    if (got < 0)
        return errno == EINTR ? err_set(err, ERR_CANCELLED, "interrupted") : err_sys(err, "read");
    *out_size = (size_t)got;
    return 0;
}

int secret_from_terminal(const char *prompt, bool twice, struct secret *out, struct err *err)
{
    CLEANUP(closep) int terminal = -1;
    CLEANUP(secure_freep) char *line = secure_alloc(SECRET_MAX);
    CLEANUP(secure_freep) char *again = secure_alloc(SECRET_MAX);
    size_t size, again_size;

    if (!line || !again)
        return err_set(err, ERR_NOMEM, "no memory for a key");
    int r = io_openat(AT_FDCWD, "/dev/tty", O_RDWR, 0, &terminal, err);
    if (r == 0)
        r = ask(terminal, prompt, line, &size, err);
    if (r == 0 && twice)
        r = ask(terminal, "The same once more: ", again, &again_size, err);
    if (r < 0)
        return r;
    if (twice && (size != again_size || memcmp(line, again, size) != 0))
        return err_set(err, ERR_USAGE, "the two passphrases differ");
    return secret_parse(line, size, out, err);
}

static int from_variable(const char *text, struct secret *out, struct err *err)
{
    int r = secret_parse(text, strlen(text), out, err);

    return r < 0 ? err_context(err, "BACKUP_ENCRYPTION_KEY") : 0;
}

static bool has_terminal(void)
{
    CLEANUP(closep) int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);

    return terminal >= 0;
}

/* The places before the settings, then those in them. */
int secret_find(const struct config *config, bool twice, struct secret *out,
                char from[SECRET_FROM_SIZE], struct err *err)
{
    const char *variable = getenv("BACKUP_ENCRYPTION_KEY");
    const char *file = config_text(config, SET_KEY_FILE);
    const char *command = config_text(config, SET_KEY_COMMAND);
    bool own_file = file && config->settings[SET_KEY_FILE].origin > FROM_FILE;
    bool own_command = command && config->settings[SET_KEY_COMMAND].origin > FROM_FILE;

    if (own_file || (file && !own_command && !(variable && variable[0]))) {
        config_origin(config, SET_KEY_FILE, from, SECRET_FROM_SIZE);
        return secret_from_file(file, out, err);
    }
    if (own_command || (command && !(variable && variable[0]))) {
        config_origin(config, SET_KEY_COMMAND, from, SECRET_FROM_SIZE);
        return secret_from_command(command, out, err);
    }
    if (variable && variable[0]) {
        (void)snprintf(from, SECRET_FROM_SIZE, "environment (BACKUP_ENCRYPTION_KEY)");
        return from_variable(variable, out, err);
    }
    (void)snprintf(from, SECRET_FROM_SIZE, "terminal");
    if (has_terminal())
        return secret_from_terminal(twice ? "New passphrase: " : "Passphrase: ", twice, out, err);
    return err_set(err, ERR_USAGE, "no key given, and no terminal to ask on");
}
