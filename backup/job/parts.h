/*
 * parts — the pieces of a file that several workers store at the same time, folded in order.
 *
 * Ownership: a copy of the pieces that came too early is kept; parts_clear() frees it.
 * Threads:   one at a time: the file's lock.
 * Errors:    ERR_NOMEM, and those of pieces_fold().
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct err;
struct part;
struct piece;
struct worker;

struct parts {
    uint64_t turn;      /* the part that comes next; all before it are in the file */
    struct part *stash; /* parts that came too early */
};

/* Folds part `number` (the first is 0; `next` comes behind it) and those that waited for it; or
 * keeps it until its turn has come. */
int parts_fold(struct parts *parts, struct worker *worker, uint64_t number, uint64_t next,
               const struct piece *pieces, size_t count, struct err *err);
void parts_clear(struct parts *parts);
