#include "backup/base/crc32c.h"

#include <string.h>

#include "tests/harness/cmocka.h"

static void known_sums_come_out(void **state)
{
    (void)state;
    static const uint8_t zeros[32];

    assert_true(crc32c(0, "", 0) == 0);
    assert_true(crc32c(0, "123456789", 9) == 0xE3069283);
    assert_true(crc32c_by_table(0, "123456789", 9) == 0xE3069283);
    assert_true(crc32c(0, zeros, sizeof(zeros)) == 0x8A9136AA); /* RFC 3720, B.4 */
}

static void pieces_of_any_size_give_the_same_sum(void **state)
{
    (void)state;
    uint8_t bytes[100];

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 37 + 11);
    uint32_t whole = crc32c(0, bytes, sizeof(bytes));
    for (size_t cut = 0; cut <= sizeof(bytes); cut++)
        assert_true(crc32c(crc32c(0, bytes, cut), bytes + cut, sizeof(bytes) - cut) == whole);
}

/* A byte at a time is the plainest way. */
static void long_pieces_give_the_sum_of_single_bytes(void **state)
{
    (void)state;
    static uint8_t bytes[10000];
    static const size_t sizes[] = {1023, 1024, 3071, 3072, 3073, 6144, 9999};
    uint32_t next = 1;

    for (size_t i = 0; i < sizeof(bytes); i++) {
        next = next * 1664525 + 1013904223;
        bytes[i] = (uint8_t)(next >> 24);
    }
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint32_t crc = 0;
        for (size_t at = 1; at <= sizes[i]; at++)
            crc = crc32c(crc, bytes + at, 1);
        assert_true(crc32c(0, bytes + 1, sizes[i]) == crc);
        assert_true(crc32c_by_table(0, bytes + 1, sizes[i]) == crc);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_sums_come_out),
        cmocka_unit_test(pieces_of_any_size_give_the_same_sum),
        cmocka_unit_test(long_pieces_give_the_sum_of_single_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
