#include "backup/store/cold.h"

#include <string.h>

#include "backup/base/err.h"
#include "backup/store/store.h"
#include "tests/harness/cmocka.h"

static void only_two_classes_freeze_and_one_more_may(void **state)
{
    static const char *const warm[] = {"STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA",
                                       "ONEZONE_IA", "GLACIER_IR"};

    (void)state;
    for (size_t i = 0; i < sizeof(warm) / sizeof(warm[0]); i++) {
        assert_true(cold_is_class(warm[i]));
        assert_false(cold_freezes(warm[i]));
        assert_false(cold_may_be_frozen(warm[i]));
    }
    assert_true(cold_freezes("GLACIER"));
    assert_true(cold_freezes("DEEP_ARCHIVE"));
    assert_false(cold_freezes("INTELLIGENT_TIERING"));
    assert_true(cold_may_be_frozen("INTELLIGENT_TIERING"));
    assert_false(cold_is_class("glacier"));
    assert_false(cold_is_class(""));
}

static void what_is_moved_only_becomes_colder(void **state)
{
    (void)state;
    assert_true(cold_is_warmer("STANDARD", "GLACIER"));
    assert_true(cold_is_warmer("GLACIER", "DEEP_ARCHIVE"));
    assert_false(cold_is_warmer("GLACIER", "GLACIER"));
    assert_false(cold_is_warmer("DEEP_ARCHIVE", "STANDARD_IA"));
    assert_false(cold_is_warmer("of another server", "GLACIER"));
}

static void not_every_class_comes_back_in_haste(void **state)
{
    enum cold_tier tier = COLD_BULK;
    struct err err;

    (void)state;
    assert_int_equal(cold_parse_tier("expedited", &tier, &err), 0);
    assert_int_equal(tier, COLD_EXPEDITED);
    assert_non_null(cold_delay("GLACIER", tier));
    assert_null(cold_delay("DEEP_ARCHIVE", tier));
    assert_non_null(cold_delay("DEEP_ARCHIVE", COLD_BULK));
    assert_null(cold_delay("STANDARD", COLD_STANDARD));
    assert_int_equal(cold_parse_tier("Bulk", &tier, &err), -ERR_USAGE);
    assert_int_equal(tier, COLD_EXPEDITED);
}

/* A store that has no classes. */
static const struct store_ops plain = {.cold = NULL};

static int never(void *context, const struct cold_listed *object, struct err *err)
{
    (void)context;
    (void)object;
    return err_set(err, ERR_CORRUPT, "listed");
}

static void in_a_directory_nothing_is_cold(void **state)
{
    struct store store = {.ops = &plain, .location = (char *)(uintptr_t) "/somewhere"};
    struct cold_object object = {.state = COLD_FROZEN};
    struct err err;

    (void)state;
    assert_false(cold_is_possible(&store));
    assert_int_equal(cold_list(&store, "data/", never, NULL, &err), 0);
    assert_int_equal(cold_look(&store, "data/x", &object, &err), 0);
    assert_int_equal(object.state, COLD_READY);
    assert_int_equal(cold_thaw(&store, "data/x", &object, COLD_BULK, 1, &err), 0);
    assert_int_equal(cold_move(&store, "data/x", "GLACIER", &err), -ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_two_classes_freeze_and_one_more_may),
        cmocka_unit_test(what_is_moved_only_becomes_colder),
        cmocka_unit_test(not_every_class_comes_back_in_haste),
        cmocka_unit_test(in_a_directory_nothing_is_cold),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
