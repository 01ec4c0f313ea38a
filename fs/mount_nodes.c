#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/mount_internal.h"

enum {
    CHUNK_NODES = 4096,
    CHUNKS_MAX = 16384,
    HOST_CHUNK = 4096,
    HOST_CHUNKS = 4096, /* 2^24 archives */
    GENERATION_MAX = (1 << 30) - 1,
    ROOT_SLOT = FUSE_ROOT_ID,
};

struct nodes {
    /* Host of an archive, plus one; 0: not known. */
    _Atomic(atomic_ushort *) hosts[HOST_CHUNKS];
    pthread_mutex_t lock; /* guards what follows */
    struct node *chunks[CHUNKS_MAX];
    uint32_t *buckets; /* the first slot of each; 0: none */
    size_t bucket_count;
    uint32_t used; /* slots ever given out; slot 0 is none */
    uint32_t free; /* the first of the free slots */
    size_t count;
};

uint64_t node_of_place(struct place place, bool shared)
{
    assert(place.archive < 1u << 24);
    return NODE_PLACED | (shared ? NODE_SHARED : 0) | node_key_of_place(place);
}

bool node_is_placed(uint64_t id)
{
    return (id & NODE_PLACED) != 0;
}

struct place node_place(uint64_t id, bool *out_shared)
{
    *out_shared = (id & NODE_SHARED) != 0;
    return node_place_of_key(id);
}

uint64_t node_key_of_place(struct place place)
{
    return (uint64_t)place.archive << 32 | place.raw;
}

struct place node_place_of_key(uint64_t key)
{
    return (struct place){.archive = (uint32_t)(key >> 32) & 0xFFFFFF, .raw = (uint32_t)key};
}

static struct node *slot_node(const struct nodes *nodes, uint32_t slot)
{
    return &nodes->chunks[slot / CHUNK_NODES][slot % CHUNK_NODES];
}

static uint32_t *bucket_of(struct nodes *nodes, uint64_t parent, uint64_t key)
{
    uint64_t hash = (parent ^ key * UINT64_C(0x9E3779B97F4A7C15)) * UINT64_C(0xBF58476D1CE4E5B9);

    hash ^= hash >> 31;
    return &nodes->buckets[hash & (nodes->bucket_count - 1)];
}

/* A table that cannot grow is slower, not wrong. */
static void grow_buckets(struct nodes *nodes)
{
    size_t count = nodes->bucket_count * 2;
    uint32_t *old = nodes->buckets;
    uint32_t *buckets = calloc(count, sizeof(*buckets));

    if (!buckets)
        return;
    size_t old_count = nodes->bucket_count;
    nodes->buckets = buckets;
    nodes->bucket_count = count;
    for (size_t i = 0; i < old_count; i++) {
        for (uint32_t slot = old[i]; slot != 0;) {
            struct node *node = slot_node(nodes, slot);
            uint32_t next = node->next;
            uint32_t *bucket = bucket_of(nodes, node->parent, node->key);
            node->next = *bucket;
            *bucket = slot;
            slot = next;
        }
    }
    free(old);
}

/* The id under which the kernel knows a slot. */
static uint64_t slot_id(const struct nodes *nodes, uint32_t slot)
{
    return (uint64_t)slot_node(nodes, slot)->generation << 32 | slot;
}

static uint32_t find(struct nodes *nodes, uint64_t parent, uint64_t key)
{
    for (uint32_t slot = *bucket_of(nodes, parent, key); slot != 0;) {
        const struct node *node = slot_node(nodes, slot);
        if (node->parent == parent && node->key == key)
            return slot;
        slot = node->next;
    }
    return 0;
}

/* The slot that an id names; 0 where it was given to another node since. */
static uint32_t slot_of(struct nodes *nodes, uint64_t id)
{
    uint32_t slot = (uint32_t)id;

    if (node_is_placed(id) || slot == 0 || slot >= nodes->used)
        return 0;
    const struct node *node = slot_node(nodes, slot);
    return node->kind != NODE_FREE && node->generation == id >> 32 ? slot : 0;
}

