/*
 * diff — what differs between two stored trees, in time proportional to what differs.
 *
 * Ownership: borrows blocks.
 * Threads:   one caller.
 * Errors:    ERR_CORRUPT and store errors.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "backup/archive/tree.h"

struct err;

enum diff_kind { DIFF_ADDED, DIFF_REMOVED, DIFF_CONTENT, DIFF_METADATA, DIFF_TYPE };

struct diff_item {
    enum diff_kind kind;
    const char *path;                   /* relative to the two roots; not terminated by a slash */
    const struct entry *before, *after; /* NULL where it is not there */
};

/* In what two entries of one path differ. */
enum diff_part {
    DIFF_PART_TYPE = 1,
    DIFF_PART_CONTENT = 2, /* bytes, a symlink's target, a device's number; not what is below */
    DIFF_PART_MODE = 4,
    DIFF_PART_OWNER = 8,
    DIFF_PART_MTIME = 16,
    DIFF_PART_XATTRS = 32,
};

/* The bits of enum diff_part; ctime, inode and device are the source's own affair. */
int diff_entries(struct blocks *blocks, const struct entry *before, const struct entry *after,
                 unsigned *out, struct err *err);

/* Non-zero ends the comparison with that result. */
typedef int diff_fn(void *context, const struct diff_item *item, struct err *err);

/* An added or removed directory is one item, or one for each entry below with `whole`. */
int diff_trees(struct blocks *blocks, const struct dirref *before, const struct dirref *after,
               bool whole, diff_fn *each, void *context, struct err *err);
