/*
 * view — snapshots as a tree of names: what the mount shows and what restore, ls, cat and diff
 * read.
 *
 * The mount's layout without a kernel: the root with its timestamps, latest and hosts, below them
 * the types, below those the stored directories; manifest.json made from the root.  Paths are
 * resolved here, once for every face.
 *
 * Ownership: the view borrows catalog and blocks.
 * Threads:   any call from any thread.
 * Errors:    ERR_NOT_FOUND, naming the path and the snapshot; ERR_CORRUPT.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "backup/archive/root.h"
#include "backup/archive/tree.h"

struct blocks;
struct buf;
struct catalog;
struct err;
struct selection;

/* The manifest of a snapshot as JSON (docs: `name type host start end complete adhoc files bytes
 * new_bytes`, then the rest). */
int view_manifest(const struct root *root, struct buf *out, struct err *err);

/* One thing that a user's PATH names within a selection. */
struct view_target {
    enum snapshot_type type;
    const struct root *root;
    struct held_entry held; /* the entry: a directory without a name for a type's own root */
    char *source_path;      /* absolute, "/srv/app/.env"; "/" for a type's root */
};
void view_target_clear(struct view_target *target);

/* `path` as product says: "config/srv/app/.env", or "/srv/app/.env" (sought in files, then config).
 * Empty or "/" alone is not a path: the caller asks for each type.  */
int view_resolve(struct blocks *blocks, const struct selection *selection, const char *path,
                 struct view_target *out, struct err *err);
/* Where `path` may be, without a snapshot: the types in the order in which it is sought (at most
 * TYPES; `types` not 0 narrows it) and its clean source path, which the caller frees. */
int view_split(const char *path, uint8_t types, enum snapshot_type *out_types, size_t *out_count,
               char **out_path, struct err *err);
/* The root directory of a type. */
int view_type_root(const struct selection *selection, enum snapshot_type type,
                   struct view_target *out, struct err *err);
/* st_ino of an entry: a keyed hash of host, device, inode, ctime and reference, so that an
 * unchanged file keeps it from date to date. */
uint64_t view_inode_number(const struct repo *repo, const char *host, const struct entry *entry);
