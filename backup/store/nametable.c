#include "backup/store/nametable.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { CHAINS = 16384 };

struct named {
    struct named *chained;
    const char *text; /* behind the name */
    char name[];
};

void nametable_clear(struct nametable *table)
{
    for (size_t i = 0; table->chains && i < CHAINS; i++)
        for (struct named *named = table->chains[i], *next; named; named = next) {
            next = named->chained;
            free(named);
        }
    free(table->chains);
    *table = (struct nametable){0};
}

/* Where the pointer to it is, or would be (FNV-1a). */
static struct named **place_of(const struct nametable *table, const char *name)
{
    uint64_t hash = UINT64_C(0xCBF29CE484222325);

    for (const char *at = name; *at; at++)
        hash = (hash ^ (uint8_t)*at) * UINT64_C(0x100000001B3);
    struct named **place = &table->chains[(hash ^ hash >> 32) % CHAINS];
    while (*place && strcmp((*place)->name, name) != 0)
        place = &(*place)->chained;
    return place;
}

static struct named *named_new(const char *name, const char *text)
{
    size_t name_size = strlen(name) + 1, text_size = strlen(text) + 1;
    struct named *named = malloc(sizeof(*named) + name_size + text_size);

    if (!named)
        return NULL;
    memcpy(named->name, name, name_size);
    memcpy(named->name + name_size, text, text_size);
    named->text = named->name + name_size;
    named->chained = NULL;
    return named;
}

void nametable_put(struct nametable *table, const char *name, const char *text)
{
    if (!table->chains)
        table->chains = calloc(CHAINS, sizeof(struct named *));
    struct named **place = table->chains ? place_of(table, name) : NULL;
    bool has_room = place && (*place || table->count < NAMETABLE_MAX);
    struct named *named = has_room ? named_new(name, text) : NULL;

    /* What it had before is wrong now, so it goes also where nothing can be put in its place. */
    if (place && *place) {
        struct named *before = *place;
        *place = before->chained;
        table->count--;
        free(before);
    }
    if (!named) {
        table->is_partial = true;
        return;
    }
    named->chained = *place;
    *place = named;
    table->count++;
}

const char *nametable_get(const struct nametable *table, const char *name)
{
    const struct named *named = table->chains ? *place_of(table, name) : NULL;

    return named ? named->text : NULL;
}
