#include "backup/base/turns.h"

#include <stdatomic.h>
#include <time.h>

#include "tests/harness/cmocka.h"

enum { THREADS = 12, ROUNDS = 200 };

struct world {
    struct turns turns;
    atomic_int in, most, came;
    int order[THREADS];
};

struct visitor {
    struct world *world;
    int number;
};

static void pause_ms(long ms)
{
    const struct timespec time = {.tv_nsec = ms * 1000000};

    (void)nanosleep(&time, NULL);
}

static void *visit(void *argument)
{
    struct world *world = argument;

    for (int i = 0; i < ROUNDS; i++) {
        turns_enter(&world->turns);
        int in = ++world->in;
        int most = world->most;
        while (in > most && !atomic_compare_exchange_weak(&world->most, &most, in))
            continue;
        world->in--;
        turns_leave(&world->turns);
    }
    return NULL;
}

static void no_more_are_in_than_may_be(void **state)
{
    (void)state;
    struct world world = {.in = 0};
    pthread_t threads[THREADS];

    turns_init(&world.turns, 3);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, visit, &world), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_true(world.most >= 1 && world.most <= 3);
    assert_int_equal(world.turns.free, 3);
    turns_clear(&world.turns);
}

static void *come_in_order(void *argument)
{
    struct visitor *visitor = argument;
    struct world *world = visitor->world;

    turns_enter(&world->turns);
    world->order[world->came++] = visitor->number;
    turns_leave(&world->turns);
    return NULL;
}

static size_t waiting(struct turns *turns)
{
    pthread_mutex_lock(&turns->lock);
    size_t found = turns->first != NULL ? 1 : 0;
    const void *last = turns->last;
    pthread_mutex_unlock(&turns->lock);
    return found ? (size_t)last : 0;
}

static void who_came_first_is_first(void **state)
{
    (void)state;
    struct world world = {.in = 0};
    struct visitor visitors[THREADS];
    pthread_t threads[THREADS];

    turns_init(&world.turns, 1);
    turns_enter(&world.turns);
    for (int i = 0; i < THREADS; i++) {
        size_t before = waiting(&world.turns);
        visitors[i] = (struct visitor){.world = &world, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, come_in_order, &visitors[i]), 0);
        while (waiting(&world.turns) == before) /* until this one waits as well */
            pause_ms(1);
    }
    assert_int_equal(world.came, 0);
    turns_leave(&world.turns);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(world.order[i], i);
    turns_clear(&world.turns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_more_are_in_than_may_be),
        cmocka_unit_test(who_came_first_is_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
