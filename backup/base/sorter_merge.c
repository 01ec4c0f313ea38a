#include "backup/base/sorter_internal.h"

#include <stdlib.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"

enum {
    BUFFER_MIN = 4096,
    BUFFER_MAX = 1024 * 1024,
};

/* One run, read piece by piece; its current record lies whole in the buffer. */
struct stream {
    uint64_t at; /* in the file: what comes after the buffer */
    uint64_t end;
    uint8_t *buffer;
    size_t capacity;
    size_t position; /* of the current record */
    size_t filled;
};

struct merge {
    int fd;
    size_t count; /* of streams, for merge_free() */
    struct stream *streams;
    size_t live; /* streams that have a record */
    struct stream *
        *heap;           /* `live` of them; none is smaller than the one above it, at (i - 1) / 2 */
    struct stream *lent; /* to be moved on by the next call */
};

static const uint8_t *current(const struct stream *stream)
{
    return stream->buffer + stream->position;
}

/* Moves what is left to the front, and the front is made large enough. */
static int make_room(struct stream *stream, size_t needed, struct err *err)
{
    stream->filled -= stream->position;
    if (stream->position > 0)
        memmove(stream->buffer, current(stream), stream->filled);
    stream->position = 0;
    if (needed <= stream->capacity)
        return 0;
    uint8_t *buffer = realloc(stream->buffer, needed);
    if (!buffer)
        return err_set(err, ERR_NOMEM, "no memory for %zu bytes", needed);
    stream->buffer = buffer;
    stream->capacity = needed;
    return 0;
}

/* Has `needed` bytes of the current record in the buffer. */
static int fill(struct stream *stream, int fd, size_t needed, struct err *err)
{
    size_t got;

    if (stream->filled - stream->position >= needed)
        return 0;
    if (needed - (stream->filled - stream->position) > stream->end - stream->at)
        return err_set(err, ERR_CORRUPT, "a temporary file was changed");
    int r = make_room(stream, needed, err);
    if (r < 0)
        return r;

    uint64_t left = stream->end - stream->at;
    size_t room = stream->capacity - stream->filled;
    size_t wanted = left < room ? (size_t)left : room;
    r = io_pread_full(fd, stream->buffer + stream->filled, wanted, stream->at, &got, err);
    if (r == 0 && got < wanted)
        r = err_set(err, ERR_CORRUPT, "a temporary file was cut off");
    if (r < 0)
        return r;
    stream->at += got;
    stream->filled += got;
    return 0;
}

static int load_record(struct stream *stream, int fd, struct err *err)
{
    int r = fill(stream, fd, RECORD_HEADER, err);

    return r < 0 ? r : fill(stream, fd, RECORD_HEADER + (size_t)load_le32(current(stream)), err);
}

/* Restores the order below `i`, whose record may have become larger. */
static void sift_down(struct merge *merge, size_t i)
{
    struct stream *sinking = merge->heap[i];

    for (size_t child = 2 * i + 1; child < merge->live; child = 2 * i + 1) {
        struct stream **heap = merge->heap;
        if (child + 1 < merge->live &&
            compare_records(current(heap[child + 1]), current(heap[child])) < 0)
            child++;
        if (compare_records(current(sinking), current(heap[child])) <= 0)
            break;
        heap[i] = heap[child];
        i = child;
    }
    merge->heap[i] = sinking;
}

static size_t buffer_size(size_t memory_limit, size_t count)
{
    size_t size = memory_limit / count;

    if (size < BUFFER_MIN)
        return BUFFER_MIN;
    return size < BUFFER_MAX ? size : BUFFER_MAX;
}

static int add_stream(struct merge *merge, struct run run, size_t capacity, struct err *err)
{
    struct stream *stream = &merge->streams[merge->count++];

    *stream = (struct stream){.at = run.start, .end = run.end, .capacity = capacity};
    stream->buffer = malloc(capacity);
    if (!stream->buffer)
        return err_set(err, ERR_NOMEM, "no memory for %zu bytes", capacity);
    merge->heap[merge->live++] = stream;
    return load_record(stream, merge->fd, err);
}

int merge_new(int fd, const struct run *runs, size_t count, size_t memory_limit, struct merge **out,
              struct err *err)
{
    CLEANUP(merge_freep) struct merge *merge = calloc(1, sizeof(*merge));

    if (merge) {
        merge->fd = fd;
        merge->streams = calloc(count, sizeof(*merge->streams));
        merge->heap = calloc(count, sizeof(struct stream *));
    }
    if (!merge || !merge->streams || !merge->heap)
        return err_set(err, ERR_NOMEM, "no memory to merge %zu runs", count);
    for (size_t i = 0; i < count; i++) {
        int r = add_stream(merge, runs[i], buffer_size(memory_limit, count), err);
        if (r < 0)
            return r;
    }
    for (size_t i = count / 2; i > 0; i--)
        sift_down(merge, i - 1);
    *out = STEAL(merge);
    return 0;
}

void merge_free(struct merge *merge)
{
    if (!merge)
        return;
    for (size_t i = 0; i < merge->count; i++)
        free(merge->streams[i].buffer);
    free(merge->streams);
    free(merge->heap);
    free(merge);
}

void merge_freep(struct merge **merge)
{
    merge_free(*merge);
}

/* Leaves the record that was lent; its stream is the top of the heap. */
static int move_on(struct merge *merge, struct err *err)
{
    struct stream *stream = STEAL(merge->lent);

    stream->position += RECORD_HEADER + (size_t)load_le32(current(stream));
    if (stream->position == stream->filled && stream->at == stream->end) {
        merge->heap[0] = merge->heap[--merge->live];
    } else {
        int r = load_record(stream, merge->fd, err);
        if (r < 0)
            return r;
    }
    if (merge->live > 0)
        sift_down(merge, 0);
    return 0;
}

int merge_next(struct merge *merge, const uint8_t **out_record, struct err *err)
{
    int r = merge->lent ? move_on(merge, err) : 0;
    if (r < 0)
        return r;

    merge->lent = merge->live > 0 ? merge->heap[0] : NULL;
    *out_record = merge->lent ? current(merge->lent) : NULL;
    return 0;
}
