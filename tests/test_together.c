#include "backup/base/together.h"

#include <pthread.h>
#include <signal.h>

#include "tests/harness/cmocka.h"

struct world {
    pthread_barrier_t all_are_in;
    int order[TOGETHER_MAX], count;
};

struct caller {
    struct world *world;
    int number, result;
    bool blocked; /* an interrupt, in the thread that made the call */
};

static int meet(void *context, struct err *err)
{
    struct caller *caller = context;
    sigset_t mask;

    (void)err;
    (void)pthread_barrier_wait(&caller->world->all_are_in);
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    caller->blocked = sigismember(&mask, SIGINT) == 1;
    return 0;
}

static int note(void *context, struct err *err)
{
    struct caller *caller = context;
    struct world *world = caller->world;

    world->order[world->count++] = caller->number;
    return caller->result ? err_set(err, ERR_REMOTE, "call %d", caller->number) : 0;
}

static int give_up(void *context, struct err *err)
{
    const struct caller *caller = context;

    return caller->result ? err_set(err, ERR_REMOTE, "call %d", caller->number) : 0;
}

static void make(struct world *world, int (*run)(void *context, struct err *err),
                 struct caller callers[TOGETHER_MAX], struct together_call calls[TOGETHER_MAX])
{
    for (int i = 0; i < TOGETHER_MAX; i++) {
        callers[i] = (struct caller){.world = world, .number = i};
        calls[i] = (struct together_call){.run = run, .context = &callers[i]};
    }
}

/* Each waits for all the others: one after the other they would wait for ever. */
static void all_are_under_way_at_once(void **state)
{
    (void)state;
    struct world world = {.count = 0};
    struct caller callers[TOGETHER_MAX];
    struct together_call calls[TOGETHER_MAX];
    struct err err;

    make(&world, meet, callers, calls);
    pthread_barrier_init(&world.all_are_in, NULL, TOGETHER_MAX);
    assert_int_equal(together(calls, TOGETHER_MAX, true, &err), 0);
    pthread_barrier_destroy(&world.all_are_in);
    assert_false(callers[0].blocked);
    for (int i = 1; i < TOGETHER_MAX; i++)
        assert_true(callers[i].blocked);
}

static void else_they_keep_their_order_and_end_with_a_failure(void **state)
{
    (void)state;
    struct world world = {.count = 0};
    struct caller callers[TOGETHER_MAX];
    struct together_call calls[TOGETHER_MAX];
    struct err err;

    make(&world, note, callers, calls);
    assert_int_equal(together(calls, TOGETHER_MAX, false, &err), 0);
    for (int i = 0; i < TOGETHER_MAX; i++)
        assert_int_equal(world.order[i], i);
    callers[3].result = callers[5].result = 1;
    world.count = 0;
    assert_int_equal(together(calls, TOGETHER_MAX, false, &err), -ERR_REMOTE);
    assert_string_equal(err.text, "call 3");
    assert_int_equal(world.count, 4);
}

static void of_several_failures_the_first_ones_is_told(void **state)
{
    (void)state;
    struct caller callers[TOGETHER_MAX];
    struct together_call calls[TOGETHER_MAX];
    struct err err;

    make(NULL, give_up, callers, calls);
    callers[6].result = callers[2].result = 1;
    assert_int_equal(together(calls, TOGETHER_MAX, true, &err), -ERR_REMOTE);
    assert_string_equal(err.text, "call 2");
    callers[6].result = callers[2].result = 0; /* what came of it before does not count */
    assert_int_equal(together(calls, TOGETHER_MAX, true, &err), 0);
    assert_int_equal(together(calls, 0, true, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_are_under_way_at_once),
        cmocka_unit_test(else_they_keep_their_order_and_end_with_a_failure),
        cmocka_unit_test(of_several_failures_the_first_ones_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
