#include "fs/diff.h"

#include <stdlib.h>
#include <string.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"

enum {
    DEPTH_MAX = 1024 * 1024,
    PATH_LIMIT = 256 * 1024 * 1024,
    COMPARE_SIZE = 256 * 1024,
};

/* A pair of directories that is being gone through; one side may be missing. */
struct level {
    struct tree_cursor *cursors[2];
    const struct entry *next[2]; /* NULL: the end of that side */
    bool want[2];                /* the next entry is to be fetched */
    uint64_t left[2];            /* entries that may still come, here and further down */
    size_t path_size;            /* of the path of this directory */
};

struct walk {
    struct blocks *blocks;
    bool whole;
    diff_fn *each;
    void *context;
    struct level *stack;
    size_t depth, room;
    struct buf path; /* terminated after each change */
};

static void walk_clear(struct walk *walk)
{
    for (size_t i = 0; i < walk->depth; i++) {
        tree_close(walk->stack[i].cursors[0]);
        tree_close(walk->stack[i].cursors[1]);
    }
    free(walk->stack);
    buf_clear(&walk->path);
}

static void freep(uint8_t **bytes)
{
    free(*bytes);
}

/* ---- two entries of one name ------------------------------------------------------------- */

/* Whether [0, size) is the same bytes: digests depend on where the holes are. */
static int same_bytes(struct blocks *blocks, const struct content *a, const struct content *b,
                      bool *out, struct err *err)
{
    CLEANUP(freep) uint8_t *bytes = malloc(2 * (size_t)COMPARE_SIZE);
    uint64_t size = a->size;

    if (!bytes)
        return err_set(err, ERR_NOMEM, "out of memory");
    *out = true;
    for (uint64_t at = 0; *out && at < size; at += COMPARE_SIZE) {
        size_t count = size - at < COMPARE_SIZE ? (size_t)(size - at) : COMPARE_SIZE;
        int rc = content_read(blocks, a, at, bytes, count, err);
        if (rc == 0)
            rc = content_read(blocks, b, at, bytes + COMPARE_SIZE, count, err);
        if (rc < 0)
            return rc;
        *out = memcmp(bytes, bytes + COMPARE_SIZE, count) == 0;
    }
    return 0;
}

static int has_holes(struct blocks *blocks, const struct content *content, bool *out,
                     struct err *err)
{
    CLEANUP(content_close) struct content_cursor cursor = {0};
    struct extent extent;
    uint64_t start;
    int rc = content_open(&cursor, blocks, content, 0, err);

    *out = false;
    while (rc >= 0 && !*out && (rc = content_next(&cursor, &extent, &start, err)) > 0)
        *out = extent_is_hole(&extent);
    return rc < 0 ? rc : 0;
}

static int same_content(struct blocks *blocks, const struct entry *a, const struct entry *b,
                        bool *out, struct err *err)
{
    bool holes = false;

    *out = a->size == b->size && memcmp(a->digest, b->digest, ENTRY_DIGEST_SIZE) == 0;
    if (*out || a->size != b->size || a->size == 0)
        return 0;
    int rc = has_holes(blocks, &a->content, &holes, err);
    if (rc == 0 && !holes)
        rc = has_holes(blocks, &b->content, &holes, err);
    return rc == 0 && holes ? same_bytes(blocks, &a->content, &b->content, out, err) : rc;
}

static bool same_target(const struct entry *a, const struct entry *b)
{
    return a->target_size == b->target_size && memcmp(a->target, b->target, a->target_size) == 0;
}

static int xattr_bytes(struct blocks *blocks, const struct content *set, uint8_t **out_copy,
                       const uint8_t **out, size_t *out_size, struct err *err)
{
    if (set->form == CONTENT_NONE || set->form == CONTENT_INLINE) {
        *out = set->bytes;
        *out_size = set->form == CONTENT_INLINE ? (size_t)(set->end - set->bytes) : 0;
        return 0;
    }
    if (set->size > ENTRY_XATTRS_MAX)
        return err_set(err, ERR_CORRUPT, "a set of xattrs is too large");
    *out_size = (size_t)set->size;
    *out_copy = malloc(*out_size + 1);
    if (!*out_copy)
        return err_set(err, ERR_NOMEM, "out of memory");
    *out = *out_copy;
    return content_read(blocks, set, 0, *out_copy, *out_size, err);
}

