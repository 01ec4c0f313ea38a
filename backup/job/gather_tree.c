/* Directories from sorted records, children first: the open ones lie on a stack. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backup/archive/treewriter.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/path.h"
#include "backup/base/sorter.h"
#include "backup/job/gather_internal.h"

/* A directory that is being written. */
struct level {
    struct entry entry; /* name and xattrs are its own */
    char *name;
    uint8_t *xattrs;
    size_t key_size; /* of its path, in `key` */
    struct dirwriter *writer;
};

struct tree {
    struct gather *gather;
    struct root_type *out;
    struct level *levels; /* 0: the root */
    size_t depth, capacity;
    struct buf key; /* of the innermost directory */
    struct buf last;
    bool last_is_directory;
};

static void level_clear(struct level *level)
{
    dirwriter_abort(level->writer);
    free(level->name);
    free(level->xattrs);
}

static void tree_clear(struct tree *tree)
{
    while (tree->depth > 0)
        level_clear(&tree->levels[--tree->depth]);
    free(tree->levels);
    buf_clear(&tree->key);
    buf_clear(&tree->last);
}

static int keep_entry(struct level *level, const struct entry *entry, struct err *err)
{
    struct content *xattrs = &level->entry.xattrs;

    level->entry = *entry;
    level->name = strndup(entry->name, entry->name_size);
    level->entry.name = level->name;
    if (!level->name)
        return err_set(err, ERR_NOMEM, "no memory for a directory");
    if (xattrs->size == 0)
        return 0;
    level->xattrs = malloc((size_t)xattrs->size);
    if (!level->xattrs)
        return err_set(err, ERR_NOMEM, "no memory for a directory");
    memcpy(level->xattrs, xattrs->bytes, (size_t)xattrs->size);
    xattrs->bytes = level->xattrs;
    xattrs->end = level->xattrs + xattrs->size;
    return 0;
}

/* Goes into a directory; its key is tree->key with `name` behind it. */
static int push(struct tree *tree, const struct entry *entry, struct err *err)
{
    struct treewriter *writer = tree->gather->options.treewriter;
    const uint8_t end = 0;

    if (tree->depth == tree->capacity) {
        size_t capacity = tree->capacity > 0 ? 2 * tree->capacity : 16;
        struct level *levels = realloc(tree->levels, capacity * sizeof(*levels));
        if (!levels)
            return err_set(err, ERR_NOMEM, "no memory for a directory");
        tree->levels = levels;
        tree->capacity = capacity;
    }
    struct level *level = &tree->levels[tree->depth++];
    *level = (struct level){0};
    int r = keep_entry(level, entry, err);
    if (r == 0 && entry->name_size > 0)
        r = buf_append(&tree->key, entry->name, entry->name_size, err);
    if (r == 0 && entry->name_size > 0)
        r = buf_append(&tree->key, &end, 1, err);
    level->key_size = tree->key.size;
    return r < 0 || !writer ? r : dirwriter_new(writer, NULL, &level->writer, err);
}

static void count(struct tree *tree, const struct entry *entry)
{
    struct entry *parent = &tree->levels[tree->depth - 1].entry;
    struct root_type *out = tree->out;
    bool directory = entry->type == ENTRY_DIRECTORY, file = entry->type == ENTRY_FILE;

    parent->below_entries += 1 + (directory ? entry->below_entries : 0);
    parent->below_bytes += directory ? entry->below_bytes : entry->size;
    out->files += file;
    out->directories += directory;
    out->others += !file && !directory;
    out->bytes += file ? entry->size : 0;
}

static int add(struct tree *tree, const struct entry *entry, struct err *err)
{
    struct dirwriter *writer = tree->levels[tree->depth - 1].writer;

    count(tree, entry);
    return writer ? dirwriter_add(writer, entry, NULL, err) : 0;
}

