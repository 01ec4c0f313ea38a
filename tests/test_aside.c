#include "backup/base/aside.h"

#include <semaphore.h>
#include <signal.h>

#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "tests/harness/cmocka.h"

/* Blocks until it is let go on. */
struct work {
    struct aside aside;
    sem_t go, gone;
    int ran;
    sigset_t blocked;
};

static void run(struct aside *aside)
{
    struct work *work = (struct work *)aside;

    pthread_sigmask(SIG_SETMASK, NULL, &work->blocked);
    while (sem_wait(&work->go) != 0)
        ;
    work->ran++;
}

static void done_with(struct aside *aside)
{
    sem_post(&((struct work *)aside)->gone);
}

static void begin(struct work *work)
{
    struct err err;

    sem_init(&work->go, 0, 0);
    sem_init(&work->gone, 0, 0);
    assert_int_equal(aside_begin(&work->aside, run, done_with, "to test", &err), 0);
}

static bool is_gone(struct work *work)
{
    return sem_trywait(&work->gone) == 0;
}

static void what_ended_is_given_up_by_who_waited(void **state)
{
    struct work work = {.ran = 0};

    (void)state;
    begin(&work);
    sem_post(&work.go);
    while (!aside_wait(&work.aside, NS_PER_SECOND))
        ;
    assert_int_equal(work.ran, 1);
    assert_false(is_gone(&work)); /* what came of it can be taken */
    aside_leave(&work.aside);
    assert_true(is_gone(&work));
}

static void what_is_left_behind_ends_and_gives_itself_up(void **state)
{
    struct work work = {.ran = 0};

    (void)state;
    begin(&work);
    assert_false(aside_wait(&work.aside, 1));
    aside_leave(&work.aside);
    assert_false(is_gone(&work));
    sem_post(&work.go);
    while (sem_wait(&work.gone) != 0)
        ;
    assert_int_equal(work.ran, 1);
}

static void signals_are_not_for_it(void **state)
{
    struct work work = {.ran = 0};

    (void)state;
    begin(&work);
    sem_post(&work.go);
    while (!aside_wait(&work.aside, NS_PER_SECOND))
        ;
    assert_true(sigismember(&work.blocked, SIGINT) && sigismember(&work.blocked, SIGTERM));
    aside_leave(&work.aside);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_ended_is_given_up_by_who_waited),
        cmocka_unit_test(what_is_left_behind_ends_and_gives_itself_up),
        cmocka_unit_test(signals_are_not_for_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
