/* The workers' side of a gather: a part is stored, its files get their pieces in order. */
#include <stdlib.h>

#include "backup/base/cleanup.h"
#include "backup/base/progress.h"
#include "backup/job/gather_internal.h"

void gather_tell(struct gather *gather, struct gather_item *item)
{
    pthread_mutex_lock(&gather->lock);
    *gather->inbox_tail = item;
    gather->inbox_tail = &item->next;
    gather->inbox_count++;
    pthread_cond_broadcast(&gather->changed);
    pthread_mutex_unlock(&gather->lock);
}

/* A list that grows too long goes to the collector; the file's lock keeps portions in order. */
static int hand_over_extents(struct gather_file *file, bool twin, struct err *err)
{
    struct fileread *read = twin ? file->twin.read : file->self.read;

    if (read->extent_count < PORTION_EXTENTS)
        return 0;
    struct gather_item *item = calloc(1, sizeof(*item));
    if (!item)
        return err_set(err, ERR_NOMEM, "no memory for a file's extents");
    item->kind = ITEM_PORTION;
    item->file = file;
    item->twin = twin;
    item->extents = STEAL(read->extents);
    item->extent_count = read->extent_count;
    read->extent_count = read->extent_capacity = 0;
    gather_tell(file->gather, item);
    return 0;
}

static int fold_run(struct worker *worker, const struct gather_run *run, struct err *err)
{
    struct gather_file *file = run->file;
    const struct piece *first = run->count > 0 ? worker->pieces.at + run->first : NULL;

    int r = parts_fold(&file->parts, worker, run->number, run->next, first, run->count, err);
    if (r == 0)
        r = hand_over_extents(file, false, err);
    return r < 0 || !file->twin.read ? r : hand_over_extents(file, true, err);
}

/* All that it will ever have is stored. */
static void hand_over(struct gather_file *file)
{
    struct gather_item *item = STEAL(file->done);

    if (!item) {
        gather_file_free(file); /* no memory: the run has failed, or it is dropped */
        return;
    }
    item->kind = ITEM_FILE;
    item->file = file;
    gather_tell(file->gather, item);
}

/* Counts the run; with the last one of all the file goes to the collector.  `worker` NULL: the run
 * was not stored. */
static int end_run(struct worker *worker, const struct gather_run *run, struct err *err)
{
    struct gather_file *file = run->file;
    struct gather_item *item = run->last ? calloc(1, sizeof(*item)) : NULL;
    int r = run->last && !item ? err_set(err, ERR_NOMEM, "no memory for a file") : 0;

    pthread_mutex_lock(&file->lock);
    if (worker && r == 0)
        r = fold_run(worker, run, err);
    file->dropped = file->dropped || !worker;
    if (run->last)
        file->closed = true;
    if (item)
        file->done = item;
    file->ended++;
    bool over = file->closed && file->ended == file->begun;
    pthread_mutex_unlock(&file->lock);
    if (over)
        hand_over(file);
    return r;
}

void gather_end(struct gather_file *file)
{
    struct gather_item *item = calloc(1, sizeof(*item));

    pthread_mutex_lock(&file->lock);
    file->closed = true;
    file->done = item;
    bool over = file->ended == file->begun;
    pthread_mutex_unlock(&file->lock);
    if (over)
        hand_over(file);
}

/* ---- parts ---- */

static struct gather_part *take_spare(struct gather *gather)
{
    pthread_mutex_lock(&gather->lock);
    struct gather_part *part = gather->spare;
    if (part) {
        gather->spare = part->next;
        gather->spare_count--;
    }
    pthread_mutex_unlock(&gather->lock);
    return part;
}

int gather_part_new(struct gather *gather, struct gather_part **out, struct err *err)
{
    struct gather_part *part = take_spare(gather);

    if (!part && (part = calloc(1, sizeof(*part))))
        part->buffer = malloc(BUFFER_SIZE);
    if (!part || !part->buffer) {
        free(part);
        return err_set(err, ERR_NOMEM, "no memory for a part of a stream");
    }
    part->gather = gather;
    part->pieces.count = part->run_count = part->bytes = 0;
    *out = part;
    return 0;
}

