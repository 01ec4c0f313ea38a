/* A batch: many small files, one after the other into the worker's buffer, stored together. */
#include "backup/base/progress.h"
#include "backup/job/bigfile.h"
#include "backup/job/units_internal.h"

/* One try at one file of a batch.  Its pieces and bytes stay behind those that are there. */
static int read_once(struct worker *worker, struct scan *scan, size_t *fill, struct err *err)
{
    size_t cut = *fill;
    int r = fileread_open(scan->file, err);

    if (r <= 0)
        return r;
    return scan_fill(worker, scan, worker->buffer, BUFFER_SIZE, fill, &cut, err);
}

enum read_result { READ_DONE, READ_NO_ROOM };

/* Reads a file until it holds still.  READ_NO_ROOM: it does not fit behind the others. */
static int read_file(struct worker *worker, struct fileread *file, size_t *fill, struct err *err)
{
    size_t start = *fill, pieces = worker->pieces.count;

    for (unsigned tries = 0; tries < READ_TRIES; tries++) {
        struct scan scan = scan_start(file);
        *fill = start;
        worker->pieces.count = pieces;
        fileread_restart(file);
        int r = read_once(worker, &scan, fill, err);
        if (r < 0)
            return r;
        if (file->failed)
            break;
        if (!scan.at_end) {
            *fill = start;
            worker->pieces.count = pieces;
            return READ_NO_ROOM;
        }
        file->changed = !fileread_unchanged(file, scan.offset);
        fileread_close(file); /* a batch has more files than a process may have open */
        if (!file->changed)
            return READ_DONE;
    }
    if (file->failed) {
        *fill = start;
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
static int finish_read(struct worker *worker, struct fileread **files, size_t *fill,
                       struct err *err)
{
    struct units *units = worker->units;

    int r = units_store(worker, err);
    if (r == 0)
        r = pieces_fold(worker, worker->pieces.at, worker->pieces.count, err);
    units->bytes_read += *fill;
    progress_add(units->options.progress, 0, *fill);
    worker->pieces.count = 0;
    *fill = 0;
    if (r == 0)
        give_all(units, files, NULL);
    return r;
}

/* One file of a batch: read, or made a big one when it has outgrown a batch. */
static int take_file(struct worker *worker, struct fileread *file, struct fileread **read,
                     struct fileread ***tail, size_t *fill, struct err *err)
{
    int r = read_file(worker, file, fill, err);

    if (r == READ_NO_ROOM && *fill > 0) {
        r = finish_read(worker, read, fill, err);
        if (r == 0) {
            *tail = read;
            r = read_file(worker, file, fill, err);
        }
    }
    if (r == READ_NO_ROOM) {
        fileread_restart(file);
        r = bigfile_begin(worker->units, file, err);
        if (r == 0)
            return 0;
    }
    file->next = NULL;
    **tail = file;
    *tail = &file->next;
    return r;
}

int units_batch(struct worker *worker, struct unit *unit, struct err *err)
{
    struct fileread *read = NULL, **tail = &read;
    size_t fill = 0;
    int r = units_error(worker->units, err);

    while (r == 0 && unit->files) {
        struct fileread *file = unit->files;
        unit->files = file->next;
        r = take_file(worker, file, &read, &tail, &fill, err);
    }
    if (r == 0)
        r = finish_read(worker, &read, &fill, err);
    if (r < 0) {
        units_fail(worker->units, err);
        give_all(worker->units, &read, err);
        give_all(worker->units, &unit->files, err);
    }
    return r;
}
