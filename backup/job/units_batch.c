/* A batch: many small files, one after the other into the worker's buffer, stored together. */
#include <string.h>

#include "backup/base/progress.h"
#include "backup/job/bigfile.h"
#include "backup/job/units_internal.h"

/* What was read so far, and the files that it belongs to. */
struct batch {
    struct fileread *read, **tail;
    size_t fill;    /* bytes in the worker's buffer */
    size_t written; /* as far as the buffer was written since files were read early */
};

/* What was read of it early, if it is still there, to where it belongs: behind the file before. */
static size_t bring(const struct worker *worker, const struct early *early, size_t fill,
                    size_t written)
{
    if (early->size == 0 || early->at < written || early->at < fill)
        return 0;
    if (early->at > fill)
        memmove(worker->buffer + fill, worker->buffer + early->at, early->size);
    return early->size;
}

/* One try at one file of a batch.  Its pieces and bytes stay behind those that are there. */
static int read_once(struct worker *worker, struct scan *scan, size_t *fill, struct err *err)
{
    size_t cut = *fill;

    if (scan->file->fd < 0) {
        int r = fileread_open(scan->file, err);
        if (r <= 0)
            return r;
    }
    return scan_fill(worker, scan, worker->buffer, BUFFER_SIZE, fill, &cut, err);
}

enum read_result { READ_DONE, READ_NO_ROOM };

/* Reads a file until it holds still.  READ_NO_ROOM: it does not fit behind the others. */
static int read_file(struct worker *worker, struct batch *batch, struct fileread *file,
                     const struct early *early, struct err *err)
{
    size_t start = batch->fill, pieces = worker->pieces.count;

    for (unsigned tries = 0; tries < READ_TRIES && !file->failed; tries++) {
        struct scan scan = scan_start(file);
        batch->fill = start;
        worker->pieces.count = pieces;
        if (tries == 0 && early && early->open)
            scan.ready = bring(worker, early, start, batch->written);
        else
            fileread_restart(file);
        int r = read_once(worker, &scan, &batch->fill, err);
        if (r < 0)
            return r;
        if (batch->fill > batch->written)
            batch->written = batch->fill;
        if (file->failed) {
            batch->written = BUFFER_SIZE; /* who knows */
            break;
        }
        if (!scan.at_end) {
            batch->fill = start;
            worker->pieces.count = pieces;
            return READ_NO_ROOM;
        }
        file->changed = !fileread_unchanged(file, scan.offset);
        fileread_close(file); /* a batch has more files than a process may have open */
        if (!file->changed)
            return READ_DONE;
    }
    if (file->failed) {
        batch->fill = start;
        worker->pieces.count = pieces;
    }
    return READ_DONE;
}

static void give_all(struct units *units, struct fileread **files, const struct err *failure)
{
    while (*files) {
        struct fileread *file = *files;
        *files = file->next;
        if (failure)
            fileread_fail(file, failure);
        fileread_close(file);
        units_give(units, file);
    }
}

/* Stores what was read so far, and gives back the files that it belongs to. */
static int finish_read(struct worker *worker, struct batch *batch, struct err *err)
{
    struct units *units = worker->units;

    int r = units_store(worker, err);
    if (r == 0)
        r = pieces_fold(worker, worker->pieces.at, worker->pieces.count, err);
    units->bytes_read += batch->fill;
    progress_add(units->options.progress, 0, batch->fill);
    worker->pieces.count = 0;
    batch->fill = 0;
    if (r == 0) {
        give_all(units, &batch->read, NULL);
        batch->tail = &batch->read;
    }
    return r;
}

/* One file of a batch: read, or made a big one when it has outgrown a batch. */
static int take_file(struct worker *worker, struct batch *batch, struct fileread *file,
                     const struct early *early, struct err *err)
{
    int r = read_file(worker, batch, file, early, err);

    if (r == READ_NO_ROOM && batch->fill > 0) {
        r = finish_read(worker, batch, err);
        if (r == 0)
            r = read_file(worker, batch, file, NULL, err);
    }
    if (r == READ_NO_ROOM) {
        fileread_restart(file);
        r = bigfile_begin(worker->units, file, err);
        if (r == 0)
            return 0;
    }
    file->next = NULL;
    *batch->tail = file;
    batch->tail = &file->next;
    return r;
}

static int take_files(struct worker *worker, struct batch *batch, struct unit *unit,
                      struct err *err)
{
    struct early early[READ_GROUP];
    size_t count = 0, next = 0;
    int r = 0;

    while (r == 0 && unit->files) {
        if (next == count) {
            r = early_read(worker, unit->files, batch->fill, early, &count, err);
            batch->written = batch->fill;
            next = 0;
        }
        if (r < 0)
            break;
        struct fileread *file = unit->files;
        unit->files = file->next;
        r = take_file(worker, batch, file, &early[next++], err);
    }
    return r;
}

int units_batch(struct worker *worker, struct unit *unit, struct err *err)
{
    struct batch batch = {.tail = &batch.read};
    int r = units_error(worker->units, err);

    if (r == 0)
        r = take_files(worker, &batch, unit, err);
    if (r == 0)
        r = finish_read(worker, &batch, err);
    if (r < 0) {
        units_fail(worker->units, err);
        give_all(worker->units, &batch.read, err);
        give_all(worker->units, &unit->files, err);
    }
    return r;
}
