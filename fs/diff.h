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

/* Non-zero ends the comparison with that result. */
typedef int diff_fn(void *context, const struct diff_item *item, struct err *err);

/* An added or removed directory is one item, or one for each entry below with `whole`. */
int diff_trees(struct blocks *blocks, const struct dirref *before, const struct dirref *after,
               bool whole, diff_fn *each, void *context, struct err *err);
