#include <stdlib.h>

#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/pool.h"
#include "fs/mount_internal.h"

enum {
    STREAMS = 64,
    JOB_LEAST = 1024 * 1024, /* one job looks after about so much of a file */
    JOB_MOST = 8 * 1024 * 1024,
    WINDOW_JOBS = 8, /* in which a window is split, as long as they are large enough */
    WINDOW_FIRST = 1024 * 1024,
    WINDOW_MAX = 8 * 1024 * 1024,
    REMOTE_WINDOW_MAX = 64 * 1024 * 1024, /* 60 ms at 1 GB/s */
    REMOTE_PIECE = 2 * 1024 * 1024,       /* fetched by one request */
    RANGES_MAX = 512,                     /* that are put in order at once */
    RANGES_GAP = 64 * 1024,               /* ranges that close are fetched together */
    SLACK = 8 * MOUNT_READ_MAX,           /* requests of one reader overtake each other */
    RUN_GAP = 256 * 1024,                 /* misses that close are one run of small files */
    RUN_AHEAD = 512 * 1024,
    JOBS_MAX = 32,
    REMOTE_JOBS_MAX = 128, /* they wait for the network */
};

/* A file that is read, or (small files) an archive. */
struct stream {
    uint64_t id;
    uint64_t expected; /* where the last read ended */
    uint64_t fetched;  /* what lies before has been asked for */
    uint64_t window;   /* 0: not seen to be sequential */
};

struct ahead {
    struct mount *mount;
    bool remote;
    int jobs_max;
    uint64_t window_max;
    atomic_int jobs;      /* that wait or run */
    pthread_mutex_t lock; /* guards what follows */
    struct stream files[STREAMS];
    struct stream archives[STREAMS];
};

struct ahead_job {
    struct ahead *ahead;
    uint64_t id; /* of a file, or 0: then the place counts */
    struct place place;
    uint64_t offset;
    size_t count;
};

struct ahead *ahead_new(struct mount *mount)
{
    struct ahead *ahead = calloc(1, sizeof(*ahead));

    if (!ahead)
        return NULL;
    ahead->remote = repo_is_remote(mount->repo);
    ahead->jobs_max = ahead->remote ? REMOTE_JOBS_MAX : JOBS_MAX;
    uint64_t most = ahead->remote ? REMOTE_WINDOW_MAX : WINDOW_MAX;
    ahead->mount = mount;
    pthread_mutex_init(&ahead->lock, NULL);
    /* What is decoded ahead must not push out what is read now. */
    ahead->window_max = mount->options->cache_bytes / (ahead->remote ? 4 : 8);
    if (ahead->window_max > most)
        ahead->window_max = most;
    return ahead;
}

void ahead_free(struct ahead *ahead)
{
    if (!ahead)
        return;
    pthread_mutex_destroy(&ahead->lock);
    free(ahead);
}

/* ---- in the pool ------------------------------------------------------------------------- */

static void submit(struct ahead *ahead, const struct ahead_job *wanted, bool anyway);

/* Bytes of an archive. */
struct range {
    struct place place;
    uint64_t length;
};

struct ranges {
    struct range at[RANGES_MAX];
    size_t count;
};

static int by_place(const void *left, const void *right)
{
    const struct place *a = &((const struct range *)left)->place;
    const struct place *b = &((const struct range *)right)->place;

    if (a->archive != b->archive)
        return a->archive < b->archive ? -1 : 1;
    return a->raw < b->raw ? -1 : a->raw > b->raw;
}

/* Puts them in the order of the archives, where neighbours become one: a file that several workers
 * stored lies there in pieces of one block, in turn. */
