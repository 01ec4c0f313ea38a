#include "backup/base/turns.h"

#include <errno.h>
#include <semaphore.h>

/* On the stack of who waits. */
struct turns_waiter {
    struct turns_waiter *next;
    sem_t turn;
};

void turns_init(struct turns *turns, size_t at_once)
{
    *turns = (struct turns){.free = at_once};
    pthread_mutex_init(&turns->lock, NULL);
}

void turns_clear(struct turns *turns)
{
    pthread_mutex_destroy(&turns->lock);
}

void turns_enter(struct turns *turns)
{
    struct turns_waiter own = {.next = NULL};

    pthread_mutex_lock(&turns->lock);
    if (turns->free > 0) {
        turns->free--;
        pthread_mutex_unlock(&turns->lock);
        return;
    }
    sem_init(&own.turn, 0, 0);
    *(turns->first ? &turns->last->next : &turns->first) = &own;
    turns->last = &own;
    pthread_mutex_unlock(&turns->lock);
    while (sem_wait(&own.turn) < 0 && errno == EINTR)
        continue;
    /* Who gave the turn has left the semaphore when the lock is free. */
    pthread_mutex_lock(&turns->lock);
    pthread_mutex_unlock(&turns->lock);
    sem_destroy(&own.turn);
}

void turns_leave(struct turns *turns)
{
    pthread_mutex_lock(&turns->lock);
    struct turns_waiter *next = turns->first;
    if (next) {
        turns->first = next->next;
        sem_post(&next->turn);
    } else {
        turns->free++;
    }
    pthread_mutex_unlock(&turns->lock);
}
