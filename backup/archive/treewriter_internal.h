/*
 * treewriter_internal — how items get into metadata blocks: for dirwriter.c and contentwriter.c.
 *
 * Ownership: the treewriter's.
 * Threads:   one thread.
 */
#pragma once

#include "backup/archive/entry_internal.h"
#include "backup/archive/treewriter.h"

enum { ITEM_REFS_MAX = 512, TREE_LEVELS_WRITTEN_MAX = 8 };

/* Appends one item to encoder->out; called once more, with an empty block, when it did not fit. */
typedef int item_fn(const void *context, struct encoder *encoder, struct err *err);

int treewriter_put(struct treewriter *writer, item_fn *encode, const void *context,
                   struct place *out, struct err *err);
const struct digest_key *treewriter_id_key(const struct treewriter *writer);

/* Makes room for one more element; `array` points to the pointer. */
int treewriter_grow(void *array, size_t count, size_t *capacity, size_t element, struct err *err);
