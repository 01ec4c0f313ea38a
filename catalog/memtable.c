#include "catalog/memtable.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/bytes.h"
#include "backup/base/err.h"

enum { SHARDS = 16, FIRST_ENTRIES = 1024 };

struct shard {
    pthread_mutex_t lock;
    size_t count, capacity;      /* of entries; slots are twice as many */
    struct chunk_entry *entries; /* in the order in which they came */
    uint32_t *slots;             /* number + 1, 0: free */
};

struct memtable {
    atomic_size_t count;
    struct shard shards[SHARDS];
};

struct memtable *memtable_new(void)
{
    struct memtable *table = calloc(1, sizeof(*table));

    for (size_t i = 0; table && i < SHARDS; i++)
        pthread_mutex_init(&table->shards[i].lock, NULL);
    return table;
}

void memtable_free(struct memtable *table)
{
    if (!table)
        return;
    for (size_t i = 0; i < SHARDS; i++) {
        free(table->shards[i].entries);
        free(table->shards[i].slots);
        pthread_mutex_destroy(&table->shards[i].lock);
    }
    free(table);
}

void memtable_freep(struct memtable **table)
{
    memtable_free(*table);
}

/* An id is a keyed hash, so any of its bytes will do; the first ones order the segments. */
static struct shard *shard_of(struct memtable *table, const uint8_t id[32])
{
    return &table->shards[id[31] % SHARDS];
}

/* The slot of `id`, else the free one where it belongs. */
static uint32_t *slot_of(const struct shard *shard, const uint8_t id[32])
{
    size_t mask = 2 * shard->capacity - 1;
    size_t at = load_le64(id + 16) & mask;

    while (shard->slots[at] != 0 &&
           memcmp(shard->entries[shard->slots[at] - 1].id, id, sizeof(shard->entries->id)) != 0)
        at = (at + 1) & mask;
    return &shard->slots[at];
}

static int grow(struct shard *shard, struct err *err)
{
    size_t capacity = shard->capacity ? 2 * shard->capacity : FIRST_ENTRIES;
    struct chunk_entry *entries = realloc(shard->entries, capacity * sizeof(*entries));

    if (entries)
        shard->entries = entries;
    uint32_t *slots = entries ? calloc(2 * capacity, sizeof(*slots)) : NULL;
    if (!slots)
        return err_set(err, ERR_NOMEM, "out of memory");
    free(shard->slots);
    shard->slots = slots;
    shard->capacity = capacity;
    for (size_t i = 0; i < shard->count; i++)
        *slot_of(shard, shard->entries[i].id) = (uint32_t)i + 1;
    return 0;
}

int memtable_add(struct memtable *table, const struct chunk_entry *entry, struct err *err)
{
    struct shard *shard = shard_of(table, entry->id);
    int r = 0;

    pthread_mutex_lock(&shard->lock);
    if (shard->count == shard->capacity)
        r = grow(shard, err);
    if (r == 0) {
        shard->entries[shard->count] = *entry;
        *slot_of(shard, entry->id) = (uint32_t)++shard->count;
        atomic_fetch_add(&table->count, 1);
    }
    pthread_mutex_unlock(&shard->lock);
    return r;
}

bool memtable_find(struct memtable *table, const uint8_t id[32], uint32_t length, struct place *out)
{
    struct shard *shard = shard_of(table, id);
    bool found = false;

    pthread_mutex_lock(&shard->lock);
    uint32_t slot = shard->capacity > 0 ? *slot_of(shard, id) : 0;
    if (slot != 0 && shard->entries[slot - 1].length == length) {
        *out = shard->entries[slot - 1].place;
        found = true;
    }
    pthread_mutex_unlock(&shard->lock);
    return found;
}

size_t memtable_count(const struct memtable *table)
{
    return atomic_load(&table->count);
}

static int by_id(const void *a, const void *b)
{
    const struct chunk_entry *left = a, *right = b;

    return memcmp(left->id, right->id, sizeof(left->id));
}

int memtable_entries(struct memtable *table, struct chunk_entry **out, size_t *out_count,
                     struct err *err)
{
    size_t count = memtable_count(table), at = 0;
    struct chunk_entry *entries = malloc((count > 0 ? count : 1) * sizeof(*entries));

    if (!entries)
        return err_set(err, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < SHARDS; i++) {
        const struct shard *shard = &table->shards[i];
        if (shard->count > 0)
            memcpy(entries + at, shard->entries, shard->count * sizeof(*entries));
        at += shard->count;
    }
    qsort(entries, count, sizeof(*entries), by_id);
    *out = entries;
    *out_count = count;
    return 0;
}
