/*
 * extract_fetch — what a restore has to read, cut into tasks, and fetched before it is written.
 *
 * The content of many files is sorted by where it is stored and cut into stretches of one archive
 * each.  Where each request takes a while, there are fewer and larger ones, the ends of archives
 * are read while there is still nothing to write, and who has nothing left to write fetches for the
 * window that comes next.
 *
 * Ownership: none; pieces and windows belong to extract_files.
 * Threads:   fetch_next(), fetch_stretch() and fetch_ahead() by any worker, the others by the
 * planner. Errors:    none: who reads a piece finds out.
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

/* Pieces of one archive that a worker writes. */
struct task {
    size_t first, end;
    uint32_t from; /* blocks wholly between these are not needed by other tasks */
    uint64_t until;
};

struct window {
    struct piece *pieces;
    size_t count, files, open;
    struct task *tasks; /* as their pieces come */
    size_t *order;      /* in which they are done */
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
    size_t spread;    /* so many parts of the window are done at the same time */
};

/* The one for this repository. */
const struct cut *fetch_cut(const struct blocks *blocks);
/* Sorts the window's pieces, and cuts it. */
void fetch_plan(const struct cut *cut, struct window *window);
/* The one to be done next; NULL: all are under way. */
const struct task *fetch_next(struct window *window);
/* The pieces from `first` on that are to be read in one go, without large gaps: where they end, and
 * up to where they reach in the archive. */
size_t fetch_stretch(const struct cut *cut, const struct window *window, const struct task *task,
                     size_t first, uint64_t *out_end);
/* Has what one task needs of a window that nobody works on yet decoded into the cache. */
void fetch_ahead(struct blocks *blocks, const struct cut *cut, struct window *window);
/* Reads the end of an archive that will be needed. */
void fetch_opening(struct blocks *blocks, uint32_t archive);
