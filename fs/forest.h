/*
 * forest — the directories of all snapshots, each distinct one read once, and in which snapshots
 * each is.
 *
 * Snapshots share what did not change.  So the walk goes through them from the oldest on, and into
 * a directory (or a leaf of a large one) only where it was not met at this path before.  What is
 * met is a node; the first snapshot that has it is known at once, the last one when all is walked:
 * who has whom is sorted by depth and handed down.  The caller can hang nodes of its own below the
 * directory that is being read: a file, a name that matches.
 *
 *     forest_new(blocks, &timeline, &forest, err);
 *     forest_walk(forest, TYPE_FILES, each, context, err);      … for each type
 *     forest_finish(forest, err);
 *     forest_range(forest, node, &first, &last);
 *
 * Memory: a few MiB and what is on the way down; tables beyond that are in files without a name.
 *
 * Ownership: borrows blocks and timeline.
 * Threads:   one.
 * Errors:    store errors, a full disk of the tables.  A directory that is damaged or gone does not
 *            end the walk: what else there is is met, and forest_unread() tells at the end.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/root.h"
#include "backup/archive/tree.h"

struct blocks;
struct entry;
struct err;
struct forest;
struct timeline;

struct forest_visit {
    enum snapshot_type type;
    uint32_t shot;         /* the first snapshot that has it */
    const char *directory; /* path from the type's root: "" or "srv/app" */
    size_t directory_size;
    const struct entry *entry;
};

/* Non-zero ends the walk with that result. */
typedef int forest_fn(void *context, const struct forest_visit *visit, struct err *err);

int forest_new(struct blocks *blocks, const struct timeline *timeline, struct forest **out,
               struct err *err);
void forest_free(struct forest *forest); /* NULL is allowed */
void forest_freep(struct forest **forest);

/* From now on names that are not wanted and are no directories are left out unread. */
void forest_filter(struct forest *forest, tree_wanted_fn *wanted, void *context);
int forest_walk(struct forest *forest, enum snapshot_type type, forest_fn *each, void *context,
                struct err *err);
/* Within `each`: the node of this key, below the directory that is being read. */
int forest_hang(struct forest *forest, uint64_t key1, uint64_t key2, uint32_t *out_node,
                bool *out_new, struct err *err);
/* Nothing is walked any more. */
int forest_finish(struct forest *forest, struct err *err);
/* The first and the last snapshot that have a node. */
void forest_range(const struct forest *forest, uint32_t node, uint32_t *out_first,
                  uint32_t *out_last);
/* How many directories were read. */
uint64_t forest_directories(const struct forest *forest);
/* 0; or ERR_CORRUPT, how many could not be read to their end, and why the first could not. */
int forest_unread(const struct forest *forest, struct err *err);
