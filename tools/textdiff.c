#include "tools/textdiff.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/base/path.h"
#include "tools/entries.h"
#include "tools/tarball.h"

enum {
    PROBE_SIZE = 32 * 1024, /* a NUL byte in here: no text, as diff(1) has it */
    TEXT_MAX = 256 * 1024 * 1024,
    FIRST_FD = 20, /* of the files in the child: out of the way of others */
};

static void freep(char **text)
{
    free(*text);
}

/* "20260204_120000:files/srv/app/.env", fit to print. */
static int label(const char *prefix, const char *path, const struct entry *entry, bool dated,
                 char **out, struct err *err)
{
    CLEANUP(freep) char *whole = NULL;
    CLEANUP(freep) char *text = NULL;
    char time[CLOCK_TEXT_SIZE] = "";
    int printed = entry ? asprintf(&whole, "%s%s%s", prefix, path[0] ? "/" : "", path)
                        : asprintf(&whole, "/dev/null");

    if (printed < 0)
        return err_set(err, ERR_NOMEM, "no memory for a path");
    size_t room = 4 * (size_t)printed + 1;
    text = malloc(room);
    if (!text)
        return err_set(err, ERR_NOMEM, "no memory for a path");
    path_printable(whole, (size_t)printed, text, room);
    dated = dated && entry;
    if (dated)
        (void)entries_time(entry, time);
    if (asprintf(out, "%s%s%s", text, dated ? "\t" : "", time) < 0) {
        *out = NULL;
        return err_set(err, ERR_NOMEM, "no memory for a path");
    }
    return 0;
}

struct labels {
    char *before, *after;
};

static void labels_clear(struct labels *labels)
{
    free(labels->before);
    free(labels->after);
}

static int make_labels(const struct textdiff *diff, const struct diff_item *item, bool dated,
                       struct labels *out, struct err *err)
{
    int r = label(diff->before, item->path, item->before, dated, &out->before, err);

    return r < 0 ? r : label(diff->after, item->path, item->after, dated, &out->after, err);
}

/* ---- diff(1) ----------------------------------------------------------------------------- */

/* "LANG=de_DE.UTF-8", or one that says nothing. */
static char *variable(const char *name)
{
    const char *value = getenv(name);
    char *text = NULL;

    return asprintf(&text, "%s=%s", name, value ? value : "") < 0 ? NULL : text;
}

static int spawn(char *const *argv, char *const *environment, const int fds[2], pid_t *out)
{
    posix_spawn_file_actions_t actions;
    int failed = posix_spawn_file_actions_init(&actions);

    if (failed != 0)
        return failed;
    failed = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    for (int i = 0; failed == 0 && i < 2; i++)
        failed = posix_spawn_file_actions_adddup2(&actions, fds[i], FIRST_FD + i);
    if (failed == 0)
        failed = posix_spawnp(out, argv[0], &actions, NULL, argv, environment);
    posix_spawn_file_actions_destroy(&actions);
    return failed;
}

static int wait_for(pid_t child, bool *out_differ, struct err *err)
{
    int status = 0;

    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return err_sys(err, "diff");
    if (!WIFEXITED(status) || WEXITSTATUS(status) > 1)
        return err_set(err, ERR_SYSTEM, "diff(1) failed (status %d)", status);
    *out_differ = WEXITSTATUS(status) == 1;
    return 0;
}

/* Both descriptors lie beyond FIRST_FD + 1. */
static int run_diff(const struct labels *labels, const int fds[2], bool *out_differ,
                    struct err *err)
{
    CLEANUP(freep) char *path = variable("PATH");
    CLEANUP(freep) char *all = variable("LC_ALL");
    CLEANUP(freep) char *lang = variable("LANG");
    char *const environment[] = {path, all, lang, NULL};
    char names[2][32];
    const char *const argv[] = {"diff",        "-u", "--label", labels->before, "--label",
                                labels->after, "--", names[0],  names[1],       NULL};
    pid_t child;

    if (!path || !all || !lang)
        return err_set(err, ERR_NOMEM, "out of memory");
    for (int i = 0; i < 2; i++)
        (void)snprintf(names[i], sizeof(names[i]), "/dev/fd/%d", FIRST_FD + i);
    if (fflush(stdout) != 0)
        return err_sys(err, "cannot write to stdout");
    errno = spawn((char *const *)(uintptr_t)argv, environment, fds, &child);
    if (errno == ENOENT)
        return err_set(err, ERR_NOT_FOUND, "diff -u needs diff(1), of the package diffutils");
    return errno != 0 ? err_sys(err, "cannot run diff(1)") : wait_for(child, out_differ, err);
}

