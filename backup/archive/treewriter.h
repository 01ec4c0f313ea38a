/*
 * treewriter — writing directories: items into metadata blocks, blocks into metadata archives.
 *
 * Directories come in children first, entries by name.  A leaf whose entries are all just what the
 * snapshot before has in one leaf is not written but referred to, and a directory of which all is
 * the same is the old directory.
 *
 * Ownership: the treewriter owns its open archive.  Entries are copied (encoded) when added.
 * Threads:   one thread.
 * Errors:    ERR_USAGE for names out of order; those of writer.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "backup/archive/entry.h"
#include "backup/archive/tree.h"

struct dirwriter;
struct err;
struct repo;
struct treewriter;
struct writer_result;

/* Is told of each metadata archive when it is durable, with its index record. */
typedef int treewriter_done_fn(void *context, const struct writer_result *archive,
                               const void *index, size_t size, struct err *err);

int treewriter_new(struct repo *repo, int level, treewriter_done_fn *done, void *context,
                   struct treewriter **out, struct err *err);
/* Closes the last block and archive; nothing is left in memory. */
int treewriter_finish(struct treewriter *writer, struct err *err);
void treewriter_free(struct treewriter *writer); /* without finish: what is not durable is dropped.
                                                    NULL is allowed */
uint64_t treewriter_stored(const struct treewriter *writer); /* bytes so far */

/* `previous`: the same directory in the snapshot before, or NULL. */
int dirwriter_new(struct treewriter *writer, const struct dirref *previous, struct dirwriter **out,
                  struct err *err);
/* `same`: where the entry stands in `previous`, if it is the same there in every field and ref;
 * else NULL. */
int dirwriter_add(struct dirwriter *dir, const struct entry *entry,
                  const struct tree_position *same, struct err *err);
/* Frees the dirwriter. */
int dirwriter_finish(struct dirwriter *dir, struct dirref *out, struct err *err);
void dirwriter_abort(struct dirwriter *dir); /* NULL is allowed */

/* The inode item of a file that several names share; its place goes into the entries of its names.
 */
int treewriter_put_inode(struct treewriter *writer, const struct entry *entry, struct place *out,
                         struct err *err);

/* Content of many extents, in order, folded where they touch.  Small ones stay a list. */
struct contentwriter;
int contentwriter_new(struct treewriter *writer, struct contentwriter **out, struct err *err);
int contentwriter_add(struct contentwriter *content, const struct extent *extent, struct err *err);
/* The result's list belongs to the contentwriter: encode the entry before freeing it. */
int contentwriter_finish(struct contentwriter *content, struct content *out, struct err *err);
void contentwriter_free(struct contentwriter *content); /* NULL is allowed */
