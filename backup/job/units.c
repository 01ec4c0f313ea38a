#include "backup/job/units.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/manyreads.h"
#include "backup/base/progress.h"
#include "backup/base/queue.h"
#include "backup/job/bigfile.h"
#include "backup/job/gather_internal.h"
#include "backup/job/units_internal.h"

/* Sixteen read small files cold twice as fast as one (docs/decisions/workers.md). */
enum {
    WORKERS_MIN = 16,
    WORKERS_MAX = 64,
    QUEUE_BOUND = 8192,
    UNITS_WAITING = 48,
    FILES_UNDER_WAY = 8192
};

int units_error(struct units *units, struct err *err)
{
    if (!units->ended)
        return 0;
    pthread_mutex_lock(&units->lock);
    *err = units->error;
    pthread_mutex_unlock(&units->lock);
    return -(int)err->code;
}

void units_fail(struct units *units, const struct err *err)
{
    pthread_mutex_lock(&units->lock);
    if (!units->ended)
        units->error = *err;
    units->ended = true;
    pthread_cond_broadcast(&units->changed);
    pthread_mutex_unlock(&units->lock);
}

void units_give(struct units *units, struct fileread *file)
{
    file->next = NULL;
    if (!file->more)
        progress_add(units->options.progress, 1, 0);
    pthread_mutex_lock(&units->lock);
    *units->done_tail = file;
    units->done_tail = &file->next;
    units->under_way -= file->more ? 0 : 1;
    pthread_cond_broadcast(&units->changed);
    pthread_mutex_unlock(&units->lock);
}

void units_enqueue(struct units *units, struct unit *unit)
{
    pthread_mutex_lock(&units->lock);
    units->waiting++;
    pthread_mutex_unlock(&units->lock);
    if (!queue_push(units->queue, unit))
        queue_push_front(units->queue, unit); /* the end: whoever pops it gives its files back */
}

void units_put_back(struct units *units, struct unit *unit)
{
    pthread_mutex_lock(&units->lock);
    units->waiting++;
    pthread_mutex_unlock(&units->lock);
    queue_push_front(units->queue, unit);
}

static struct desk *take_desk(struct units *units)
{
    pthread_mutex_lock(&units->lock);
    struct desk *desk = units->free_desk;
    units->free_desk = desk->next;
    pthread_mutex_unlock(&units->lock);
    return desk;
}

static void leave_desk(struct units *units, struct desk *desk)
{
    pthread_mutex_lock(&units->lock);
    desk->next = units->free_desk;
    units->free_desk = desk;
    pthread_mutex_unlock(&units->lock);
}

/* Stores and folds what the worker has read; at most as many at once as there are cores, and in the
 * order in which they have read: what was together is stored together. */
int units_store(struct worker *worker, struct err *err)
{
    struct units *units = worker->units;

    turns_enter(&units->cores);
    worker->desk = take_desk(units);
    int r = units_error(units, err);
    if (r == 0)
        r = pieces_store(worker, err);
    leave_desk(units, STEAL(worker->desk));
    turns_leave(&units->cores);
    return r;
}

static int do_unit(struct worker *worker, struct unit *unit, struct err *err)
{
    if (unit->part)
        return gather_store(worker, unit->part, err);
    return unit->big ? bigfile_part(worker, unit->big, err) : units_batch(worker, unit, err);
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct units *units = worker->units;
    void *item;

    while (queue_pop(units->queue, &item)) {
        struct unit *unit = item;
        struct err err;

        pthread_mutex_lock(&units->lock);
        units->waiting--;
        pthread_cond_broadcast(&units->changed);
        pthread_mutex_unlock(&units->lock);
        if (progress_cancelled(units->options.progress)) {
            err_set(&err, ERR_CANCELLED, "interrupted");
            units_fail(units, &err);
        }
        worker->lane = 0;
        worker->pieces.count = 0; /* what the unit before left there belongs to other files */
        int r = do_unit(worker, unit, &err);
        if (r < 0)
            units_fail(units, &err);
        free(unit);
    }
    return NULL;
}

static int worker_start(struct units *units, struct worker *worker, struct err *err)
{
    worker->units = units;
    worker->buffer = malloc(BUFFER_SIZE);
    if (!worker->buffer)
        return err_set(err, ERR_NOMEM, "no memory for a worker");
    int failed = pthread_create(&worker->thread, NULL, work, worker);
    return failed ? err_set(err, ERR_SYSTEM, "cannot start a thread: %s", strerror(failed)) : 0;
}

static int make_desks(struct units *units, size_t count, struct err *err)
{
    bool complete = (units->desks = calloc(count, sizeof(*units->desks)));

    units->desk_count = complete ? count : 0;
    for (size_t i = 0; i < units->desk_count; i++) {
        struct desk *desk = &units->desks[i];
        desk->codec = codec_new(units->options.level);
        desk->block = malloc(BLOCK_RAW_TARGET);
        complete = complete && desk->codec && desk->block;
        leave_desk(units, desk);
    }
    return complete ? 0 : err_set(err, ERR_NOMEM, "no memory for workers");
}

