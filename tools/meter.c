#include "tools/meter.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/progress.h"
#include "tools/console.h"
#include "tools/output.h"

#define REDRAW_NS (NS_PER_SECOND / 5)
#define LOG_NS (60 * NS_PER_SECOND)

/* Signals come to the process, so what they act on is the process's, too. */
static struct {
    struct progress *progress;
    sem_t wake;
    volatile sig_atomic_t asked; /* SIGUSR1 */
    _Atomic int stopping;
    bool draw, log;
    pthread_t thread;
    int64_t started_ns, logged_ns;
    struct sigaction before[3];
} meter;

static const int handled[3] = {SIGINT, SIGTERM, SIGUSR1};

static void on_stop(int number)
{
    (void)number;
    atomic_store(&meter.progress->cancelled, 1);
}

static void on_question(int number)
{
    int saved = errno;

    (void)number;
    meter.asked = 1;
    sem_post(&meter.wake);
    errno = saved;
}

static const char *time_left(uint64_t done, uint64_t total, int64_t elapsed_ns, char *out,
                             size_t size)
{
    char text[OUTPUT_SIZE];

    out[0] = '\0';
    if (done == 0 || total <= done || elapsed_ns < NS_PER_SECOND)
        return out;
    double left = (double)elapsed_ns * ((double)(total - done) / (double)done);
    if (left < 9e18)
        (void)snprintf(out, size, ", %s left", output_duration((int64_t)left, text));
    return out;
}

static void compose(char *out, size_t size)
{
    struct progress *progress = meter.progress;
    const char *phase = atomic_load(&progress->phase);
    uint64_t bytes = atomic_load(&progress->bytes);
    uint64_t total = atomic_load(&progress->bytes_total);
    uint64_t errors = atomic_load(&progress->errors);
    int64_t elapsed = clock_monotonic_ns() - meter.started_ns;
    double rate = elapsed > 0 ? (double)bytes * 1e9 / (double)elapsed : 0;
    char done[OUTPUT_SIZE], of[OUTPUT_SIZE + 8] = "", speed[OUTPUT_SIZE], left[OUTPUT_SIZE + 16];
    char whole[OUTPUT_SIZE], troubles[OUTPUT_SIZE + 8] = "", count[OUTPUT_SIZE];

    if (total > 0)
        (void)snprintf(of, sizeof(of), " of %s", output_size(total, whole));
    if (errors > 0)
        (void)snprintf(troubles, sizeof(troubles), ", %s", output_count(errors, "error", count));
    (void)snprintf(out, size, "%s: %llu files, %s%s, %s/s%s%s", phase ? phase : "working",
                   (unsigned long long)atomic_load(&progress->files), output_size(bytes, done), of,
                   output_size((uint64_t)rate, speed),
                   time_left(bytes, total, elapsed, left, sizeof(left)), troubles);
}

static void show(void)
{
    int64_t now = clock_monotonic_ns();
    char text[240];

    compose(text, sizeof(text));
    if (meter.asked || (meter.log && now - meter.logged_ns >= LOG_NS)) {
        meter.asked = 0;
        meter.logged_ns = now;
        console_say("%s", text);
    }
    if (meter.draw)
        console_status(text);
}

static void *run(void *unused)
{
    (void)unused;
    while (!atomic_load(&meter.stopping)) {
        struct timespec until;
        int64_t step = meter.draw ? REDRAW_NS : NS_PER_SECOND;

        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += (long)(step % NS_PER_SECOND);
        until.tv_sec += (time_t)(step / NS_PER_SECOND) + until.tv_nsec / (long)NS_PER_SECOND;
        until.tv_nsec %= (long)NS_PER_SECOND;
        (void)sem_timedwait(&meter.wake, &until);
        if (!atomic_load(&meter.stopping))
            show();
    }
    return NULL;
}

static void take_signals(void)
{
    struct sigaction stop = {.sa_handler = on_stop, .sa_flags = (int)SA_RESETHAND};
    struct sigaction question = {.sa_handler = on_question, .sa_flags = SA_RESTART};

    for (size_t i = 0; i < 3; i++)
        sigaction(handled[i], handled[i] == SIGUSR1 ? &question : &stop, &meter.before[i]);
}

int meter_start(struct progress *progress, bool quiet, struct err *err)
{
    sigset_t all, before;

    memset(&meter, 0, sizeof(meter));
    meter.progress = progress;
    meter.draw = !quiet && console_is_terminal();
    meter.log = !quiet && !meter.draw;
    meter.started_ns = meter.logged_ns = clock_monotonic_ns();
    if (sem_init(&meter.wake, 0, 0) < 0)
        return err_sys(err, "semaphore");
    /* Signals are for the thread that works. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    errno = pthread_create(&meter.thread, NULL, run, NULL);
    int cause = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = cause;
    if (cause != 0)
        return err_sys(err, "thread");
    take_signals();
    return 0;
}

void meter_stop(void)
{
    for (size_t i = 0; i < 3; i++)
        sigaction(handled[i], &meter.before[i], NULL);
    atomic_store(&meter.stopping, 1);
    sem_post(&meter.wake);
    pthread_join(meter.thread, NULL);
    sem_destroy(&meter.wake);
    if (meter.draw)
        console_status(NULL);
}
