#include "backup/base/random.h"

#include <string.h>

#include "backup/base/err.h"
#include "tests/harness/cmocka.h"

static void every_byte_is_filled_each_time_anew(void **state)
{
    (void)state;
    static uint8_t first[100000]; /* more than the kernel gives at once */
    static uint8_t second[100000];
    size_t equal = 0;
    struct err err;

    assert_true(random_bytes(first, sizeof(first), &err) == 0);
    assert_true(random_bytes(second, sizeof(second), &err) == 0);
    for (size_t i = 0; i < sizeof(first); i++)
        equal += first[i] == second[i];
    assert_true(equal > 150 && equal < 800); /* 391 by chance */
    assert_true(random_bytes(NULL, 0, &err) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_is_filled_each_time_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
