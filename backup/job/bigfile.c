#include "backup/job/bigfile.h"

#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/progress.h"
#include "backup/job/packer.h"
#include "backup/job/units_internal.h"

static void bigfile_free(struct bigfile *big)
{
    parts_clear(&big->parts);
    pthread_mutex_destroy(&big->lock);
    free(big->left);
    free(big);
}

/* The rest of the file, for whoever is free next. */
static int hand_on(struct units *units, struct bigfile *big, bool fresh, struct err *err)
{
    struct unit *unit = calloc(1, sizeof(*unit));
    if (!unit)
        return err_set(err, ERR_NOMEM, "no memory for a part of a file");
    unit->big = big;
    if (fresh)
        units_enqueue(units, unit);
    else
        units_put_back(units, unit);
    return 0;
}

int bigfile_begin(struct units *units, struct fileread *file, struct err *err)
{
    struct bigfile *big = calloc(1, sizeof(*big));
    uint8_t *left = malloc(CHUNK_MAX);
    if (!big || !left) {
        free(big);
        free(left);
        return err_set(err, ERR_NOMEM, "no memory for a large file");
    }
    big->left = left;
    big->scan = scan_start(file);
    pthread_mutex_init(&big->lock, NULL);
    int r = hand_on(units, big, true, err);
    if (r < 0)
        bigfile_free(big);
    return r;
}

/* Reads the next part into the worker's buffer, and hands the rest on. */
static int read_part(struct worker *worker, struct bigfile *big, size_t *out_fill, struct err *err)
{
    struct fileread *file = big->scan.file;
    size_t fill = big->left_size, cut = 0;

    memcpy(worker->buffer, big->left, fill);
    int r = scan_fill(worker, &big->scan, worker->buffer, UNIT_SIZE, &fill, &cut, err);
    if (r < 0)
        return r;
    *out_fill = fill - big->left_size;
    if (big->scan.at_end || file->failed)
        return 0;
    big->left_size = fill - cut;
    memcpy(big->left, worker->buffer + cut, big->left_size);
    return 0;
}

/* A list that grows too long goes to the walk in portions. */
static int hand_over_extents(struct units *units, struct bigfile *big, struct err *err)
{
    struct fileread *file = big->scan.file;

    if (file->extent_count < PORTION_EXTENTS)
        return 0;
    struct fileread *portion = fileread_new(NULL, "", 0, file->owner);
    if (!portion)
        return err_set(err, ERR_NOMEM, "no memory for a file's extents");
    portion->extents = STEAL(file->extents);
    portion->extent_count = file->extent_count;
    portion->more = true;
    file->extent_count = file->extent_capacity = 0;
    big->handed = true;
    units_give(units, portion);
    return 0;
}

static int fold_locked(struct worker *worker, struct bigfile *big, uint64_t number, struct err *err)
{
    const struct pieces *pieces = &worker->pieces;
    int r = parts_fold(&big->parts, worker, number, number + 1, pieces->at, pieces->count, err);

    return r < 0 ? r : hand_over_extents(worker->units, big, err);
}

static int read_again(struct units *units, struct bigfile *big, struct err *err)
{
    struct fileread *file = big->scan.file;

    fileread_restart(file);
    big->tries++;
    big->scan = scan_start(file);
    big->left_size = 0;
    big->number = big->begun = big->ended = 0;
    parts_clear(&big->parts);
    big->all_begun = false;
    return hand_on(units, big, false, err);
}

/* What lies in one piece is fetched by few requests later on.  Not for less: a lane that is used
 * ends with an archive that is not full. */
static void begin_lane(struct units *units, struct bigfile *big)
{
    if (big->has_lane || !big->scan.file->dir || big->scan.file->size < LANE_SIZE)
        return;
    big->lane = packer_lane_begin(units->options.packer);
    big->has_lane = true;
}

static void end_lane(struct units *units, const struct bigfile *big)
{
    if (big->has_lane)
        packer_lane_end(units->options.packer, big->lane);
}

/* All parts are in the file: it is done, unless it changed meanwhile. */
static int finish(struct units *units, struct bigfile *big, struct err *err)
{
    struct fileread *file = big->scan.file;
    struct err failure;

    if (units_error(units, &failure) < 0) {
        fileread_fail(file, &failure);
    } else if (!file->failed) {
        file->changed = !fileread_unchanged(file, big->scan.offset);
        if (file->changed && !big->handed && big->tries + 1 < BIG_TRIES)
            return read_again(units, big, err);
    }
    fileread_close(file);
    units_give(units, file);
    end_lane(units, big);
    bigfile_free(big);
    return 0;
}

/* Counts a part as over.  Who ends the last one finishes the file. */
static int end_part(struct worker *worker, struct bigfile *big, uint64_t number, int result,
                    struct err *err)
{
    struct units *units = worker->units;
    int r = result;

    pthread_mutex_lock(&big->lock);
    if (r == 0 && !units->ended)
        r = fold_locked(worker, big, number, err);
    big->ended++;
    bool over = big->all_begun && big->ended == big->begun;
    pthread_mutex_unlock(&big->lock);
    if (r < 0)
        units_fail(units, err);
    return over ? finish(units, big, err) : r;
}

/* Begins a part: its number, and whether there is anything to read (1, 0 or negative). */
static int begin_part(struct units *units, struct bigfile *big, uint64_t *out_number,
                      struct err *err)
{
    *out_number = big->number++;
    pthread_mutex_lock(&big->lock);
    big->begun++;
    pthread_mutex_unlock(&big->lock);
    if (units->ended)
        return 0;
    if (*out_number > 0)
        return 1;
    begin_lane(units, big);
    return fileread_open(big->scan.file, err);
}

static void end_of_parts(struct bigfile *big)
{
    pthread_mutex_lock(&big->lock);
    big->all_begun = true;
    pthread_mutex_unlock(&big->lock);
}

int bigfile_part(struct worker *worker, struct bigfile *big, struct err *err)
{
    struct units *units = worker->units;
    uint64_t number;
    size_t fill = 0;

    int readable = begin_part(units, big, &number, err);
    worker->lane = big->lane;
    int r = readable > 0 ? read_part(worker, big, &fill, err) : readable;
    if (readable <= 0 || r < 0 || big->scan.at_end || big->scan.file->failed) {
        end_of_parts(big);
    } else if ((r = hand_on(units, big, false, err)) < 0) {
        end_of_parts(big);
    }
    /* From here on the rest of the file may be in another worker's hands. */
    if (r == 0)
        r = units_store(worker, err);
    units->bytes_read += fill;
    progress_add(units->options.progress, 0, fill);
    return end_part(worker, big, number, r, err);
}
