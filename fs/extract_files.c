#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backup/archive/blocks.h"
#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/io.h"
#include "backup/base/pool.h"
#include "backup/base/progress.h"
#include "fs/extract_fetch.h"
#include "fs/extract_internal.h"

/*
 * Content goes to disk in windows.  A window's pieces are sorted by where they are stored, so that
 * each block is decoded once for all files that have a part of it; the next window is planned
 * meanwhile.
 */
enum {
    WINDOW_FILES = 8192,
    WINDOW_PIECES = 65536,
    PIECE_MAX = 1024 * 1024, /* longer extents are cut, so that several workers share them */
    WORKERS_MAX = 64,
};

/* An archive whose end is read while the first window is planned. */
struct opening {
    struct files *files;
    uint32_t archive;
};

enum { OPENINGS = 16 };

struct files {
    const struct cut *cut;
    struct pool *pool;
    size_t workers, open_limit;
    struct window windows[2];
    struct window *filling, *running; /* running NULL: none */
    _Atomic(struct window *) coming;  /* cut, and waits for the running one; NULL: none */
    struct opening openings[OPENINGS];
    size_t opening_count;
    struct extract *extract;
    pthread_mutex_t lock; /* guards what follows */
    struct passage *idle[WORKERS_MAX];
    size_t idle_count;
};

int files_new(struct extract *x, size_t open_limit, struct err *err)
{
    struct files *files = calloc(1, sizeof(*files));
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    x->files = files;
    if (!files)
        return err_set(err, ERR_NOMEM, "no memory for a plan");
    files->extract = x;
    pthread_mutex_init(&files->lock, NULL);
    files->open_limit = open_limit;
    files->cut = fetch_cut(x->blocks);
    files->workers = cores < (long)files->cut->workers ? files->cut->workers
                     : cores > WORKERS_MAX             ? WORKERS_MAX
                                                       : (size_t)cores;
    files->filling = &files->windows[0];
    for (int i = 0; i < 2; i++) {
        files->windows[i].pieces = malloc(WINDOW_PIECES * sizeof(struct piece));
        files->windows[i].tasks = malloc(WINDOW_PIECES * sizeof(struct task));
        files->windows[i].order = malloc(WINDOW_PIECES * sizeof(size_t));
        if (!files->windows[i].pieces || !files->windows[i].tasks || !files->windows[i].order)
            return err_set(err, ERR_NOMEM, "no memory for a plan");
    }
    files->pool = pool_new(files->workers, files->workers);
    return files->pool ? 0 : err_set(err, ERR_NOMEM, "no memory for workers");
}

void files_free(struct extract *x)
{
    struct files *files = x->files;

    if (!files)
        return;
    pool_free(files->pool);
    for (size_t i = 0; i < files->idle_count; i++)
        passage_free(files->idle[i]);
    pthread_mutex_destroy(&files->lock);
    for (int i = 0; i < 2; i++) {
        free(files->windows[i].pieces);
        free(files->windows[i].tasks);
        free(files->windows[i].order);
        free(files->windows[i].later);
    }
    free(files);
    x->files = NULL;
}

static struct passage *take_passage(struct files *files)
{
    struct passage *passage = NULL;

    pthread_mutex_lock(&files->lock);
    if (files->idle_count > 0)
        passage = files->idle[--files->idle_count];
    pthread_mutex_unlock(&files->lock);
    return passage ? passage : passage_new(files->extract->blocks);
}

static void give_passage(struct files *files, struct passage *passage)
{
    pthread_mutex_lock(&files->lock);
    if (passage)
        files->idle[files->idle_count++] = passage; /* no more than there are workers */
    pthread_mutex_unlock(&files->lock);
}

static void work(void *argument)
{
    struct files *files = argument;
    struct window *window = files->running;
    struct passage *passage = take_passage(files); /* NULL: the cache does, too */
    const struct task *task;

    while ((task = fetch_next(window)) != NULL)
        pieces_write(files->extract, passage, files->cut, window, task);
    give_passage(files, passage);
    /* While others still write. */
    struct window *coming = atomic_load(&files->coming);
    if (coming && !extract_stopped(files->extract))
        fetch_ahead(files->extract->blocks, files->cut, coming);
}

/* Waits for the window that is being worked on, then makes its links. */
static void end_running(struct files *files)
{
    struct window *window = files->running;

    if (!window)
        return;
    pool_wait_idle(files->pool);
    for (size_t i = 0; i < window->later_count; i++) {
        if (!extract_stopped(files->extract))
            links_make(files->extract, &window->later[i]);
        dir_unref(files->extract, window->later[i].dir);
    }
    window->count = window->files = window->open = window->later_count = 0;
    files->running = NULL;
}

static void submit(struct files *files)
{
    struct window *window = files->filling;

    /* While others still work on the window before. */
    fetch_plan(files->cut, window);
    atomic_store(&files->coming, window);
    end_running(files);
    atomic_store(&files->coming, NULL);
    files->running = window;
    files->filling = &files->windows[window == &files->windows[0]];
    for (size_t i = 0; i < files->workers && window->task_count > 0; i++)
        pool_submit(files->pool, work, files);
}

