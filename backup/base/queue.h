/*
 * queue — a bounded line of pointers between threads.
 *
 * Producers wait while it is full and consumers while it is empty, so memory stays bounded and
 * nobody polls.  A consumer that did a part of an item puts the rest back with queue_push_front().
 *
 * Ownership: the queue never looks at what the pointers point to; whoever pops one has it.
 *            queue_free() drops what is still inside.
 * Threads:   any call from any thread, except that queue_free() comes after all others.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct queue;

/* `bound` items, and one more for each of `consumers` (see queue_push_front).  NULL: no memory. */
struct queue *queue_new(size_t bound, size_t consumers);
void queue_free(struct queue *queue);
void queue_freep(struct queue **queue);

/* Waits while the queue is full; false, and not pushed, when it is closed. */
bool queue_push(struct queue *queue, void *item);

/* The same without waiting: false when it is full, too. */
bool queue_try_push(struct queue *queue, void *item);

/*
 * For a consumer that has popped an item and not finished it: the item is the next to be popped.
 * Never waits, since a consumer that waits for room would wait for itself; so the queue may
 * exceed its bound by one item per consumer.  Works on a closed queue as well: this consumer pops
 * again before it leaves.
 */
void queue_push_front(struct queue *queue, void *item);

/* Waits while the queue is empty; false when it is empty and closed. */
bool queue_pop(struct queue *queue, void **out_item);

/* The same without waiting: false when it is empty. */
bool queue_try_pop(struct queue *queue, void **out_item);

/* No more is pushed; what is inside can still be popped.  Wakes all who wait. */
void queue_close(struct queue *queue);
