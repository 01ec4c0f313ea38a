/* What of the data directory belongs into the backup, directory by directory. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/base/path.h"
#include "backup/source/pgfiles_internal.h"

enum { DEPTH_MAX = 64, SHOWN_SIZE = 512 };

struct frame {
    DIR *dir;
    size_t path_size; /* of the directory, in the walk's path */
    bool has_pages, is_database;
};

struct walking {
    struct pgfiles *files;
    int (*visit)(void *context, const struct pgfiles_item *item, struct err *err);
    void *context;
    bool tells;
    struct frame frames[DEPTH_MAX];
    size_t depth;
    char path[PGFILES_PATH_SIZE];
};

static int failed(const struct walking *walking, struct err *err)
{
    err_sys(err, "cannot read");
    return err_context(err, "%s", walking->path[0] ? walking->path : "the data directory");
}

/* Goes down into the directory of the walk's path.  One that is gone is passed over. */
static int enter(struct walking *walking, int parent, const char *name, bool follow,
                 struct err *err)
{
    int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW);
    int fd = openat(parent, name, flags);

    if (fd < 0)
        return errno == ENOENT ? 0 : failed(walking, err);
    DIR *dir = walking->depth < DEPTH_MAX ? fdopendir(fd) : NULL;
    if (!dir) {
        close(fd);
        if (walking->depth == DEPTH_MAX)
            return err_set(err, ERR_TOO_LARGE, "%s: directories %d deep", walking->path, DEPTH_MAX);
        return failed(walking, err);
    }
    walking->frames[walking->depth++] = (struct frame){
        .dir = dir,
        .path_size = strlen(walking->path),
        .has_pages = pgtree_has_pages(walking->path),
        .is_database = pgtree_is_database(walking->path),
    };
    return 0;
}

/* A link in pg_tblspc that was there as the backup began. */
static bool is_tablespace(const struct walking *walking)
{
    const struct pgbase_result *out = walking->files->out;

    return pgfiles_space_of(out, walking->path) < out->tablespace_count;
}

/* A tablespace may lie below the data directory, though it should not: it comes by its link. */
static bool comes_by_link(const struct walking *walking, const struct pgfiles_item *item)
{
    const struct pgfiles *files = walking->files;

    for (size_t i = 0; i < files->out->tablespace_count; i++)
        if (files->spaces[i].device == item->st.st_dev && files->spaces[i].inode == item->st.st_ino)
            return true;
    return false;
}

/* A relation that is emptied when the server starts has a fork that says so; of its other files
 * nothing is needed. */
