/*
 * turns — so many at once, the others in the order in which they came.
 *
 * A semaphore wakes whom it likes; here nobody is overtaken.
 *
 * Ownership: turns_clear() ends it, when nobody is in or waits.
 * Threads:   any call from any thread.
 * Errors:    none.
 */
#pragma once

#include <pthread.h>
#include <stddef.h>

struct turns_waiter;

struct turns {
    pthread_mutex_t lock; /* guards what follows */
    size_t free;
    struct turns_waiter *first, *last;
};

void turns_init(struct turns *turns, size_t at_once);
void turns_clear(struct turns *turns);
void turns_enter(struct turns *turns);
void turns_leave(struct turns *turns);
