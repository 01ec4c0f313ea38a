#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/path.h"
#include "backup/base/progress.h"
#include "fs/extract_internal.h"

enum {
    LEVELS_MAX = 100000, /* a hostile tree may have no end */
    LEVELS_OPEN = 32,    /* cursors further up are closed and opened again where they were */
};

/* A directory on the way through the tree. */
struct level {
    struct dirref ref, pair; /* its entries; those of the same directory in the other type */
    bool has_pair;
    bool included;              /* all that is in it is asked for */
    bool keep;                  /* what exists in it stays as it is */
    struct tree_cursor *cursor; /* NULL: not open now */
    uint64_t taken;
    uint64_t below; /* entries that may still come, here and further down */
    struct dir *dir;
    size_t path_size; /* of its source path */
    bool in_source;   /* from here on PASS_DELETE: */
    bool elsewhere;   /* on another file system than the source path's directory */
    dev_t device;     /* of that one */
};

struct walk {
    struct extract *x;
    const struct job *job;
    struct level *levels;
    size_t depth, room;
    struct buf path; /* source path of the entry, terminated but not counted so */
};

enum pattern_verdict plan_match(const struct patterns *patterns, const struct job *job,
                                const char *path, size_t size, bool directory)
{
    const struct strings *sources = &job->root->types[job->type].sources;
    size_t top = 0;

    if (!patterns)
        return PATTERN_NONE;
    for (size_t i = 0; i < sources->count; i++) {
        size_t length = strlen(sources->at[i]);
        if (length > 1 && length > top && length < size && path[length] == '/' &&
            memcmp(path, sources->at[i], length) == 0)
            top = length;
    }
    return patterns_match(patterns, path + top + 1, size - top - 1, path, size, directory);
}

/* Where a source path comes to lie below the target. */
static const char *target_path(const struct job *job, const char *path)
{
    if (!job->straight || job->inside[1] == 0)
        return path;
    if (job->held.entry.type == ENTRY_DIRECTORY)
        return path + strlen(job->inside);
    return path + (strrchr(job->inside, '/') - job->inside);
}

bool plan_keeps(const struct extract *x, const struct job *job, const char *source_path)
{
    const struct extract_options *options = x->options;
    const char *path = target_path(job, source_path);

    for (size_t i = 0; i < options->keep_count; i++)
        if (fnmatch(options->keep[i], path, FNM_LEADING_DIR | FNM_PATHNAME) == 0)
            return true;
    return false;
}

/* The source path becomes that of an entry of a level. */
static int path_of(struct walk *walk, const struct level *level, const char *name, size_t size,
                   struct err *err)
{
    walk->path.size = level->path_size;
    int r = path_join(&walk->path, name, size, err);
    if (r == 0)
        r = buf_reserve(&walk->path, 1, err);
    if (r < 0)
        return r;
    walk->path.data[walk->path.size] = 0;
    return 0;
}

static int level_open(struct walk *walk, struct level *level, struct err *err)
{
    if (level->cursor)
        return 0;
    return tree_open(walk->x->blocks, &level->ref, level->taken, &level->cursor, err);
}

static void pop(struct walk *walk)
{
    struct level *level = &walk->levels[--walk->depth];

    tree_close(level->cursor);
    dir_unref(walk->x, level->dir);
}

static int push(struct walk *walk, const struct level *level, struct err *err)
{
    if (walk->depth >= LEVELS_MAX)
        return err_set(err, ERR_CORRUPT, "directories without an end");
    if (walk->depth == walk->room) {
        size_t room = walk->room ? walk->room * 2 : 64;
        struct level *grown = realloc(walk->levels, room * sizeof(*grown));
        if (!grown)
            return err_set(err, ERR_NOMEM, "no memory for directories");
        walk->levels = grown;
        walk->room = room;
    }
    if (walk->depth >= LEVELS_OPEN) {
        struct level *far = &walk->levels[walk->depth - LEVELS_OPEN];
        tree_close(far->cursor);
        far->cursor = NULL;
    }
    walk->levels[walk->depth++] = *level;
    return 0;
}

/* What the other type has at this name: 0 nothing, 1 something, 2 a directory. */
static int look_aside(struct walk *walk, const struct level *level, const struct entry *entry,
                      struct held_entry *out, struct err *err)
{
    if (!level->has_pair || level->pair.entries == 0)
        return 0;
    int r = tree_find(walk->x->blocks, &level->pair, entry->name, entry->name_size, out, err);
    if (r == -ERR_NOT_FOUND)
        return 0;
    if (r < 0)
        return r;
    return out->entry.type == ENTRY_DIRECTORY ? 2 : 1;
}

