#include "backup/job/treewalk.h"

#include <stdbool.h>
#include <stdlib.h>

#include "backup/archive/tree.h"
#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"

enum { PATH_LIMIT = 16 * 1024 * 1024, OPEN_MAX_LEVELS = 16 };

struct level {
    struct dirref directory;
    uint64_t next; /* the entry to go on with, if it has to be opened again */
    uint64_t left; /* entries that may still come, here and further down */
    size_t path_size;
    struct tree_cursor *cursor;
};

struct treewalk {
    struct blocks *blocks;
    struct level *levels;
    size_t depth, capacity;
    struct buf path; /* with a NUL behind it */
    bool enter;      /* what was given last is a directory to enter */
    struct dirref entered;
    uint64_t entered_below;
    bool broken; /* the innermost directory cannot be read further */
};

static int push(struct treewalk *walk, const struct dirref *directory, uint64_t below,
                struct err *err)
{
    if (walk->depth == walk->capacity) {
        size_t capacity = walk->capacity > 0 ? walk->capacity * 2 : 64;
        struct level *levels = reallocarray(walk->levels, capacity, sizeof(*levels));

        if (!levels)
            return err_set(err, ERR_NOMEM, "no memory for %zu levels", capacity);
        walk->levels = levels;
        walk->capacity = capacity;
    }
    if (walk->depth >= OPEN_MAX_LEVELS) {
        struct level *outer = &walk->levels[walk->depth - OPEN_MAX_LEVELS];

        tree_close(outer->cursor);
        outer->cursor = NULL;
    }
    walk->levels[walk->depth++] =
        (struct level){.directory = *directory, .left = below, .path_size = walk->path.size};
    return 0;
}

static void pop(struct treewalk *walk)
{
    walk->depth--;
    tree_close(walk->levels[walk->depth].cursor);
}

int treewalk_new(struct blocks *blocks, const struct dirref *directory, struct treewalk **out,
                 struct err *err)
{
    CLEANUP(treewalk_freep) struct treewalk *walk = calloc(1, sizeof(*walk));

    if (!walk)
        return err_set(err, ERR_NOMEM, "no memory for a walk");
    walk->blocks = blocks;
    walk->path.limit = PATH_LIMIT;
    int r = buf_append(&walk->path, "", 1, err);
    walk->path.size = 0;
    if (r == 0)
        r = push(walk, directory, UINT64_MAX, err);
    if (r == 0)
        *out = STEAL(walk);
    return r;
}

void treewalk_free(struct treewalk *walk)
{
    if (!walk)
        return;
    while (walk->depth > 0)
        pop(walk);
    free(walk->levels);
    buf_clear(&walk->path);
    free(walk);
}

void treewalk_freep(struct treewalk **walk)
{
    treewalk_free(*walk);
}

void treewalk_skip(struct treewalk *walk)
{
    walk->enter = false;
}

/* The innermost directory is the one that stays open. */
void treewalk_position(const struct treewalk *walk, struct tree_position *out)
{
    tree_position(walk->levels[walk->depth - 1].cursor, out);
}

void treewalk_skip_leaf(struct treewalk *walk)
{
    struct level *level = &walk->levels[walk->depth - 1];
    struct tree_position position;

    tree_position(level->cursor, &position);
    level->next += position.count - position.slot - 1;
    tree_skip_leaf(level->cursor);
    walk->enter = false;
}

size_t treewalk_depth(const struct treewalk *walk)
{
    return walk->depth;
}

const struct dirref *treewalk_directory(const struct treewalk *walk, size_t level)
{
    return &walk->levels[level].directory;
}

/* Cuts the path back to a directory's and puts a name behind it (or none), and a NUL. */
static int set_path(struct treewalk *walk, size_t size, const struct entry *entry, struct err *err)
{
    int r = 0;

    walk->path.size = size;
    if (entry && size > 0)
        r = buf_append(&walk->path, "/", 1, err);
    if (r == 0 && entry)
        r = buf_append(&walk->path, entry->name, entry->name_size, err);
    if (r == 0)
        r = buf_append(&walk->path, "", 1, err);
    if (r == 0)
        walk->path.size--;
    return r;
}

/* The next entry of the innermost directory; *out is NULL at its end. */
static int advance(struct treewalk *walk, struct level *level, const struct entry **out,
                   struct err *err)
{
    int r = 0;

    *out = NULL;
    if (level->directory.entries == 0)
        return 0;
    if (!level->cursor)
        r = tree_open(walk->blocks, &level->directory, level->next, &level->cursor, err);
    if (r == 0)
        r = tree_next(level->cursor, out, err);
    if (r == 0 && *out) {
        level->next++;
        r = tree_take(&level->left, *out, err);
        if (r == 0)
            r = set_path(walk, level->path_size, *out, err);
    }
    return r;
}

int treewalk_next(struct treewalk *walk, const struct entry **out, const char **out_path,
                  struct err *err)
{
    int r = 0;

    if (walk->broken)
        pop(walk);
    walk->broken = false;
    if (walk->enter)
        r = push(walk, &walk->entered, walk->entered_below, err);
    walk->enter = false;
    while (r == 0 && walk->depth > 0) {
        struct level *level = &walk->levels[walk->depth - 1];

        r = advance(walk, level, out, err);
        if (r < 0) {
            struct err ignored;

            (void)set_path(walk, level->path_size, NULL, &ignored);
            walk->broken = true;
            break;
        }
        if (*out)
            break;
        pop(walk);
    }
    *out_path = (const char *)walk->path.data;
    if (r < 0)
        return r;
    if (walk->depth == 0)
        return 0;
    walk->enter = (*out)->type == ENTRY_DIRECTORY;
    walk->entered = (*out)->directory;
    walk->entered_below = (*out)->below_entries;
    return 1;
}