/* Signals are for the main thread. */
static int start_workers(struct units *units, size_t count, struct err *err)
{
    sigset_t all, before;
    int r = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (; r == 0 && units->worker_count < count; units->worker_count += r == 0)
        r = worker_start(units, &units->workers[units->worker_count], err);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r;
}

int units_new(const struct units_options *options, struct units **out, struct err *err)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    size_t count = cores < WORKERS_MIN   ? WORKERS_MIN
                   : cores > WORKERS_MAX ? WORKERS_MAX
                                         : (size_t)cores;
    size_t at_once = cores > 0 ? (size_t)cores : 1;
    struct units *units = calloc(1, sizeof(*units));
    struct rlimit limit;

    if (!units)
        return err_set(err, ERR_NOMEM, "no memory for workers");
    units->options = *options;
    units->done_tail = &units->done;
    pthread_mutex_init(&units->lock, NULL);
    pthread_cond_init(&units->changed, NULL);
    units->descriptors = getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 0;
    /* Directories and archives need theirs. */
    units->no_manyreads = count * READ_GROUP > units->descriptors / 4;
    turns_init(&units->cores, at_once);
    chunker_init(&units->chunker, keyring_gear_key(options->repo->keyring));
    units->queue = queue_new(QUEUE_BOUND, count);
    units->workers = calloc(count, sizeof(*units->workers));
    units->worker_room = count;
    int r = make_desks(units, at_once, err);
    if (r == 0)
        r = units->queue && units->workers ? start_workers(units, count, err)
                                           : err_set(err, ERR_NOMEM, "no memory for workers");
    if (r < 0) {
        units_free(units);
        return r;
    }
    *out = units;
    return 0;
}

static void free_worker(struct worker *worker)
{
    manyreads_free(worker->many);
    free(worker->buffer);
    free(worker->pieces.at);
}

static void free_desks(struct units *units)
{
    for (size_t i = 0; units->desks && i < units->desk_count; i++) {
        codec_free(units->desks[i].codec);
        free(units->desks[i].block);
    }
    free(units->desks);
}

void units_free(struct units *units)
{
    struct err over;

    if (!units)
        return;
    /* What still waits is given back unread; without this it would all be read first. */
    err_set(&over, ERR_CANCELLED, "the run is over");
    units_fail(units, &over);
    if (units->queue)
        queue_close(units->queue);
    for (size_t i = 0; i < units->worker_count; i++)
        pthread_join(units->workers[i].thread, NULL);
    for (size_t i = 0; units->workers && i < units->worker_room; i++)
        free_worker(&units->workers[i]);
    free_desks(units);
    while (units->done) {
        struct fileread *gone = units->done;
        units->done = gone->next;
        fileread_free(gone);
    }
    if (units->filling)
        for (struct fileread *gone; (gone = units->filling->files);) {
            units->filling->files = gone->next;
            fileread_free(gone);
        }
    free(units->filling);
    free(units->workers);
    queue_free(units->queue);
    turns_clear(&units->cores);
    pthread_cond_destroy(&units->changed);
    pthread_mutex_destroy(&units->lock);
    free(units);
}

int units_flush(struct units *units, struct err *err)
{
    (void)err;
    if (units->filling)
        units_enqueue(units, STEAL(units->filling));
    return 0;
}

static int submit_small(struct units *units, struct fileread *file, struct err *err)
{
    struct unit *unit = units->filling;

    if (unit && (unit->size + file->size > UNIT_SIZE || unit->count == UNIT_FILES))
        units_flush(units, err);
    if (!units->filling) {
        unit = units->filling = calloc(1, sizeof(*unit));
        if (!unit)
            return err_set(err, ERR_NOMEM, "no memory for a unit");
        unit->tail = &unit->files;
    }
    unit = units->filling;
    file->next = NULL;
    *unit->tail = file;
    unit->tail = &file->next;
    unit->count++;
    unit->size += file->size;
    return 0;
}

int units_submit(struct units *units, struct fileread *file, struct err *err)
{
    pthread_mutex_lock(&units->lock);
    units->under_way++;
    pthread_mutex_unlock(&units->lock);
    bool big = !file->dir || file->size >= UNIT_SIZE;
    int r = big ? bigfile_begin(units, file, err) : submit_small(units, file, err);
    if (r < 0)
        fileread_free(file);
    return r;
}

bool units_busy(struct units *units)
{
    pthread_mutex_lock(&units->lock);
    bool busy = units->waiting >= UNITS_WAITING || units->under_way >= FILES_UNDER_WAY;
    pthread_mutex_unlock(&units->lock);
    return busy;
}

struct fileread *units_done(struct units *units, bool wait)
{
    pthread_mutex_lock(&units->lock);
    while (wait && !units->done && units->under_way > 0)
        pthread_cond_wait(&units->changed, &units->lock);
    struct fileread *file = units->done;
    if (file && !(units->done = file->next))
        units->done_tail = &units->done;
    pthread_mutex_unlock(&units->lock);
    return file;
}

uint64_t units_bytes_read(const struct units *units)
{
    return units->bytes_read;
}
