#include "backup/base/lsn.h"

#include <string.h>

#include "tests/harness/cmocka.h"

static void a_position_comes_back_as_it_was_written(void **state)
{
    (void)state;
    static const char *const texts[] = {"0/0", "0/1", "16/B374D848", "FFFFFFFF/FFFFFFFF", "1/0"};
    static const uint64_t numbers[] = {0, 1, 0x16B374D848, UINT64_MAX, 1ULL << 32};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char text[LSN_TEXT_SIZE];
        uint64_t lsn = 7;

        assert_true(lsn_parse(texts[i], &lsn));
        assert_true(lsn == numbers[i]);
        lsn_format(lsn, text);
        assert_string_equal(text, texts[i]);
    }
}

static void small_letters_and_leading_zeros_are_read(void **state)
{
    (void)state;
    uint64_t lsn;

    assert_true(lsn_parse("00000016/b374d848", &lsn));
    assert_true(lsn == 0x16B374D848);
}

static void what_is_no_position_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"",     "/",    "1/",    "/1",    "1",           "1/2/3",
                                        " 1/2", "1/ 2", "1/2 ",  "0x1/2", "1/123456789", "-1/2",
                                        "+1/2", "1/-2", "1\n/2", "G/1",   "123456789/1", "1/2x"};
    uint64_t lsn = 7;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_false(lsn_parse(texts[i], &lsn));
    assert_true(lsn == 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_position_comes_back_as_it_was_written),
        cmocka_unit_test(small_letters_and_leading_zeros_are_read),
        cmocka_unit_test(what_is_no_position_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
