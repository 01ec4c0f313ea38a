#include "backup/archive/blockcache.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "backup/archive/block.h"
#include "backup/base/cleanup.h"

enum {
    SHARDS_MAX = 16,
    SHARD_SIZE_MIN = 4 * 1024 * 1024, /* a few blocks of the largest size */
    FIRST_CHAINS = 64,
};

struct cached {
    struct cached *chained;        /* next of the same hash */
    struct cached *before, *after; /* in the shard's ring; NULL while it is loaded */
    struct block *block;           /* NULL while it is loaded */
    uint64_t key;
    bool used;  /* since the hand came by */
    bool ahead; /* loaded for later, and nobody has come for it yet */
};

struct shard {
    size_t limit;         /* fixed at creation */
    pthread_mutex_t lock; /* guards what follows, and the cached it leads to */
    pthread_cond_t loaded;
    struct cached **chains;
    size_t chain_count; /* a power of two */
    size_t count;
    struct cached *hand; /* the next to be looked at for eviction; NULL: nothing cached */
    struct blockcache_stats stats;
};

struct blockcache {
    size_t shard_count; /* a power of two */
    struct shard shards[SHARDS_MAX];
};

static bool shard_init(struct shard *shard, size_t limit)
{
    pthread_mutex_init(&shard->lock, NULL);
    pthread_cond_init(&shard->loaded, NULL);
    shard->limit = limit;
    shard->chain_count = FIRST_CHAINS;
    shard->chains = calloc(shard->chain_count, sizeof(struct cached *));
    return shard->chains != NULL;
}

struct blockcache *blockcache_new(size_t limit)
{
    struct blockcache *cache = calloc(1, sizeof(*cache));
    bool whole = true;

    if (!cache)
        return NULL;
    cache->shard_count = 1;
    while (cache->shard_count < SHARDS_MAX && limit / cache->shard_count / 2 >= SHARD_SIZE_MIN)
        cache->shard_count *= 2;
    for (size_t i = 0; i < cache->shard_count; i++)
        whole = shard_init(&cache->shards[i], limit / cache->shard_count) && whole;
    if (!whole) {
        blockcache_free(cache);
        return NULL;
    }
    return cache;
}

static void shard_clear(struct shard *shard)
{
    for (size_t i = 0; shard->chains && i < shard->chain_count; i++) {
        for (struct cached *at = shard->chains[i]; at;) {
            struct cached *next = at->chained;
            block_unref(at->block);
            free(at);
            at = next;
        }
    }
    free(shard->chains);
    pthread_cond_destroy(&shard->loaded);
    pthread_mutex_destroy(&shard->lock);
}

void blockcache_free(struct blockcache *cache)
{
    if (!cache)
        return;
    for (size_t i = 0; i < cache->shard_count; i++)
        shard_clear(&cache->shards[i]);
    free(cache);
}

static uint64_t hash_key(uint64_t key)
{
    uint64_t hash = key * UINT64_C(0x9E3779B97F4A7C15); /* sends neighbours far apart */

    return hash ^ hash >> 32;
}

static struct shard *shard_of(struct blockcache *cache, uint64_t key)
{
    return &cache->shards[hash_key(key) >> 16 & (cache->shard_count - 1)];
}

/* Where the pointer to the entry for `key` is, or would be. */
static struct cached **chain_of(const struct shard *shard, uint64_t key)
{
    struct cached **at = &shard->chains[hash_key(key) & (shard->chain_count - 1)];

    while (*at && (*at)->key != key)
        at = &(*at)->chained;
    return at;
}

/* More chains when there are many entries; without memory for them they only get longer. */
static void grow_chains(struct shard *shard)
{
    struct shard grown = {.chain_count = shard->chain_count * 2};

    if (shard->count < shard->chain_count)
        return;
    grown.chains = calloc(grown.chain_count, sizeof(struct cached *));
    if (!grown.chains)
        return;
    for (size_t i = 0; i < shard->chain_count; i++) {
        for (struct cached *at = shard->chains[i]; at;) {
            struct cached *next = at->chained;
            at->chained = NULL;
            *chain_of(&grown, at->key) = at;
            at = next;
        }
    }
    free(shard->chains);
    shard->chains = grown.chains;
    shard->chain_count = grown.chain_count;
}

static size_t weight_of(const struct block *block)
{
    return sizeof(struct cached) + block_weight(block);
}

static void ring_insert(struct shard *shard, struct cached *entry)
{
    struct cached *hand = shard->hand ? shard->hand : entry;

    entry->after = hand;
    entry->before = shard->hand ? hand->before : entry;
    entry->before->after = entry;
    hand->before = entry; /* behind the hand: it comes by last */
    shard->hand = hand;
    shard->stats.bytes += weight_of(entry->block);
}

static void ring_remove(struct shard *shard, struct cached *entry)
{
    entry->before->after = entry->after;
    entry->after->before = entry->before;
    if (shard->hand == entry)
        shard->hand = entry->after == entry ? NULL : entry->after;
    shard->stats.bytes -= weight_of(entry->block);
}

static void forget(struct shard *shard, struct cached *entry)
{
    *chain_of(shard, entry->key) = entry->chained;
    shard->count--;
}

