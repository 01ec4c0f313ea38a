/*
 * references — the archives that a snapshot being made refers to.
 *
 * Ownership: a bit for each archive number, 2 MiB of address space of which only what is touched is
 * used: of the system, since calloc() clears what was free before.
 * Threads:   references_note() from any thread.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

struct references {
    _Atomic uint64_t *words;
};

enum {
    REFERENCES_MAX = 1 << 24, /* as the idtable's */
    REFERENCES_SIZE = REFERENCES_MAX / 8,
};

static inline bool references_init(struct references *references)
{
    void *words =
        mmap(NULL, REFERENCES_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    references->words = words == MAP_FAILED ? NULL : words;
    return references->words != NULL;
}

static inline void references_clear(struct references *references)
{
    if (references->words)
        (void)munmap((void *)references->words, REFERENCES_SIZE);
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
