/*
 * blocks_internal — what blocks.c (blocks decoded and cached), blocks_locate.c (in which archive
 * they are by now) and blocks_fetch.c (neighbours in one piece) share.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "backup/archive/blocks.h"
#include "backup/archive/remap.h"

struct blockpool;
struct codec;
struct readers;

enum { IDLE_CODECS = 16, AROUND_ARCHIVES = 64 };

/* How often metadata of an archive was fetched. */
struct blocks_around {
    uint32_t archive;
    unsigned steps;
};

struct blocks {
    struct repo *repo; /* these are fixed when it is made */
    struct blockpool *pool;
    struct blockcache *cache;
    struct readers *readers;
    void (*watch)(void *context, struct place place); /* set while one thread reads */
    void *watch_context;
    uint64_t around_max;     /* of metadata, at once */
    bool reads_all;          /* … from the first time on */
    _Atomic uint64_t passed; /* blocks that were decoded and never cached */

    pthread_mutex_t lock; /* guards what follows */
    struct codec *idle[IDLE_CODECS];
    size_t idle_count;
    struct blocks_run *runs; /* being fetched */
    pthread_cond_t run_ended;
    _Atomic unsigned run_count; /* how many; may be looked at without the lock */
    struct blocks_around around[AROUND_ARCHIVES];
};

/* Neighbours that are being fetched in one piece: who needs one of them waits for it. */
struct blocks_run {
    struct blocks_run *next;
    uint32_t archive;
    size_t first, end;
};

/* Others wait for these blocks instead of fetching them, until the run ends. */
void blocks_run_begin(struct blocks *blocks, struct blocks_run *run);
void blocks_run_end(struct blocks *blocks, struct blocks_run *run);

/* A place in its block, wherever that is by now, in an archive that is held open. */
struct located {
    uint32_t archive;
    const struct reader *reader;
    size_t number; /* of the block */
    uint32_t raw;  /* in that archive's raw space */
};

/* Archives that could be opened (the cache has their ends), and were found to be gone when they
 * were read. */
struct blocks_gone {
    uint32_t archives[REMAP_FOUND_MAX + 1]; /* all that a place is looked for in */
    size_t count;
};

/* The block that a place is in; here, and only here, one whose archive is gone is looked up in the
 * remap.  `gone` (NULL: none) are left out.  Let it go with readers_release(). */
int blocks_locate(struct blocks *blocks, struct place place, const struct blocks_gone *gone,
                  struct located *out, struct err *err);
/* The same if an open archive has it. */
bool blocks_locate_open(struct blocks *blocks, struct place place, struct located *out);

/* What the loader of a block needs. */
struct blocks_loading {
    struct blocks *blocks;
    const struct located *located;
    const uint8_t *stored; /* fetched already; or NULL */
};

/* In the cache, and how it comes there: a blockcache_load_fn for a struct blocks_loading. */
uint64_t blocks_key(const struct located *located);
int blocks_load(void *context, uint64_t key, struct block **out, struct err *err);
/* In the cache, or soon will be. */
bool blocks_is_cached(struct blocks *blocks, const struct located *located);
/* A codec for one thread's use, and back; NULL: out of memory. */
struct codec *blocks_take_codec(struct blocks *blocks);
void blocks_give_codec(struct blocks *blocks, struct codec *codec);
/* Before a block is loaded: waits where it comes with its neighbours; metadata of a remote store is
 * fetched with its neighbours. */
void blocks_await(struct blocks *blocks, const struct located *located);