static int new_slot(struct nodes *nodes, uint32_t *out, struct err *err)
{
    uint32_t slot = nodes->free;

    if (slot != 0) {
        nodes->free = slot_node(nodes, slot)->next;
        *out = slot;
        return 0;
    }
    slot = nodes->used;
    if (slot / CHUNK_NODES >= CHUNKS_MAX)
        return err_set(err, ERR_TOO_LARGE, "too many directories are in use at once");
    struct node **chunk = &nodes->chunks[slot / CHUNK_NODES];
    if (!*chunk)
        *chunk = calloc(CHUNK_NODES, sizeof(**chunk));
    if (!*chunk)
        return err_set(err, ERR_NOMEM, "out of memory");
    nodes->used++;
    *out = slot;
    return 0;
}

static int add(struct nodes *nodes, const struct node *wanted, uint32_t *out, struct err *err)
{
    char *name = wanted->name ? strdup(wanted->name) : NULL;
    int rc = wanted->name && !name ? err_set(err, ERR_NOMEM, "out of memory") : 0;

    if (rc == 0)
        rc = new_slot(nodes, out, err);
    if (rc < 0) {
        free(name);
        return rc;
    }
    if (nodes->count >= nodes->bucket_count)
        grow_buckets(nodes);
    struct node *node = slot_node(nodes, *out);
    uint32_t *bucket = bucket_of(nodes, wanted->parent, wanted->key);
    uint32_t generation = node->generation;
    *node = *wanted;
    node->generation = generation;
    node->lookups = 0;
    node->name = name;
    node->next = *bucket;
    *bucket = *out;
    nodes->count++;
    return 0;
}

struct nodes *nodes_new(void)
{
    const struct node root = {.kind = NODE_ROOT};
    struct err ignored;
    uint32_t slot;
    struct nodes *nodes = calloc(1, sizeof(*nodes));

    if (!nodes)
        return NULL;
    pthread_mutex_init(&nodes->lock, NULL);
    nodes->used = ROOT_SLOT;
    nodes->bucket_count = 1024;
    nodes->buckets = calloc(nodes->bucket_count, sizeof(*nodes->buckets));
    if (!nodes->buckets || add(nodes, &root, &slot, &ignored) < 0) {
        nodes_free(nodes);
        return NULL;
    }
    assert(slot == ROOT_SLOT);
    slot_node(nodes, slot)->lookups = 1; /* the kernel never forgets it */
    return nodes;
}

void nodes_free(struct nodes *nodes)
{
    if (!nodes)
        return;
    for (uint32_t slot = ROOT_SLOT; slot < nodes->used; slot++)
        free((char *)(uintptr_t)slot_node(nodes, slot)->name);
    for (size_t i = 0; i < CHUNKS_MAX; i++)
        free(nodes->chunks[i]);
    for (size_t i = 0; i < HOST_CHUNKS; i++)
        free(atomic_load(&nodes->hosts[i]));
    free(nodes->buckets);
    pthread_mutex_destroy(&nodes->lock);
    free(nodes);
}

int nodes_take(struct nodes *nodes, const struct node *wanted, uint64_t *out_id, struct err *err)
{
    int rc = 0;

    pthread_mutex_lock(&nodes->lock);
    uint32_t slot = find(nodes, wanted->parent, wanted->key);
    if (slot == 0)
        rc = add(nodes, wanted, &slot, err);
    if (rc == 0) {
        slot_node(nodes, slot)->lookups++;
        *out_id = slot_id(nodes, slot);
    }
    pthread_mutex_unlock(&nodes->lock);
    return rc;
}

bool nodes_get(struct nodes *nodes, uint64_t id, struct node *out)
{
    pthread_mutex_lock(&nodes->lock);
    uint32_t slot = slot_of(nodes, id);
    if (slot != 0)
        *out = *slot_node(nodes, slot);
    pthread_mutex_unlock(&nodes->lock);
    out->name = NULL; /* the table's own */
    return slot != 0;
}

void nodes_name(struct nodes *nodes, uint64_t id, char out[NODE_NAME_SIZE])
{
    pthread_mutex_lock(&nodes->lock);
    uint32_t slot = slot_of(nodes, id);
    const char *name = slot != 0 ? slot_node(nodes, slot)->name : NULL;
    (void)snprintf(out, NODE_NAME_SIZE, "%s", name ? name : "");
    pthread_mutex_unlock(&nodes->lock);
}

