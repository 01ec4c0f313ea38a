/* Whether the places that a physical backup is to go to are fit for it. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "fs/pgdata_internal.h"

enum { PID_FILE_MAX = 64 * 1024 };

static void closedirp(DIR **stream)
{
    if (*stream)
        closedir(*stream);
}

/* *out_empty also for a directory that is not there. */
static int look(const char *path, bool *out_empty, struct err *err)
{
    CLEANUP(closedirp) DIR *stream = opendir(path);
    const struct dirent *entry;

    *out_empty = true;
    if (!stream)
        return errno == ENOENT ? 0 : err_sys(err, "%s", path);
    while (*out_empty && (errno = 0, entry = readdir(stream)) != NULL)
        *out_empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    return !*out_empty || errno == 0 ? 0 : err_sys(err, "%s", path);
}

static bool has(const char *directory, const char *name)
{
    char path[PGDATA_PATH_SIZE];
    struct stat st;

    (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
    return lstat(path, &st) == 0;
}

/* A pid file of a process that is there: better one refusal too many than two writers. */
static int check_running(const char *directory, struct err *err)
{
    CLEANUP(buf_clear) struct buf text = {.limit = PID_FILE_MAX};
    char path[PGDATA_PATH_SIZE];

    (void)snprintf(path, sizeof(path), "%s/postmaster.pid", directory);
    int r = io_read_file(AT_FDCWD, path, PID_FILE_MAX - 1, &text, err);
    if (r == -ERR_NOT_FOUND || (r < 0 && err->cause == ENOTDIR))
        return 0;
    if (r == 0)
        r = buf_append(&text, "", 1, err);
    if (r < 0)
        return err_context(err, "%s", path);
    long pid = strtol((const char *)text.data, NULL, 10);
    if (pid <= 0 || pid > INT32_MAX || (kill((pid_t)pid, 0) < 0 && errno == ESRCH))
        return 0;
    return err_set(err, ERR_BUSY, "a server runs in %.180s (process %ld)", directory, pid);
}

/* Nothing but a restore that did not come to its end leaves a cluster without this file. */
static bool is_unfinished(const char *directory)
{
    return has(directory, EXTRACT_MARKER) || has(directory, "global/" EXTRACT_MARKER) ||
           (has(directory, "global") && has(directory, "base") && !has(directory, PGDATA_CONTROL));
}

static int check_directory(struct pgdata *data, struct err *err)
{
    const char *directory = data->options->directory;
    bool empty;

    int r = check_running(directory, err);
    if (r == 0)
        r = look(directory, &empty, err);
    if (r < 0)
        return r;
    data->there = !empty;
    data->resumed = !empty && is_unfinished(directory);
    if (empty || data->resumed)
        return 0;
    if (!data->options->delta)
        return err_set(err, ERR_EXISTS, "%.200s is not empty", directory);
    if (has(directory, "PG_VERSION"))
        return 0;
    return err_set(err, ERR_EXISTS, "%.180s is not empty, and no data directory", directory);
}

/* What --delta takes away has to be a tablespace's. */
static int check_space(const struct pgdata *data, const struct pgdata_tablespace *space,
                       struct err *err)
{
    bool empty;

    int r = look(space->to, &empty, err);
    if (r < 0 || empty || data->resumed || (data->options->delta && data->there))
        return r;
    return err_set(err, ERR_EXISTS, "%.180s, where a tablespace comes, is not empty", space->to);
}

/* One place below another would be taken for a part of it. */
static bool is_within(const char *path, const char *top)
{
    size_t size = strlen(top);

    return strncmp(path, top, size) == 0 && (path[size] == 0 || path[size] == '/');
}

int pgdata_check(struct pgdata *data, struct err *err)
{
    const struct pgdata_facts *facts = &data->facts;
    int r = check_directory(data, err);

    for (size_t i = 0; r == 0 && i < facts->tablespace_count; i++) {
        const char *to = facts->tablespaces[i].to;

        if (is_within(to, data->options->directory) || is_within(data->options->directory, to))
            return err_set(err, ERR_USAGE, "the tablespace %.100s and the data directory are one",
                           to);
        for (size_t k = 0; k < i; k++)
            if (is_within(to, facts->tablespaces[k].to) || is_within(facts->tablespaces[k].to, to))
                return err_set(err, ERR_USAGE, "two tablespaces would come to %.150s", to);
        r = check_space(data, &facts->tablespaces[i], err);
    }
    return r;
}
