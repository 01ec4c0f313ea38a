#include "backup/archive/blockpool.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>

enum {
    SLAB = 2 * 1024 * 1024, /* one huge page */
    ROW = 64,               /* units; what is taken lies in one row */
    ROWS = SLAB / BLOCKPOOL_UNIT / ROW,
    FIRST_SLABS = 16,
};

struct slab {
    uint8_t *memory;
    uint64_t free[ROWS]; /* a bit for each unit */
};

struct blockpool {
    pthread_mutex_t lock; /* guards what follows */
    struct slab *slabs;
    size_t count, room;
    size_t first; /* before it nothing is free */
    size_t out;   /* pieces in somebody's hands */
    bool closed;
};

struct blockpool *blockpool_new(void)
{
    struct blockpool *pool = calloc(1, sizeof(*pool));

    if (pool)
        pthread_mutex_init(&pool->lock, NULL);
    return pool;
}

static void release(struct blockpool *pool)
{
    for (size_t i = 0; i < pool->count; i++)
        (void)munmap(pool->slabs[i].memory, SLAB);
    free(pool->slabs);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

void blockpool_close(struct blockpool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->closed = true;
    bool last = pool->out == 0;
    pthread_mutex_unlock(&pool->lock);
    if (last)
        release(pool);
}

/* ---- the system's ------------------------------------------------------------------------ */

/* SLAB bytes that begin at a multiple of it: anything else is no huge page. */
static uint8_t *map_slab(void)
{
    uint8_t *all =
        mmap(NULL, 2 * (size_t)SLAB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (all == MAP_FAILED)
        return NULL;
    size_t before = (SLAB - (uintptr_t)all % SLAB) % SLAB;
    if (before > 0)
        (void)munmap(all, before);
    (void)munmap(all + before + SLAB, SLAB - before);
    return all + before;
}

static bool grow_table(struct blockpool *pool)
{
    size_t room = pool->room > 0 ? pool->room * 2 : FIRST_SLABS;

    if (pool->count < pool->room)
        return true;
    struct slab *slabs = realloc(pool->slabs, room * sizeof(*slabs));
    if (!slabs)
        return false;
    pool->slabs = slabs;
    pool->room = room;
    return true;
}

/* Under the lock. */
static bool add_slab(struct blockpool *pool)
{
    uint8_t *memory = grow_table(pool) ? map_slab() : NULL;

    if (!memory)
        return false;
    if (pool->count > 0)
        (void)madvise(memory, SLAB, MADV_HUGEPAGE); /* a wish */
    struct slab *slab = &pool->slabs[pool->count++];
    slab->memory = memory;
    for (size_t i = 0; i < ROWS; i++)
        slab->free[i] = UINT64_MAX;
    return true;
}

/* ---- units ------------------------------------------------------------------------------- */

static unsigned units_of(size_t size)
{
    return (unsigned)((size + BLOCKPOOL_UNIT - 1) / BLOCKPOOL_UNIT);
}

size_t blockpool_weight(size_t size)
{
    return units_of(size) * (size_t)BLOCKPOOL_UNIT;
}

/* So many units, from bit 0 on. */
static uint64_t mask_of(unsigned units)
{
    return UINT64_MAX >> (ROW - units);
}

/* The first of so many free units side by side; -1: there are none. */
static int find_row(uint64_t free, unsigned units)
{
    uint64_t starts = free;

    for (unsigned i = 1; i < units && starts != 0; i++)
        starts &= free >> i;
    return starts != 0 ? __builtin_ctzll(starts) : -1;
}

static uint8_t *take_from(struct slab *slab, unsigned units)
{
    for (size_t row = 0; row < ROWS; row++) {
        int at = find_row(slab->free[row], units);
        if (at < 0)
            continue;
        slab->free[row] &= ~(mask_of(units) << at);
        return slab->memory + (row * ROW + (size_t)at) * BLOCKPOOL_UNIT;
    }
    return NULL;
}

static bool is_full(const struct slab *slab)
{
    uint64_t free = 0;

    for (size_t row = 0; row < ROWS; row++)
        free |= slab->free[row];
    return free == 0;
}

/* Under the lock: the lowest that fits, so that what is free stays together. */
static uint8_t *take(struct blockpool *pool, unsigned units)
{
    uint8_t *memory = NULL;

    while (pool->first < pool->count && is_full(&pool->slabs[pool->first]))
        pool->first++;
    for (size_t i = pool->first; !memory && i < pool->count; i++)
        memory = take_from(&pool->slabs[i], units);
    if (!memory && add_slab(pool))
        memory = take_from(&pool->slabs[pool->count - 1], units);
    return memory;
}

uint8_t *blockpool_take(struct blockpool *pool, size_t size)
{
    assert(size > 0 && size <= BLOCKPOOL_MOST);
    pthread_mutex_lock(&pool->lock);
    uint8_t *memory = take(pool, units_of(size));
    pool->out += memory != NULL;
    pthread_mutex_unlock(&pool->lock);
    return memory;
}

/* Under the lock. */
static void put_back(struct blockpool *pool, const uint8_t *memory, unsigned units)
{
    size_t number = 0;

    while ((uintptr_t)memory - (uintptr_t)pool->slabs[number].memory >= SLAB)
        number++;
    size_t unit = (size_t)(memory - pool->slabs[number].memory) / BLOCKPOOL_UNIT;
    pool->slabs[number].free[unit / ROW] |= mask_of(units) << unit % ROW;
    if (number < pool->first)
        pool->first = number;
}

void blockpool_give(struct blockpool *pool, uint8_t *memory, size_t size)
{
    pthread_mutex_lock(&pool->lock);
    put_back(pool, memory, units_of(size));
    bool last = --pool->out == 0 && pool->closed;
    pthread_mutex_unlock(&pool->lock);
    if (last)
        release(pool);
}
