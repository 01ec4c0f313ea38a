#include "backup/archive/idtable.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "backup/base/err.h"
#include "backup/base/hex.h"

/* Entries stand in segments that never move, so that a number is looked up without a lock. */
enum { SEGMENT_SIZE = 4096, SEGMENTS = 4096, NUMBERS_MAX = SEGMENT_SIZE * SEGMENTS };
enum { FIRST_SLOTS = 256, FREE_SLOT = 0, ROOM_AT_FIRST = 1024 };

struct known_archive {
    struct archive_id id;
    enum archive_kind kind;
};

struct idtable {
    uint64_t seed;        /* ids come from outside: nobody shall choose who collides */
    pthread_mutex_t lock; /* guards slots and who adds; entries below `count` do not change */
    atomic_uint count;    /* entries in use */
    size_t slot_count;    /* power of two, at most half of them taken */
    uint32_t *slots;      /* number + 1, or FREE_SLOT */
    struct known_archive *segments[SEGMENTS];
};

struct idtable *idtable_new(void)
{
    struct idtable *table = calloc(1, sizeof(*table));

    if (!table)
        return NULL;
    pthread_mutex_init(&table->lock, NULL);
    atomic_init(&table->count, 0);
    if (getrandom(&table->seed, sizeof(table->seed), GRND_NONBLOCK) < 0)
        table->seed = (uintptr_t)table;
    table->slot_count = FIRST_SLOTS;
    table->slots = calloc(table->slot_count, sizeof(*table->slots));
    if (!table->slots) {
        idtable_free(table);
        return NULL;
    }
    return table;
}

void idtable_free(struct idtable *table)
{
    if (!table)
        return;
    for (size_t i = 0; i < SEGMENTS; i++)
        free(table->segments[i]);
    free(table->slots);
    pthread_mutex_destroy(&table->lock);
    free(table);
}

static const struct known_archive *entry_of(const struct idtable *table, uint32_t number)
{
    return &table->segments[number / SEGMENT_SIZE][number % SEGMENT_SIZE];
}

static uint64_t hash_id(const struct idtable *table, const struct archive_id *id)
{
    uint64_t hash = table->seed;

    for (size_t i = 0; i < ARCHIVE_ID_SIZE; i += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, id->bytes + i, sizeof(word));
        hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
        hash ^= hash >> 32;
    }
    return hash;
}

/* The slot that holds `id`, else the free one where it belongs. */
static uint32_t *slot_of(const struct idtable *table, const struct archive_id *id)
{
    size_t mask = table->slot_count - 1;
    size_t at = hash_id(table, id) & mask;

    while (table->slots[at] != FREE_SLOT &&
           !archive_id_equal(&entry_of(table, table->slots[at] - 1)->id, id))
        at = (at + 1) & mask;
    return &table->slots[at];
}

static int grow_slots(struct idtable *table, struct err *err)
{
    size_t slot_count = table->slot_count * 2;
    uint32_t *slots = calloc(slot_count, sizeof(*slots));

    if (!slots)
        return err_set(err, ERR_NOMEM, "no memory for the table of archives");
    free(table->slots);
    table->slots = slots;
    table->slot_count = slot_count;
    for (uint32_t i = 0; i < table->count; i++)
        *slot_of(table, &entry_of(table, i)->id) = i + 1;
    return 0;
}

static int add_entry(struct idtable *table, const struct archive_id *id, enum archive_kind kind,
                     uint32_t *out, struct err *err)
{
    uint32_t number = table->count;
    struct known_archive **segment = &table->segments[number / SEGMENT_SIZE];

    if (number == NUMBERS_MAX)
        return err_set(err, ERR_TOO_LARGE, "more than %d archives", NUMBERS_MAX);
    if (number >= table->slot_count / 2 && grow_slots(table, err) < 0)
        return -ERR_NOMEM;
    if (!*segment)
        *segment = calloc(SEGMENT_SIZE, sizeof(**segment));
    if (!*segment)
        return err_set(err, ERR_NOMEM, "no memory for the table of archives");
    (*segment)[number % SEGMENT_SIZE] = (struct known_archive){.id = *id, .kind = kind};
    *slot_of(table, id) = number + 1;
    atomic_store_explicit(&table->count, number + 1, memory_order_release);
    *out = number;
    return 0;
}

static int find_or_add(struct idtable *table, const struct archive_id *id, enum archive_kind kind,
                       uint32_t *out, struct err *err)
{
    uint32_t slot = *slot_of(table, id);

    if (slot == FREE_SLOT)
        return add_entry(table, id, kind, out, err);
    if (entry_of(table, slot - 1)->kind != kind)
        return err_set(err, ERR_CORRUPT, "archive %02x%02x%02x%02x… is of kind %d and of kind %d",
                       id->bytes[0], id->bytes[1], id->bytes[2], id->bytes[3],
                       (int)entry_of(table, slot - 1)->kind, (int)kind);
    *out = slot - 1;
    return 0;
}

int idtable_number(struct idtable *table, const struct archive_id *id, enum archive_kind kind,
                   uint32_t *out, struct err *err)
{
    pthread_mutex_lock(&table->lock);
    int r = find_or_add(table, id, kind, out, err);
    pthread_mutex_unlock(&table->lock);
    return r;
}

uint32_t idtable_find(const struct idtable *table, const struct archive_id *id)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)&table->lock; /* the table looks the same after */

    pthread_mutex_lock(lock);
    uint32_t slot = *slot_of(table, id);
    pthread_mutex_unlock(lock);
    return slot == FREE_SLOT ? (uint32_t)NO_ARCHIVE : slot - 1;
}

const struct archive_id *idtable_id(const struct idtable *table, uint32_t number)
{
    return &entry_of(table, number)->id;
}

enum archive_kind idtable_kind(const struct idtable *table, uint32_t number)
{
    return entry_of(table, number)->kind;
}

uint32_t idtable_count(const struct idtable *table)
{
    return atomic_load_explicit(&table->count, memory_order_acquire);
}

int idtable_room(void *array, size_t *room, size_t element, uint32_t archive, struct err *err)
{
    void *old;
    size_t wanted = *room > 0 ? *room : ROOM_AT_FIRST;

    if (archive < *room)
        return 0;
    while (wanted <= archive)
        wanted *= 2;
    memcpy(&old, array, sizeof(old));
    char *grown = reallocarray(old, wanted, element);
    if (!grown)
        return err_set(err, ERR_NOMEM, "no memory for %u archives", archive);
    memset(grown + *room * element, 0, (wanted - *room) * element);
    memcpy(array, &grown, sizeof(grown));
    *room = wanted;
    return 0;
}

bool idtable_parse(const char *digits, struct archive_id *out)
{
    return hex_decode(digits, strlen(digits), out->bytes, sizeof(out->bytes));
}
