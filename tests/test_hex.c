#include "backup/base/hex.h"

#include <string.h>

#include "tests/harness/cmocka.h"

static void bytes_become_digits_and_bytes_again(void **state)
{
    (void)state;
    uint8_t bytes[256];
    uint8_t back[256];
    char text[513];

    for (size_t i = 0; i < 256; i++)
        bytes[i] = (uint8_t)i;
    hex_encode(bytes, 256, text);
    assert_true(strlen(text) == 512 && memcmp(text, "000102", 6) == 0);
    assert_string_equal(text + 506, "fdfeff");
    assert_true(hex_decode(text, 512, back, 256) && memcmp(bytes, back, 256) == 0);
    hex_encode(bytes, 0, text);
    assert_true(text[0] == '\0' && hex_decode("", 0, back, 0));
}

static void only_one_spelling_is_taken(void **state)
{
    (void)state;
    uint8_t bytes[2] = {7, 7};

    assert_true(hex_decode("00ff", 4, bytes, 2) && bytes[0] == 0 && bytes[1] == 255);
    assert_false(hex_decode("00FE", 4, bytes, 2));
    assert_false(hex_decode("00fg", 4, bytes, 2));
    assert_false(hex_decode("00f", 3, bytes, 2));
    assert_false(hex_decode("00ff0", 5, bytes, 2));
    assert_false(hex_decode("00ff00", 6, bytes, 2));
    assert_false(hex_decode("0x1f", 4, bytes, 2));
    assert_false(hex_decode(" 0ff", 4, bytes, 2));
    assert_true(bytes[0] == 0 && bytes[1] == 255);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_become_digits_and_bytes_again),
        cmocka_unit_test(only_one_spelling_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
