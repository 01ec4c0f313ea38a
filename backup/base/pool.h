/*
 * pool — a fixed number of threads that run jobs.
 *
 * Ownership: a job's argument belongs to the job.  pool_free() first runs all that was submitted.
 * Threads:   any call from any thread; pool_wait_idle() and pool_free() not from a job.  A job
 *            may use pool_try_submit(); with pool_submit() a full pool of such jobs would wait
 *            for itself.  All signals are blocked in the pool's threads.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct pool;

/* Up to `depth` jobs wait beside those that run.  NULL: no memory, or no more threads. */
struct pool *pool_new(size_t threads, size_t depth);
void pool_free(struct pool *pool);
void pool_freep(struct pool **pool);

/* Has a thread call `run(argument)`; waits while `depth` jobs are waiting. */
void pool_submit(struct pool *pool, void (*run)(void *argument), void *argument);

/* The same without waiting; false, and nothing done, when `depth` jobs are waiting. */
bool pool_try_submit(struct pool *pool, void (*run)(void *argument), void *argument);

/* Waits until no job waits or runs. */
void pool_wait_idle(struct pool *pool);
