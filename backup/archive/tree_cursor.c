/* Going through a directory, leaf by leaf, with the index items above on a stack. */
#include <stdlib.h>
#include <string.h>

#include "backup/archive/tree.h"
#include "backup/archive/tree_internal.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"

struct level {
    struct slice slice;
    struct node node;
    struct place place;
    size_t at; /* the branch that was taken */
};

struct tree_cursor {
    struct blocks *blocks;
    struct level stack[TREE_LEVELS_MAX]; /* the root first */
    size_t depth;
    struct level leaf;      /* `at`: the slot that comes next */
    bool broken;            /* a call has failed: where it stands is not known */
    tree_wanted_fn *wanted; /* NULL: all */
    void *wanted_context;
    struct entry entry;
    struct slice inode;
    size_t last_size;
    char last[ENTRY_NAME_MAX]; /* name given last */
};

/* Where to go on the way down: to a name, or past `skip` entries. */
struct aim {
    const struct name *name;
    uint64_t skip;
};

static void level_clear(struct level *level)
{
    slice_clear(&level->slice);
    *level = (struct level){0};
}

static void truncate_stack(struct tree_cursor *cursor, size_t depth)
{
    while (cursor->depth > depth)
        level_clear(&cursor->stack[--cursor->depth]);
}

/* Names ascend and the numbers of entries sum to what the parent says. */
static bool index_is_sound(const struct level *level, uint64_t entries)
{
    struct branch branch, before = {0};

    for (size_t i = 0; i < level->node.count; i++) {
        if (!node_branch(&level->node, level->slice.block, i, &branch) || branch.entries > entries)
            return false;
        if (i > 0 && name_compare(&before.first, &branch.first) >= 0)
            return false;
        entries -= branch.entries;
        before = branch;
    }
    return entries == 0;
}

static bool choose_branch(struct level *level, struct aim *aim, struct branch *out)
{
    if (aim->name && !node_choose(&level->node, 0, aim->name, &level->at))
        return false;
    if (level->at == level->node.count ||
        !node_branch(&level->node, level->slice.block, level->at, out))
        return false;
    while (!aim->name && aim->skip >= out->entries) {
        aim->skip -= out->entries;
        if (!node_branch(&level->node, level->slice.block, ++level->at, out))
            return false;
    }
    return true;
}

/* Makes the leaf at `place` the cursor's. */
static int enter_leaf(struct tree_cursor *cursor, struct level *level, const struct branch *branch,
                      const struct aim *aim, struct err *err)
{
    level->at = (size_t)aim->skip;
    if (level->node.count != branch->entries)
        return tree_damaged(cursor->blocks, level->place, "a leaf of another size", err);
    if (aim->name && !node_search(&level->node, 0, aim->name, &level->at))
        return tree_damaged(cursor->blocks, level->place, "bad record", err);
    level_clear(&cursor->leaf);
    cursor->leaf = *level;
    *level = (struct level){0};
    return 0;
}

static int descend(struct tree_cursor *cursor, struct branch branch, int level, struct aim aim,
                   struct err *err)
{
    for (;;) {
        CLEANUP(level_clear) struct level next = {.place = branch.place};

        int r = tree_node(cursor->blocks, branch.place, level, &next.slice, &next.node, err);
        if (r < 0)
            return r;
        if (next.node.level == 0)
            return enter_leaf(cursor, &next, &branch, &aim, err);
        if (!index_is_sound(&next, branch.entries) || !choose_branch(&next, &aim, &branch))
            return tree_damaged(cursor->blocks, next.place, "bad index", err);
        level = next.node.level - 1;
        cursor->stack[cursor->depth++] = next;
        next = (struct level){0};
    }
}

int tree_open(struct blocks *blocks, const struct dirref *directory, uint64_t first,
              struct tree_cursor **out, struct err *err)
{
    CLEANUP(tree_closep) struct tree_cursor *cursor = calloc(1, sizeof(*cursor));

    if (!cursor)
        return err_set(err, ERR_NOMEM, "no memory to read a directory");
    cursor->blocks = blocks;
    if (first < directory->entries) {
        struct branch root = {.place = directory->place, .entries = directory->entries};

        int r = descend(cursor, root, ANY_LEVEL, (struct aim){.skip = first}, err);
        if (r < 0)
            return r;
    }
    *out = STEAL(cursor);
    return 0;
}

/* Takes the stack to the next leaf; at the end nothing is left on it. */
static int next_leaf(struct tree_cursor *cursor, struct err *err)
{
    struct branch branch;

    while (cursor->depth > 0) {
        struct level *level = &cursor->stack[cursor->depth - 1];

        if (level->at + 1 == level->node.count) {
            truncate_stack(cursor, cursor->depth - 1);
            continue;
        }
        if (!node_branch(&level->node, level->slice.block, ++level->at, &branch))
            return tree_damaged(cursor->blocks, level->place, "bad index", err);
        return descend(cursor, branch, level->node.level - 1, (struct aim){0}, err);
    }
    return 0;
}

/* Two entries of one name would be one file when they are restored. */
static int check_order(struct tree_cursor *cursor, struct err *err)
{
    const struct name last = {cursor->last, cursor->last_size};
    const struct name name = {cursor->entry.name, cursor->entry.name_size};

    if (last.size > 0 && name_compare(&last, &name) >= 0)
        return tree_damaged(cursor->blocks, cursor->leaf.place, "names out of order", err);
    memcpy(cursor->last, name.bytes, name.size);
    cursor->last_size = name.size;
    return 0;
}

