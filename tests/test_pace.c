#include "backup/base/pace.h"

#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/progress.h"
#include "tests/harness/cmocka.h"

enum { RATE = 1000 * 1000 };

static void pace_freep(struct pace **pace)
{
    pace_free(*pace);
}

static void what_is_written_takes_its_time_on_the_average(void **state)
{
    (void)state;
    CLEANUP(pace_freep) struct pace *pace = pace_new(RATE);
    int64_t now = 50 * NS_PER_SECOND;

    for (int i = 0; i < 1000; i++)
        now += pace_wait_ns(pace, now, 10000);
    assert_true(now >= 60 * NS_PER_SECOND - PACE_BURST_NS - 1000 && now <= 60 * NS_PER_SECOND);
}

static void the_next_one_waits_for_who_came_before(void **state)
{
    (void)state;
    CLEANUP(pace_freep) struct pace *pace = pace_new(RATE);

    (void)pace_wait_ns(pace, 0, RATE);
    int64_t second = pace_wait_ns(pace, 0, RATE);
    assert_true(second > NS_PER_SECOND && second <= 2 * NS_PER_SECOND);
}

static void an_idle_time_is_not_saved_up(void **state)
{
    (void)state;
    CLEANUP(pace_freep) struct pace *pace = pace_new(RATE);

    assert_int_equal(pace_wait_ns(pace, 0, 0), 0);
    assert_true(pace_wait_ns(pace, 3600 * NS_PER_SECOND, RATE) >=
                NS_PER_SECOND - PACE_BURST_NS - 1);
    assert_int_equal(pace_wait_ns(pace, 7200 * NS_PER_SECOND, RATE / 100), 0);
}

static void who_is_cancelled_does_not_wait_for_his_turn(void **state)
{
    (void)state;
    CLEANUP(pace_freep) struct pace *pace = pace_new(RATE);
    struct progress progress = {.cancelled = 1};
    int64_t began = clock_monotonic_ns();

    pace_take(pace, 60 * (size_t)RATE, &progress);
    assert_true(clock_monotonic_ns() - began < 5 * NS_PER_SECOND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_takes_its_time_on_the_average),
        cmocka_unit_test(the_next_one_waits_for_who_came_before),
        cmocka_unit_test(an_idle_time_is_not_saved_up),
        cmocka_unit_test(who_is_cancelled_does_not_wait_for_his_turn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