/* Directories that were there already and are not asked for as a whole stay as they are. */
static bool is_aside(const struct walk *walk, const struct level *level, const struct entry *entry)
{
    return (entry->flags & ENTRY_PARTIAL) || !level->included || level->keep ||
           walk->x->options->overwrite == OVERWRITE_NEVER;
}

static bool is_source(const struct job *job, const char *path)
{
    const struct strings *sources = &job->root->types[job->type].sources;

    if (job->type == TYPE_DATABASE)
        return true; /* all of it is what a server sent */
    for (size_t i = 0; i < sources->count; i++) {
        size_t length = strlen(sources->at[i]);
        if (length == 1 || (strncmp(path, sources->at[i], length) == 0 &&
                            (path[length] == '/' || path[length] == 0)))
            return true;
    }
    return false;
}

/* What is deleted lies on the file system of the source path's directory: not on one that is
 * mounted below, be it the same one from elsewhere. */
static int may_delete(struct walk *walk, struct level *level, bool *out, struct err *err)
{
    const struct dir *dir = level->dir;

    *out = false;
    if (dir->state != DIR_THERE)
        return 0;
    if (!level->in_source) {
        level->in_source = true;
        level->device = dir->dev;
    } else if (!level->elsewhere) {
        int r = dir_is_mounted(walk->x, level->dir, &level->elsewhere, err);
        if (r < 0)
            return r;
    }
    level->elsewhere |= dir->dev != level->device;
    *out = !level->elsewhere;
    return 0;
}

/* What a pass does about a directory before what is in it. */
static int enter(struct walk *walk, struct level *level, bool partial, struct err *err)
{
    struct extract *x = walk->x;
    const char *path = (const char *)walk->path.data;

    if (!level->included && x->pass != PASS_DELETE)
        return 0; /* made when something in it is */
    int r = dir_ensure(x, level->dir, err);
    if (r < 0)
        return r;
    if (x->pass == PASS_VERIFY)
        verify_directory(x, level->dir);
    if (x->pass == PASS_COUNT && level->dir->state == DIR_ABSENT)
        count_directory(x, level->dir);
    bool whole = !partial && level->included && !level->keep && is_source(walk->job, path);
    bool may = false;
    if (x->pass == PASS_DELETE && whole)
        r = may_delete(walk, level, &may, err);
    if (r == 0 && may)
        delete_extra(x, walk->job, level->dir, &level->ref, level->has_pair ? &level->pair : NULL,
                     path);
    return r;
}

/* The trees' own damage is not the target's. */
static enum side side_of(const struct err *err)
{
    return err->code == ERR_CORRUPT ? SIDE_REPOSITORY : SIDE_TARGET;
}

static void refuse(struct walk *walk, const struct level *level, const struct entry *entry,
                   const struct err *err)
{
    extract_trouble(walk->x, level->dir, entry->name, entry->name_size, side_of(err), err);
}

/* Something else than a directory is there, and to be kept. */
static void leave_as_it_is(struct walk *walk, const struct level *level, const struct entry *entry)
{
    struct extract *x = walk->x;

    if (x->pass == PASS_WRITE)
        extract_note(x, level->dir, entry->name, entry->name_size, "kept");
    if (x->pass == PASS_WRITE || x->pass == PASS_COUNT)
        extract_add(x, &x->result.kept, 1);
}

static void visit_directory(struct walk *walk, const struct level *level, const struct entry *entry,
                            const struct level *next_like, const struct entry *attributes)
{
    struct level next = *next_like;
    struct err err;

    next.ref = entry->directory;
    next.below = entry->below_entries;
    next.path_size = walk->path.size;
    next.in_source = level->in_source;
    next.elsewhere = level->elsewhere;
    next.device = level->device;
    int r = dir_new(walk->x, level->dir, entry->name, entry->name_size, attributes,
                    is_aside(walk, &next, attributes), &next.dir, &err);
    if (r < 0) {
        refuse(walk, level, entry, &err);
        return;
    }
    bool partial = (entry->flags & ENTRY_PARTIAL) != 0;
    r = enter(walk, &next, partial, &err);
    bool worth =
        next.ref.entries > 0 && (walk->x->pass != PASS_DELETE || next.dir->state == DIR_THERE);
    if (r == 0 && worth)
        r = push(walk, &next, &err);
    if (r == -ERR_EXISTS && next.keep)
        leave_as_it_is(walk, level, entry);
    else if (r < 0)
        refuse(walk, level, entry, &err);
    if (r < 0 || !worth)
        dir_unref(walk->x, next.dir);
}

