/* One table by several connections at the same time: slices of its file, cut where rows end, by as
 * many connections as make it faster (docs/decisions/ranges.md). */
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/text.h"
#include "backup/source/pgload_internal.h"

enum {
    SLICE = 4 * 1024 * 1024,
    BEHIND = 64 * 1024,
    MEASURED = 8, /* slices by which it is seen how fast it goes */
};

/* One connection more has to make it this much faster, or it leaves again. */
static const double WORTH_IT = 1.08;

/* So many connections have copied MEASURED slices at this rate.  Until one more comes to help it is
 * measured again and again: others may have been busy with other tables. */
static void decide(struct load_shared *shared, double rate)
{
    bool worth = shared->busy < shared->wanted || rate > shared->best_rate * WORTH_IT;

    if (worth) {
        shared->best_rate = rate;
        shared->wanted = shared->busy + 1;
    } else {
        shared->wanted = shared->busy > 1 ? shared->busy - 1 : 1;
        shared->decided = true;
    }
}

/* The first slice of each connection is not typical, nor is what others do while it comes in. */
static void note_slice(struct load_shared *shared)
{
    int64_t now = clock_monotonic_ns();
    int64_t since = now - shared->since_ns;

    shared->done++;
    if (shared->done == shared->busy + MEASURED && !shared->decided) {
        decide(shared, (double)NS_PER_SECOND / (double)(since > 0 ? since : 1));
        shared->done = shared->busy;
    }
    if (shared->done == shared->busy)
        shared->since_ns = now;
}

static bool is_left(const struct load_shared *shared, uint64_t size)
{
    return !shared->stopped && shared->next < size;
}

static uint64_t take(struct load_shared *shared)
{
    uint64_t from = shared->next;

    shared->next += SLICE;
    return from;
}

/* Waits until one connection more is of use, and takes a slice; false: no more. */
static bool join(struct load_shared *shared, uint64_t size, uint64_t *out_from)
{
    pthread_mutex_lock(&shared->lock);
    while (is_left(shared, size) && shared->busy >= shared->wanted && !shared->decided)
        pthread_cond_wait(&shared->changed, &shared->lock);
    bool mine = is_left(shared, size) && shared->busy < shared->wanted;
    if (mine) {
        *out_from = take(shared);
        shared->busy++;
        shared->done = 0;
    }
    pthread_mutex_unlock(&shared->lock);
    return mine;
}

/* After a slice; false: there is none, or others do without this connection. */
static bool take_next(struct load_shared *shared, uint64_t size, uint64_t *out_from)
{
    pthread_mutex_lock(&shared->lock);
    note_slice(shared);
    bool any = is_left(shared, size) && shared->busy <= shared->wanted;
    if (any)
        *out_from = take(shared);
    else
        shared->busy--;
    pthread_cond_broadcast(&shared->changed);
    pthread_mutex_unlock(&shared->lock);
    return any;
}

void pgload_slices_stop(struct load_shared *shared)
{
    pthread_mutex_lock(&shared->lock);
    shared->stopped = true;
    pthread_cond_broadcast(&shared->changed);
    pthread_mutex_unlock(&shared->lock);
}

static bool is_stopped(struct load_shared *shared)
{
    pthread_mutex_lock(&shared->lock);
    bool stopped = shared->stopped;
    pthread_mutex_unlock(&shared->lock);
    return stopped;
}

/* A row belongs to the slice in which the one before it ends; the first row of all to the first. */
struct slice {
    uint64_t at, end;
    bool within; /* the beginning of a row of its own was found */
    bool over;   /* the end of its last row was */
};

/* What of the piece, which begins at slice->at, are rows of the slice: [*out_from, *out_to). */
static void find_rows(struct slice *slice, const uint8_t *piece, size_t count, size_t *out_from,
                      size_t *out_to)
{
    uint64_t piece_end = slice->at + count;
    size_t from = 0, look;

    *out_from = *out_to = 0;
    if (!slice->within) {
        const uint8_t *end = memchr(piece, '\n', count);
        from = end ? (size_t)(end - piece) + 1 : count;
        slice->within = end != NULL;
        slice->over = slice->at + from >= slice->end; /* no row begins in it */
    }
    if (!slice->within || slice->over)
        return;
    *out_from = from;
    *out_to = count;
    if (piece_end < slice->end)
        return;
    look = slice->end - 1 > slice->at ? (size_t)(slice->end - 1 - slice->at) : 0;
    look = look > from ? look : from;
    const uint8_t *end = memchr(piece + look, '\n', count - look);
    slice->over = end != NULL;
    if (end)
        *out_to = (size_t)(end - piece) + 1;
}

static int send_slice(const struct load *load, struct pg_conn *conn,
                      const struct load_source *source, uint64_t from, struct err *err)
{
    struct slice slice = {.at = from > 0 ? from - 1 : 0, .end = from + SLICE, .within = from == 0};
    int r = 0;

    for (size_t count, first, end; r == 0 && !slice.over && slice.at < source->size;
         slice.at += count) {
        uint64_t left = slice.at < slice.end ? slice.end - slice.at : BEHIND;
        left = left < source->size - slice.at ? left : source->size - slice.at;
        count = left < LOAD_PIECE ? (size_t)left : LOAD_PIECE;
        r = source->files->read(source->file, slice.at, source->piece, count, err);
        if (r < 0)
            return r;
        find_rows(&slice, source->piece, count, &first, &end);
        r = pgload_send(load, conn, source, first, end, err);
    }
    return r;
}

/* From the first slice on until there is none for this connection. */
static int copy_slices(struct load_shared *shared, struct pg_conn *conn,
                       const struct load_source *source, uint64_t from, uint64_t *out_rows,
                       struct err *err)
{
    CLEANUP(text_clear) struct text qualified = {.buf.limit = LOAD_PIECE};

    int r = pgload_qualify(shared->table, &qualified, err);
    if (r == 0)
        r = pgload_copy_begin(conn, shared->table, text_of(&qualified), false, err);
    if (r < 0)
        return r;
    do
        r = send_slice(shared->load, conn, source, from, err);
    while (r == 0 && take_next(shared, source->size, &from));
    if (r == 0 && is_stopped(shared))
        r = err_set(err, ERR_BUSY, "another connection failed");
    return pgload_copy_end(conn, out_rows, r, err);
}

int pgload_slices(struct load_shared *shared, struct pg_conn *conn, struct err *err)
{
    CLEANUP(pgload_source_clear) struct load_source source = {0};
    uint64_t from, rows = 0;

    int r = pgload_source_open(shared->load, shared->table, &source, err);
    if (r == 0 && join(shared, source.size, &from))
        r = copy_slices(shared, conn, &source, from, &rows, err);
    if (r < 0)
        return err_context(err, "%.100s", shared->table->name);
    pthread_mutex_lock(&shared->lock);
    shared->rows += rows;
    pthread_mutex_unlock(&shared->lock);
    return 0;
}
