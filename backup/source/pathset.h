/*
 * pathset — the paths that a walk was asked for, sorted so that those below a directory stand
 * together.
 *
 * Ownership: the strings are borrowed, the arrays are its own.
 * Threads:   immutable once taken.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct err;

struct pathset {
    const char **at; /* ascending by components, each once */
    size_t count;
    const char **tops; /* those that lie below no other */
    size_t top_count;
};

int pathset_take(struct pathset *set, const char *const *paths, size_t count, struct err *err);
void pathset_clear(struct pathset *set);

/* Those that are `path` or lie below it: [*out_first, *out_end).  True when there are any. */
bool pathset_below(const struct pathset *set, const char *path, size_t *out_first, size_t *out_end);