static void visit_other(struct walk *walk, struct dir *dir, const struct entry *entry, bool keep)
{
    struct extract *x = walk->x;

    switch (x->pass) {
    case PASS_COUNT:
        count_entry(x, dir, entry, keep);
        break;
    case PASS_WRITE:
        write_entry(x, dir, entry, keep);
        break;
    case PASS_VERIFY:
        verify_entry(x, dir, entry, keep);
        break;
    case PASS_DELETE:
        break;
    }
}

/* Of a directory that both types have, the newer type knows best, unless it knows only a part. */
static const struct entry *attributes_from(const struct extract *x, const struct entry *own,
                                           int other, const struct entry *theirs)
{
    bool whole = (own->flags & ENTRY_PARTIAL) || !(theirs->flags & ENTRY_PARTIAL);

    return other == 2 && x->pass != PASS_DELETE && whole ? theirs : own;
}

static void visit(struct walk *walk, const struct level *level, const struct entry *entry)
{
    CLEANUP(held_entry_clear) struct held_entry aside = {0};
    struct extract *x = walk->x;
    bool directory = entry->type == ENTRY_DIRECTORY;
    struct level next = {.keep = level->keep};
    struct err err;

    int r = path_of(walk, level, entry->name, entry->name_size, &err);
    if (r < 0) {
        refuse(walk, level, entry, &err);
        return;
    }
    const char *path = (const char *)walk->path.data;
    if (plan_match(x->exclude, walk->job, path, walk->path.size, directory) == PATTERN_EXCLUDED)
        return;
    next.included = level->included || plan_match(x->include, walk->job, path, walk->path.size,
                                                  directory) == PATTERN_EXCLUDED;
    next.keep = level->keep || plan_keeps(x, walk->job, path);
    int other = look_aside(walk, level, entry, &aside, &err);
    if (other < 0)
        refuse(walk, level, entry, &err);
    if (other < 0 || (other > 0 && x->pass != PASS_DELETE && (other == 2) != directory))
        return; /* the other type is the newer one, and says otherwise */
    next.has_pair = other == 2;
    if (next.has_pair)
        next.pair = aside.entry.directory;
    if (directory)
        visit_directory(walk, level, entry, &next, attributes_from(x, entry, other, &aside.entry));
    else if (next.included && (other == 0 || x->pass == PASS_DELETE))
        visit_other(walk, level->dir, entry, next.keep);
}

static void go_through(struct walk *walk)
{
    while (walk->depth > 0 && !extract_stopped(walk->x)) {
        struct level *level = &walk->levels[walk->depth - 1];
        const struct entry *entry = NULL;
        struct err err;

        int r = level_open(walk, level, &err);
        if (r == 0)
            r = tree_next(level->cursor, &entry, &err);
        if (r < 0)
            extract_trouble(walk->x, level->dir, NULL, 0, SIDE_REPOSITORY, &err);
        if (r < 0 || !entry) {
            pop(walk);
            continue;
        }
        level->taken++;
        if (tree_take(&level->below, entry, &err) < 0) {
            refuse(walk, level, entry, &err);
            pop(walk);
            continue;
        }
        struct level here = *level; /* pushing may move the levels */
        visit(walk, &here, entry);
    }
    while (walk->depth > 0)
        pop(walk);
}

/* The directories between the target and what is asked for; *out has a reference. */
static int go_down(struct walk *walk, const char *path, size_t size, struct dir **out,
                   struct err *err)
{
    const struct job *job = walk->job;
    struct dirref ref = job->root->types[job->type].directory;
    const char *at = path, *end = path + size, *name;
    struct dir *dir = *out;
    size_t length;

    while (path_next(&at, end, &name, &length)) {
        CLEANUP(held_entry_clear) struct held_entry held = {0};
        struct dir *next;

        int r = tree_find(walk->x->blocks, &ref, name, length, &held, err);
        if (r == 0)
            r = dir_new(walk->x, dir, name, length, &held.entry, true, &next, err);
        if (r < 0)
            return r;
        dir_unref(walk->x, dir);
        *out = dir = next;
        ref = held.entry.directory;
    }
    return 0;
}

