#include "backup/archive/format.h"

#include <string.h>

#include "backup/base/err.h"
#include "tests/harness/cmocka.h"

static void a_header_has_its_fields_where_the_format_says(void **state)
{
    (void)state;
    struct header header = {.kind = ARCHIVE_ROOT, .epoch = 0x01020304};
    struct header back;
    uint8_t bytes[HEADER_SIZE];
    struct err err;

    memset(header.repo_id, 0xA1, sizeof(header.repo_id));
    memset(header.id.bytes, 0xB2, sizeof(header.id));
    memset(header.salt, 0xC3, sizeof(header.salt));
    memset(header.commitment, 0xD4, sizeof(header.commitment));
    header_encode(&header, bytes);
    assert_memory_equal(bytes, "\x89YSTR\r\n\x1a\1\0\3\0\0\0\0\0\xA1", 17);
    assert_true(bytes[31] == 0xA1 && bytes[32] == 0xB2 && bytes[63] == 0xB2);
    assert_true(bytes[64] == 0xC3 && bytes[95] == 0xC3);
    assert_memory_equal(bytes + 96, "\4\3\2\1\0\0", 6);
    assert_true(bytes[159] == 0 && bytes[160] == 0xD4 && bytes[191] == 0xD4);
    assert_int_equal(header_decode(bytes, &back, &err), 0);
    assert_int_equal(back.epoch, header.epoch);
    for (size_t i = 0; i < 32; i++) {       /* what is fixed, kind and flags */
        bytes[i < 16 ? i : 84 + i] ^= 0x40; /* 100…115 behind 0…15 */
        assert_int_equal(header_decode(bytes, &back, &err), -ERR_CORRUPT);
        bytes[i < 16 ? i : 84 + i] ^= 0x40;
    }
}

static void padding_hides_sizes_and_is_never_shorter_than_a_tag(void **state)
{
    (void)state;
    assert_int_equal(padme(1000), 1024);
    assert_int_equal(padme(1025), 1088);
    assert_int_equal(padme((64 << 20) + 1), 66 << 20);
    for (uint64_t size = 450; size < 70000; size++) {
        uint64_t padding = padding_for(size);
        assert_true(padding == 0 || padding >= 17);
        assert_int_equal(padme(size + padding), size + padding);
        assert_true(padding <= size / 8 + 64);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_has_its_fields_where_the_format_says),
        cmocka_unit_test(padding_hides_sizes_and_is_never_shorter_than_a_tag),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
