#include "backup/base/pool.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "backup/base/queue.h"

struct job {
    void (*run)(void *argument);
    void *argument;
};

struct pool {
    size_t started;       /* threads that run */
    pthread_t *threads;   /* fixed at creation */
    struct job *jobs;     /* `depth` of them; each is in one of the queues, or being moved */
    struct queue *unused; /* jobs to fill in: who submits waits here */
    struct queue *ready;  /* jobs to run: threads wait here */
    pthread_cond_t idle;
    pthread_mutex_t lock; /* guards what follows */
    size_t unfinished;    /* submitted and not yet done */
};

static void count_finished(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    if (--pool->unfinished == 0)
        pthread_cond_broadcast(&pool->idle);
    pthread_mutex_unlock(&pool->lock);
}

static void *work(void *context)
{
    struct pool *pool = context;
    void *item;

    while (queue_pop(pool->ready, &item)) {
        struct job job = *(struct job *)item;
        (void)queue_push(pool->unused, item);
        job.run(job.argument);
        count_finished(pool);
    }
    return NULL;
}

/* Threads inherit the mask that holds while they are made. */
static size_t start_threads(struct pool *pool, size_t wanted)
{
    sigset_t all;
    sigset_t before;
    size_t started = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (started < wanted && pthread_create(&pool->threads[started], NULL, work, pool) == 0)
        started++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

static bool allocate(struct pool *pool, size_t threads, size_t depth)
{
    pool->threads = calloc(threads, sizeof(*pool->threads));
    pool->jobs = calloc(depth, sizeof(*pool->jobs));
    pool->unused = queue_new(depth, 0);
    pool->ready = queue_new(depth, 0);
    if (!pool->threads || !pool->jobs || !pool->unused || !pool->ready)
        return false;
    for (size_t i = 0; i < depth; i++)
        (void)queue_push(pool->unused, &pool->jobs[i]);
    return true;
}

struct pool *pool_new(size_t threads, size_t depth)
{
    assert(threads > 0 && depth > 0);

    struct pool *pool = calloc(1, sizeof(*pool));
    if (!pool)
        return NULL;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->idle, NULL);
    if (allocate(pool, threads, depth))
        pool->started = start_threads(pool, threads);
    if (pool->started < threads) {
        pool_free(pool);
        return NULL;
    }
    return pool;
}

void pool_free(struct pool *pool)
{
    if (!pool)
        return;
    pool_wait_idle(pool);
    if (pool->started > 0)
        queue_close(pool->ready);
    for (size_t i = 0; i < pool->started; i++)
        pthread_join(pool->threads[i], NULL);
    queue_free(pool->ready);
    queue_free(pool->unused);
    free(pool->jobs);
    free(pool->threads);
    pthread_cond_destroy(&pool->idle);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

void pool_freep(struct pool **pool)
{
    pool_free(*pool);
}

static void submit(struct pool *pool, struct job *job, void (*run)(void *), void *argument)
{
    *job = (struct job){.run = run, .argument = argument};
    pthread_mutex_lock(&pool->lock);
    pool->unfinished++;
    pthread_mutex_unlock(&pool->lock);
    (void)queue_push(pool->ready, job); /* there is room for all jobs, so this does not wait */
}

void pool_submit(struct pool *pool, void (*run)(void *argument), void *argument)
{
    void *job;

    if (queue_pop(pool->unused, &job)) /* never closed */
        submit(pool, job, run, argument);
}

bool pool_try_submit(struct pool *pool, void (*run)(void *argument), void *argument)
{
    void *job;

    if (!queue_try_pop(pool->unused, &job))
        return false;
    submit(pool, job, run, argument);
    return true;
}

void pool_wait_idle(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    while (pool->unfinished > 0)
        pthread_cond_wait(&pool->idle, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}