static void join(struct ranges *ranges, uint64_t most)
{
    size_t kept = 0;

    qsort(ranges->at, ranges->count, sizeof(ranges->at[0]), by_place);
    for (size_t i = 0; i < ranges->count; i++) {
        const struct range *next = &ranges->at[i];
        struct range *last = kept > 0 ? &ranges->at[kept - 1] : NULL;
        uint64_t skip = last ? next->place.raw - (uint64_t)last->place.raw : 0;
        if (last && last->place.archive == next->place.archive &&
            skip <= last->length + RANGES_GAP && skip + next->length <= most)
            last->length = skip + next->length > last->length ? skip + next->length : last->length;
        else
            ranges->at[kept++] = *next;
    }
    ranges->count = kept;
}

/* Over a network by many requests at once. */
static void fetch_range(struct ahead *ahead, struct range range)
{
    while (range.length > 0) {
        uint64_t part = range.length;
        if (ahead->remote && part > REMOTE_PIECE)
            part = REMOTE_PIECE;
        if (ahead->remote)
            submit(ahead, &(struct ahead_job){.place = range.place, .count = (size_t)part}, true);
        else
            blocks_prefetch(ahead->mount->blocks, range.place, (size_t)part);
        range.place.raw += (uint32_t)part;
        range.length -= part;
    }
}

static void fetch_ranges(struct ahead *ahead, struct ranges *ranges)
{
    join(ranges, ahead->remote ? REMOTE_PIECE : JOB_LEAST);
    for (size_t i = 0; i < ranges->count; i++)
        fetch_range(ahead, ranges->at[i]);
    ranges->count = 0;
}

static void fetch_file(struct ahead_job *job, struct ranges *ranges)
{
    CLEANUP(held_entry_clear) struct held_entry held = {0};
    CLEANUP(content_close) struct content_cursor cursor = {0};
    struct mount *mount = job->ahead->mount;
    uint64_t end = job->offset + job->count, start;
    struct extent extent;
    struct err ignored; /* who reads will meet it again */

    if (mount_entry(mount, job->id, &held, &ignored) < 0 ||
        content_open(&cursor, mount->blocks, &held.entry.content, job->offset, &ignored) < 0)
        return;
    while (content_next(&cursor, &extent, &start, &ignored) > 0 && start < end) {
        uint64_t from = start > job->offset ? start : job->offset;
        uint64_t to = extent.length < end - start ? start + extent.length : end;
        uint64_t raw = (uint64_t)extent.place.raw + (from - start);
        if (extent_is_hole(&extent) || to <= from || raw + (to - from) > UINT32_MAX)
            continue;
        ranges->at[ranges->count++] = (struct range){
            .place = {.archive = extent.place.archive, .raw = (uint32_t)raw}, .length = to - from};
        if (ranges->count == RANGES_MAX)
            fetch_ranges(job->ahead, ranges);
    }
    fetch_ranges(job->ahead, ranges);
}

static void plan(struct ahead_job *job)
{
    struct ranges *ranges = malloc(sizeof(*ranges));

    if (!ranges)
        return;
    ranges->count = 0;
    fetch_file(job, ranges);
    free(ranges);
}

static void run_job(void *argument)
{
    struct ahead_job *job = argument;

    atomic_fetch_add_explicit(&job->ahead->mount->counters.prefetched, 1, memory_order_relaxed);
    if (job->id != 0)
        plan(job);
    else
        blocks_prefetch(job->ahead->mount->blocks, job->place, job->count);
    atomic_fetch_sub(&job->ahead->jobs, 1);
    free(job);
}

/* Takes a job that was counted already. */
static bool hand_over(struct ahead *ahead, const struct ahead_job *wanted)
{
    struct ahead_job *job = malloc(sizeof(*job));

    if (!job)
        return false;
    *job = *wanted;
    job->ahead = ahead;
    if (pool_try_submit(ahead->mount->pool, run_job, job))
        return true;
    free(job);
    return false;
}

/* When there is much to do already: dropped, or (`anyway`, and then it is a range) done by the
 * caller. */
