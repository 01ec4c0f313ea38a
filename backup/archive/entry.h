/*
 * entry — one name of a directory with all that is known of it; its record in a metadata block.
 *
 * A metadata block in memory (struct block, from blocks_get()) has the numbers of its archives in
 * place of their ids: entry_prepare_block() writes them there once, when the block is loaded, so
 * that reading a ref is one load.
 *
 * Ownership: name, target, xattrs and content of a decoded entry point into its block: they are
 * good while that is held. Threads:   plain values. Errors:    ERR_CORRUPT for a record that breaks
 * docs/format.md in any way.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/place.h"

struct block;
struct buf;
struct err;
struct idtable;

enum entry_type {
    ENTRY_FILE = 1,
    ENTRY_DIRECTORY = 2,
    ENTRY_SYMLINK = 3,
    ENTRY_CHARDEV = 4,
    ENTRY_BLOCKDEV = 5,
    ENTRY_FIFO = 6,
    ENTRY_SOCKET = 7,
    ENTRY_LINK = 15, /* in records only: readers of trees see the inode behind it */
};

enum entry_flag { ENTRY_XATTRS = 16, ENTRY_CHANGED = 32, ENTRY_PARTIAL = 64 };

enum {
    ENTRY_DIGEST_SIZE = 16,
    ENTRY_NAME_MAX = 255,
    ENTRY_TARGET_MAX = 4095,
    ENTRY_XATTRS_MAX = 8 * 1024 * 1024, /* all of one file: Linux allows 64 KiB a value */
    ITEM_SIZE_MAX = 64000,
    LEAF_SIZE_MAX = 48000,
    BLOCK_REFS_MAX = 1024,
    INLINE_EXTENTS_MAX = 64,
    INLINE_XATTRS_MAX = 4096,
};

enum content_form {
    CONTENT_NONE, /* empty */
    CONTENT_ONE,  /* one extent, at `place` */
    CONTENT_LIST, /* `count` extents: encoded behind `bytes`, or decoded in `list` when an entry is
                     made */
    CONTENT_TREE, /* an extents or extents index item at `place` */
    CONTENT_INLINE, /* xattrs: the bytes themselves */
};

struct content {
    enum content_form form;
    uint64_t size;
    struct place place;
    const uint8_t *bytes, *end; /* LIST (encoded) and INLINE */
    const struct extent *list;  /* LIST when being written */
    size_t count;               /* extents of a LIST */
    const struct block *block;  /* the block that the encoded refs belong to */
};

/* A directory: where its leaf or the root of its index is.  entries == 0: empty, and no place. */
struct dirref {
    struct place place;
    uint64_t entries;
};

struct entry {
    struct place place; /* of the record, or of the inode item when `shared` */
    bool shared;        /* several names have it: `links` > 1 */
    uint8_t flags;
    enum entry_type type;
    const char *name; /* not terminated; may hold any byte but '/' and NUL */
    size_t name_size;
    uint32_t mode; /* 07777 only */
    uint32_t uid, gid;
    int64_t mtime_s, ctime_s;
    uint32_t mtime_ns, ctime_ns;
    uint64_t inode, device; /* of the source */
    uint64_t links;         /* 1 where not shared */
    uint64_t size;          /* files */
    uint8_t digest[ENTRY_DIGEST_SIZE];
    struct content content;
    struct dirref directory;
    uint64_t below_entries, below_bytes; /* directories: everything below */
    const char *target;                  /* symlinks; not terminated */
    size_t target_size;
    uint64_t rdev;
    struct content xattrs;
    struct place link; /* ENTRY_LINK: of the inode item */
};

/* S_IFREG and so on with the mode. */
uint32_t entry_st_mode(const struct entry *entry);

/* Checks the table at the end of a metadata block and puts archive numbers in it; once, before the
 * block is shared. */
int entry_prepare_block(struct block *block, struct idtable *ids, struct err *err);
/* Of a prepared block: how many archives its table has, and the number of one of them. */
size_t entry_references(const struct block *block);
uint32_t entry_reference(const struct block *block, size_t index);
/* The items' part of a prepared block. */
size_t entry_items_size(const struct block *block);
/* Resolves a ref read from a prepared block. */
int entry_ref(const struct block *block, uint64_t index, uint64_t raw, struct place *out,
              struct err *err);

/* Decodes the record at `offset` of a prepared block; `place` is its place; *out_size (may be
 * NULL): its encoded length. */
int entry_decode(const struct block *block, size_t offset, struct place place, struct entry *out,
                 size_t *out_size, struct err *err);
/* The same for an inode item (shared); its name stays empty. */
int entry_decode_inode(const struct block *block, size_t offset, struct place place,
                       struct entry *out, struct err *err);

/* The archives that the items of one block refer to, while it is made. */
struct reftable {
    size_t count;
    uint32_t archives[BLOCK_REFS_MAX];
};
/* The index of an archive in the table, added if it was not there; ERR_TOO_LARGE: full. */
int reftable_index(struct reftable *table, uint32_t archive, size_t *out, struct err *err);

/* Appends the record of an entry; a shared one becomes a link to entry->place. */
int entry_encode(const struct entry *entry, struct reftable *refs, struct buf *out,
                 struct err *err);
/* Appends the inode item of a shared entry (with its kind byte). */
int entry_encode_inode(const struct entry *entry, struct reftable *refs, struct buf *out,
                       struct err *err);

/* A set of xattrs in the form that is stored; names and values are bytes. */
int xattrs_append(struct buf *set, const char *name, size_t name_size, const void *value,
                  size_t value_size, struct err *err);
/* Takes the next pair off the front; 1: there is one, 0: end, negative: ERR_CORRUPT. */
int xattrs_next(const uint8_t **at, const uint8_t *end, const char **name, size_t *name_size,
                const uint8_t **value, size_t *value_size, struct err *err);