/* The innermost directory is whole: it goes into the one around it. */
static int pop(struct tree *tree, struct err *err)
{
    struct level level = tree->levels[--tree->depth];
    struct dirwriter *writer = STEAL(level.writer);
    struct dirref *directory = &level.entry.directory;

    *directory = (struct dirref){.place = {.archive = NO_ARCHIVE}};
    int r = writer ? dirwriter_finish(writer, directory, err) : 0;
    if (tree->depth == 0) {
        tree->out->directory = *directory;
    } else {
        tree->key.size = tree->levels[tree->depth - 1].key_size;
        if (r == 0)
            r = add(tree, &level.entry, err);
    }
    level_clear(&level);
    return r;
}

/* A directory that nobody put. */
static struct entry made_up(const struct tree *tree, const char *name, size_t size)
{
    int64_t now = tree->gather->options.start_ns;

    return (struct entry){
        .type = ENTRY_DIRECTORY,
        .flags = ENTRY_PARTIAL,
        .name = name,
        .name_size = size,
        .mode = 0700,
        .uid = geteuid(),
        .gid = getegid(),
        .mtime_s = now / NS_PER_SECOND,
        .ctime_s = now / NS_PER_SECOND,
        .links = 1,
    };
}

/* Leaves directories until the innermost one leads to `key`, and enters what lies between. */
static int go_to(struct tree *tree, const uint8_t *key, size_t size, struct err *err)
{
    int r = 0;

    while (r == 0 && tree->depth > 1 &&
           (tree->key.size > size || memcmp(tree->key.data, key, tree->key.size) != 0))
        r = pop(tree, err);
    while (r == 0 && tree->key.size < size) {
        const char *name = (const char *)key + tree->key.size;
        struct entry entry = made_up(tree, name, strlen(name));
        r = push(tree, &entry, err);
    }
    return r;
}

static int refuse(const struct gather_record *record, struct err *err)
{
    char path[160], printable[200];
    size_t size = record->key_size - 1 < sizeof(path) ? record->key_size - 1 : sizeof(path);

    for (size_t i = 0; i < size; i++)
        path[i] = record->key[i] == 0 ? '/' : (char)record->key[i];
    (void)path_printable(path, size, printable, sizeof(printable));
    return err_set(err, ERR_EXISTS, "%s came twice", printable);
}

/* What is the same, or below what is no directory, comes right behind it. */
static int check_order(struct tree *tree, const struct gather_record *record, struct err *err)
{
    const struct buf *last = &tree->last;
    bool below = last->size > 0 && last->size <= record->key_size &&
                 memcmp(last->data, record->key, last->size) == 0;

    if (below && (!tree->last_is_directory || last->size == record->key_size))
        return refuse(record, err);
    tree->last.size = 0;
    tree->last_is_directory = record->entry.type == ENTRY_DIRECTORY;
    return buf_append(&tree->last, record->key, record->key_size, err);
}

static int take(struct tree *tree, const struct gather_record *record, struct err *err)
{
    int r = check_order(tree, record, err);

    if (r == 0)
        r = go_to(tree, record->key, record->key_size - record->entry.name_size - 1, err);
    if (r < 0)
        return r;
    return record->entry.type == ENTRY_DIRECTORY ? push(tree, &record->entry, err)
                                                 : add(tree, &record->entry, err);
}

static int take_all(struct tree *tree, struct err *err)
{
    struct entry root = made_up(tree, "", 0);
    const uint8_t *bytes;
    size_t size;

    int r = push(tree, &root, err);
    if (r == 0)
        r = sorter_next(tree->gather->sorter, &bytes, &size, err);
    while (r == 0 && bytes) {
        struct gather_record record;
        r = gather_record_decode(bytes, size, &record, err);
        if (r == 0)
            r = take(tree, &record, err);
        if (r == 0)
            r = sorter_next(tree->gather->sorter, &bytes, &size, err);
    }
    while (r == 0 && tree->depth > 0)
        r = pop(tree, err);
    return r;
}

int gather_tree(struct gather *gather, struct root_type *out, struct err *err)
{
    struct tree tree = {.gather = gather, .out = out};

    tree.key.limit = tree.last.limit = 2 * GATHER_PATH_MAX;
    int r = take_all(&tree, err);
    tree_clear(&tree);
    return r;
}
