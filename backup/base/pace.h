/*
 * pace — at most so many bytes a second, whoever writes them.
 *
 * Who is about to write says how much and is let go when its turn has come.  An idle second is not
 * saved up: after a pause no more than BURST goes out at once.
 *
 * Ownership: pace_free().
 * Threads:   any call from any thread; they are served in the order in which they came.
 * Errors:    none.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { PACE_BURST_NS = 100 * 1000 * 1000 };

struct pace;
struct progress;

struct pace *pace_new(uint64_t bytes_per_second); /* at least 1; NULL: out of memory */
void pace_free(struct pace *pace);                /* NULL is allowed */

/* Waits until `bytes` may go, or until this one (NULL: nobody) is cancelled. */
void pace_take(struct pace *pace, size_t bytes, struct progress *progress);
/* The same without waiting: how long it would have to, at a monotonic time. */
int64_t pace_wait_ns(struct pace *pace, int64_t now_ns, size_t bytes);
