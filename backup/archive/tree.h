/*
 * tree — reading stored directories: look a name up, go through all, find a record by its place.
 *
 * Works on one leaf at a time, whatever the size of the directory.  Nothing recurses.
 *
 * Ownership: a struct held_entry holds the blocks that its entry points into; clear it with
 * held_entry_clear().  What tree_next() gives is good until the next call on that cursor. Threads:
 * a cursor belongs to one thread at a time; everything else any call from any thread. Errors:
 * ERR_NOT_FOUND (a name; tree_find and tree_resolve only), ERR_CORRUPT (also for a metadata archive
 * that is gone), and those of blocks.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/blocks.h"
#include "backup/archive/entry.h"

struct err;
struct tree_cursor;

struct held_entry {
    struct entry entry;
    struct slice record; /* the block with its name */
    struct slice inode;  /* the block with the inode item of a shared one */
};
void held_entry_clear(struct held_entry *held);

/* Looks one name up in a directory. */
int tree_find(struct blocks *blocks, const struct dirref *directory, const char *name, size_t size,
              struct held_entry *out, struct err *err);
/* The record (or, with `shared`, the inode item) at a place. */
int tree_at(struct blocks *blocks, struct place place, bool shared, struct held_entry *out,
            struct err *err);

/* Where an entry stands in its directory: which leaf, which of how many. */
struct tree_position {
    struct place leaf;
    uint32_t slot, count;
    bool last_leaf;
};

/* Goes through a directory from its entry number `first` (0…) on. */
int tree_open(struct blocks *blocks, const struct dirref *directory, uint64_t first,
              struct tree_cursor **out, struct err *err);
/* *out is NULL at the end.  Links are resolved: the entry has the link's name and the inode's
 * attributes. */
int tree_next(struct tree_cursor *cursor, const struct entry **out, struct err *err);
/* From now on tree_next() leaves out, undecoded, what is no directory and has a name that is not
 * wanted. */
typedef bool tree_wanted_fn(void *context, const char *name, size_t size);
void tree_filter(struct tree_cursor *cursor, tree_wanted_fn *wanted, void *context);
/* Goes to the end of the leaf of the entry that tree_next() gave last. */
void tree_skip_leaf(struct tree_cursor *cursor);
/* Of the entry that tree_next() gave last. */
void tree_position(const struct tree_cursor *cursor, struct tree_position *out);
/* Goes forward to the first entry whose name is not less. */
int tree_seek(struct tree_cursor *cursor, const char *name, size_t size, struct err *err);
void tree_close(struct tree_cursor *cursor); /* NULL is allowed */
void tree_closep(struct tree_cursor **cursor);

/* The index items of a large directory, but for its root.  Non-zero ends it with that result. */
typedef int tree_item_fn(void *context, struct place place, struct err *err);
int tree_index_items(struct blocks *blocks, const struct dirref *directory, tree_item_fn *each,
                     void *context, struct err *err);

/* Each directory says how much is below it, so that none can be in itself, and no walk is without
 * end: takes an entry off what may still come in its directory, or is ERR_CORRUPT. */
int tree_take(uint64_t *left, const struct entry *entry, struct err *err);

/* A path below a directory, component by component; "" is the directory itself, given as an entry
 * of type directory without a name. Symlinks are not followed. */
int tree_resolve(struct blocks *blocks, const struct dirref *directory, const char *path,
                 size_t size, struct held_entry *out, struct err *err);

/* The extents of content in order, from the one that covers `offset` on. */
struct content_cursor {
    struct blocks *blocks;
    struct content content;
    uint64_t at;       /* content offset at which the next extent begins */
    struct slice leaf; /* for content.c only, from here on */
    const uint8_t *next, *end;
    size_t left;       /* extents of the list or item that are still to come */
    uint64_t leaf_end; /* content offset at which they must end */
};
int content_open(struct content_cursor *cursor, struct blocks *blocks,
                 const struct content *content, uint64_t offset, struct err *err);
/* 1: an extent and where it begins; 0: end. */
int content_next(struct content_cursor *cursor, struct extent *out, uint64_t *out_start,
                 struct err *err);
void content_close(struct content_cursor *cursor);
/* Exactly [offset, offset + count), which must lie within the size; holes are zeros. */
int content_read(struct blocks *blocks, const struct content *content, uint64_t offset, void *out,
                 size_t count, struct err *err);
