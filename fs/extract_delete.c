#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/io.h"
#include "backup/base/path.h"
#include "backup/source/rules.h"
#include "fs/extract_internal.h"

enum { STREAMS_OPEN = 32, OPEN_DIR = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };

/* A directory that goes, or one of which a part goes. */
struct doomed {
    struct dir *dir;
    DIR *stream;   /* NULL: closed for now */
    long position; /* where to go on */
    bool kept;     /* something in it stays, so it stays */
    size_t path_size;
};

struct deletion {
    struct extract *x;
    const struct job *job;
    const struct dirref *own, *pair; /* of the first directory; below it nothing is stored */
    struct patterns *left_out;       /* what was not backed up */
    struct doomed *at;
    size_t depth, room;
    dev_t device;
    bool touched; /* the first directory */
    struct buf path;
};

static int make_left_out(struct deletion *deletion, struct err *err)
{
    const struct strings *exclusions = &deletion->job->root->exclusions;
    int r = 0;

    deletion->left_out = patterns_new();
    if (!deletion->left_out)
        return err_set(err, ERR_NOMEM, "no memory for patterns");
    for (size_t i = 0; r == 0 && i < exclusions->count; i++)
        r = patterns_add_option(deletion->left_out, exclusions->at[i], err);
    return r;
}

/* What a backup leaves out when nobody says otherwise. */
static const struct rules defaults = {.default_excludes = true};

static bool is_build_output(int dirfd, const char *name)
{
    return rules_build_output(&defaults, UINT64_MAX, name) &&
           rules_build_output(&defaults, rules_look(dirfd), name);
}

/* Directories that say of themselves that they are not to be backed up. */
static bool is_marked(int dirfd, const char *name)
{
    CLEANUP(closep) int fd = place_open(dirfd, name, OPEN_DIR, 0);

    return fd < 0 || rules_marked(&defaults, rules_look(fd), fd);
}

/* Whether it may be that the backup left it out, or that it is not asked for. */
static bool is_left_out(struct deletion *deletion, int dirfd, const char *name, bool directory)
{
    struct extract *x = deletion->x;
    const char *path = (const char *)deletion->path.data;
    size_t size = deletion->path.size;

    if (plan_match(deletion->left_out, deletion->job, path, size, directory) == PATTERN_EXCLUDED ||
        plan_match(x->exclude, deletion->job, path, size, directory) == PATTERN_EXCLUDED)
        return true;
    if (plan_keeps(x, deletion->job, path))
        return true;
    return directory && (is_build_output(dirfd, name) || is_marked(dirfd, name));
}

/* 1: the snapshot has this name here. */
static int is_stored(struct deletion *deletion, const char *name, struct err *err)
{
    const struct dirref *refs[2] = {deletion->own, deletion->pair};

    for (size_t i = 0; deletion->depth == 1 && i < 2; i++) {
        CLEANUP(held_entry_clear) struct held_entry held = {0};

        if (!refs[i] || refs[i]->entries == 0)
            continue;
        int r = tree_find(deletion->x->blocks, refs[i], name, strlen(name), &held, err);
        if (r != -ERR_NOT_FOUND)
            return r < 0 ? r : 1;
    }
    return 0;
}

static int push(struct deletion *deletion, struct dir *dir, struct err *err)
{
    if (deletion->depth == deletion->room) {
        size_t room = deletion->room ? deletion->room * 2 : 16;
        struct doomed *grown = realloc(deletion->at, room * sizeof(*grown));
        if (!grown)
            return err_set(err, ERR_NOMEM, "no memory for directories");
        deletion->at = grown;
        deletion->room = room;
    }
    if (deletion->depth >= STREAMS_OPEN) {
        struct doomed *far = &deletion->at[deletion->depth - STREAMS_OPEN];
        if (far->stream)
            closedir(far->stream);
        far->stream = NULL;
    }
    deletion->at[deletion->depth++] =
        (struct doomed){.dir = dir, .position = -1, .path_size = deletion->path.size};
    return 0;
}

