#include "backup/base/clock.h"

#include <string.h>
#include <time.h>

#include "backup/base/err.h"
#include "tests/harness/cmocka.h"

/* 2026-02-04 12:30:05 UTC */
#define NOON (INT64_C(1770208205) * NS_PER_SECOND)

static void use_zone(const char *zone)
{
    setenv("TZ", zone, 1);
    tzset();
}

static void assert_time(const char *text, int64_t expected)
{
    int64_t ns;
    struct err err;

    if (clock_parse_time(text, &ns, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(ns, expected);
}

static void assert_no_time(const char *text)
{
    int64_t ns = 77;
    struct err err;

    assert_true(clock_parse_time(text, &ns, &err) == -ERR_USAGE && ns == 77);
}

static void a_name_is_the_second_in_utc(void **state)
{
    (void)state;
    char name[CLOCK_NAME_SIZE];
    int64_t ns;
    struct err err;

    use_zone("CET-1CEST,M3.5.0,M10.5.0/3");
    clock_format_name(NOON + 999999999, name);
    assert_string_equal(name, "20260204_123005");
    assert_true(clock_parse_name(name, &ns, &err) == 0 && ns == NOON);
    clock_format_name(-1, name);
    assert_string_equal(name, "19691231_235959");
    assert_true(clock_parse_name(name, &ns, &err) == 0 && ns == -NS_PER_SECOND);
    assert_true(clock_parse_name("20240229_000000", &ns, &err) == 0);
}

static void what_is_no_timestamp_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "2026",
        "20260204-123005",
        "20260204_1230051",
        "20260204_12300",
        "20260229_000000",
        "20260431_000000",
        "20261301_000000",
        "20260100_000000",
        "20260101_240000",
        "20260101_006000",
        "20260101_000060",
        "00000101_000000",
        "99990101_000000",
        "2026020x_123005",
        " 2026204_123005",
        "+2026204_123005",
    };
    int64_t ns = 77;
    struct err err;

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_true(clock_parse_name(wrong[i], &ns, &err) == -ERR_USAGE && ns == 77);
}

static void local_time_shows_its_offset(void **state)
{
    (void)state;
    char text[CLOCK_TEXT_SIZE];

    use_zone("CET-1CEST,M3.5.0,M10.5.0/3");
    clock_format_local(NOON, text);
    assert_string_equal(text, "2026-02-04 13:30:05 +01:00");
    clock_format_local(NOON + 150 * 86400 * NS_PER_SECOND, text);
    assert_string_equal(text, "2026-07-04 14:30:05 +02:00");
    use_zone("NST3:30");
    clock_format_local(NOON, text);
    assert_string_equal(text, "2026-02-04 09:00:05 -03:30");
    assert_time(text, NOON);
    use_zone("UTC0");
    clock_format_local(-1, text);
    assert_string_equal(text, "1969-12-31 23:59:59 +00:00");
}

static void rfc3339_has_a_fraction_when_there_is_one(void **state)
{
    (void)state;
    char text[CLOCK_TEXT_SIZE];

    clock_format_rfc3339_utc(NOON, text);
    assert_string_equal(text, "2026-02-04T12:30:05Z");
    clock_format_rfc3339_utc(NOON + 12, text);
    assert_string_equal(text, "2026-02-04T12:30:05.000000012Z");
    clock_format_rfc3339_utc(-1, text);
    assert_string_equal(text, "1969-12-31T23:59:59.999999999Z");
    assert_time(text, -1);
    clock_format_rfc3339_utc(INT64_MIN, text);
    assert_string_equal(text, "1677-09-21T00:12:43.145224192Z");
    clock_format_rfc3339_utc(INT64_MAX, text);
    assert_string_equal(text, "2262-04-11T23:47:16.854775807Z");
}

static void times_are_read_in_all_their_forms(void **state)
{
    (void)state;
    use_zone("CET-1CEST,M3.5.0,M10.5.0/3");
    assert_time("20260204_123005", NOON);
    assert_time("2026-02-04T12:30:05Z", NOON);
    assert_time("2026-02-04t12:30:05z", NOON);
    assert_time("2026-02-04T14:30:05+02:00", NOON);
    assert_time("2026-02-04T09:00:05.5-03:30", NOON + 500000000);
    assert_time("2026-02-04T12:30:05.1234567891Z", NOON + 123456789);
    assert_time("2026-02-04 13:30:05.5+01", NOON + 500000000); /* as PostgreSQL writes it */
    assert_time("2026-02-04 13:30:05", NOON);
    assert_time("2026-02-04T13:30:05", NOON);
    assert_time("2026-02-04 13:30", NOON - 5 * NS_PER_SECOND);
    assert_time("2026-02-04", NOON - 48605 * NS_PER_SECOND);
    assert_time("2026-07-04 14:30:05", NOON + 150 * 86400 * NS_PER_SECOND);
}

static void what_is_no_time_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "now",
        "2026-2-4",
        "2026-02-30",
        "2026-02-04 ",
        "2026-02-04T",
        "2026-02-04 25:00",
        "2026-02-04 13",
        "2026-02-04 13:30:05.",
        "2026-02-04 13:30:05 x",
        "2026-02-04T13:30:05+25:00",
        "2026-02-04T13:30:05+0200",
        "2026-02-04T13:30:05Zx",
        "12026-02-04",
        "1600-01-01",
    };

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_no_time(wrong[i]);
}

static void the_clock_goes_on(void **state)
{
    (void)state;
    struct clock *clock = clock_system();
    int64_t wall = clock->now_ns(clock);
    int64_t start = clock_monotonic_ns();

    assert_true(wall / NS_PER_SECOND - time(NULL) <= 1);
    clock->sleep_ns(clock, 2000000);
    assert_true(clock_monotonic_ns() - start >= 2000000);
    clock->sleep_ns(clock, -5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_is_the_second_in_utc),
        cmocka_unit_test(what_is_no_timestamp_is_refused),
        cmocka_unit_test(local_time_shows_its_offset),
        cmocka_unit_test(rfc3339_has_a_fraction_when_there_is_one),
        cmocka_unit_test(times_are_read_in_all_their_forms),
        cmocka_unit_test(what_is_no_time_is_refused),
        cmocka_unit_test(the_clock_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
