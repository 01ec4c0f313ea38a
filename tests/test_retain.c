#include "tools/retain.h"

#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "tests/harness/cmocka.h"

#define HOUR (3600 * NS_PER_SECOND)

static void words_become_rules(void **state)
{
    (void)state;
    struct retention_rules rules = {0};
    struct retention_rule *rule = &rules.types[TYPE_FILES];
    struct err err;

    static const char *const words[] = {"last=3",    "within=36h",  "daily=14", "weekly=13w",
                                        "yearly=2y", "tag=release", "tag=a=b"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        assert_int_equal(retain_word(rule, words[i], &err), 0);
    assert_true(rule->given && !rule->forever);
    assert_true(rule->keep[KEEP_LAST].count == 3 && rule->keep[KEEP_LAST].span_ns == 36 * HOUR);
    assert_true(rule->keep[KEEP_DAILY].count == 14 && rule->keep[KEEP_DAILY].span_ns == 0);
    assert_true(rule->keep[KEEP_WEEKLY].span_ns == 13 * 7 * 24 * HOUR);
    assert_true(rule->keep[KEEP_YEARLY].span_ns == 2 * 365 * 24 * HOUR);
    assert_int_equal(rule->tags.count, 2);
    assert_string_equal(rule->tags.at[1], "a=b");
    assert_int_equal(retain_word(rule, "forever", &err), 0);
    assert_true(rule->forever);
    retention_rules_clear(&rules);
}

static void words_that_say_nothing_are_refused(void **state)
{
    (void)state;
    static const char *const words[] = {
        "",
        "last",
        "last=",
        "last=x",
        "last=2d",
        "last=-1",
        "within=30",
        "within=5m",
        "within=30dd",
        "daily=1 d",
        "daily=2000000",
        "tag",
        "tag=",
        "yearly=201y",
        "weekly=99999999999999999999d",
        "fortnightly=2",
        "=3",
    };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        struct retention_rules rules = {0};
        struct err err;
        if (retain_word(&rules.types[TYPE_FILES], words[i], &err) != -ERR_USAGE)
            fail_msg("\"%s\" is taken for a rule", words[i]);
    }
}

static void days_are_for_the_types_that_are_named(void **state)
{
    (void)state;
    struct retention_rules rules = {0};
    struct err err;

    assert_int_equal(retain_rules_days("30", 1 << TYPE_CONFIG, &rules, &err), 0);
    assert_false(rules.types[TYPE_FILES].given);
    assert_true(rules.types[TYPE_CONFIG].given);
    assert_true(rules.types[TYPE_CONFIG].keep[KEEP_LAST].span_ns == 30 * 24 * HOUR);
    assert_int_equal(retain_rules_days("30d", 0, &rules, &err), -ERR_USAGE);
    assert_int_equal(retain_rules_days("", 0, &rules, &err), -ERR_USAGE);
    assert_int_equal(retain_rules_days("999999", 0, &rules, &err), -ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_become_rules),
        cmocka_unit_test(words_that_say_nothing_are_refused),
        cmocka_unit_test(days_are_for_the_types_that_are_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
