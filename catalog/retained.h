/*
 * retained — until when objects in buckets are locked, as far as this catalog had a part in it.
 *
 * Only so that not all is asked for each night; what is not known here is locked once more, and
 * some of what is known is asked for each time (docs/decisions/lock.md).
 *
 * Ownership: retained_rows_clear().
 * Threads:   as the catalog.
 * Errors:    those of the catalog.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "backup/archive/repo.h"

struct catalog;
struct err;

struct retained_row {
    char object[OBJECT_NAME_SIZE];
    int64_t until_ns;
};

struct retained_rows {
    struct retained_row *at;
    size_t count, room;
};

void retained_rows_clear(struct retained_rows *rows);
int retained_rows_add(struct retained_rows *rows, const char *object, int64_t until_ns,
                      struct err *err);

/* `location` is the store's.  *out_ns is 0 where nothing is known. */
int retained_get(struct catalog *catalog, const char *location, const char *object, int64_t *out_ns,
                 struct err *err);
/* All of them at once; what ended before `now_ns` is forgotten. */
int retained_set(struct catalog *catalog, const char *location, const struct retained_rows *rows,
                 int64_t now_ns, struct err *err);
/* Some of them, by chance. */
int retained_sample(struct catalog *catalog, const char *location, size_t most,
                    struct retained_rows *out, struct err *err);
int retained_forget(struct catalog *catalog, const char *location, struct err *err);
