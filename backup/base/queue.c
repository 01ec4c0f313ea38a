#include "backup/base/queue.h"

#include <assert.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

struct queue {
    size_t bound; /* fixed at creation */
    size_t slots; /* fixed; the bound and one for each consumer */
    pthread_cond_t not_empty;
    pthread_cond_t not_full;
    pthread_mutex_t lock; /* guards what follows */
    size_t first;
    size_t count;
    bool closed;
    void **items; /* a ring of `slots` */
};

struct queue *queue_new(size_t bound, size_t consumers)
{
    assert(bound > 0 && bound <= SIZE_MAX - consumers);

    struct queue *queue = calloc(1, sizeof(*queue));
    if (!queue)
        return NULL;
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->not_empty, NULL);
    pthread_cond_init(&queue->not_full, NULL);
    queue->bound = bound;
    queue->slots = bound + consumers;
    queue->items = calloc(queue->slots, sizeof(*queue->items));
    if (!queue->items) {
        queue_free(queue);
        return NULL;
    }
    return queue;
}

void queue_free(struct queue *queue)
{
    if (!queue)
        return;
    free(queue->items);
    pthread_cond_destroy(&queue->not_full);
    pthread_cond_destroy(&queue->not_empty);
    pthread_mutex_destroy(&queue->lock);
    free(queue);
}

void queue_freep(struct queue **queue)
{
    queue_free(*queue);
}

/* With the lock held, as the next functions. */
static bool push_locked(struct queue *queue, void *item)
{
    if (queue->closed || queue->count >= queue->bound)
        return false;
    queue->items[(queue->first + queue->count++) % queue->slots] = item;
    pthread_cond_signal(&queue->not_empty);
    return true;
}

static bool pop_locked(struct queue *queue, void **out_item)
{
    if (queue->count == 0)
        return false;
    *out_item = queue->items[queue->first];
    queue->first = (queue->first + 1) % queue->slots;
    queue->count--;
    if (queue->count < queue->bound)
        pthread_cond_signal(&queue->not_full);
    return true;
}

bool queue_push(struct queue *queue, void *item)
{
    pthread_mutex_lock(&queue->lock);
    while (!queue->closed && queue->count >= queue->bound)
        pthread_cond_wait(&queue->not_full, &queue->lock);
    bool pushed = push_locked(queue, item);
    pthread_mutex_unlock(&queue->lock);
    return pushed;
}

bool queue_try_push(struct queue *queue, void *item)
{
    pthread_mutex_lock(&queue->lock);
    bool pushed = push_locked(queue, item);
    pthread_mutex_unlock(&queue->lock);
    return pushed;
}

void queue_push_front(struct queue *queue, void *item)
{
    pthread_mutex_lock(&queue->lock);
    assert(queue->count < queue->slots); /* else someone puts back what was never popped */
    queue->first = (queue->first + queue->slots - 1) % queue->slots;
    queue->items[queue->first] = item;
    queue->count++;
    pthread_cond_signal(&queue->not_empty);
    pthread_mutex_unlock(&queue->lock);
}

bool queue_pop(struct queue *queue, void **out_item)
{
    pthread_mutex_lock(&queue->lock);
    while (!queue->closed && queue->count == 0)
        pthread_cond_wait(&queue->not_empty, &queue->lock);
    bool popped = pop_locked(queue, out_item);
    pthread_mutex_unlock(&queue->lock);
    return popped;
}

bool queue_try_pop(struct queue *queue, void **out_item)
{
    pthread_mutex_lock(&queue->lock);
    bool popped = pop_locked(queue, out_item);
    pthread_mutex_unlock(&queue->lock);
    return popped;
}

void queue_close(struct queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->closed = true;
    pthread_cond_broadcast(&queue->not_empty);
    pthread_cond_broadcast(&queue->not_full);
    pthread_mutex_unlock(&queue->lock);
}
