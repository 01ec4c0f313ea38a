/*
 * textdiff — what differs between stored files, as diff -u shows it.
 *
 * The system's diff(1) does it, on two files without names, and with nothing of this process's
 * environment but PATH and the locale.  Content only: mode, owner and times are not looked at.
 *
 * Ownership: borrows what the struct points to.
 * Threads:   one.
 * Errors:    ERR_NOT_FOUND without a diff(1); store errors.
 */
#pragma once

#include <stdint.h>

#include "fs/diff.h"

struct textdiff {
    struct blocks *blocks;
    /* "20260204_120000:files/srv": what stands before the paths of each side */
    const char *before, *after;
    uint64_t count; /* of what differed */
};

/* A diff_fn; `context` is a struct textdiff. */
int textdiff_item(void *context, const struct diff_item *item, struct err *err);
