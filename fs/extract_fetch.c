#include "fs/extract_fetch.h"

#include <stdlib.h>

#include "backup/archive/blocks.h"
#include "backup/archive/repo.h"
#include "backup/base/err.h"

static const struct cut cut_disk = {1024 * 1024, 64, 64 * 1024, 4, 0};
static const struct cut cut_network = {8 * 1024 * 1024, 4096, 256 * 1024, 8, 4};

const struct cut *fetch_cut(const struct blocks *blocks)
{
    return repo_is_remote(blocks_repo(blocks)) ? &cut_network : &cut_disk;
}

static int by_place(const void *left, const void *right)
{
    const struct piece *a = left, *b = right;

    if (a->place.archive != b->place.archive)
        return a->place.archive < b->place.archive ? -1 : 1;
    if (a->place.raw != b->place.raw)
        return a->place.raw < b->place.raw ? -1 : 1;
    return 0;
}

void fetch_plan(const struct cut *cut, struct window *window)
{
    const struct piece *first = window->pieces;

    if (window->count > 0)
        qsort(window->pieces, window->count, sizeof(struct piece), by_place);
    window->task_count = 0;
    for (size_t i = 0; i < window->count; i++) {
        const struct piece *piece = &window->pieces[i];
        bool apart = piece->place.archive != first->place.archive ||
                     piece->place.raw - first->place.raw >= cut->span ||
                     piece - first >= cut->pieces;
        if (i > 0 && !apart)
            continue;
        window->tasks[window->task_count++] = i;
        first = piece;
    }
    window->tasks[window->task_count] = window->count;
    atomic_store(&window->next, 0);
    atomic_store(&window->ahead, 0);
}

void fetch_task(struct blocks *blocks, const struct cut *cut, const struct window *window,
                size_t task)
{
    const struct piece *pieces = window->pieces + window->tasks[task];
    size_t count = window->tasks[task + 1] - window->tasks[task];
    struct place start = pieces[0].place;
    uint64_t end = start.raw;

    if (start.archive == NO_ARCHIVE)
        return;
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].place.raw > end + cut->gap) {
            if (!blocks_prefetch(blocks, start, (size_t)(end - start.raw)))
                return; /* who writes the pieces is told why */
            start = pieces[i].place;
        }
        if (pieces[i].place.raw + (uint64_t)pieces[i].length > end)
            end = pieces[i].place.raw + (uint64_t)pieces[i].length;
    }
    (void)blocks_prefetch(blocks, start, (size_t)(end - start.raw));
}

void fetch_ahead(struct blocks *blocks, const struct cut *cut, struct window *window)
{
    size_t task = atomic_fetch_add_explicit(&window->ahead, 1, memory_order_relaxed);

    if (task < cut->ahead && task < window->task_count)
        fetch_task(blocks, cut, window, task);
}

void fetch_opening(struct blocks *blocks, uint32_t archive)
{
    const struct reader *reader;
    struct err err;

    if (blocks_acquire(blocks, archive, &reader, &err) == 0)
        blocks_release(blocks, archive, reader);
}