static int same_xattrs(struct blocks *blocks, const struct content *a, const struct content *b,
                       bool *out, struct err *err)
{
    CLEANUP(freep) uint8_t *copy_a = NULL;
    CLEANUP(freep) uint8_t *copy_b = NULL;
    const uint8_t *bytes_a = NULL, *bytes_b = NULL;
    size_t size_a = 0, size_b = 0;
    int rc = xattr_bytes(blocks, a, &copy_a, &bytes_a, &size_a, err);

    if (rc == 0)
        rc = xattr_bytes(blocks, b, &copy_b, &bytes_b, &size_b, err);
    *out = size_a == size_b && (size_a == 0 || (rc == 0 && memcmp(bytes_a, bytes_b, size_a) == 0));
    return rc;
}

static int same_inside(struct blocks *blocks, const struct entry *a, const struct entry *b,
                       bool *out, struct err *err)
{
    *out = true;
    switch (a->type) {
    case ENTRY_FILE:
        return same_content(blocks, a, b, out, err);
    case ENTRY_SYMLINK:
        *out = same_target(a, b);
        return 0;
    case ENTRY_CHARDEV:
    case ENTRY_BLOCKDEV:
        *out = a->rdev == b->rdev;
        return 0;
    default:
        return 0;
    }
}

/* What of an entry a restore would bring back, but for its content. */
static int metadata_parts(struct blocks *blocks, const struct entry *a, const struct entry *b,
                          unsigned *out, struct err *err)
{
    bool same = true;
    int rc = same_xattrs(blocks, &a->xattrs, &b->xattrs, &same, err);

    if (a->mode != b->mode)
        *out |= DIFF_PART_MODE;
    if (a->uid != b->uid || a->gid != b->gid)
        *out |= DIFF_PART_OWNER;
    if (a->mtime_s != b->mtime_s || a->mtime_ns != b->mtime_ns)
        *out |= DIFF_PART_MTIME;
    if (!same)
        *out |= DIFF_PART_XATTRS;
    return rc;
}

int diff_entries(struct blocks *blocks, const struct entry *before, const struct entry *after,
                 unsigned *out, struct err *err)
{
    unsigned parts = 0;
    bool inside = true;

    if (before->type != after->type)
        parts = DIFF_PART_TYPE;
    int rc = parts == 0 ? same_inside(blocks, before, after, &inside, err) : 0;
    if (!inside)
        parts |= DIFF_PART_CONTENT;
    if (rc == 0)
        rc = metadata_parts(blocks, before, after, &parts, err);
    if (rc == 0)
        *out = parts;
    return rc;
}

/* ---- the walk ---------------------------------------------------------------------------- */

static int terminate(struct buf *path, struct err *err)
{
    int rc = buf_reserve(path, 1, err);

    if (rc == 0)
        path->data[path->size] = '\0';
    return rc;
}

/* The path of an entry of the directory on top of the stack. */
static int set_path(struct walk *walk, const struct entry *entry, struct err *err)
{
    int rc = 0;

    walk->path.size = walk->stack[walk->depth - 1].path_size;
    if (walk->path.size > 0)
        rc = buf_append(&walk->path, "/", 1, err);
    if (rc == 0)
        rc = buf_append(&walk->path, entry->name, entry->name_size, err);
    return rc < 0 ? rc : terminate(&walk->path, err);
}

static int report(struct walk *walk, enum diff_kind kind, const struct entry *before,
                  const struct entry *after, struct err *err)
{
    const struct diff_item item = {
        .kind = kind,
        .path = (const char *)walk->path.data,
        .before = before,
        .after = after,
    };

    return walk->each(walk->context, &item, err);
}

static int make_room(struct walk *walk, struct err *err)
{
    if (walk->depth < walk->room)
        return 0;
    if (walk->depth >= DEPTH_MAX)
        return err_set(err, ERR_CORRUPT, "directories are nested without end");
    size_t room = walk->room > 0 ? walk->room * 2 : 64;
    struct level *stack = reallocarray(walk->stack, room, sizeof(*stack));
    if (!stack)
        return err_set(err, ERR_NOMEM, "out of memory");
    walk->stack = stack;
    walk->room = room;
    return 0;
}

/* Goes into a pair of directories; NULL: that side has none. */
static int push(struct walk *walk, const struct entry *before, const struct entry *after,
                struct err *err)
{
    const struct entry *sides[2] = {before, after};
    struct level level = {.path_size = walk->path.size};
    int rc = make_room(walk, err);

    for (size_t i = 0; rc == 0 && i < 2; i++) {
        if (!sides[i] || sides[i]->directory.entries == 0)
            continue;
        level.left[i] = sides[i]->below_entries;
        rc = tree_open(walk->blocks, &sides[i]->directory, 0, &level.cursors[i], err);
        level.want[i] = true;
    }
    if (rc == 0) {
        walk->stack[walk->depth++] = level;
        return 0;
    }
    tree_close(level.cursors[0]);
    tree_close(level.cursors[1]);
    return rc;
}

