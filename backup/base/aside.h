/*
 * aside — something that blocks and cannot be told to stop (a name that is looked up, a server that
 * takes no connection), in a thread of its own: who waits for it may stop waiting at any moment.
 *
 *     aside_begin(&work->aside, run, done_with, "to connect", err)
 *     while (!aside_wait(&work->aside, NS_PER_SECOND / 4)) …
 *     aside_leave(&work->aside);
 *
 * Ownership: stands at the beginning of a struct that whoever of the two is done with it last gives
 * to `done_with`; so that one borrows nothing.
 * Threads:   one begins, waits and leaves.
 * Errors:    ERR_SYSTEM: no thread; then nothing was begun, and `done_with` is not called.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct err;

struct aside {
    void (*run)(struct aside *aside);
    void (*done_with)(struct aside *aside);
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t ended;
    bool has_ended, is_left; /* it is done; nobody waits any more */
};

/* `what` is for the message. */
int aside_begin(struct aside *aside, void (*run)(struct aside *aside),
                void (*done_with)(struct aside *aside), const char *what, struct err *err);
/* For so long at most; whether it has ended. */
bool aside_wait(struct aside *aside, int64_t ns);
/* Once: the struct may be gone afterwards. */
void aside_leave(struct aside *aside);
