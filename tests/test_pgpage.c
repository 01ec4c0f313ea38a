#include "backup/source/pgpage.h"

#include <string.h>

#include "tests/harness/cmocka.h"

enum { SIZE = 8192, SEGMENT = 131072, AT_LSN = 0, AT_CHECKSUM = 8, AT_UPPER = 14 };

static void fill(uint8_t page[SIZE])
{
    for (size_t i = 0; i < SIZE; i++)
        page[i] = (uint8_t)(i * 37 + i / 256 * 11);
}

static void put16(uint8_t *at, uint16_t value)
{
    memcpy(at, &value, sizeof(value));
}

/* The numbers are those of a program of its own, which finds the checksums of a server's pages. */
static void sums_are_the_servers(void **state)
{
    (void)state;
    uint8_t page[SIZE];

    fill(page);
    assert_true(pgpage_checksum(page, SIZE, 0) == 0xE5BA);
    assert_true(pgpage_checksum(page, SIZE, SEGMENT + 7) == 0xE5B9);
    assert_true(pgpage_checksum(page, 1024, 3) == 0xAC8F);
}

static void a_page_does_not_count_its_own_checksum(void **state)
{
    (void)state;
    uint8_t page[SIZE];

    fill(page);
    put16(page + AT_CHECKSUM, 0);
    assert_true(pgpage_checksum(page, SIZE, 0) == 0xE5BA);
}

static void a_changed_byte_is_found(void **state)
{
    (void)state;
    uint8_t page[SIZE];

    fill(page);
    memset(page + AT_LSN, 0, 8);
    put16(page + AT_CHECKSUM, pgpage_checksum(page, SIZE, 5));
    assert_true(pgpage_valid(page, SIZE, 5, 1));
    assert_false(pgpage_valid(page, SIZE, 6, 1));
    page[SIZE - 1] ^= 1;
    assert_false(pgpage_valid(page, SIZE, 5, 1));
    assert_true(pgpage_stored_checksum(page) != pgpage_checksum(page, SIZE, 5));
}

static void a_page_that_changed_since_may_be_half_written(void **state)
{
    (void)state;
    const uint32_t lsn[2] = {1, 0x2000028};
    uint8_t page[SIZE];

    fill(page);
    memcpy(page + AT_LSN, lsn, sizeof(lsn));
    put16(page + AT_CHECKSUM, (uint16_t)(pgpage_checksum(page, SIZE, 0) + 1));
    assert_true(pgpage_valid(page, SIZE, 0, UINT64_C(0x102000028)));
    assert_false(pgpage_valid(page, SIZE, 0, UINT64_C(0x102000029)));
}

static void a_page_that_was_never_used_has_none(void **state)
{
    (void)state;
    uint8_t page[SIZE] = {0};

    assert_true(pgpage_valid(page, SIZE, 0, UINT64_MAX));
    put16(page + AT_UPPER, SIZE);
    assert_false(pgpage_valid(page, SIZE, 0, UINT64_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_the_servers),
        cmocka_unit_test(a_page_does_not_count_its_own_checksum),
        cmocka_unit_test(a_changed_byte_is_found),
        cmocka_unit_test(a_page_that_changed_since_may_be_half_written),
        cmocka_unit_test(a_page_that_was_never_used_has_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
