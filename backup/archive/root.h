/*
 * root — a snapshot's root: what it is, when, of what, and where its directories are.
 *
 * Ownership: root_clear() releases all that a root holds; strings are its own.
 * Threads:   plain values.
 * Errors:    ERR_CORRUPT, naming the object; ERR_EXISTS when a name or revision is taken.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/entry.h"

struct buf;
struct err;
struct idtable;
struct repo;

enum { SNAPSHOT_NAME_SIZE = 16, HOST_NAME_MAX_SIZE = 255 };

enum snapshot_type { TYPE_FILES = 1, TYPE_CONFIG = 2, TYPE_DATABASE = 3, TYPES = 3 };
const char *snapshot_type_name(enum snapshot_type type);

struct strings {
    char **at;
    size_t count;
};
int strings_add(struct strings *strings, const char *bytes, size_t size, struct err *err);
void strings_clear(struct strings *strings);

struct root_type {
    bool present; /* the snapshot has this type */
    bool complete;
    struct dirref directory;
    uint64_t files, directories, others, bytes, new_bytes, unreadable;
    struct strings sources;
};

struct root_archive {
    struct archive_id id;
    uint8_t kind;
    uint64_t size;
};

struct root {
    struct archive_id id; /* of its object; only when it was read from there */
    char name[SNAPSHOT_NAME_SIZE];
    uint64_t revision, sequence;
    char host[HOST_NAME_MAX_SIZE + 1];
    char parent[SNAPSHOT_NAME_SIZE]; /* empty: none */
    int64_t start_ns, end_ns;
    bool complete, adhoc;
    char version[64];
    struct strings tags, exclusions;
    struct root_type types[TYPES + 1]; /* by enum snapshot_type */
    struct root_archive *archives;
    size_t archive_count;
};

void root_clear(struct root *root);

/* The document of docs/format.md, "Roots".  A root that cannot be written so is ERR_USAGE. */
int root_encode(const struct root *root, const struct idtable *ids, struct buf *out,
                struct err *err);
int root_decode(const void *bytes, size_t size, struct idtable *ids, struct root *out,
                struct err *err);

/* snapshots/NAME/REVISION. */
void root_object_name(const char *name, uint64_t revision, char out[OBJECT_NAME_SIZE]);
/* Publishing is the moment at which a snapshot exists. */
int root_publish(struct repo *repo, const struct root *root, uint64_t *out_size, struct err *err);
int root_read(struct repo *repo, const char *name, uint64_t revision, struct root *out,
              struct err *err);
