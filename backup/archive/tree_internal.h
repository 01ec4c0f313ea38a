/*
 * tree_internal — items of directories: what tree.c, tree_cursor.c and content.c share.
 *
 * Ownership: a struct node points into the slice that it was read from.
 * Threads:   any.
 * Errors:    ERR_CORRUPT, naming archive and offset.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/blocks.h"
#include "backup/archive/place.h"

struct err;
struct held_entry;

enum { TREE_LEVELS_MAX = 8, ANY_LEVEL = -1 };

/* A leaf or an index item; leaves have level 0. */
struct node {
    int level;
    size_t count;
    const uint8_t *offsets, *entries, *end;
};

struct name {
    const void *bytes;
    size_t size;
};

/* One entry of an index item. */
struct branch {
    struct name first;
    struct place place;
    uint64_t entries;
};

int tree_damaged(struct blocks *blocks, struct place place, const char *what, struct err *err);
/* From an item's first byte to the end of its block's items. */
int tree_item(struct blocks *blocks, struct place place, struct slice *out, struct err *err);
/* The same, and it is a leaf or an index item of that level (or any). */
int tree_node(struct blocks *blocks, struct place place, int level, struct slice *out,
              struct node *out_node, struct err *err);
/* Of a record or a branch; false: damaged. */
bool node_name(const struct node *node, size_t index, struct name *out);
bool node_branch(const struct node *node, const struct block *block, size_t index,
                 struct branch *out);
/* The first from `from` on whose name is not less; false: damaged. */
bool node_search(const struct node *node, size_t from, const struct name *name, size_t *out);
/* The branch from `from` on below which the name is, if it is anywhere. */
bool node_choose(const struct node *node, size_t from, const struct name *name, size_t *out);
int name_compare(const struct name *a, const struct name *b);
/* Decodes record `index` of a leaf at `place`. */
int node_record(struct blocks *blocks, const struct node *node, const struct slice *slice,
                struct place place, size_t index, struct entry *out, struct err *err);
/* Where an entry is a link, takes its inode's attributes; `inode` holds their block. */
int tree_follow_link(struct blocks *blocks, struct entry *entry, struct slice *inode,
                     struct err *err);
