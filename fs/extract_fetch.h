/*
 * extract_fetch — what a restore has to read, cut into tasks, and fetched before it is written.
 *
 * The content of many files is sorted by where it is stored and cut into stretches of one archive
 * each.  Where each request takes a while, there are fewer and larger ones, the ends of archives
 * are read while there is still nothing to write, and who has nothing left to write fetches for the
 * window that comes next.
 *
 * Ownership: none; pieces and windows belong to extract_files.
 * Threads:   fetch_task() and fetch_ahead() by any worker, the others by the planner.
 * Errors:    none: who reads a piece finds out.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/place.h"

struct blocks;
struct outfile;

struct piece {
    struct place place; /* NO_ARCHIVE: an empty file */
    uint32_t length;
    uint64_t offset;
    struct outfile *file;
};

struct window {
    struct piece *pieces;
    size_t count, files, open;
    size_t *tasks; /* where each begins; one more: the end */
    size_t task_count;
    struct later *later;
    size_t later_count, later_room;
    atomic_size_t next;  /* task */
    atomic_size_t ahead; /* task that is fetched before its time */
};

/* How a window is cut into tasks: each a stretch of one archive, fetched by a worker at once. */
struct cut {
    uint32_t span;
    ptrdiff_t pieces; /* of small files: so that no worker is the last one for long */
    uint32_t gap;     /* what is not needed between two pieces is fetched up to this size */
    size_t workers;   /* at least */
    size_t ahead;     /* tasks of the next window */
};

/* The one for this repository. */
const struct cut *fetch_cut(const struct blocks *blocks);
/* Sorts the window's pieces, and cuts it. */
void fetch_plan(const struct cut *cut, struct window *window);
/* Has what a task needs decoded, in runs without large gaps. */
void fetch_task(struct blocks *blocks, const struct cut *cut, const struct window *window,
                size_t task);
/* The same for one task of a window that nobody works on yet. */
void fetch_ahead(struct blocks *blocks, const struct cut *cut, struct window *window);
/* Reads the end of an archive that will be needed. */
void fetch_opening(struct blocks *blocks, uint32_t archive);
