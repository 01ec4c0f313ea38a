/*
 * crew — a pool whose jobs all end with the first failure, or when somebody interrupts.
 *
 *     crew_open(); crew_submit() …; r = crew_settle(&crew, r, err); crew_close();
 *
 * A job asks crew_ended() before it begins, tells crew_fail() what went wrong, and releases its
 * argument either way.
 *
 * Ownership: crew_close() first waits for all that was submitted.
 * Threads:   crew_ended(), crew_fail() and crew_submit() from any thread, the others from the one
 * that opened it.
 * Errors:    ERR_NOMEM; that of the first job that failed; ERR_CANCELLED.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "backup/base/err.h"

struct pool;
struct progress;

struct crew { /* all zero: not open */
    struct pool *pool;
    struct progress *progress; /* whose cancellation ends it; may be NULL */
    pthread_mutex_t lock;      /* guards what follows */
    struct err failure;        /* code ERR_NONE: none */
};

/* `what` is for the message: "to lock objects". */
int crew_open(struct crew *crew, size_t threads, size_t depth, struct progress *progress,
              const char *what, struct err *err);
void crew_close(struct crew *crew);
void crew_submit(struct crew *crew, void (*run)(void *argument), void *argument);
bool crew_ended(struct crew *crew);
void crew_fail(struct crew *crew, const struct err *err);
/* Waits for all.  The first failure; else `result` and its *err, of who submitted; else
 * ERR_CANCELLED where somebody interrupted. */
int crew_settle(struct crew *crew, int result, struct err *err);