void files_drain(struct extract *x)
{
    struct files *files = x->files;

    if (!files)
        return;
    submit(files);
    end_running(files);
}

static struct window *with_room(struct files *files)
{
    struct window *window = files->filling;

    if (window->count >= WINDOW_PIECES || window->files >= WINDOW_FILES ||
        window->later_count >= WINDOW_FILES || window->open >= files->open_limit)
        submit(files);
    return files->filling;
}

static void open_archive(void *argument)
{
    const struct opening *opening = argument;

    if (!extract_stopped(opening->files->extract))
        fetch_opening(opening->files->extract->blocks, opening->archive);
}

/* Until there is something to write, the workers read the ends of archives: who writes would have
 * to wait for that. */
static void open_early(struct files *files, uint32_t archive)
{
    bool early = files->cut->ahead > 0 && !files->running && archive != NO_ARCHIVE;

    for (size_t i = 0; early && i < files->opening_count; i++)
        early = files->openings[i].archive != archive;
    if (!early || files->opening_count == OPENINGS)
        return;
    struct opening *opening = &files->openings[files->opening_count];
    *opening = (struct opening){files, archive};
    files->opening_count += pool_try_submit(files->pool, open_archive, opening);
}

/* A file of several pieces is open from its second one on. */
static void add_piece(struct files *files, struct outfile *file, struct piece piece)
{
    bool second = file->pieces++ == 1;
    struct err err;

    /* Before its first piece can be on its way to a worker. */
    if (second && outfile_open(files->extract, file, &err) < 0)
        outfile_fail(file, SIDE_TARGET, &err);
    struct window *window = with_room(files);
    window->open += second;
    piece.file = file;
    open_early(files, piece.place.archive);
    atomic_fetch_add_explicit(&file->left, 1, memory_order_relaxed);
    window->pieces[window->count++] = piece;
}

static void add_extent(struct files *files, struct outfile *file, const struct extent *extent,
                       uint64_t start)
{
    struct place place = extent->place;
    uint64_t left = extent->length;

    while (left > 0) {
        uint32_t to_edge = PIECE_MAX - place.raw % PIECE_MAX;
        uint32_t length = extent->length <= PIECE_MAX ? (uint32_t)left
                          : left < to_edge            ? (uint32_t)left
                                                      : to_edge;

        add_piece(files, file, (struct piece){.place = place, .length = length, .offset = start});
        place.raw += length;
        start += length;
        left -= length;
    }
}

static int add_content(struct files *files, struct outfile *file, const struct entry *entry,
                       struct err *err)
{
    CLEANUP(content_close) struct content_cursor cursor = {0};
    struct extract *x = files->extract;
    struct extent extent;
    uint64_t start;

    int r = content_open(&cursor, x->blocks, &entry->content, 0, err);
    while (r == 0 && (r = content_next(&cursor, &extent, &start, err)) > 0) {
        r = extract_stopped(x) ? err_set(err, ERR_CANCELLED, "stopped") : 0;
        if (r == 0 && !extent_is_hole(&extent)) {
            add_extent(files, file, &extent, start);
        } else if (r == 0) {
            file->holes = true;
            progress_add(x->options->progress, 0, extent.length);
        }
    }
    return r;
}

int files_add(struct extract *x, struct dir *dir, const struct entry *entry, bool over,
              uint64_t link, struct err *err)
{
    struct files *files = x->files;
    struct outfile *file = NULL;

    int r = outfile_new(dir, entry, over, link, &file, err);
    if (r < 0)
        return r;
    with_room(files)->files++;
    r = entry->size > 0 ? add_content(files, file, entry, err) : 0;
    if (r < 0)
        outfile_fail(file, SIDE_REPOSITORY, err);
    else if (file->pieces == 0)
        add_piece(files, file, (struct piece){.place = {.archive = NO_ARCHIVE}});
    else if (file->pieces > 1)
        outfile_reserve(file);
    outfile_release(x, file);
    return 0;
}

static int grow_later(struct window *window, struct err *err)
{
    size_t room = window->later_room ? window->later_room * 2 : 64;

    if (window->later_count < window->later_room)
        return 0;
    struct later *grown = realloc(window->later, room * sizeof(*grown));
    if (!grown)
        return err_set(err, ERR_NOMEM, "no memory for a link");
    window->later = grown;
    window->later_room = room;
    return 0;
}

int files_add_link(struct extract *x, struct dir *dir, const struct entry *entry, bool over,
                   struct err *err)
{
    struct window *window = with_room(x->files);
    int r = grow_later(window, err);

    if (r < 0)
        return r;
    struct later *later = &window->later[window->later_count++];
    *later = (struct later){
        .dir = dir, .inode = entry->place, .over = over, .name_size = entry->name_size};
    memcpy(later->name, entry->name, entry->name_size);
    dir_ref(dir);
    return 0;
}
