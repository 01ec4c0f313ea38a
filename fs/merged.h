/*
 * merged — the names of a directory over all snapshots, each once, in order.
 *
 * Each distinct leaf is read once.  The names lie in a file without a name, so that a directory of
 * any size costs no memory; a position in it is good as long as the list is.
 *
 * Ownership: merged_free().
 * Threads:   made by one; then immutable: any.
 * Errors:    ERR_CORRUPT, store errors, a full disk.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/entry.h"

struct blocks;
struct err;
struct merged;
struct trail;

/* What directories of one name allow, together. */
struct common {
    uint32_t mode; /* what each of them allows */
    uint32_t uid, gid;
    bool other_uid, other_gid; /* … they do not agree on */
};
/* Starts with the first; goes on with the others. */
void common_add(struct common *common, bool first, uint32_t mode, uint32_t uid, uint32_t gid);

struct merged_name {
    char name[ENTRY_NAME_MAX + 1];
    size_t size;
    bool directory, other; /* it was a directory; it was something else */
    struct common common;  /* of the directories */
};

int merged_make(struct blocks *blocks, const struct trail *trail, struct merged **out,
                struct err *err);
void merged_free(struct merged *merged); /* NULL is allowed */
/* The name at a position (0: the first); false: the end.  *position moves on. */
bool merged_next(const struct merged *merged, uint64_t *position, struct merged_name *out);