static void pop(struct walk *walk)
{
    struct level *level = &walk->stack[--walk->depth];

    tree_close(level->cursors[0]);
    tree_close(level->cursors[1]);
}

static bool same_directory(const struct dirref *a, const struct dirref *b)
{
    return a->entries == b->entries && (a->entries == 0 || place_equal(a->place, b->place));
}

/* An entry that only one side has. */
static int visit_single(struct walk *walk, const struct entry *entry, size_t side, struct err *err)
{
    bool added = side == 1;
    int rc = report(walk, added ? DIFF_ADDED : DIFF_REMOVED, added ? NULL : entry,
                    added ? entry : NULL, err);

    if (rc != 0 || !walk->whole || entry->type != ENTRY_DIRECTORY)
        return rc;
    return push(walk, added ? NULL : entry, added ? entry : NULL, err);
}

static int visit_type(struct walk *walk, const struct entry *before, const struct entry *after,
                      struct err *err)
{
    int rc = report(walk, DIFF_TYPE, before, after, err);

    if (rc != 0 || !walk->whole)
        return rc;
    if (before->type == ENTRY_DIRECTORY)
        return push(walk, before, NULL, err);
    return after->type == ENTRY_DIRECTORY ? push(walk, NULL, after, err) : 0;
}

static int visit_pair(struct walk *walk, const struct entry *before, const struct entry *after,
                      struct err *err)
{
    unsigned parts = 0;

    if (before->type != after->type)
        return visit_type(walk, before, after, err);
    if (place_equal(before->place, after->place) && before->shared == after->shared)
        return 0; /* the same record */
    int rc = diff_entries(walk->blocks, before, after, &parts, err);
    if (rc < 0)
        return err_context(err, "%s", (const char *)walk->path.data);
    if (parts != 0)
        rc = report(walk, parts & DIFF_PART_CONTENT ? DIFF_CONTENT : DIFF_METADATA, before, after,
                    err);
    if (rc != 0 || before->type != ENTRY_DIRECTORY ||
        same_directory(&before->directory, &after->directory))
        return rc;
    return push(walk, before, after, err);
}

static int fetch(struct level *level, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < 2; i++) {
        if (!level->want[i])
            continue;
        rc = tree_next(level->cursors[i], &level->next[i], err);
        if (rc == 0 && level->next[i])
            rc = tree_take(&level->left[i], level->next[i], err);
        level->want[i] = false;
    }
    return rc;
}

static int compare_names(const struct entry *a, const struct entry *b)
{
    size_t common = a->name_size < b->name_size ? a->name_size : b->name_size;
    int order = memcmp(a->name, b->name, common);

    return order != 0 ? order : (a->name_size > b->name_size) - (a->name_size < b->name_size);
}

/* One step: the lesser name of the two sides of the directory on top. */
static int step(struct walk *walk, struct err *err)
{
    struct level *level = &walk->stack[walk->depth - 1];
    int rc = fetch(level, err);
    const struct entry *before = level->next[0], *after = level->next[1];

    if (rc < 0)
        return err_context(err, "%s", (const char *)walk->path.data);
    if (!before && !after) {
        pop(walk);
        return 0;
    }
    int order = !before ? 1 : !after ? -1 : compare_names(before, after);
    rc = set_path(walk, order <= 0 ? before : after, err);
    /* Entries stay good until the next fetch; `level` may move when the stack grows. */
    level->want[0] = order <= 0;
    level->want[1] = order >= 0;
    if (rc < 0)
        return rc;
    if (order != 0)
        return visit_single(walk, order < 0 ? before : after, order < 0 ? 0 : 1, err);
    return visit_pair(walk, before, after, err);
}

int diff_trees(struct blocks *blocks, const struct dirref *before, const struct dirref *after,
               bool whole, diff_fn *each, void *context, struct err *err)
{
    CLEANUP(walk_clear)
    struct walk walk = {
        .blocks = blocks,
        .whole = whole,
        .each = each,
        .context = context,
        .path = {.limit = PATH_LIMIT},
    };
    const struct entry top[2] = {{.directory = *before, .below_entries = UINT64_MAX},
                                 {.directory = *after, .below_entries = UINT64_MAX}};
    int rc = 0;

    if (same_directory(before, after))
        return 0;
    rc = terminate(&walk.path, err);
    if (rc == 0)
        rc = push(&walk, &top[0], &top[1], err);
    while (rc == 0 && walk.depth > 0)
        rc = step(&walk, err);
    return rc;
}
