#include "backup/crypto/digest.h"

#include <stdio.h>
#include <string.h>

#include "tests/harness/cmocka.h"

enum { LONGEST = 7169 };

/* From the official test vectors (keyed_hash); the input is 0, 1, … 250, 0, 1, … */
static const struct digest_key test_key = {"whats the Elvish word for friend"};
static const struct vector {
    size_t count;
    const char *digest;
} vectors[] = {
    {0, "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26"},
    {1, "6d7878dfff2f485635d39013278ae14f1454b8c0a3a2d34bc1ab38228a80c95b"},
    {1023, "c951ecdf03288d0fcc96ee3413563d8a6d3589547f2c2fb36d9786470f1b9d6e"},
    {1024, "75c46f6f3d9eb4f55ecaaee480db732e6c2105546f1e675003687c31719c7ba4"},
    {1025, "357dc55de0c7e382c900fd6e320acc04146be01db6a8ce7210b7189bd664ea69"},
    {4097, "00df940cd36bb9fa7cbbc3556744e0dbc8191401afe70520ba292ee3ca80abbc"},
    {7169, "ed9b1a922c046fdb3d423ae34e143b05ca1bf28b710432857bf738bcedbfa511"},
};
static const char *const empty_extended =
    "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26"
    "b18171a2f22a4b94822c701f107153dba24918c4bae4d2945c20ece13387627d"
    "3b73cbf97b797d5e59948c7ef788f54372df45e45e4293c7dc18c1d41144a975";

static void fill(uint8_t *input)
{
    for (size_t i = 0; i < LONGEST; i++)
        input[i] = (uint8_t)(i % 251);
}

static void assert_hex(const uint8_t *bytes, size_t count, const char *expected)
{
    char text[2 * 96 + 1];

    assert_true(strlen(expected) == 2 * count && count <= 96);
    for (size_t i = 0; i < count; i++)
        (void)snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    assert_string_equal(text, expected);
}

static void digests_are_those_of_the_official_vectors(void **state)
{
    (void)state;
    uint8_t input[LONGEST];
    uint8_t out[DIGEST_SIZE];

    fill(input);
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        digest_bytes(&test_key, input, vectors[i].count, out);
        assert_hex(out, sizeof(out), vectors[i].digest);
    }
}

static void a_stream_in_pieces_gives_the_digest_of_the_whole(void **state)
{
    (void)state;
    uint8_t input[LONGEST];
    uint8_t out[DIGEST_SIZE];
    struct digest_stream stream;

    fill(input);
    digest_stream_start(&stream, &test_key);
    for (size_t at = 0; at < LONGEST; at += 67)
        digest_stream_add(&stream, input + at, LONGEST - at < 67 ? LONGEST - at : 67);
    digest_stream_finish(&stream, out, sizeof(out));
    assert_hex(out, sizeof(out), vectors[6].digest);
}

static void a_finished_stream_can_be_added_to(void **state)
{
    (void)state;
    uint8_t input[LONGEST];
    uint8_t out[DIGEST_SIZE];
    struct digest_stream stream;

    fill(input);
    digest_stream_start(&stream, &test_key);
    digest_stream_add(&stream, input, 1023);
    digest_stream_finish(&stream, out, sizeof(out));
    assert_hex(out, sizeof(out), vectors[2].digest);
    digest_stream_add(&stream, input + 1023, 2);
    digest_stream_finish(&stream, out, sizeof(out));
    assert_hex(out, sizeof(out), vectors[4].digest);
}

static void expansion_is_the_long_output_of_the_empty_message(void **state)
{
    (void)state;
    uint8_t out[96];

    digest_expand(&test_key, out, sizeof(out));
    assert_hex(out, sizeof(out), empty_extended);
}

static void a_hash_of_64_bits_is_the_digests_beginning_in_little_endian(void **state)
{
    (void)state;

    assert_true(digest_hash64(&test_key, "", 0) == 0x763ced0456b7b292);
}

static void another_key_gives_another_digest(void **state)
{
    (void)state;
    struct digest_key other = test_key;
    uint8_t a[DIGEST_SIZE];
    uint8_t b[DIGEST_SIZE];

    other.bytes[31] ^= 1;
    digest_bytes(&test_key, "abc", 3, a);
    digest_bytes(&other, "abc", 3, b);
    assert_memory_not_equal(a, b, sizeof(a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digests_are_those_of_the_official_vectors),
        cmocka_unit_test(a_stream_in_pieces_gives_the_digest_of_the_whole),
        cmocka_unit_test(a_finished_stream_can_be_added_to),
        cmocka_unit_test(expansion_is_the_long_output_of_the_empty_message),
        cmocka_unit_test(a_hash_of_64_bits_is_the_digests_beginning_in_little_endian),
        cmocka_unit_test(another_key_gives_another_digest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
