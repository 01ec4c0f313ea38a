#include "backup/base/bytes.h"

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "tests/harness/cmocka.h"

static const uint64_t numbers[] = {
    0,          1,          0x7F,      0x80,       0x3FFF,         0x4000,
    0xFFFFFFFF, 1ULL << 32, INT64_MAX, 1ULL << 63, UINT64_MAX - 1, UINT64_MAX,
};

enum { NUMBERS = sizeof(numbers) / sizeof(numbers[0]) };

static void what_was_put_is_read_back(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf buf = {.limit = 4096};
    struct err err;

    for (size_t i = 0; i < NUMBERS; i++) {
        assert_true(put_varint(&buf, numbers[i], &err) == 0);
        assert_true(put_zigzag(&buf, (int64_t)numbers[i], &err) == 0);
        assert_true(put_u8(&buf, (uint8_t)numbers[i], &err) == 0);
        assert_true(put_u16(&buf, (uint16_t)numbers[i], &err) == 0);
        assert_true(put_u32(&buf, (uint32_t)numbers[i], &err) == 0);
        assert_true(put_u64(&buf, numbers[i], &err) == 0);
    }
    struct cursor in = cursor_of(buf.data, buf.size);
    for (size_t i = 0; i < NUMBERS; i++) {
        assert_true(read_varint(&in) == numbers[i]);
        assert_true(read_zigzag(&in) == (int64_t)numbers[i]);
        assert_true(read_u8(&in) == (uint8_t)numbers[i]);
        assert_true(read_u16(&in) == (uint16_t)numbers[i]);
        assert_true(read_u32(&in) == (uint32_t)numbers[i]);
        assert_true(read_u64(&in) == numbers[i]);
    }
    assert_true(!in.failed && cursor_left(&in) == 0);
}

static void numbers_lie_low_byte_first(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf buf = {.limit = 100};
    struct err err;
    static const uint8_t expected[] = {0x34, 0x12, 0x78, 0x56, 0x34, 0x12, 0xAC, 0x02, 0x03};

    put_u16(&buf, 0x1234, &err);
    put_u32(&buf, 0x12345678, &err);
    put_varint(&buf, 300, &err);
    put_zigzag(&buf, -2, &err);
    assert_true(buf.size == sizeof(expected) && memcmp(buf.data, expected, buf.size) == 0);

    uint8_t bytes[8];
    store_le64(bytes, 0x0102030405060708);
    assert_true(bytes[0] == 8 && bytes[7] == 1 && load_le64(bytes) == 0x0102030405060708);
    store_le32(bytes, 0xA1B2C3D4);
    assert_true(bytes[0] == 0xD4 && load_le32(bytes) == 0xA1B2C3D4);
    store_le16(bytes, 0xBEEF);
    assert_true(bytes[0] == 0xEF && load_le16(bytes) == 0xBEEF);
}

static void a_cursor_that_ran_out_yields_zeros_from_then_on(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {1, 2, 3};
    struct cursor in = cursor_of(bytes, sizeof(bytes));

    assert_true(read_u32(&in) == 0 && in.failed);
    assert_true(read_u8(&in) == 0 && read_varint(&in) == 0 && read_zigzag(&in) == 0);
    assert_true(!read_bytes(&in, 0) && cursor_left(&in) == 0);
}

static void bytes_are_lent_only_as_far_as_they_go(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {1, 2, 3};
    struct cursor in = cursor_of(bytes, sizeof(bytes));

    assert_true(read_bytes(&in, 2) == bytes && cursor_left(&in) == 1);
    assert_true(read_bytes(&in, 0) == bytes + 2 && !in.failed);
    assert_true(!read_bytes(&in, SIZE_MAX) && in.failed);

    struct cursor empty = cursor_of(NULL, 0);
    (void)read_bytes(&empty, 0);
    assert_true(!empty.failed && cursor_left(&empty) == 0);
    assert_true(read_u8(&empty) == 0 && empty.failed);
}

static void assert_no_varint(const uint8_t *bytes, size_t size)
{
    struct cursor in = cursor_of(bytes, size);

    assert_true(read_varint(&in) == 0 && in.failed);
}

static void a_varint_has_one_form_only(void **state)
{
    (void)state;
    static const uint8_t overlong_zero[] = {0x80, 0x00};
    static const uint8_t overlong_one[] = {0x81, 0x80, 0x00};
    static const uint8_t cut[] = {0x80, 0x80};
    static const uint8_t too_large[] = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x02};
    static const uint8_t too_long[] = {0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
                                       0x80, 0x80, 0x80, 0x80, 0x01};

    assert_no_varint(overlong_zero, sizeof(overlong_zero));
    assert_no_varint(overlong_one, sizeof(overlong_one));
    assert_no_varint(cut, sizeof(cut));
    assert_no_varint(too_large, sizeof(too_large));
    assert_no_varint(too_long, sizeof(too_long));
}

static void a_full_buffer_takes_no_number(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf buf = {.limit = 9};
    struct err err;

    assert_true(put_varint(&buf, UINT64_MAX, &err) == -ERR_TOO_LARGE && buf.size == 0);
    assert_true(put_u64(&buf, 1, &err) == 0);
    assert_true(put_u16(&buf, 1, &err) == -ERR_TOO_LARGE && buf.size == 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_is_read_back),
        cmocka_unit_test(numbers_lie_low_byte_first),
        cmocka_unit_test(a_cursor_that_ran_out_yields_zeros_from_then_on),
        cmocka_unit_test(bytes_are_lent_only_as_far_as_they_go),
        cmocka_unit_test(a_varint_has_one_form_only),
        cmocka_unit_test(a_full_buffer_takes_no_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
