#include "fs/extract_fetch.h"

#include <stdlib.h>

#include "backup/archive/blocks.h"
#include "backup/archive/repo.h"
#include "backup/base/err.h"

static const struct cut cut_disk = {1024 * 1024, 64, 64 * 1024, 4, 0, 1};
static const struct cut cut_network = {8 * 1024 * 1024, 4096, 256 * 1024, 8, 4, 4};

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

static uint64_t end_of(const struct piece *piece)
{
    return (uint64_t)piece->place.raw + piece->length;
}

/* Where each begins and ends, in the order of the pieces. */
static void cut_tasks(const struct cut *cut, struct window *window)
{
    const struct piece *first = window->pieces;

    window->task_count = 0;
    for (size_t i = 0; i < window->count; i++) {
        const struct piece *piece = &window->pieces[i];
        bool apart = piece->place.archive != first->place.archive ||
                     piece->place.raw - first->place.raw >= cut->span ||
                     piece - first >= cut->pieces;
        if (i == 0 || apart) {
            window->tasks[window->task_count++] = (struct task){.first = i};
            first = piece;
        }
        window->tasks[window->task_count - 1].end = i + 1;
    }
}

/* A block at the edge of what a task needs may be another one's as well, of this window or, where
 * it is not needed as a whole, of the next. */
static void find_bounds(struct window *window)
{
    uint32_t archive = NO_ARCHIVE;
    uint64_t reached = 0; /* by the tasks before */

    for (size_t i = 0; i < window->task_count; i++) {
        struct task *task = &window->tasks[i];
        const struct piece *first = &window->pieces[task->first];
        const struct piece *next = task->end < window->count ? &window->pieces[task->end] : NULL;
        if (first->place.archive != archive)
            reached = 0;
        archive = first->place.archive;
        uint64_t from = reached > first->place.raw ? reached : first->place.raw;
        task->from = from < UINT32_MAX ? (uint32_t)from : UINT32_MAX;
        for (size_t k = task->first; k < task->end; k++)
            if (end_of(&window->pieces[k]) > reached)
                reached = end_of(&window->pieces[k]);
        bool shared = next && next->place.archive == archive && next->place.raw < reached;
        task->until = shared ? next->place.raw : reached;
    }
}

/* Now one from each part: what is stored together is alike, and while the line is busy with what
 * cannot be compressed, the cores are to be busy with what can. */
static void spread_tasks(const struct cut *cut, struct window *window)
{
    size_t part = (window->task_count + cut->spread - 1) / cut->spread;
    size_t count = 0;

    for (size_t i = 0; i < part; i++)
        for (size_t k = i; k < window->task_count; k += part)
            window->order[count++] = k;
}

void fetch_plan(const struct cut *cut, struct window *window)
{
    if (window->count > 0)
        qsort(window->pieces, window->count, sizeof(struct piece), by_place);
    cut_tasks(cut, window);
    find_bounds(window);
    spread_tasks(cut, window);
    atomic_store(&window->next, 0);
    atomic_store(&window->ahead, 0);
}

const struct task *fetch_next(struct window *window)
{
    size_t next = atomic_fetch_add_explicit(&window->next, 1, memory_order_relaxed);

    return next < window->task_count ? &window->tasks[window->order[next]] : NULL;
}

size_t fetch_stretch(const struct cut *cut, const struct window *window, const struct task *task,
                     size_t first, uint64_t *out_end)
{
    uint64_t end = end_of(&window->pieces[first]);
    size_t i = first + 1;

    for (; i < task->end && window->pieces[i].place.raw <= end + cut->gap; i++)
        if (end_of(&window->pieces[i]) > end)
            end = end_of(&window->pieces[i]);
    *out_end = end;
    return i;
}

static void fetch_task(struct blocks *blocks, const struct cut *cut, const struct window *window,
                       const struct task *task)
{
    uint64_t end;

    if (window->pieces[task->first].place.archive == NO_ARCHIVE)
        return;
    for (size_t first = task->first, next; first < task->end; first = next) {
        struct place start = window->pieces[first].place;
        next = fetch_stretch(cut, window, task, first, &end);
        if (!blocks_prefetch(blocks, start, (size_t)(end - start.raw)))
            return; /* who writes the pieces is told why */
    }
}

void fetch_ahead(struct blocks *blocks, const struct cut *cut, struct window *window)
{
    size_t ahead = atomic_fetch_add_explicit(&window->ahead, 1, memory_order_relaxed);

    if (ahead < cut->ahead && ahead < window->task_count)
        fetch_task(blocks, cut, window, &window->tasks[window->order[ahead]]);
}

void fetch_opening(struct blocks *blocks, uint32_t archive)
{
    const struct reader *reader;
    struct err err;

    if (blocks_acquire(blocks, archive, &reader, &err) == 0)
        blocks_release(blocks, archive, reader);
}
