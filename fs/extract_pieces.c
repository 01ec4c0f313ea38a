/* The pieces of a task come to their files: each block is decoded once, for all pieces that have a
 * part of it. */
#include <fcntl.h>

#include "backup/archive/blocks.h"
#include "backup/base/cleanup.h"
#include "backup/base/progress.h"
#include "fs/extract_fetch.h"
#include "fs/extract_internal.h"

enum { WRITE_OUT_FROM = 256 * 1024 };

/* Pieces that are read in one go. */
struct stretch {
    struct extract *x;
    const struct piece *pieces;
    size_t first, end; /* those before `first` are done */
    uint64_t reached;  /* what was given ends here in the archive */
};

static uint64_t end_of(const struct piece *piece)
{
    return (uint64_t)piece->place.raw + piece->length;
}

/* Large pieces are on their way to disk while others are decoded, so that the sync in the end has
 * little left to wait for; what is small is better written out together, and then. */
static void begin_writing_out(const struct piece *piece)
{
    if (piece->length >= WRITE_OUT_FROM)
        (void)sync_file_range(piece->file->fd, (off_t)piece->offset, piece->length,
                              SYNC_FILE_RANGE_WRITE);
}

/* All of it was written, or failed. */
static void finish(struct extract *x, const struct piece *piece)
{
    if (!extract_stopped(x) && !outfile_failed(piece->file))
        begin_writing_out(piece);
    progress_add(x->options->progress, 0, piece->length);
    outfile_release(x, piece->file);
}

/* ---- through the cache ------------------------------------------------------------------- */

static int copy_piece(struct extract *x, const struct piece *piece, enum side *side,
                      struct err *err)
{
    struct place place = piece->place;
    uint32_t done = 0;

    while (done < piece->length) {
        CLEANUP(slice_clear) struct slice slice = {0};

        *side = SIDE_REPOSITORY;
        int r = blocks_get(x->blocks, place, &slice, err);
        if (r < 0)
            return r;
        size_t left = piece->length - done;
        size_t count = slice.size < left ? slice.size : left;
        if (!outfile_is(x, piece->file, slice.data, count))
            return err_set(err, ERR_CORRUPT, "its content is not what was backed up");
        *side = SIDE_TARGET;
        r = outfile_write(piece->file, slice.data, count, piece->offset + done, err);
        if (r < 0)
            return r;
        done += (uint32_t)count;
        place.raw += (uint32_t)count;
    }
    return 0;
}

/* From its beginning, whatever was written of it. */
static void write_whole(struct extract *x, const struct piece *piece)
{
    struct outfile *file = piece->file;
    enum side side = SIDE_TARGET;
    struct err err;
    int r = 0;

    if (!extract_stopped(x) && !outfile_failed(file)) {
        if (file->fd < 0)
            r = outfile_open(x, file, &err);
        if (r == 0)
            r = copy_piece(x, piece, &side, &err);
    }
    if (r < 0)
        outfile_fail(file, side, &err);
    finish(x, piece);
}

/* ---- as blocks go by --------------------------------------------------------------------- */

/* What of a piece is in [raw, raw + size). */
static int write_part(struct extract *x, const struct piece *piece, uint32_t raw,
                      const uint8_t *data, size_t size, enum side *side, struct err *err)
{
    uint64_t begin = raw > piece->place.raw ? raw : piece->place.raw;
    uint64_t end = (uint64_t)raw + size < end_of(piece) ? (uint64_t)raw + size : end_of(piece);
    const uint8_t *part = data + (begin - raw);
    int r = 0;

    if (end <= begin)
        return 0;
    *side = SIDE_REPOSITORY;
    if (!outfile_is(x, piece->file, part, (size_t)(end - begin)))
        return err_set(err, ERR_CORRUPT, "its content is not what was backed up");
    *side = SIDE_TARGET;
    if (piece->file->fd < 0)
        r = outfile_open(x, piece->file, err);
    return r < 0 ? r
                 : outfile_write(piece->file, part, (size_t)(end - begin),
                                 piece->offset + (begin - piece->place.raw), err);
}

/* A passage_fn. */
static int take(void *context, uint32_t raw, const uint8_t *data, size_t size, struct err *err)
{
    struct stretch *stretch = context;
    struct extract *x = stretch->x;
    uint64_t end = (uint64_t)raw + size;

    if (extract_stopped(x))
        return err_set(err, ERR_CANCELLED, "stopped");
    if (raw != stretch->reached && stretch->first < stretch->end &&
        stretch->pieces[stretch->first].place.raw < raw)
        return err_set(err, ERR_CORRUPT, "nothing is stored where a piece should be");
    for (size_t i = stretch->first; i < stretch->end; i++) {
        const struct piece *piece = &stretch->pieces[i];
        enum side side = SIDE_TARGET;
        struct err own;

        if (piece->place.raw >= end)
            break;
        if (end_of(piece) <= stretch->reached)
            continue; /* done, among others that are not */
        if (!outfile_failed(piece->file) && write_part(x, piece, raw, data, size, &side, &own) < 0)
            outfile_fail(piece->file, side, &own);
        if (end_of(piece) <= end)
            finish(x, piece);
    }
    stretch->reached = end;
    while (stretch->first < stretch->end && end_of(&stretch->pieces[stretch->first]) <= end)
        stretch->first++;
    return 0;
}

/* What did not go by, for whatever reason, is read by itself: then it is known what is wrong. */
static void write_rest(const struct stretch *stretch)
{
    for (size_t i = stretch->first; i < stretch->end; i++)
        if (end_of(&stretch->pieces[i]) > stretch->reached)
            write_whole(stretch->x, &stretch->pieces[i]);
}

/* Before it is read by itself, block by block. */
static void fetch_rest(const struct stretch *stretch, uint64_t end)
{
    struct place at = stretch->pieces[stretch->first].place;

    if (stretch->reached > at.raw)
        at.raw = (uint32_t)(stretch->reached < end ? stretch->reached : end);
    if (at.raw < end && !extract_stopped(stretch->x))
        (void)blocks_prefetch(stretch->x->blocks, at, (size_t)(end - at.raw));
}

static void write_stretch(struct stretch *stretch, struct passage *passage, uint64_t end,
                          const struct task *task)
{
    struct place start = stretch->pieces[stretch->first].place;
    int r = -ERR_NOT_FOUND;
    struct err ignored;

    if (passage && !extract_stopped(stretch->x))
        r = passage_run(passage, start, (size_t)(end - start.raw), task->from, task->until, take,
                        stretch, &ignored);
    if (r == -ERR_NOT_FOUND || r == -ERR_CORRUPT) /* moved, or there is more behind the damage */
        fetch_rest(stretch, end);
    write_rest(stretch);
}

void pieces_write(struct extract *x, struct passage *passage, const struct cut *cut,
                  struct window *window, const struct task *task)
{
    bool empty = window->pieces[task->first].place.archive == NO_ARCHIVE;
    size_t first = task->first;
    uint64_t end;

    while (first < task->end && empty)
        write_whole(x, &window->pieces[first++]);
    while (first < task->end) {
        size_t next = fetch_stretch(cut, window, task, first, &end);
        write_stretch(&(struct stretch){x, window->pieces, first, next, 0}, passage, end, task);
        first = next;
    }
}
