#include "backup/base/spill.h"

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "tests/harness/cmocka.h"

static void what_was_put_is_found(void **state)
{
    (void)state;
    CLEANUP(spillmap_freep) struct spillmap *map = NULL;
    uint64_t value = 77;
    struct err err;

    assert_true(spillmap_new("/tmp", &map, &err) == 0);
    assert_false(spillmap_get(map, 1, 2, &value));
    assert_true(value == 77);
    assert_true(spillmap_put(map, 1, 2, 3, &err) == 0);
    assert_true(spillmap_put(map, 2, 1, 4, &err) == 0);
    assert_true(spillmap_get(map, 1, 2, &value) && value == 3);
    assert_true(spillmap_get(map, 2, 1, &value) && value == 4);
    assert_true(spillmap_put(map, 1, 2, 5, &err) == 0);
    assert_true(spillmap_get(map, 1, 2, &value) && value == 5);
    assert_true(spillmap_count(map) == 2);
}

static void the_key_of_zeros_is_a_key_too(void **state)
{
    (void)state;
    CLEANUP(spillmap_freep) struct spillmap *map = NULL;
    uint64_t value;
    struct err err;

    assert_true(spillmap_new("/tmp", &map, &err) == 0);
    assert_false(spillmap_get(map, 0, 0, &value));
    assert_true(spillmap_put(map, 0, 0, 9, &err) == 0);
    assert_true(spillmap_get(map, 0, 0, &value) && value == 9 && spillmap_count(map) == 1);
    assert_true(spillmap_put(map, 0, 1, 0, &err) == 0);
    assert_true(spillmap_get(map, 0, 1, &value) && value == 0);
    assert_false(spillmap_get(map, 1, 0, &value));
}

static void a_large_map_moves_to_a_file_and_loses_nothing(void **state)
{
    (void)state;
    CLEANUP(spillmap_freep) struct spillmap *map = NULL;
    uint64_t value;
    struct err err;

    assert_true(spillmap_new("/tmp", &map, &err) == 0);
    for (uint64_t i = 0; i < 300000; i++) {
        assert_true(spillmap_put(map, 64768 + i % 2, i, i * 3, &err) == 0);
        assert_true(i != 90000 || !spillmap_in_file(map));
    }
    assert_true(spillmap_in_file(map) && spillmap_count(map) == 300000);
    for (uint64_t i = 0; i < 300000; i++) {
        assert_true(spillmap_get(map, 64768 + i % 2, i, &value) && value == i * 3);
        assert_false(spillmap_get(map, 64769 - i % 2, i, &value));
    }
}

static void without_a_place_for_the_file_the_map_stays_as_it_was(void **state)
{
    (void)state;
    CLEANUP(spillmap_freep) struct spillmap *map = NULL;
    uint64_t value;
    uint64_t count = 0;
    struct err err;

    assert_true(spillmap_new("/no/such", &map, &err) == 0);
    while (spillmap_put(map, 1, count, count, &err) == 0)
        count++;
    assert_true(err.code == ERR_NOT_FOUND && count > 90000 && spillmap_count(map) == count);
    assert_true(spillmap_get(map, 1, 0, &value) && spillmap_get(map, 1, count - 1, &value));
    assert_false(spillmap_get(map, 1, count, &value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_is_found),
        cmocka_unit_test(the_key_of_zeros_is_a_key_too),
        cmocka_unit_test(a_large_map_moves_to_a_file_and_loses_nothing),
        cmocka_unit_test(without_a_place_for_the_file_the_map_stays_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
