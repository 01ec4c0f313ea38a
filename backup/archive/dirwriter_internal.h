/*
 * dirwriter_internal — a directory while it is written, shared by dirwriter.c (its leaves) and
 * dirwriter_index.c (the items over them).
 */
#pragma once

#include "backup/archive/treewriter_internal.h"
#include "backup/base/buf.h"

enum { ITEM_HEAD_MAX = 2 + VARINT_MAX }; /* kind, level, number */

/* A leaf or an index item that is done. */
struct part {
    struct place place;
    uint64_t entries;
    size_t name_at; /* its first name, in `names` */
    size_t name_size;
};

/* The records of a leaf; the table indexes of their refs are left out. */
struct pending {
    struct buf records;
    struct patches patches;
    uint16_t *ends; /* of each record */
    size_t count, capacity;
    uint32_t *archives; /* distinct ones */
    size_t archive_count, archive_capacity;
};

/* Entries that came just as one old leaf has them, from its first on. */
struct run {
    struct place leaf;
    uint32_t next, count; /* count 0: there is no run */
    bool last;
};

struct dirwriter {
    struct treewriter *writer;
    struct dirref previous;
    struct pending pending;
    struct run run;
    bool changed; /* a leaf was written */
    uint64_t entries;
    struct part *parts;
    size_t part_count, part_capacity;
    struct buf names;
    size_t last_size;
    char last[ENTRY_NAME_MAX];
};

/* Whether a leaf or an index item may end with this name. */
bool dirwriter_ends_by_name(const struct dirwriter *dir, const void *name, size_t size,
                            unsigned bits);
/* Kind, level, number and room for the offsets, which begin at *out_table. */
int dirwriter_put_head(struct encoder *encoder, int level, size_t count, size_t *out_table,
                       struct err *err);

/* dirwriter_index.c: replaces the parts by the index items over them. */
int dirwriter_write_level(struct dirwriter *dir, int level, struct err *err);
