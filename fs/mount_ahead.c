#include <stdlib.h>

#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/pool.h"
#include "fs/mount_internal.h"

enum {
    STREAMS = 64,
    STREAM_JOB = 1024 * 1024, /* one job decodes about so much */
    WINDOW_FIRST = 1024 * 1024,
    WINDOW_MAX = 8 * 1024 * 1024,
    /* 30 ms at 1 GB/s; each job is a request or two. */
    REMOTE_WINDOW_MAX = 32 * 1024 * 1024,
    SLACK = 2 * MOUNT_READ_MAX, /* requests of one reader overtake each other */
    RUN_GAP = 256 * 1024,       /* misses that close are one run of small files */
    RUN_AHEAD = 512 * 1024,
    JOBS_MAX = 32,
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
    uint64_t most = repo_is_remote(mount->repo) ? REMOTE_WINDOW_MAX : WINDOW_MAX;
    ahead->mount = mount;
    pthread_mutex_init(&ahead->lock, NULL);
    /* What is decoded ahead must not push out what is read now. */
    ahead->window_max = mount->options->cache_bytes / 8;
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

static void fetch_file(struct ahead_job *job)
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
        if (extent_is_hole(&extent) || to <= from || raw > UINT32_MAX)
            continue;
        struct place place = {.archive = extent.place.archive, .raw = (uint32_t)raw};
        blocks_prefetch(mount->blocks, place, (size_t)(to - from));
    }
}

static void run_job(void *argument)
{
    struct ahead_job *job = argument;

    atomic_fetch_add_explicit(&job->ahead->mount->counters.prefetched, 1, memory_order_relaxed);
    if (job->id != 0)
        fetch_file(job);
    else
        blocks_prefetch(job->ahead->mount->blocks, job->place, job->count);
    atomic_fetch_sub(&job->ahead->jobs, 1);
    free(job);
}

/* Dropped when there is much to do already. */
static void submit(struct ahead *ahead, const struct ahead_job *wanted)
{
    struct ahead_job *job;

    if (atomic_fetch_add(&ahead->jobs, 1) >= JOBS_MAX || !(job = malloc(sizeof(*job)))) {
        atomic_fetch_sub(&ahead->jobs, 1);
        return;
    }
    *job = *wanted;
    job->ahead = ahead;
    if (pool_try_submit(ahead->mount->pool, run_job, job))
        return;
    atomic_fetch_sub(&ahead->jobs, 1);
    free(job);
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

void ahead_note(struct ahead *ahead, uint64_t id, uint64_t offset, size_t count, uint64_t file_size)
{
    uint64_t from, to;

    if (count == 0 || offset + count >= file_size) /* it ends here: nothing is ahead */
        return;
    pthread_mutex_lock(&ahead->lock);
    struct stream *stream = stream_of(ahead->files, id);
    advance(stream, id, offset, offset + count, ahead, &from, &to);
    if (to > file_size)
        to = file_size;
    bool worth = to > from && (to - from >= STREAM_JOB / 2 || to == file_size);
    if (worth)
        stream->fetched = to;
    pthread_mutex_unlock(&ahead->lock);
    for (; worth && from < to; from += STREAM_JOB) {
        size_t part = to - from < STREAM_JOB ? (size_t)(to - from) : STREAM_JOB;
        submit(ahead, &(struct ahead_job){.id = id, .offset = from, .count = part});
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
    submit(ahead, &(struct ahead_job){.place = place, .count = RUN_AHEAD});
}