static void count_deleted(struct extract *x, struct dir *dir, const char *name)
{
    extract_note(x, dir, name, name ? strlen(name) : 0, "%s",
                 x->options->dry_run ? "would delete" : "deleted");
    x->result.deleted++;
}

static int open_stream(struct extract *x, struct doomed *doomed, struct err *err)
{
    int dirfd;

    if (doomed->stream)
        return 0;
    int r = dir_hold(x, doomed->dir, &dirfd, err);
    if (r < 0)
        return r;
    int fd = place_open(dirfd, ".", OPEN_DIR, 0); /* with a position of its own */
    dir_let(x, doomed->dir);
    doomed->stream = fd >= 0 ? fdopendir(fd) : NULL;
    if (!doomed->stream) {
        r = err_sys(err, "read directory");
        closep(&fd);
        return r;
    }
    if (doomed->position >= 0)
        seekdir(doomed->stream, doomed->position);
    return 0;
}

/* All in it was looked at: it goes itself, but for the first. */
static void pop(struct deletion *deletion)
{
    struct doomed *doomed = &deletion->at[--deletion->depth];
    struct extract *x = deletion->x;
    int dirfd;
    struct err err;

    if (doomed->stream)
        closedir(doomed->stream);
    if (deletion->depth == 0) {
        dir_unref(x, doomed->dir);
        return;
    }
    int r = dir_hold(x, doomed->dir->parent, &dirfd, &err);
    if (r == 0 && !doomed->kept && !x->options->dry_run) {
        r = unlinkat(dirfd, doomed->dir->name, AT_REMOVEDIR);
        if (r < 0)
            r = err_sys(&err, "delete");
    }
    if (r == 0 && !doomed->kept) {
        count_deleted(x, doomed->dir, NULL);
    } else {
        deletion->at[deletion->depth - 1].kept = true;
    }
    if (r < 0)
        extract_trouble(x, doomed->dir, NULL, 0, SIDE_TARGET, &err);
    else
        dir_let(x, doomed->dir->parent);
    dir_unref(x, doomed->dir);
}

static int delete_file(struct deletion *deletion, struct doomed *doomed, int dirfd,
                       const char *name, struct err *err)
{
    struct extract *x = deletion->x;

    if (!x->options->dry_run && unlinkat(dirfd, name, 0) < 0)
        return errno == ENOENT ? 0 : err_sys(err, "delete");
    count_deleted(x, doomed->dir, name);
    deletion->touched |= deletion->depth == 1 && !x->options->dry_run;
    return 0;
}

static int enter(struct deletion *deletion, struct doomed *doomed, const char *name,
                 struct err *err)
{
    struct extract *x = deletion->x;
    struct dir *dir = NULL;

    int r = dir_new(x, doomed->dir, name, strlen(name), NULL, true, &dir, err);
    if (r == 0)
        r = dir_ensure(x, dir, err);
    bool mounted = false;
    if (r == 0 && dir->state == DIR_THERE)
        r = dir_is_mounted(x, dir, &mounted, err);
    if (r == 0 && (dir->state != DIR_THERE || dir->dev != deletion->device || mounted)) {
        doomed->kept = true; /* another file system, or gone */
        dir_unref(x, dir);
        return 0;
    }
    deletion->touched |= deletion->depth == 1 && !x->options->dry_run;
    if (r == 0)
        r = push(deletion, dir, err);
    if (r < 0 && dir)
        dir_unref(x, dir);
    return r;
}

static int judge_at(struct deletion *deletion, struct doomed *doomed, int dirfd, const char *name,
                    struct err *err)
{
    struct stat st;

    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(err, "stat");
    bool directory = S_ISDIR(st.st_mode);
    if (st.st_dev != deletion->device || is_left_out(deletion, dirfd, name, directory)) {
        doomed->kept = true;
        return 0;
    }
    if (!directory)
        return delete_file(deletion, doomed, dirfd, name, err);
    return enter(deletion, doomed, name, err);
}

