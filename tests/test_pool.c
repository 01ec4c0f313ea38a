#include "backup/base/pool.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "tests/harness/cmocka.h"

static void count(void *counter)
{
    (*(_Atomic int *)counter)++;
}

static void every_job_runs_once(void **state)
{
    (void)state;
    struct pool *pool = pool_new(3, 2);
    _Atomic int done = 0;

    for (int i = 0; i < 1000; i++)
        pool_submit(pool, count, &done);
    pool_wait_idle(pool);
    assert_int_equal(done, 1000);
    for (int i = 0; i < 1000; i++)
        pool_submit(pool, count, &done);
    pool_free(pool); /* drains */
    assert_int_equal(done, 2000);
}

struct gate {
    pthread_barrier_t entered;
    pthread_barrier_t open;
    _Atomic int done;
};

static void wait_at_gate(void *context)
{
    struct gate *gate = context;

    pthread_barrier_wait(&gate->entered);
    pthread_barrier_wait(&gate->open);
    gate->done++;
}

static void a_full_pool_takes_no_more_for_now(void **state)
{
    (void)state;
    struct pool *pool = pool_new(1, 2);
    struct gate gate = {.done = 0};
    _Atomic int counted = 0;

    pthread_barrier_init(&gate.entered, NULL, 2);
    pthread_barrier_init(&gate.open, NULL, 2);
    pool_submit(pool, wait_at_gate, &gate);
    pthread_barrier_wait(&gate.entered);
    assert_true(pool_try_submit(pool, count, &counted));
    assert_true(pool_try_submit(pool, count, &counted));
    assert_false(pool_try_submit(pool, count, &counted));
    pthread_barrier_wait(&gate.open);
    pool_wait_idle(pool);
    assert_true(gate.done == 1 && counted == 2);
    assert_true(pool_try_submit(pool, count, &counted));
    pool_free(pool);
    assert_int_equal(counted, 3);
    pthread_barrier_destroy(&gate.entered);
    pthread_barrier_destroy(&gate.open);
}

struct family {
    struct pool *pool;
    _Atomic int children;
};

static void bear_child(void *context)
{
    struct family *family = context;

    family->children++;
}

static void bear_children(void *context)
{
    struct family *family = context;

    usleep(5000);
    for (int i = 0; i < 4; i++)
        assert_true(pool_try_submit(family->pool, bear_child, family));
}

static void jobs_made_by_jobs_run_before_the_pool_is_gone(void **state)
{
    (void)state;
    struct family family = {.pool = pool_new(2, 8)};

    pool_submit(family.pool, bear_children, &family);
    pool_free(family.pool);
    assert_int_equal(family.children, 4);
}

static void look_at_mask(void *context)
{
    sigset_t *mask = context;

    pthread_sigmask(SIG_SETMASK, NULL, mask);
}

static void signals_stay_with_the_other_threads(void **state)
{
    (void)state;
    CLEANUP(pool_freep) struct pool *pool = pool_new(1, 1);
    sigset_t inside;
    sigset_t outside;

    sigemptyset(&inside);
    pool_submit(pool, look_at_mask, &inside);
    pool_wait_idle(pool);
    pthread_sigmask(SIG_SETMASK, NULL, &outside);
    assert_true(sigismember(&inside, SIGTERM) && sigismember(&inside, SIGUSR1));
    assert_false(sigismember(&outside, SIGTERM));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_job_runs_once),
        cmocka_unit_test(a_full_pool_takes_no_more_for_now),
        cmocka_unit_test(jobs_made_by_jobs_run_before_the_pool_is_gone),
        cmocka_unit_test(signals_stay_with_the_other_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
