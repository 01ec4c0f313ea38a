/*
 * progress — how far long work has come: counters that the work adds to and tools/ draws.
 *
 * Ownership: plain atomics in a struct of the caller's; zero it to begin.  A NULL progress is
 * allowed wherever one is taken. Threads:   any. Errors:    none.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

struct progress {
    _Atomic(const char *) phase;               /* a constant: "reading", "restoring", … */
    _Atomic uint64_t files_total, bytes_total; /* 0: not known (yet) */
    _Atomic uint64_t files, bytes;             /* done so far, unchanged ones included */
    _Atomic uint64_t errors;
    _Atomic int cancelled; /* set by a signal handler: the work stops with ERR_CANCELLED as soon as
                              it may */
};

static inline void progress_add(struct progress *progress, uint64_t files, uint64_t bytes)
{
    if (!progress)
        return;
    atomic_fetch_add_explicit(&progress->files, files, memory_order_relaxed);
    atomic_fetch_add_explicit(&progress->bytes, bytes, memory_order_relaxed);
}

static inline int progress_cancelled(struct progress *progress)
{
    return progress && atomic_load_explicit(&progress->cancelled, memory_order_relaxed);
}