/* Whether the record that comes next is left out; one that is damaged is not. */
static bool is_unwanted(const struct tree_cursor *cursor)
{
    const struct level *leaf = &cursor->leaf;
    struct name name;

    if (!node_name(&leaf->node, leaf->at, &name))
        return false;
    const uint8_t *type = (const uint8_t *)name.bytes + name.size;
    return type < leaf->node.end && (*type & 15) != ENTRY_DIRECTORY &&
           !cursor->wanted(cursor->wanted_context, name.bytes, name.size);
}

/* Stands at the next record that is wanted, or at the end. */
static int find_next(struct tree_cursor *cursor, struct err *err)
{
    struct level *leaf = &cursor->leaf;

    for (;;) {
        int r = leaf->at == leaf->node.count ? next_leaf(cursor, err) : 0;
        if (r < 0 || leaf->at == leaf->node.count)
            return r;
        if (!cursor->wanted || !is_unwanted(cursor))
            return 0;
        leaf->at++;
    }
}

/* 1: cursor->entry is the next; 0: end. */
static int take_next(struct tree_cursor *cursor, struct err *err)
{
    struct level *leaf = &cursor->leaf;

    slice_clear(&cursor->inode);
    int r = find_next(cursor, err);
    if (r < 0 || leaf->at == leaf->node.count)
        return r;
    r = node_record(cursor->blocks, &leaf->node, &leaf->slice, leaf->place, leaf->at,
                    &cursor->entry, err);
    if (r == 0)
        r = check_order(cursor, err);
    if (r == 0)
        r = tree_follow_link(cursor->blocks, &cursor->entry, &cursor->inode, err);
    leaf->at++;
    return r < 0 ? r : 1;
}

static int is_broken(struct err *err)
{
    return err_set(err, ERR_CORRUPT, "directory could not be read to its end");
}

int tree_next(struct tree_cursor *cursor, const struct entry **out, struct err *err)
{
    if (cursor->broken)
        return is_broken(err);
    int r = take_next(cursor, err);
    cursor->broken = r < 0;
    if (r < 0)
        return r;
    *out = r > 0 ? &cursor->entry : NULL;
    return 0;
}

void tree_filter(struct tree_cursor *cursor, tree_wanted_fn *wanted, void *context)
{
    cursor->wanted = wanted;
    cursor->wanted_context = context;
}

void tree_skip_leaf(struct tree_cursor *cursor)
{
    cursor->leaf.at = cursor->leaf.node.count;
}

void tree_position(const struct tree_cursor *cursor, struct tree_position *out)
{
    bool last = true;

    for (size_t i = 0; i < cursor->depth; i++)
        last = last && cursor->stack[i].at + 1 == cursor->stack[i].node.count;
    *out = (struct tree_position){.leaf = cursor->leaf.place,
                                  .slot = (uint32_t)cursor->leaf.at - 1,
                                  .count = (uint32_t)cursor->leaf.node.count,
                                  .last_leaf = last};
}

/* Whether the name lies behind the branch that was taken; then `at` moves on to its own. */
static int move_on(struct tree_cursor *cursor, struct level *level, const struct name *name,
                   struct err *err)
{
    struct name next;
    size_t at = level->at;

    if (at + 1 == level->node.count)
        return 0;
    if (!node_name(&level->node, at + 1, &next))
        return tree_damaged(cursor->blocks, level->place, "bad index", err);
    if (name_compare(&next, name) > 0)
        return 0;
    if (!node_choose(&level->node, at + 1, name, &level->at))
        return tree_damaged(cursor->blocks, level->place, "bad index", err);
    return 1;
}

static int seek(struct tree_cursor *cursor, const struct name *name, struct err *err)
{
    struct level *leaf = &cursor->leaf;
    struct branch branch;

    for (size_t i = 0; i < cursor->depth; i++) {
        struct level *level = &cursor->stack[i];

        int r = move_on(cursor, level, name, err);
        if (r < 0)
            return r;
        if (r == 0)
            continue;
        if (!node_branch(&level->node, level->slice.block, level->at, &branch))
            return tree_damaged(cursor->blocks, level->place, "bad index", err);
        truncate_stack(cursor, i + 1);
        return descend(cursor, branch, level->node.level - 1, (struct aim){.name = name}, err);
    }
    if (!node_search(&leaf->node, leaf->at, name, &leaf->at))
        return tree_damaged(cursor->blocks, leaf->place, "bad record", err);
    return 0;
}

int tree_seek(struct tree_cursor *cursor, const char *name, size_t size, struct err *err)
{
    const struct name wanted = {name, size};
    int r;

    if (cursor->broken)
        return is_broken(err);
    r = seek(cursor, &wanted, err);
    cursor->broken = r < 0;
    return r;
}

void tree_close(struct tree_cursor *cursor)
{
    if (!cursor)
        return;
    truncate_stack(cursor, 0);
    level_clear(&cursor->leaf);
    slice_clear(&cursor->inode);
    free(cursor);
}

void tree_closep(struct tree_cursor **cursor)
{
    tree_close(*cursor);
}
