#include "backup/base/aside.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

#include "backup/base/clock.h"
#include "backup/base/err.h"

static void clear(struct aside *aside)
{
    pthread_cond_destroy(&aside->ended);
    pthread_mutex_destroy(&aside->lock);
}

static void *work(void *argument)
{
    struct aside *aside = argument;

    aside->run(aside);
    pthread_mutex_lock(&aside->lock);
    aside->has_ended = true;
    bool is_last = aside->is_left;
    pthread_cond_signal(&aside->ended);
    pthread_mutex_unlock(&aside->lock);
    if (is_last) {
        clear(aside);
        aside->done_with(aside);
    }
    return NULL;
}

/* Signals are for the thread that waits. */
static int start(struct aside *aside)
{
    sigset_t all, before;
    pthread_t thread;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int cause = pthread_create(&thread, NULL, work, aside);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (cause == 0)
        pthread_detach(thread);
    return cause;
}

int aside_begin(struct aside *aside, void (*run)(struct aside *aside),
                void (*done_with)(struct aside *aside), const char *what, struct err *err)
{
    pthread_condattr_t attributes;

    *aside = (struct aside){.run = run, .done_with = done_with};
    pthread_mutex_init(&aside->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&aside->ended, &attributes);
    pthread_condattr_destroy(&attributes);
    errno = start(aside);
    if (errno == 0)
        return 0;
    int r = err_sys(err, "no thread %s", what);
    clear(aside);
    return r;
}

bool aside_wait(struct aside *aside, int64_t ns)
{
    int64_t end = clock_monotonic_ns() + ns;
    struct timespec until = {.tv_sec = end / NS_PER_SECOND, .tv_nsec = end % NS_PER_SECOND};
    int failed = 0;

    pthread_mutex_lock(&aside->lock);
    while (!aside->has_ended && failed == 0)
        failed = pthread_cond_timedwait(&aside->ended, &aside->lock, &until);
    bool has_ended = aside->has_ended;
    pthread_mutex_unlock(&aside->lock);
    return has_ended;
}

void aside_leave(struct aside *aside)
{
    pthread_mutex_lock(&aside->lock);
    bool is_last = aside->has_ended;
    aside->is_left = true;
    pthread_mutex_unlock(&aside->lock);
    if (is_last) {
        clear(aside);
        aside->done_with(aside);
    }
}