static void submit(struct ahead *ahead, const struct ahead_job *wanted, bool anyway)
{
    if (atomic_fetch_add(&ahead->jobs, 1) < ahead->jobs_max && hand_over(ahead, wanted))
        return;
    atomic_fetch_sub(&ahead->jobs, 1);
    if (anyway)
        blocks_prefetch(ahead->mount->blocks, wanted->place, wanted->count);
}

/* ---- what is sequential ------------------------------------------------------------------ */

static struct stream *stream_of(struct stream streams[STREAMS], uint64_t id)
{
    return &streams[(id * UINT64_C(0x9E3779B97F4A7C15)) >> 58];
}

/* What is to be asked for after a read: [*from, *to). */
static void advance(struct stream *stream, uint64_t id, uint64_t offset, uint64_t end,
                    const struct ahead *ahead, uint64_t *from, uint64_t *to)
{
    bool follows = stream->id == id && offset + SLACK >= stream->expected &&
                   offset <= stream->expected + SLACK;

    *from = *to = 0;
    if (!follows) {
        *stream = (struct stream){.id = id, .expected = end, .fetched = end};
        return;
    }
    stream->window = stream->window == 0 ? WINDOW_FIRST : stream->window * 2;
    if (stream->window > ahead->window_max)
        stream->window = ahead->window_max;
    if (end > stream->expected)
        stream->expected = end;
    *from = stream->fetched > stream->expected ? stream->fetched : stream->expected;
    *to = stream->expected + stream->window;
}

static uint64_t job_size(const struct stream *stream)
{
    uint64_t size = stream->window / WINDOW_JOBS;

    return size < JOB_LEAST ? JOB_LEAST : size < JOB_MOST ? size : JOB_MOST;
}

/* No more than there are jobs for: what is left over is asked for by the next read. */
static uint64_t within_jobs(struct ahead *ahead, uint64_t from, uint64_t to, uint64_t size)
{
    int jobs = atomic_load(&ahead->jobs);
    uint64_t most = jobs < ahead->jobs_max ? (uint64_t)(ahead->jobs_max - jobs) * size : 0;

    return to <= from || to - from <= most ? to : from + most;
}

void ahead_note(struct ahead *ahead, uint64_t id, uint64_t offset, size_t count, uint64_t file_size)
{
    uint64_t from, to;

    if (count == 0 || offset + count >= file_size) /* it ends here: nothing is ahead */
        return;
    pthread_mutex_lock(&ahead->lock);
    struct stream *stream = stream_of(ahead->files, id);
    advance(stream, id, offset, offset + count, ahead, &from, &to);
    uint64_t size = job_size(stream);
    to = within_jobs(ahead, from, to < file_size ? to : file_size, size);
    bool worth = to > from && (to - from >= size || to == file_size);
    if (worth)
        stream->fetched = to;
    pthread_mutex_unlock(&ahead->lock);
    for (; worth && from < to; from += size) {
        size_t part = (size_t)(to - from < size ? to - from : size);
        submit(ahead, &(struct ahead_job){.id = id, .offset = from, .count = part}, false);
    }
}

void ahead_missed(struct ahead *ahead, struct place place, size_t count)
{
    uint64_t end = (uint64_t)place.raw + count;
    bool follows;

    pthread_mutex_lock(&ahead->lock);
    struct stream *stream = stream_of(ahead->archives, place.archive + UINT64_C(1));
    follows = stream->id == place.archive + UINT64_C(1) && place.raw >= stream->expected &&
              place.raw - stream->expected <= RUN_GAP + RUN_AHEAD;
    *stream = (struct stream){.id = place.archive + UINT64_C(1), .expected = end};
    pthread_mutex_unlock(&ahead->lock);
    if (!follows || end + RUN_AHEAD > UINT32_MAX || ahead->window_max < RUN_AHEAD)
        return;
    place.raw = (uint32_t)end;
    submit(ahead, &(struct ahead_job){.place = place, .count = RUN_AHEAD}, false);
}
