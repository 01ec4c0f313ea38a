#include "backup/base/queue.h"

#include <pthread.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "tests/harness/cmocka.h"

enum { PRODUCERS = 3, CONSUMERS = 3, ITEMS = 3000 };

static int numbers[ITEMS];

static void items_leave_in_order(void **state)
{
    (void)state;
    CLEANUP(queue_freep) struct queue *queue = queue_new(2, 0);
    void *item;

    assert_false(queue_try_pop(queue, &item));
    for (int round = 0; round < 5; round++) {
        assert_true(queue_push(queue, &numbers[0]) && queue_push(queue, &numbers[1]));
        assert_false(queue_try_push(queue, &numbers[2]));
        assert_true(queue_pop(queue, &item) && item == &numbers[0]);
        assert_true(queue_try_push(queue, &numbers[2]));
        assert_true(queue_pop(queue, &item) && item == &numbers[1]);
        assert_true(queue_pop(queue, &item) && item == &numbers[2]);
    }
}

static void what_is_put_back_comes_first_even_when_full_or_closed(void **state)
{
    (void)state;
    CLEANUP(queue_freep) struct queue *queue = queue_new(1, 1);
    void *item;

    queue_push(queue, &numbers[0]);
    assert_true(queue_pop(queue, &item));
    queue_push(queue, &numbers[1]);
    queue_push_front(queue, item);
    assert_false(queue_try_push(queue, &numbers[2]));
    assert_true(queue_pop(queue, &item) && item == &numbers[0]);
    queue_close(queue);
    queue_push_front(queue, item);
    assert_true(queue_pop(queue, &item) && item == &numbers[0]);
    assert_true(queue_pop(queue, &item) && item == &numbers[1]);
    assert_false(queue_pop(queue, &item));
}

static void a_closed_queue_is_emptied_and_not_filled(void **state)
{
    (void)state;
    CLEANUP(queue_freep) struct queue *queue = queue_new(4, 0);
    void *item;

    queue_push(queue, &numbers[0]);
    queue_close(queue);
    assert_false(queue_push(queue, &numbers[1]));
    assert_false(queue_try_push(queue, &numbers[1]));
    assert_true(queue_pop(queue, &item) && item == &numbers[0]);
    assert_false(queue_pop(queue, &item));
}

static void *pop_one(void *queue)
{
    void *item;

    return queue_pop(queue, &item) ? item : NULL;
}

static void *push_one(void *queue)
{
    return queue_push(queue, &numbers[1]) ? &numbers[1] : NULL;
}

static void closing_wakes_all_who_wait(void **state)
{
    (void)state;
    CLEANUP(queue_freep) struct queue *empty = queue_new(1, 0);
    CLEANUP(queue_freep) struct queue *full = queue_new(1, 0);
    pthread_t threads[4];
    void *result;

    queue_push(full, &numbers[0]);
    for (size_t i = 0; i < 4; i++)
        assert_true(pthread_create(&threads[i], NULL, i < 2 ? pop_one : push_one,
                                   i < 2 ? empty : full) == 0);
    usleep(20000);
    queue_close(empty);
    queue_close(full);
    for (size_t i = 0; i < 4; i++) {
        pthread_join(threads[i], &result);
        assert_true(!result);
    }
}

static void a_full_queue_makes_the_producer_wait(void **state)
{
    (void)state;
    CLEANUP(queue_freep) struct queue *queue = queue_new(1, 0);
    pthread_t thread;
    void *item;
    void *result;

    queue_push(queue, &numbers[0]);
    assert_true(pthread_create(&thread, NULL, push_one, queue) == 0);
    usleep(10000);
    assert_true(queue_pop(queue, &item) && item == &numbers[0]);
    assert_true(queue_pop(queue, &item) && item == &numbers[1]);
    pthread_join(thread, &result);
    assert_true(result == &numbers[1]);
}

struct crowd {
    struct queue *queue;
    _Atomic int next;
    _Atomic int seen[ITEMS];
};

static void *produce(void *context)
{
    struct crowd *crowd = context;

    for (int i = crowd->next++; i < ITEMS; i = crowd->next++)
        queue_push(crowd->queue, &numbers[i]);
    return NULL;
}

/* Puts every item back once before it counts it. */
static void *consume(void *context)
{
    struct crowd *crowd = context;
    void *item;

    while (queue_pop(crowd->queue, &item)) {
        if (crowd->seen[(int *)item - numbers]++ == 0)
            queue_push_front(crowd->queue, item);
    }
    return NULL;
}

static void no_item_is_lost_or_doubled_among_many_threads(void **state)
{
    (void)state;
    static struct crowd crowd;
    pthread_t producers[PRODUCERS];
    pthread_t consumers[CONSUMERS];

    crowd.queue = queue_new(3, CONSUMERS);
    for (size_t i = 0; i < PRODUCERS; i++)
        assert_true(pthread_create(&producers[i], NULL, produce, &crowd) == 0);
    for (size_t i = 0; i < CONSUMERS; i++)
        assert_true(pthread_create(&consumers[i], NULL, consume, &crowd) == 0);
    for (size_t i = 0; i < PRODUCERS; i++)
        pthread_join(producers[i], NULL);
    queue_close(crowd.queue);
    for (size_t i = 0; i < CONSUMERS; i++)
        pthread_join(consumers[i], NULL);
    for (size_t i = 0; i < ITEMS; i++)
        assert_true(crowd.seen[i] == 2);
    queue_free(crowd.queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_leave_in_order),
        cmocka_unit_test(what_is_put_back_comes_first_even_when_full_or_closed),
        cmocka_unit_test(a_closed_queue_is_emptied_and_not_filled),
        cmocka_unit_test(closing_wakes_all_who_wait),
        cmocka_unit_test(a_full_queue_makes_the_producer_wait),
        cmocka_unit_test(no_item_is_lost_or_doubled_among_many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