static int find_base(struct walk *walk, struct dir **out, size_t *out_parent, struct err *err)
{
    const struct job *job = walk->job;
    const char *slash = strrchr(job->inside, '/');
    struct dir *next;

    *out_parent = (size_t)(slash - job->inside);
    if (job->prefixed) {
        const char *name = snapshot_type_name(job->type);
        int r = dir_new(walk->x, *out, name, strlen(name), NULL, true, &next, err);
        if (r < 0)
            return r;
        dir_unref(walk->x, *out);
        *out = next;
    }
    return job->straight ? 0 : go_down(walk, job->inside, *out_parent, out, err);
}

/* Where the other type has the directory that the job begins with.  What cannot be looked at is not
 * taken for nothing: it would be deleted. */
static int find_pair(struct walk *walk, struct level *level, const char *path, size_t size,
                     struct err *err)
{
    const struct root_type *other =
        walk->x->pass == PASS_DELETE ? walk->job->pair : walk->job->winner;
    CLEANUP(held_entry_clear) struct held_entry held = {0};
    int r = other ? tree_resolve(walk->x->blocks, &other->directory, path, size, &held, err)
                  : -ERR_NOT_FOUND;

    if (r < 0)
        return r == -ERR_NOT_FOUND ? 0 : r;
    level->has_pair = held.entry.type == ENTRY_DIRECTORY;
    level->pair = held.entry.directory;
    return 0;
}

/* The directory itself is the target, or the whole type: only what is in it counts. */
static int begin_inside(struct walk *walk, struct level *level, struct err *err)
{
    const struct entry *entry = &walk->job->held.entry;
    size_t size = strlen(walk->job->inside);
    bool partial = (entry->flags & ENTRY_PARTIAL) != 0;

    level->ref = entry->directory;
    level->below = entry->place.archive == NO_ARCHIVE ? UINT64_MAX : entry->below_entries;
    level->path_size = size;
    walk->path.size = 0;
    int r = path_clean(walk->job->inside, size, &walk->path, err);
    if (r == 0)
        r = buf_reserve(&walk->path, 1, err);
    if (r < 0)
        return r;
    walk->path.data[walk->path.size] = 0;
    r = find_pair(walk, level, walk->job->inside + 1, size - 1, err);
    if (r < 0)
        return r;
    if (walk->job->straight && walk->x->pass == PASS_COUNT)
        count_attributes(walk->x, entry);
    if (walk->job->straight && walk->x->target_made && entry->name_size > 0) {
        attributes_of(entry, &level->dir->attributes);
        level->dir->settle = true;
    }
    r = enter(walk, level, partial, err);
    if (r == 0 && level->ref.entries > 0) {
        dir_ref(level->dir);
        r = push(walk, level, err);
    }
    return r;
}

static int begin(struct walk *walk, struct level *level, struct err *err)
{
    const struct job *job = walk->job;
    struct entry entry = job->held.entry;
    size_t parent;

    int r = find_base(walk, &level->dir, &parent, err);
    if (r < 0)
        return r;
    if (entry.type == ENTRY_DIRECTORY && (job->straight || job->inside[1] == 0))
        return begin_inside(walk, level, err);
    entry.name = job->inside + parent + 1;
    entry.name_size = strlen(entry.name);
    r = path_clean("/", 1, &walk->path, err);
    if (r == 0 && parent > 0) {
        walk->path.size = 0;
        r = path_clean(job->inside, parent, &walk->path, err);
    }
    if (r < 0)
        return r;
    level->path_size = walk->path.size;
    r = find_pair(walk, level, job->inside + 1, parent > 0 ? parent - 1 : 0, err);
    if (r == 0)
        visit(walk, level, &entry);
    return r;
}

int plan_run(struct extract *x, const struct job *job, struct err *err)
{
    struct walk walk = {.x = x, .job = job, .path = {.limit = EXTRACT_PATH_MAX}};
    struct level level = {.included = !x->include, .dir = dirs_target(x->dirs)};

    x->chunked = job->type != TYPE_DATABASE;
    dir_ref(level.dir);
    int r = begin(&walk, &level, err);
    if (r == 0)
        go_through(&walk);
    dir_unref(x, level.dir);
    files_drain(x);
    free(walk.levels);
    buf_clear(&walk.path);
    return r;
}
