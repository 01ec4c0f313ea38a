/*
 * blocks_internal — what blocks.c (blocks decoded and cached) and blocks_locate.c (in which archive
 * they are by now) share.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>

#include "backup/archive/blocks.h"

struct codec;
struct readers;

enum { IDLE_CODECS = 16 };

struct blocks {
    struct repo *repo; /* these are fixed when it is made */
    struct blockcache *cache;
    struct readers *readers;
    void (*watch)(void *context, struct place place); /* set while one thread reads */
    void *watch_context;

    pthread_mutex_t lock; /* guards what follows */
    struct codec *idle[IDLE_CODECS];
    size_t idle_count;
    struct blocks_run *runs; /* being fetched */
    pthread_cond_t run_ended;
    _Atomic unsigned run_count; /* how many; may be looked at without the lock */
};

/* Neighbours that are being fetched in one piece: who needs one of them waits for it. */
struct blocks_run {
    struct blocks_run *next;
    uint32_t archive;
    size_t first, end;
};

/* A place in its block, wherever that is by now, in an archive that is held open. */
struct located {
    uint32_t archive;
    const struct reader *reader;
    size_t number; /* of the block */
    uint32_t raw;  /* in that archive's raw space */
};

/* The block that a place is in; here, and only here, one whose archive is gone is looked up in the
 * remap.  Let it go with readers_release(). */
int blocks_locate(struct blocks *blocks, struct place place, struct located *out, struct err *err);
/* The same if an open archive has it. */
bool blocks_locate_open(struct blocks *blocks, struct place place, struct located *out);