static int judge(struct deletion *deletion, struct doomed *doomed, const char *name,
                 struct err *err)
{
    struct extract *x = deletion->x;
    int dirfd;

    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return 0;
    if (!doomed->dir->parent && strcmp(name, EXTRACT_MARKER) == 0)
        return 0;
    int r = is_stored(deletion, name, err);
    if (r != 0)
        return r < 0 ? r : 0;
    deletion->path.size = doomed->path_size;
    r = path_join(&deletion->path, name, strlen(name), err);
    if (r == 0)
        r = buf_append(&deletion->path, "", 1, err);
    if (r < 0)
        return r;
    deletion->path.size--; /* terminated, not counted */
    r = dir_hold(x, doomed->dir, &dirfd, err);
    if (r < 0)
        return r;
    struct dir *held = doomed->dir; /* `doomed` may move */
    r = judge_at(deletion, doomed, dirfd, name, err);
    dir_let(x, held);
    return r;
}

static void go_through(struct deletion *deletion)
{
    struct extract *x = deletion->x;

    while (deletion->depth > 0 && !extract_stopped(x)) {
        struct doomed *doomed = &deletion->at[deletion->depth - 1];
        struct dirent *entry = NULL;
        struct err err;

        int r = open_stream(x, doomed, &err);
        if (r < 0)
            extract_trouble(x, doomed->dir, NULL, 0, SIDE_TARGET, &err);
        else
            entry = readdir(doomed->stream);
        if (!entry) {
            doomed->kept |= r < 0;
            pop(deletion);
            continue;
        }
        doomed->position = telldir(doomed->stream);
        struct dir *dir = doomed->dir;
        char name[sizeof(entry->d_name)];
        strcpy(name, entry->d_name);
        if (judge(deletion, doomed, name, &err) < 0) {
            extract_trouble(x, dir, name, strlen(name), SIDE_TARGET, &err);
            deletion->at[deletion->depth - 1].kept = true;
        }
    }
    for (size_t i = 0; i < deletion->depth; i++)
        deletion->at[i].kept = true;
    while (deletion->depth > 0)
        pop(deletion);
}

/* Deleting changes the time of the directory, which the restore has just set. */
static int delete_below(struct deletion *deletion, struct dir *dir, struct err *err)
{
    struct extract *x = deletion->x;
    struct stat st;
    int fd;

    int r = dir_hold(x, dir, &fd, err);
    if (r < 0)
        return r;
    if (fstat(fd, &st) < 0)
        r = err_sys(err, "stat");
    deletion->device = st.st_dev;
    dir_ref(dir);
    if (r == 0)
        r = push(deletion, dir, err);
    if (r < 0)
        dir_unref(x, dir);
    else
        go_through(deletion);
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, st.st_mtim};
    if (r == 0 && deletion->touched && futimens(fd, times) < 0)
        r = err_sys(err, "set the time");
    dir_let(x, dir);
    return r;
}

void delete_extra(struct extract *x, const struct job *job, struct dir *dir,
                  const struct dirref *own, const struct dirref *pair, const char *source_path)
{
    struct deletion deletion = {
        .x = x, .job = job, .own = own, .pair = pair, .path = {.limit = EXTRACT_PATH_MAX}};
    struct err err;

    int r = buf_append(&deletion.path, source_path, strlen(source_path), &err);
    if (r == 0)
        r = make_left_out(&deletion, &err);
    if (r == 0)
        r = delete_below(&deletion, dir, &err);
    if (r < 0)
        extract_trouble(x, dir, NULL, 0, SIDE_TARGET, &err);
    patterns_free(deletion.left_out);
    free(deletion.at);
    buf_clear(&deletion.path);
}
