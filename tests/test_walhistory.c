#include "backup/archive/walhistory.h"

#include <string.h>

#include "backup/base/err.h"
#include "tests/harness/cmocka.h"

static struct walhistory history;

static int parse(const char *text, uint32_t timeline)
{
    struct err err;

    return walhistory_parse(text, strlen(text), timeline, &history, &err);
}

static void each_ancestor_ends_where_the_next_began(void **state)
{
    (void)state;
    assert_int_equal(parse("1\t0/3000148\tno recovery target specified\n\n"
                           "# a comment\n3\t1/A0\tbefore 2026-02-04 12:00:00+00\n",
                           5),
                     0);
    assert_true(history.count == 2);
    assert_true(walhistory_end(&history, 1) == 0x3000148);
    assert_true(walhistory_end(&history, 3) == (UINT64_C(1) << 32 | 0xA0));
    assert_true(walhistory_end(&history, 5) == UINT64_MAX);
    assert_true(walhistory_end(&history, 2) == 0); /* not on the way to 5 */
    assert_true(walhistory_next(&history, 1) == 3 && walhistory_next(&history, 3) == 5);
}

static void a_last_line_may_lack_its_end(void **state)
{
    (void)state;
    assert_int_equal(parse("1\t0/5000000", 2), 0);
    assert_true(history.count == 1 && history.at[0].end == 0x5000000);
    assert_int_equal(parse("", 2), 0);
    assert_true(history.count == 0);
}

static void what_is_no_history_is_refused(void **state)
{
    (void)state;
    struct err err;
    static const char *const texts[] = {
        "x\n",
        "1\n",
        "1\t\n",
        "1\tzero\n",
        "0\t0/1\n",
        "-1\t0/1\n",
        "5\t0/1\n",
        "7\t0/1\n",
        "3\t0/1\n2\t0/2\n",
        "2\t0/1\n2\t0/2\n",
        "99999999999\t0/1\n",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_int_equal(parse(texts[i], 5), -ERR_CORRUPT);
    assert_int_equal(walhistory_parse("1\t0/1\n\0", 7, 2, &history, &err), -ERR_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_ancestor_ends_where_the_next_began),
        cmocka_unit_test(a_last_line_may_lack_its_end),
        cmocka_unit_test(what_is_no_history_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