static bool is_of_history(const struct node *node)
{
    return node->kind == NODE_HISTORY || history_is(node);
}

int nodes_of_history(struct nodes *nodes, uint64_t **out, size_t *out_count, struct err *err)
{
    size_t count = 0;

    pthread_mutex_lock(&nodes->lock);
    uint64_t *ids = calloc(nodes->count + 1, sizeof(*ids));
    for (uint32_t slot = ROOT_SLOT; ids && slot < nodes->used; slot++)
        if (is_of_history(slot_node(nodes, slot)))
            ids[count++] = slot_id(nodes, slot);
    pthread_mutex_unlock(&nodes->lock);
    if (!ids)
        return err_set(err, ERR_NOMEM, "out of memory");
    *out = ids;
    *out_count = count;
    return 0;
}

uint64_t nodes_find(struct nodes *nodes, uint64_t parent, uint64_t key)
{
    pthread_mutex_lock(&nodes->lock);
    uint32_t slot = find(nodes, parent, key);
    uint64_t id = slot != 0 ? slot_id(nodes, slot) : 0;
    pthread_mutex_unlock(&nodes->lock);
    return id;
}

static void drop(struct nodes *nodes, uint32_t slot)
{
    struct node *node = slot_node(nodes, slot);
    uint32_t *link = bucket_of(nodes, node->parent, node->key);

    while (*link != slot)
        link = &slot_node(nodes, *link)->next;
    *link = node->next;
    node->kind = NODE_FREE;
    free((char *)(uintptr_t)node->name);
    node->name = NULL;
    node->generation = node->generation < GENERATION_MAX ? node->generation + 1 : 0;
    node->next = nodes->free;
    nodes->free = slot;
    nodes->count--;
}

void nodes_forget(struct nodes *nodes, uint64_t id, uint64_t lookups)
{
    if (node_is_placed(id) || id == FUSE_ROOT_ID)
        return;
    pthread_mutex_lock(&nodes->lock);
    uint32_t slot = slot_of(nodes, id);
    if (slot != 0) {
        struct node *node = slot_node(nodes, slot);
        node->lookups -= (uint32_t)(lookups < node->lookups ? lookups : node->lookups);
        if (node->lookups == 0)
            drop(nodes, slot);
    }
    pthread_mutex_unlock(&nodes->lock);
}

size_t nodes_count(struct nodes *nodes)
{
    pthread_mutex_lock(&nodes->lock);
    size_t count = nodes->count;
    pthread_mutex_unlock(&nodes->lock);
    return count;
}

/* NULL, when there is no memory: then the host stays unknown. */
static atomic_ushort *host_chunk(struct nodes *nodes, uint32_t archive)
{
    _Atomic(atomic_ushort *) *where = &nodes->hosts[archive / HOST_CHUNK % HOST_CHUNKS];
    atomic_ushort *chunk = atomic_load(where);

    if (chunk)
        return chunk;
    atomic_ushort *fresh = calloc(HOST_CHUNK, sizeof(*fresh));
    if (fresh && !atomic_compare_exchange_strong(where, &chunk, fresh)) {
        free(fresh);
        return chunk;
    }
    return fresh;
}

void nodes_note_host(struct nodes *nodes, uint32_t archive, uint16_t host)
{
    atomic_ushort *chunk = host_chunk(nodes, archive);

    if (chunk && atomic_load_explicit(&chunk[archive % HOST_CHUNK], memory_order_relaxed) == 0)
        atomic_store(&chunk[archive % HOST_CHUNK], (unsigned short)(host + 1));
}

uint16_t nodes_host(struct nodes *nodes, uint32_t archive)
{
    atomic_ushort *chunk = atomic_load(&nodes->hosts[archive / HOST_CHUNK % HOST_CHUNKS]);
    unsigned noted = chunk ? atomic_load(&chunk[archive % HOST_CHUNK]) : 0;

    return noted > 0 ? (uint16_t)(noted - 1) : 0;
}
