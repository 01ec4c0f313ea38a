#include "backup/base/spill.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"

enum {
    FIRST_SLOTS = 1024,
    MEMORY_MAX = 4 * 1024 * 1024, /* larger tables are in a file */
};

/* Both keys zero: free. */
struct slot {
    uint64_t key1;
    uint64_t key2;
    uint64_t value;
};

struct table {
    struct slot *slots; /* a mapping */
    uint64_t count;
    uint64_t mask; /* the number of slots, a power of two, less one */
    bool in_file;
};

struct spillmap {
    char *dir;
    struct table table;
    bool has_zero; /* the key that means "free" in a slot is kept here */
    uint64_t zero_value;
};

static size_t table_size(const struct table *table)
{
    return (size_t)(table->mask + 1) * sizeof(struct slot);
}

static void table_clear(struct table *table)
{
    if (table->slots)
        (void)munmap(table->slots, table_size(table));
    *table = (struct table){0};
}

static int map_file(const char *dir, size_t size, void **out, struct err *err)
{
    CLEANUP(closep) int fd = -1;
    int r = io_open_temporary(dir, &fd, err);
    if (r < 0)
        return r;

    do
        errno = posix_fallocate(fd, 0, (off_t)size);
    while (errno == EINTR);
    if (errno != 0)
        return err_sys(err, "reserve %zu bytes in %s", size, dir);
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        return err_sys(err, "map %zu bytes", size);
    (void)madvise(at, size, MADV_RANDOM);
    *out = at;
    return 0;
}

static int map_memory(size_t size, void **out, struct err *err)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (at == MAP_FAILED)
        return err_set(err, ERR_NOMEM, "no memory for %zu bytes", size);
    *out = at;
    return 0;
}

static int table_init(struct table *table, const char *dir, uint64_t slots, struct err *err)
{
    void *at = NULL;

    if (slots > INT64_MAX / sizeof(struct slot))
        return err_set(err, ERR_TOO_LARGE, "too many keys");
    size_t size = (size_t)slots * sizeof(struct slot);
    bool in_file = size > MEMORY_MAX;
    int r = in_file ? map_file(dir, size, &at, err) : map_memory(size, &at, err);
    if (r == 0)
        *table = (struct table){.slots = at, .mask = slots - 1, .in_file = in_file};
    return r;
}

/* Inodes are small numbers in a row: multiply and fold so that all bits take part. */
static uint64_t hash_of(uint64_t key1, uint64_t key2)
{
    uint64_t hash = (key1 ^ (key2 >> 32 | key2 << 32)) * 0x9E3779B97F4A7C15U;

    hash = (hash ^ hash >> 32 ^ key2) * 0xD6E8FEB86659FD93U;
    return hash ^ hash >> 32;
}

/* The slot of the key, or the free one to put it into; there is always a free one. */
static struct slot *slot_for(const struct table *table, uint64_t key1, uint64_t key2)
{
    for (uint64_t i = hash_of(key1, key2);; i++) {
        struct slot *slot = &table->slots[i & table->mask];
        bool is_free = slot->key1 == 0 && slot->key2 == 0;

        if (is_free || (slot->key1 == key1 && slot->key2 == key2))
            return slot;
    }
}

static void table_put(struct table *table, uint64_t key1, uint64_t key2, uint64_t value)
{
    struct slot *slot = slot_for(table, key1, key2);

    if (slot->key1 == 0 && slot->key2 == 0)
        table->count++;
    *slot = (struct slot){.key1 = key1, .key2 = key2, .value = value};
}

static int grow(struct spillmap *map, struct err *err)
{
    CLEANUP(table_clear) struct table larger = {0};
    int r = table_init(&larger, map->dir, (map->table.mask + 1) * 2, err);
    if (r < 0)
        return r;

    for (uint64_t i = 0; i <= map->table.mask; i++) {
        const struct slot *slot = &map->table.slots[i];
        if (slot->key1 != 0 || slot->key2 != 0)
            table_put(&larger, slot->key1, slot->key2, slot->value);
    }
    struct table old = map->table;
    map->table = larger;
    larger = old;
    return 0;
}

int spillmap_new(const char *dir, struct spillmap **out, struct err *err)
{
    CLEANUP(spillmap_freep) struct spillmap *map = calloc(1, sizeof(*map));

    if (map)
        map->dir = strdup(dir);
    if (!map || !map->dir)
        return err_set(err, ERR_NOMEM, "no memory for a map");
    int r = table_init(&map->table, dir, FIRST_SLOTS, err);
    if (r == 0)
        *out = STEAL(map);
    return r;
}

void spillmap_free(struct spillmap *map)
{
    if (!map)
        return;
    table_clear(&map->table);
    free(map->dir);
    free(map);
}

void spillmap_freep(struct spillmap **map)
{
    spillmap_free(*map);
}

bool spillmap_get(const struct spillmap *map, uint64_t key1, uint64_t key2, uint64_t *out_value)
{
    const struct slot *slot = slot_for(&map->table, key1, key2);

    if (key1 == 0 && key2 == 0) {
        if (map->has_zero)
            *out_value = map->zero_value;
        return map->has_zero;
    }
    if (slot->key1 == 0 && slot->key2 == 0)
        return false;
    *out_value = slot->value;
    return true;
}

int spillmap_put(struct spillmap *map, uint64_t key1, uint64_t key2, uint64_t value,
                 struct err *err)
{
    uint64_t slots = map->table.mask + 1;

    if (key1 == 0 && key2 == 0) {
        map->has_zero = true;
        map->zero_value = value;
        return 0;
    }
    if (map->table.count >= slots / 4 * 3) {
        int r = grow(map, err);
        if (r < 0)
            return r;
    }
    table_put(&map->table, key1, key2, value);
    return 0;
}

uint64_t spillmap_count(const struct spillmap *map)
{
    return map->table.count + map->has_zero;
}

bool spillmap_in_file(const struct spillmap *map)
{
    return map->table.in_file;
}