/* ---- two files --------------------------------------------------------------------------- */

static int is_text(struct blocks *blocks, const struct entry *entry, bool *out, struct err *err)
{
    CLEANUP(freep) char *bytes = malloc(PROBE_SIZE);

    *out = true;
    if (!bytes)
        return err_set(err, ERR_NOMEM, "out of memory");
    if (!entry || entry->size == 0)
        return 0;
    size_t size = entry->size < PROBE_SIZE ? (size_t)entry->size : PROBE_SIZE;
    int r = content_read(blocks, &entry->content, 0, bytes, size, err);
    *out = r == 0 && entry->size <= TEXT_MAX && !memchr(bytes, 0, size);
    return r;
}

/* A file without a name that holds the content, beyond the numbers that the child is given. */
static int extract(struct blocks *blocks, const struct entry *entry, int *out_fd, struct err *err)
{
    const char *directory = getenv("TMPDIR");
    CLEANUP(closep) int fd = -1;
    int r = io_open_temporary(directory && directory[0] ? directory : "/var/tmp", &fd, err);

    if (r == 0 && entry && entry->size > 0)
        r = tarball_content(blocks, &entry->content, entry->size, fd, err);
    if (r < 0)
        return r;
    *out_fd = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FD + 2);
    return *out_fd < 0 ? err_sys(err, "temporary file") : 0;
}

static int compare_texts(struct textdiff *diff, const struct diff_item *item, struct err *err)
{
    CLEANUP(labels_clear) struct labels labels = {0};
    CLEANUP(closep) int before = -1;
    CLEANUP(closep) int after = -1;
    bool differ = false;
    int r = make_labels(diff, item, true, &labels, err);

    if (r == 0)
        r = extract(diff->blocks, item->before, &before, err);
    if (r == 0)
        r = extract(diff->blocks, item->after, &after, err);
    if (r == 0)
        r = run_diff(&labels, (const int[2]){before, after}, &differ, err);
    diff->count += r == 0 && differ;
    return r;
}

static int say(struct textdiff *diff, const struct diff_item *item, const char *what,
               struct err *err)
{
    CLEANUP(labels_clear) struct labels labels = {0};
    int r = make_labels(diff, item, false, &labels, err);

    if (r < 0)
        return r;
    diff->count++;
    if (!item->before || !item->after)
        printf("Only in %s\n", item->before ? labels.before : labels.after);
    else
        printf("%s %s and %s differ\n", what, labels.before, labels.after);
    return ferror(stdout) ? err_sys(err, "cannot write to stdout") : 0;
}

static int say_types(struct textdiff *diff, const struct diff_item *item, struct err *err)
{
    CLEANUP(labels_clear) struct labels labels = {0};
    int r = make_labels(diff, item, false, &labels, err);

    if (r < 0)
        return r;
    diff->count++;
    printf("%s is a %s, %s is a %s\n", labels.before, entries_kind(item->before->type),
           labels.after, entries_kind(item->after->type));
    return ferror(stdout) ? err_sys(err, "cannot write to stdout") : 0;
}

int textdiff_item(void *context, const struct diff_item *item, struct err *err)
{
    struct textdiff *diff = context;
    const struct entry *either = item->after ? item->after : item->before;
    bool texts[2];

    if (item->kind == DIFF_METADATA)
        return 0;
    if (item->kind == DIFF_TYPE)
        return say_types(diff, item, err);
    if (either->type == ENTRY_DIRECTORY)
        return either->below_entries > 0 ? 0 : say(diff, item, "Directories", err);
    if (either->type != ENTRY_FILE)
        return say(diff, item, either->type == ENTRY_SYMLINK ? "Symbolic links" : "Devices", err);
    int r = is_text(diff->blocks, item->before, &texts[0], err);
    if (r == 0)
        r = is_text(diff->blocks, item->after, &texts[1], err);
    if (r < 0)
        return r;
    return texts[0] && texts[1] ? compare_texts(diff, item, err)
                                : say(diff, item, "Binary files", err);
}
