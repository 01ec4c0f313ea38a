/*
 * remap_internal — what remap.c (reading what there is), remap_find.c (looking up in it),
 * remap_document.c (the bytes) and remap_publish.c (a new one) share.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "backup/archive/remap.h"
#include "backup/base/err.h"

/* One remap archive as it is read; the same is written. */
struct remap_document {
    struct archive_id *superseded; /* ascending */
    size_t superseded_count;
    struct remap_entry *entries; /* sorted by remap_compare() */
    size_t count;
};

enum { LOST_MAX = 256 }; /* archives that were looked for in vain lately */

struct known {
    struct remap_object object;
    uint32_t number; /* in the idtable */
    struct remap_document document;
};

struct known_list {
    struct known **at;
    size_t count;
};

/* An archive that was not there, and of which no remap told when it was asked. */
struct lost {
    uint32_t archive;
    int64_t asked_ns;
};

struct remap {
    atomic_uint_fast64_t generation;

    pthread_mutex_t flight; /* guards what follows */
    pthread_cond_t landed;
    bool refreshing; /* who has set it may read `known` unlocked, and replace it */
    struct lost lost[LOST_MAX];
    size_t lost_next;
    struct err failure; /* of the last refresh; code ERR_NONE: none */

    pthread_rwlock_t lock; /* guards what follows */
    struct known_list known;
};

void remap_document_clear(struct remap_document *document);
int remap_document_encode(const struct remap_document *document, struct buf *out, struct err *err);
int remap_document_decode(const uint8_t *bytes, size_t size, struct remap_document *out,
                          struct err *err);
/* The most bytes that one takes. */
size_t remap_document_limit(void);

/* By old id, from, new id, end, at: for qsort(). */
int remap_compare(const void *a, const void *b);
/* As remap_entries(), with or without what superseded remap archives say. */
int remap_list(struct repo *repo, bool superseded, struct remap_entry **out, size_t *out_count,
               struct err *err);
/* The entries of `count` sorted ones that are about `old`: the first; *out_count of them. */
const struct remap_entry *remap_about(const struct remap_entry *entries, size_t count,
                                      const struct archive_id *old, size_t *out_count);
/* What of `entry` the entry `next` leads on; false: nothing. */
bool remap_compose(const struct remap_entry *entry, const struct remap_entry *next,
                   struct remap_entry *out);