/* Takes what exceeds the limit out; the caller frees the list, unlocked. */
static struct cached *evict(struct shard *shard)
{
    struct cached *evicted = NULL;

    while (shard->hand && shard->stats.bytes > shard->limit) {
        struct cached *entry = shard->hand;
        if (entry->used) {
            entry->used = false;
            shard->hand = entry->after;
            continue;
        }
        ring_remove(shard, entry);
        forget(shard, entry);
        shard->stats.evictions++;
        entry->chained = evicted;
        evicted = entry;
    }
    return evicted;
}

static void free_evicted(struct cached *evicted)
{
    while (evicted) {
        struct cached *next = evicted->chained;
        block_unref(evicted->block);
        free(evicted);
        evicted = next;
    }
}

static struct cached *add_loading(struct shard *shard, uint64_t key)
{
    struct cached *entry = calloc(1, sizeof(*entry));

    if (!entry)
        return NULL;
    entry->key = key;
    grow_chains(shard);
    *chain_of(shard, key) = entry;
    shard->count++;
    shard->stats.loads++;
    return entry;
}

/* What was loaded ahead and is then read once is as what was loaded when it was read: it goes
 * before what is still waiting for its reader. */
static struct block *look(struct shard *shard, struct cached *entry)
{
    entry->used = !entry->ahead;
    entry->ahead = false;
    shard->stats.hits++;
    return block_ref(entry->block);
}

/* The cached block with a reference; else NULL, and *out_mine is the entry that the caller is to
 * load (NULL: no memory for one, load without).  Waits while another thread loads. */
static struct block *find_or_claim(struct shard *shard, uint64_t key, struct cached **out_mine)
{
    struct block *block = NULL;
    bool waited = false;

    pthread_mutex_lock(&shard->lock);
    struct cached *entry = *chain_of(shard, key);
    while (entry && !entry->block) {
        waited = true;
        pthread_cond_wait(&shard->loaded, &shard->lock);
        entry = *chain_of(shard, key);
    }
    shard->stats.waits += waited;
    if (entry)
        block = look(shard, entry);
    else
        *out_mine = add_loading(shard, key);
    pthread_mutex_unlock(&shard->lock);
    return block;
}

/* What was loaded becomes cached, or (NULL) nothing is left behind. */
static void settle(struct shard *shard, struct cached *mine, struct block *loaded)
{
    struct cached *evicted = mine;

    if (!mine)
        return;
    pthread_mutex_lock(&shard->lock);
    if (loaded) {
        mine->block = block_ref(loaded);
        ring_insert(shard, mine);
        evicted = evict(shard);
    } else {
        forget(shard, mine);
        mine->chained = NULL;
    }
    pthread_cond_broadcast(&shard->loaded);
    pthread_mutex_unlock(&shard->lock);
    free_evicted(evicted); /* may free blocks, so not under the lock */
}

int blockcache_get(struct blockcache *cache, uint64_t key, blockcache_load_fn *load, void *context,
                   struct block **out, struct err *err)
{
    struct shard *shard = shard_of(cache, key);
    struct cached *mine = NULL;
    struct block *block = find_or_claim(shard, key, &mine);

    if (block) {
        *out = block;
        return 0;
    }
    int r = load(context, key, &block, err);
    settle(shard, mine, r < 0 ? NULL : block);
    if (r < 0)
        return r;
    *out = block;
    return 0;
}

struct block *blockcache_peek(struct blockcache *cache, uint64_t key)
{
    struct shard *shard = shard_of(cache, key);
    struct block *block = NULL;

    pthread_mutex_lock(&shard->lock);
    struct cached *entry = *chain_of(shard, key);
    if (entry && entry->block)
        block = look(shard, entry);
    pthread_mutex_unlock(&shard->lock);
    return block;
}

bool blockcache_has(struct blockcache *cache, uint64_t key)
{
    struct shard *shard = shard_of(cache, key);

    pthread_mutex_lock(&shard->lock);
    bool found = *chain_of(shard, key) != NULL;
    pthread_mutex_unlock(&shard->lock);
    return found;
}

int blockcache_ahead(struct blockcache *cache, uint64_t key, blockcache_load_fn *load,
                     void *context, struct err *err)
{
    struct shard *shard = shard_of(cache, key);
    struct cached *mine = NULL;
    struct block *block = NULL;

    pthread_mutex_lock(&shard->lock);
    if (!*chain_of(shard, key))
        mine = add_loading(shard, key);
    pthread_mutex_unlock(&shard->lock);
    if (!mine)
        return 0;
    mine->used = mine->ahead = true;
    int r = load(context, key, &block, err);
    settle(shard, mine, r < 0 ? NULL : block);
    if (r == 0)
        block_unref(block);
    return r;
}

void blockcache_stats(struct blockcache *cache, struct blockcache_stats *out)
{
    struct blockcache_stats sum = {0};

    for (size_t i = 0; i < cache->shard_count; i++) {
        struct shard *shard = &cache->shards[i];
        pthread_mutex_lock(&shard->lock);
        sum.hits += shard->stats.hits;
        sum.loads += shard->stats.loads;
        sum.waits += shard->stats.waits;
        sum.evictions += shard->stats.evictions;
        sum.bytes += shard->stats.bytes;
        pthread_mutex_unlock(&shard->lock);
    }
    *out = sum;
}