static bool is_unlogged(int parent, const char *name)
{
    struct pgtree_relation relation;
    char init[sizeof(relation.number) + sizeof("_init")];
    struct stat st;

    if (!pgtree_relation(name, &relation) || relation.init)
        return false;
    (void)snprintf(init, sizeof(init), "%s_init", relation.number);
    return fstatat(parent, init, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* A server does not follow links but those of tablespaces and its log; without these it would not
 * start. */
static bool is_needed(const char *path)
{
    static const char *const tops[] = {"base",      "global",       "pg_xact",    "pg_multixact",
                                       "pg_tblspc", "pg_commit_ts", "pg_logical", "pg_twophase"};
    size_t size = strcspn(path, "/");

    for (size_t i = 0; i < sizeof(tops) / sizeof(tops[0]); i++)
        if (strlen(tops[i]) == size && memcmp(path, tops[i], size) == 0)
            return true;
    return false;
}

static int leave_out(const struct walking *walking, struct err *err)
{
    char shown[PGFILES_PATH_SIZE], text[SHOWN_SIZE];

    path_printable(walking->path, strlen(walking->path), shown, sizeof(shown));
    if (is_needed(walking->path))
        return err_set(
            err, ERR_SYSTEM,
            "%.400s is no file and no directory: PostgreSQL leaves such out of a backup, and "
            "the copy would lack it",
            shown);
    if (!walking->tells)
        return 0;
    (void)snprintf(text, sizeof(text), "left out, since it is no file and no directory: %.400s",
                   shown);
    walking->files->options->note(walking->files->options->context, text);
    return 0;
}

/* ---- one name ---- */

/* The log and tablespaces may be elsewhere; so may what comes empty. */
static bool may_follow(const struct walking *walking, const char *directory, const char *name,
                       enum pgtree_kind kind)
{
    if (kind == PGTREE_EMPTY || (directory[0] == 0 && strcmp(name, "pg_wal") == 0))
        return true;
    return kind == PGTREE_DIRECTORY && strcmp(directory, "pg_tblspc") == 0 &&
           is_tablespace(walking);
}

/* item->kind: PGTREE_NONE for what is left out, or gone. */
static int look(struct walking *walking, int parent, const char *directory, const char *name,
                struct pgfiles_item *item, bool *out_follow, struct err *err)
{
    *out_follow = false;
    item->kind = PGTREE_NONE;
    if (fstatat(parent, name, &item->st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : failed(walking, err);
    bool link = S_ISLNK(item->st.st_mode);
    bool is_directory = S_ISDIR(item->st.st_mode);
    enum pgtree_kind kind =
        pgtree_judge(directory, name, is_directory || link, walking->files->version_directory);

    if (link && kind != PGTREE_NONE) {
        if (!may_follow(walking, directory, name, kind)) /* one that came later is in the log */
            return strcmp(directory, "pg_tblspc") == 0 ? 0 : leave_out(walking, err);
        if (fstatat(parent, name, &item->st, 0) < 0)
            return errno == ENOENT ? 0 : failed(walking, err);
        is_directory = S_ISDIR(item->st.st_mode);
        *out_follow = true;
    }
    if (kind != PGTREE_NONE && !is_directory && !S_ISREG(item->st.st_mode))
        return leave_out(walking, err);
    item->kind = is_directory && !link && comes_by_link(walking, item) ? PGTREE_EMPTY : kind;
    return 0;
}

static int take(struct walking *walking, const struct frame *frame, const char *name,
                struct err *err)
{
    struct pgfiles_item item = {
        .path = walking->path,
        .name = name,
        .parent = dirfd(frame->dir),
        .has_pages = frame->has_pages,
    };
    size_t size = strlen(name), at = frame->path_size;
    char directory[PGFILES_PATH_SIZE];
    bool follow;

    memcpy(directory, walking->path, at);
    directory[at] = 0;
    if (at + size + 2 > sizeof(walking->path))
        return err_set(err, ERR_TOO_LARGE, "%.300s/%.300s: a path longer than %zu bytes", directory,
                       name, sizeof(walking->path) - 1);
    if (at > 0)
        walking->path[at++] = '/';
    memcpy(walking->path + at, name, size + 1);
    int r = look(walking, item.parent, directory, name, &item, &follow, err);
    if (r < 0 || item.kind == PGTREE_NONE ||
        (frame->is_database && item.kind == PGTREE_FILE && is_unlogged(item.parent, name)))
        return r;
    r = walking->visit(walking->context, &item, err);
    if (r == 0 && item.kind == PGTREE_DIRECTORY)
        r = enter(walking, item.parent, name, follow, err);
    return r;
}

/* The next name of the innermost directory, or back out of it. */
static int step(struct walking *walking, struct err *err)
{
    struct frame frame = walking->frames[walking->depth - 1];

    walking->path[frame.path_size] = 0;
    errno = 0;
    const struct dirent *entry = readdir(frame.dir);
    if (!entry && errno != 0)
        return failed(walking, err);
    if (!entry) {
        closedir(frame.dir);
        walking->depth--;
        return 0;
    }
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
        return 0;
    return take(walking, &frame, entry->d_name, err);
}

int pgfiles_walk(struct pgfiles *files,
                 int (*visit)(void *context, const struct pgfiles_item *item, struct err *err),
                 bool tells, void *context, struct err *err)
{
    struct walking *walking = calloc(1, sizeof(*walking));
    struct pgfiles_item top = {.path = "", .name = ".", .kind = PGTREE_DIRECTORY};

    if (!walking)
        return err_set(err, ERR_NOMEM, "no memory to go through the data directory");
    *walking = (struct walking){.files = files, .visit = visit, .tells = tells, .context = context};
    top.parent = files->directory;
    int r = fstat(files->directory, &top.st) < 0 ? failed(walking, err) : 0;
    if (r == 0)
        r = visit(context, &top, err);
    if (r == 0)
        r = enter(walking, files->directory, ".", false, err);
    while (r == 0 && walking->depth > 0)
        r = step(walking, err);
    while (walking->depth > 0)
        closedir(walking->frames[--walking->depth].dir);
    free(walking);
    return r;
}
