#include "catalog/states.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

#include "backup/base/err.h"

enum { PAGE_SIZE = 4096, PAGES = 4096 }; /* as many archives as an idtable has */

struct page {
    atomic_uchar flags[PAGE_SIZE];
};

struct states {
    pthread_mutex_t lock; /* guards who adds a page */
    _Atomic(struct page *) pages[PAGES];
};

struct states *states_new(void)
{
    struct states *states = calloc(1, sizeof(*states));

    if (states)
        pthread_mutex_init(&states->lock, NULL);
    return states;
}

void states_free(struct states *states)
{
    if (!states)
        return;
    for (size_t i = 0; i < PAGES; i++)
        free(atomic_load(&states->pages[i]));
    pthread_mutex_destroy(&states->lock);
    free(states);
}

static struct page *page_for(struct states *states, uint32_t number)
{
    pthread_mutex_lock(&states->lock);
    struct page *page = atomic_load(&states->pages[number]);
    if (!page) {
        page = calloc(1, sizeof(*page));
        atomic_store(&states->pages[number], page);
    }
    pthread_mutex_unlock(&states->lock);
    return page;
}

int states_set(struct states *states, uint32_t archive, uint8_t flags, struct err *err)
{
    struct page *page = NULL;

    if (archive / PAGE_SIZE < PAGES)
        page = page_for(states, archive / PAGE_SIZE);
    if (!page)
        return err_set(err, ERR_NOMEM, "out of memory");
    atomic_store(&page->flags[archive % PAGE_SIZE], flags);
    return 0;
}

uint8_t states_get(const struct states *states, uint32_t archive)
{
    struct page *page = NULL;

    if (archive / PAGE_SIZE < PAGES)
        page = atomic_load_explicit(&states->pages[archive / PAGE_SIZE], memory_order_acquire);
    return page ? atomic_load_explicit(&page->flags[archive % PAGE_SIZE], memory_order_relaxed) : 0;
}

bool states_usable(const struct states *states, uint32_t archive)
{
    return states_get(states, archive) == STATE_PRESENT;
}

void states_forget(struct states *states)
{
    for (size_t i = 0; i < PAGES; i++) {
        struct page *page = atomic_load(&states->pages[i]);
        for (size_t j = 0; page && j < PAGE_SIZE; j++)
            atomic_store(&page->flags[j], 0);
    }
}
