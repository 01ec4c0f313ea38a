/*
 * references — the archives that a snapshot being made refers to.
 *
 * Ownership: a bit for each archive number, 2 MiB of address space of which only what is touched is
 * used. Threads:   references_note() from any thread.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

struct references {
    _Atomic uint64_t *words;
};

enum { REFERENCES_MAX = 1 << 24 }; /* as the idtable's */

static inline bool references_init(struct references *references)
{
    references->words = calloc(REFERENCES_MAX / 64, sizeof(*references->words));
    return references->words != NULL;
}

static inline void references_clear(struct references *references)
{
    free((void *)references->words);
    references->words = NULL;
}

static inline void references_note(const struct references *references, uint32_t archive)
{
    uint64_t bit = UINT64_C(1) << (archive % 64);

    if (archive < REFERENCES_MAX &&
        !(atomic_load_explicit(&references->words[archive / 64], memory_order_relaxed) & bit))
        atomic_fetch_or_explicit(&references->words[archive / 64], bit, memory_order_relaxed);
}

static inline bool references_has(const struct references *references, uint32_t archive)
{
    return archive < REFERENCES_MAX && references->words[archive / 64] >> (archive % 64) & 1;
}
