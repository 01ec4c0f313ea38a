#include "backup/base/pace.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "backup/base/clock.h"
#include "backup/base/progress.h"

/* Who waits looks so often whether he still has to. */
#define LOOK_NS (NS_PER_SECOND / 10)

struct pace {
    double ns_per_byte;
    pthread_mutex_t lock;
    int64_t free_ns; /* when all that was let go has gone */
};

struct pace *pace_new(uint64_t bytes_per_second)
{
    struct pace *pace = calloc(1, sizeof(*pace));

    if (!pace)
        return NULL;
    pace->ns_per_byte = (double)NS_PER_SECOND / (double)bytes_per_second;
    pthread_mutex_init(&pace->lock, NULL);
    return pace;
}

void pace_free(struct pace *pace)
{
    if (!pace)
        return;
    pthread_mutex_destroy(&pace->lock);
    free(pace);
}

int64_t pace_wait_ns(struct pace *pace, int64_t now_ns, size_t bytes)
{
    pthread_mutex_lock(&pace->lock);
    int64_t start = pace->free_ns;
    if (start < now_ns - PACE_BURST_NS)
        start = now_ns - PACE_BURST_NS;
    pace->free_ns = start + (int64_t)((double)bytes * pace->ns_per_byte);
    int64_t wait = pace->free_ns - now_ns;
    pthread_mutex_unlock(&pace->lock);
    return wait > 0 ? wait : 0;
}

void pace_take(struct pace *pace, size_t bytes, struct progress *progress)
{
    int64_t now = clock_monotonic_ns();
    int64_t until = now + pace_wait_ns(pace, now, bytes);

    for (; now < until && !progress_cancelled(progress); now = clock_monotonic_ns()) {
        int64_t wait = until - now < LOOK_NS ? until - now : LOOK_NS;
        struct timespec rest = {wait / NS_PER_SECOND, wait % NS_PER_SECOND};
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &rest, NULL);
    }
}
