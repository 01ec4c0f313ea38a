#include "backup/archive/codec.h"

#include <stdio.h>
#include <string.h>

#include "backup/archive/writer.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/crypto/seal.h"
#include "tests/harness/cmocka.h"

static void a_frame_that_lies_about_itself_is_refused(void **state)
{
    (void)state;
    CLEANUP(codec_freep) struct codec *codec = codec_new(1);
    static uint8_t raw[100000], back[100000];
    uint8_t *plain;
    size_t size, content;
    struct err err;

    assert_int_equal(codec_encode(codec, raw, sizeof(raw), &plain, &size, &err), 0);
    assert_int_equal(plain[0], 1);
    assert_int_equal(codec_decode(codec, plain, size, back, sizeof(back), &err), 0);
    assert_int_equal(codec_decode(codec, plain, size, back, sizeof(back) - 1, &err), -ERR_CORRUPT);
    for (size_t cut = 0; cut < size; cut++)
        assert_int_equal(codec_decode(codec, plain, cut, back, sizeof(back), &err), -ERR_CORRUPT);
    assert_int_equal(codec_content_size(plain, size, 99999, &content, &err), -ERR_CORRUPT);
    assert_int_equal(codec_content_size(plain, size, 100000, &content, &err), 0);
    assert_int_equal(content, 100000);

    uint8_t two[1000];
    memcpy(two, plain, size);
    memcpy(two + size, plain + 1, size - 1);
    assert_int_equal(codec_decode(codec, two, 2 * size - 1, back, sizeof(back), &err),
                     -ERR_CORRUPT);
    two[0] = 2;
    assert_int_equal(codec_decode(codec, two, size, back, sizeof(back), &err), -ERR_CORRUPT);
}

static void a_frame_with_a_large_window_is_refused(void **state)
{
    (void)state;
    /* Magic, descriptor (content size in 4 bytes), window, content size 5, one RLE block. */
    uint8_t plain[] = {1, 0x28, 0xB5, 0x2F, 0xFD, 0x80, 0x50, 5, 0, 0, 0, 0x2B, 0, 0, 'x'};
    CLEANUP(codec_freep) struct codec *codec = codec_new(1);
    uint8_t back[5];
    struct err err;

    assert_int_equal(codec_decode(codec, plain, sizeof(plain), back, 5, &err), 0);
    assert_memory_equal(back, "xxxxx", 5);
    plain[6] = 0x51; /* a little more than 1 MiB */
    assert_int_equal(codec_decode(codec, plain, sizeof(plain), back, 5, &err), -ERR_CORRUPT);
}

static void what_does_not_compress_is_kept_as_it_is(void **state)
{
    (void)state;
    CLEANUP(codec_freep) struct codec *codec = codec_new(3);
    uint8_t raw[64], back[64];
    uint8_t *plain;
    size_t size;
    struct err err;

    for (size_t i = 0; i < sizeof(raw); i++)
        raw[i] = (uint8_t)(i * i * 7 + i);
    for (size_t count = 1; count <= sizeof(raw); count++) {
        assert_int_equal(codec_encode(codec, raw, count, &plain, &size, &err), 0);
        assert_true(size <= count + 1);
        assert_int_equal(codec_decode(codec, plain, size, back, count, &err), 0);
        assert_memory_equal(raw, back, count);
        assert_int_equal(codec_compare(codec, plain, size, raw, count, &err), 0);
        raw[count - 1] ^= 1;
        assert_int_equal(codec_compare(codec, plain, size, raw, count, &err), -ERR_CORRUPT);
        raw[count - 1] ^= 1;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_that_lies_about_itself_is_refused),
        cmocka_unit_test(a_frame_with_a_large_window_is_refused),
        cmocka_unit_test(what_does_not_compress_is_kept_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
