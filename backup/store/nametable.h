/*
 * nametable — a text for each of many objects, found by name.
 *
 * It holds NAMETABLE_MAX of them.  What finds no room is not in it, and the table says from then on
 * that it is partial: that a name is not there means nothing any more.
 *
 * Ownership: texts that are given out are the table's, until the next nametable_put() or
 *            nametable_clear().
 * Threads:   the caller's lock.
 * Errors:    none; no memory is no room.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum { NAMETABLE_MAX = 65536 };

struct nametable { /* all zero: empty */
    struct named **chains;
    size_t count;
    bool is_partial;
};

void nametable_clear(struct nametable *table);
/* In the place of what the name had before. */
void nametable_put(struct nametable *table, const char *name, const char *text);
/* NULL: it is not there. */
const char *nametable_get(const struct nametable *table, const char *name);
