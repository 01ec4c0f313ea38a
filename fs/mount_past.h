/*
 * mount_past — what the nodes of history lead to in each snapshot, found by their names and kept
 * for a while.
 *
 * Ownership: past_unref() by each who got one; a past keeps its snapshots.
 * Threads:   any call from any thread; what is loaded is loaded unlocked.
 * Errors:    those of timeline and history.
 */
#pragma once

#include "fs/history.h"
#include "fs/mount_internal.h"
#include "fs/timeline.h"

struct merged;

/* The snapshots of a host as they were when this was made. */
struct era {
    atomic_int refs;
    uint64_t generation;
    uint16_t host;
    struct timeline timeline;
};

/* What a node of history leads to. */
struct past {
    atomic_int refs;
    uint64_t id, used;
    struct era *era;
    struct trail trail;       /* of versions: only what is no directory */
    struct versions versions; /* NODE_VERSIONS */
    pthread_mutex_t lock;     /* guards what follows */
    struct merged *names;     /* NODE_PAST: made when it is first listed */
};

int past_get(struct mount *mount, uint64_t id, const struct node *node, struct past **out,
             struct err *err);
/* Of a node whose trail is known; takes the trail over, also when it fails. */
int past_make(struct mount *mount, uint64_t id, enum node_kind kind, struct era *era,
              struct trail *trail, struct past **out, struct err *err);
void past_unref(struct past *past); /* NULL is allowed */
void past_unrefp(struct past **past);
/* "/srv/app", terminated: the names of the node and those above it; "" for a type's. */
int past_path(struct mount *mount, uint64_t id, struct buf *out, struct err *err);
