/* Tablespaces: which there are as the backup begins, and whether they were there to the end. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/source/pgfiles_internal.h"

enum { OID_DIGITS = 10, DROP_TRIES = 20, COMMIT_TRIES = 600, PAUSE_NS = 100 * 1000 * 1000 };

#define TOP "pg_tblspc"

static void closedirp(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}

static bool read_oid(const char *name, uint32_t *out)
{
    size_t size = strspn(name, "0123456789");
    unsigned long long oid = strtoull(name, NULL, 10);

    if (size == 0 || size > OID_DIGITS || name[size] != 0 || oid == 0 || oid > UINT32_MAX)
        return false;
    *out = (uint32_t)oid;
    return true;
}

static int more_room(struct pgfiles *files, struct err *err)
{
    struct pgbase_result *out = files->out;
    size_t count = out->tablespace_count;

    if (count & (count - 1)) /* it doubles at each power of two */
        return 0;
    if (count == PGBASE_TABLESPACES_MAX)
        return err_set(err, ERR_TOO_LARGE, "more than %d tablespaces", PGBASE_TABLESPACES_MAX);
    size_t room = count ? 2 * count : 1;
    struct pgbase_tablespace *at = reallocarray(out->tablespaces, room, sizeof(*at));
    if (at)
        out->tablespaces = at;
    struct pgfiles_space *spaces = reallocarray(files->spaces, room, sizeof(*spaces));
    if (spaces)
        files->spaces = spaces;
    return at && spaces ? 0 : err_set(err, ERR_NOMEM, "no memory for tablespaces");
}

/* As a server has it where allow_in_place_tablespaces is on, for its own tests. */
static int in_place(const char *name, struct err *err)
{
    return err_set(err, ERR_SYSTEM,
                   TOP "/%s is no link: a tablespace within the data directory cannot be restored",
                   name);
}

static int add(struct pgfiles *files, int parent, const char *name, uint32_t oid, struct err *err)
{
    char location[PGFILES_PATH_SIZE];
    ssize_t size = readlinkat(parent, name, location, sizeof(location) - 1);
    struct pgbase_result *out = files->out;
    struct pgfiles_space space = {0};
    struct stat st;

    if (size < 0 && errno == ENOENT)
        return 0;
    if (size < 0 && errno == EINVAL)
        return in_place(name, err);
    if (size < 0)
        return err_sys(err, TOP "/%s: cannot read", name);
    location[size] = 0;
    if (fstatat(parent, name, &st, 0) == 0) {
        space.device = st.st_dev;
        space.inode = st.st_ino;
    }
    int r = more_room(files, err);
    if (r < 0)
        return r;
    char *kept = strdup(location);
    if (!kept)
        return err_set(err, ERR_NOMEM, "no memory for tablespaces");
    files->spaces[out->tablespace_count] = space;
    out->tablespaces[out->tablespace_count++] =
        (struct pgbase_tablespace){.oid = oid, .location = kept};
    return 0;
}

int pgfiles_find_spaces(struct pgfiles *files, struct err *err)
{
    int fd = openat(files->directory, TOP, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
    CLEANUP(closedirp) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;
    uint32_t oid;

    if (!dir) {
        r = err_sys(err, TOP ": cannot read");
        if (fd >= 0)
            close(fd);
        return r;
    }
    errno = 0;
    while (r == 0 && (entry = readdir(dir))) {
        if (read_oid(entry->d_name, &oid))
            r = add(files, dirfd(dir), entry->d_name, oid, err);
        errno = 0;
    }
    return r == 0 && errno != 0 ? err_sys(err, TOP ": cannot read") : r;
}

size_t pgfiles_space_of(const struct pgbase_result *out, const char *path)
{
    unsigned long long oid = 0;
    size_t i = 0;

    if (strncmp(path, TOP "/", sizeof(TOP)) == 0)
        oid = strtoull(path + sizeof(TOP), NULL, 10);
    while (i < out->tablespace_count && out->tablespaces[i].oid != oid)
        i++;
    return i;
}

/* ---- to the end ---------------------------------------------------------------------------- */

static int is_dropped(struct pgfiles *files, uint32_t oid, bool *out, struct err *err)
{
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;
    char text[OID_DIGITS + 1];
    const char *const values[] = {text};

    (void)snprintf(text, sizeof(text), "%u", oid);
    int r = pg_query_with(files->conn, "SELECT 1 FROM pg_tablespace WHERE oid = $1::oid", values, 1,
                          &rows, err);
    if (r == 0)
        *out = pg_count(rows) == 0;
    return r;
}

static bool has_link(const struct pgfiles *files, uint32_t oid)
{
    char path[PGFILES_NAME_SIZE];
    struct stat st;

    (void)snprintf(path, sizeof(path), TOP "/%u", oid);
    return fstatat(files->directory, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* The server takes directory and link away first, and then commits, which may take its time where
 * others have to have it as well. */
static int expect_dropped(struct pgfiles *files, const struct pgbase_tablespace *space,
                          struct err *err)
{
    const struct timespec moment = {.tv_nsec = PAUSE_NS};
    int tries = has_link(files, space->oid) ? DROP_TRIES : COMMIT_TRIES, r = 0;
    bool dropped = false;

    for (; r == 0 && !dropped && tries > 0 && !crew_ended(&files->crew); tries--) {
        (void)nanosleep(&moment, NULL);
        r = is_dropped(files, space->oid, &dropped, err);
    }
    if (r == 0 && crew_ended(&files->crew))
        return err_set(err, ERR_CANCELLED, "interrupted");
    if (r == 0 && !dropped)
        r = err_set(err, ERR_SYSTEM, "the tablespace in %s has no directory %s: is its disk there?",
                    space->location, files->version_directory);
    return r;
}

/* tablespace_map names it, so a restore makes it; the log drops it again. */
static int put_empty(struct pgfiles *files, const struct pgbase_tablespace *space, struct err *err)
{
    const struct pgfiles_sink *sink = &files->options->sink;
    char path[PGFILES_NAME_SIZE];
    const struct pgtar_entry entry = {
        .kind = PGTAR_DIRECTORY, .name = path, .target = "", .mode = 0700};

    (void)snprintf(path, sizeof(path), TOP "/%u", space->oid);
    return sink->directory(sink->context, &entry, err);
}

int pgfiles_check_spaces(struct pgfiles *files, struct err *err)
{
    const struct pgbase_result *out = files->out;
    int r = 0;

    for (size_t i = 0; r == 0 && i < out->tablespace_count; i++) {
        if (files->spaces[i].has_content)
            continue;
        r = expect_dropped(files, &out->tablespaces[i], err);
        if (r == 0 && !files->spaces[i].has_top)
            r = put_empty(files, &out->tablespaces[i], err);
    }
    return r;
}

/* The map has a line for each; a line's end within a path has a backslash in front. */
bool pgfiles_same_spaces(const struct pgbase_result *out, const char *map)
{
    size_t lines = 0;
    bool is_start = true;

    for (const char *at = map; *at; at++) {
        if (is_start) {
            char path[PGFILES_NAME_SIZE];
            (void)snprintf(path, sizeof(path), TOP "/%.10s", at);
            if (pgfiles_space_of(out, path) == out->tablespace_count)
                return false;
            lines++;
        }
        is_start = *at == '\n';
        if (*at == '\\' && at[1])
            at++;
    }
    return lines == out->tablespace_count;
}