static void destroy(struct gather_part *part)
{
    free(part->buffer);
    free(part->pieces.at);
    free(part);
}

/* Kept for the next one: a MiB that the system hands out anew costs 256 page faults. */
void gather_part_free(struct gather_part *part)
{
    struct gather *gather = part->gather;

    pthread_mutex_lock(&gather->lock);
    bool kept = gather->spare_count < gather->under_way_max;
    if (kept) {
        part->next = gather->spare;
        gather->spare = part;
        gather->spare_count++;
    }
    pthread_mutex_unlock(&gather->lock);
    if (!kept)
        destroy(part);
}

void gather_free_spare(struct gather *gather)
{
    while (gather->spare) {
        struct gather_part *gone = gather->spare;
        gather->spare = gone->next;
        destroy(gone);
    }
}

void gather_part_abandon(struct gather_part *part)
{
    struct units *units = part->gather->options.units;
    struct err err;

    for (size_t i = 0; i < part->run_count; i++)
        if (end_run(NULL, &part->runs[i], &err) < 0)
            units_fail(units, &err);
    gather_part_free(part);
}

static bool has_pages(const struct gather_part *part)
{
    size_t i = 0;

    while (i < part->run_count && part->runs[i].file->cutting.page != GATHER_BY_CONTENT)
        i++;
    return i == part->run_count;
}

int gather_store(struct worker *worker, struct gather_part *part, struct err *err)
{
    struct gather *gather = part->gather;
    struct units *units = worker->units;
    struct pieces own = worker->pieces;

    worker->pieces = part->pieces;
    worker->pages = has_pages(part);
    int r = units_store(worker, err);
    worker->pages = false;
    for (size_t i = 0; i < part->run_count; i++) {
        struct err failure;
        int ended = end_run(r < 0 ? NULL : worker, &part->runs[i], &failure);
        if (ended < 0 && r == 0) {
            *err = failure;
            r = ended;
        }
    }
    part->pieces = worker->pieces;
    worker->pieces = own;
    units->bytes_read += part->bytes;
    progress_add(units->options.progress, 0, part->bytes);
    gather_part_free(part);
    if (r < 0)
        units_fail(units, err); /* before anybody who waits looks */
    pthread_mutex_lock(&gather->lock);
    gather->under_way--;
    pthread_cond_broadcast(&gather->changed);
    pthread_mutex_unlock(&gather->lock);
    return r;
}

void gather_wait_room(struct gather *gather)
{
    pthread_mutex_lock(&gather->lock);
    while (gather->inbox_count >= GATHER_INBOX_MAX)
        pthread_cond_wait(&gather->changed, &gather->lock);
    pthread_mutex_unlock(&gather->lock);
}

void gather_wait_stored(struct gather *gather)
{
    pthread_mutex_lock(&gather->lock);
    while (gather->under_way > 0)
        pthread_cond_wait(&gather->changed, &gather->lock);
    pthread_mutex_unlock(&gather->lock);
}

int gather_send(struct gather *gather, struct gather_lane *lane, struct err *err)
{
    struct units *units = gather->options.units;
    struct gather_part *part = STEAL(lane->part);
    struct unit *unit = calloc(1, sizeof(*unit));

    part->bytes = lane->fill;
    lane->fill = lane->cut = 0;
    if (!unit) {
        gather_part_abandon(part);
        err_set(err, ERR_NOMEM, "no memory for a part of a stream");
        units_fail(units, err);
        return -ERR_NOMEM;
    }
    unit->part = part;
    gather_wait_room(gather);
    pthread_mutex_lock(&gather->lock);
    while (gather->under_way >= gather->under_way_max)
        pthread_cond_wait(&gather->changed, &gather->lock);
    gather->under_way++;
    pthread_mutex_unlock(&gather->lock);
    units_enqueue(units, unit);
    return units_error(units, err);
}
