/*
 * backup_internal — one pass over the sources, shared by backup.c (reading and storing) and
 * backup_publish.c (the root, and whether a pruner has been there).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "backup/job/backup.h"
#include "backup/job/references.h"

/* One pass over the sources.  There is a second one only where a pruner marked what the first
 * referred to. */
struct attempt {
    const struct backup_options *options;
    struct backup_result *result;
    struct references references, refused;
    struct references through; /* archives of which moved content is referred to */
    struct references *gone;   /* found missing by the attempts before, and by this one */
    struct blocks *blocks;
    struct dedup *dedup;
    struct runindex *index;
    struct packer *packer;
    struct units *units;
    struct treewriter *treewriter;
    struct root_type *last; /* of those read so far */
    uint64_t counted;       /* bytes that are in some type's new_bytes */
    int64_t looked_ns;      /* when it began to ask for marks */
};

/* A root that was published and then hit keeps its name and takes the next revision. */
void backup_go_on_from(const struct root *published, struct root *root);

/* Looks before it publishes, and again afterwards: only that counts, for now a pruner's second look
 * finds the root. */
int backup_publish(struct attempt *attempt, struct root *published, bool *out_hit, struct err *err);
