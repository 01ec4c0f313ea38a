#include "backup/crypto/seal.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "backup/base/err.h"
#include "tests/harness/cmocka.h"

/* AES-256-GCM, test cases 14 and 16 of the specification that NIST adopted. */
static const char *const zero_cipher = "cea7403d4d606b6e074ec5d3baf39d18"
                                       "d0d1c8a799996bf0265b98b5d48ab919";
static const char *const nist_key =
    "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
static const char *const nist_nonce = "cafebabefacedbaddecaf888";
static const char *const nist_aad = "feedfacedeadbeeffeedfacedeadbeefabaddad2";
static const char *const nist_plain =
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39";
static const char *const nist_cipher =
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
    "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
    "76fc6ece0f4e1768cddf8853bb2d551b";

static size_t from_hex(const char *text, uint8_t *out)
{
    size_t count = strlen(text) / 2;

    for (size_t i = 0; i < count; i++) {
        unsigned byte;
        assert_true(sscanf(text + 2 * i, "%2x", &byte) == 1);
        out[i] = (uint8_t)byte;
    }
    return count;
}

struct sample {
    struct seal_key key;
    uint8_t nonce[SEAL_NONCE_SIZE];
    uint8_t aad[20];
    uint8_t plain[60];
    uint8_t sealed[76];
};

static void load_sample(struct sample *sample)
{
    from_hex(nist_key, sample->key.bytes);
    from_hex(nist_nonce, sample->nonce);
    assert_true(from_hex(nist_aad, sample->aad) == sizeof(sample->aad));
    assert_true(from_hex(nist_plain, sample->plain) == sizeof(sample->plain));
    assert_true(from_hex(nist_cipher, sample->sealed) == sizeof(sample->sealed));
}

static int open_sample(const struct sample *sample, uint8_t out[60], struct err *err)
{
    return seal_open(&sample->key, sample->nonce, sample->aad, sizeof(sample->aad), sample->sealed,
                     sizeof(sample->sealed), out, err);
}

static void sealing_gives_the_bytes_of_the_published_vectors(void **state)
{
    (void)state;
    struct sample sample;
    struct seal_key zero_key = {{0}};
    uint8_t zeros[16] = {0};
    uint8_t expected[32];
    uint8_t out[76];
    struct err err;

    load_sample(&sample);
    assert_true(seal_bytes(&sample.key, sample.nonce, sample.aad, sizeof(sample.aad), sample.plain,
                           sizeof(sample.plain), out, &err) == 0);
    assert_memory_equal(out, sample.sealed, sizeof(out));

    assert_true(seal_bytes(&zero_key, zeros, NULL, 0, zeros, 16, out, &err) == 0);
    from_hex(zero_cipher, expected);
    assert_memory_equal(out, expected, sizeof(expected));
}

static void what_was_sealed_opens_again_also_in_place(void **state)
{
    (void)state;
    struct sample sample;
    uint8_t out[60];
    struct err err;

    load_sample(&sample);
    assert_true(open_sample(&sample, out, &err) == 0);
    assert_memory_equal(out, sample.plain, sizeof(out));
    assert_true(open_sample(&sample, sample.sealed, &err) == 0);
    assert_memory_equal(sample.sealed, sample.plain, sizeof(sample.plain));
}

static void an_empty_message_is_sealed_too(void **state)
{
    (void)state;
    struct sample sample;
    uint8_t out[SEAL_TAG_SIZE];
    struct err err;

    load_sample(&sample);
    assert_true(seal_bytes(&sample.key, sample.nonce, "a", 1, NULL, 0, out, &err) == 0);
    assert_true(seal_open(&sample.key, sample.nonce, "a", 1, out, sizeof(out), out, &err) == 0);
    assert_true(seal_bytes(&sample.key, sample.nonce, "a", 1, NULL, 0, out, &err) == 0);
    assert_true(seal_open(&sample.key, sample.nonce, "b", 1, out, sizeof(out), out, &err) ==
                -ERR_CORRUPT);
}

/* Every byte that goes into the opening, seen as one row. */
static void each_changed_bit_is_refused_and_shows_nothing(void **state)
{
    (void)state;
    struct sample sample;
    uint8_t nothing[60] = {0};
    struct err err;

    for (size_t bit = 0; bit < 8 * sizeof(sample); bit++) {
        uint8_t out[60] = {1};
        size_t byte = bit / 8;
        if (byte >= offsetof(struct sample, plain) && byte < offsetof(struct sample, sealed))
            continue;
        load_sample(&sample);
        ((uint8_t *)&sample)[byte] ^= (uint8_t)(1U << bit % 8);
        assert_true(open_sample(&sample, out, &err) == -ERR_CORRUPT);
        assert_memory_equal(out, nothing, sizeof(out));
    }
}

static void fewer_bytes_than_a_tag_are_refused(void **state)
{
    (void)state;
    struct sample sample;
    uint8_t out[16];
    struct err err;

    load_sample(&sample);
    for (size_t count = 0; count < SEAL_TAG_SIZE; count++)
        assert_true(seal_open(&sample.key, sample.nonce, NULL, 0, sample.sealed, count, out,
                              &err) == -ERR_CORRUPT);
}

static void hmac(const uint8_t *key, size_t key_count, const uint8_t *bytes, size_t count,
                 uint8_t out[32])
{
    assert_non_null(HMAC(EVP_sha256(), key, (int)key_count, bytes, count, out, NULL));
}

/* RFC 5869 written down once more, to have a second opinion. */
static void hkdf(const uint8_t *ikm, size_t ikm_count, const uint8_t *salt, size_t salt_count,
                 const uint8_t *info, size_t info_count, uint8_t *out, size_t count)
{
    uint8_t prk[32];
    uint8_t block[32];
    uint8_t input[32 + 256 + 1];
    size_t before = 0;

    hmac(salt, salt_count, ikm, ikm_count, prk);
    for (uint8_t i = 1; count > 0; i++) {
        size_t part = count < 32 ? count : 32;
        memcpy(input, block, before);
        memcpy(input + before, info, info_count);
        input[before + info_count] = i;
        hmac(prk, sizeof(prk), input, before + info_count + 1, block);
        memcpy(out, block, part);
        out += part;
        count -= part;
        before = sizeof(block);
    }
}

static void derivation_is_that_of_rfc_5869(void **state)
{
    (void)state;
    uint8_t ikm[32];
    uint8_t salt[32];
    uint8_t info[6 + 160] = "yester";
    uint8_t expected[64];
    uint8_t okm[42];
    struct seal_derived derived;
    struct err err;

    /* Test case 1 shows that the second opinion is worth something. */
    memset(ikm, 0x0b, sizeof(ikm));
    from_hex("000102030405060708090a0b0c", salt);
    hkdf(ikm, 22, salt, 13, (const uint8_t *)"\xf0\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9", 10, okm,
         sizeof(okm));
    from_hex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
             "34007208d5b887185865",
             expected);
    assert_memory_equal(okm, expected, sizeof(okm));

    for (size_t i = 0; i < 160; i++)
        info[6 + i] = (uint8_t)i;
    for (size_t i = 0; i < sizeof(salt); i++)
        salt[i] = (uint8_t)(200 - i);
    hkdf(ikm, 32, salt, 32, info, sizeof(info), expected, sizeof(expected));
    assert_true(seal_derive(ikm, salt, 32, "yester", info + 6, 160, &derived, &err) == 0);
    assert_memory_equal(derived.key.bytes, expected, 32);
    assert_memory_equal(derived.commitment, expected + 32, 32);
}

static void every_input_of_a_derivation_counts(void **state)
{
    (void)state;
    uint8_t ikm[32] = {0};
    uint8_t salt[32] = {0};
    struct seal_derived a;
    struct seal_derived b;
    struct err err;

    assert_true(seal_derive(ikm, salt, 32, "text", "info", 4, &a, &err) == 0);
    assert_true(seal_derive(ikm, salt, 32, "text", "infp", 4, &b, &err) == 0);
    assert_memory_not_equal(&a, &b, sizeof(a));
    assert_true(seal_derive(ikm, salt, 32, "texu", "info", 4, &b, &err) == 0);
    assert_memory_not_equal(&a, &b, sizeof(a));
    salt[31] = 1;
    assert_true(seal_derive(ikm, salt, 32, "text", "info", 4, &b, &err) == 0);
    assert_memory_not_equal(&a, &b, sizeof(a));
    salt[31] = 0;
    ikm[0] = 1;
    assert_true(seal_derive(ikm, salt, 32, "text", "info", 4, &b, &err) == 0);
    assert_memory_not_equal(&a, &b, sizeof(a));
}

static void cleared_keys_are_zeros(void **state)
{
    (void)state;
    uint8_t ikm[32] = {7};
    struct seal_derived derived;
    const struct seal_derived nothing = {0};
    struct err err;

    assert_true(seal_derive(ikm, NULL, 0, "text", NULL, 0, &derived, &err) == 0);
    seal_derived_clear(&derived);
    assert_memory_equal(&derived, &nothing, sizeof(derived));
}

static void *seal_often(void *failed)
{
    struct sample sample;
    uint8_t out[76];
    struct err err;

    load_sample(&sample);
    for (int i = 0; i < 200; i++) {
        int r = seal_bytes(&sample.key, sample.nonce, sample.aad, sizeof(sample.aad), sample.plain,
                           sizeof(sample.plain), out, &err);
        if (r < 0 || memcmp(out, sample.sealed, sizeof(out)) != 0)
            *(int *)failed = 1;
    }
    return NULL;
}

static void threads_seal_at_the_same_time(void **state)
{
    (void)state;
    pthread_t threads[3];
    int failed[3] = {0};

    for (size_t i = 0; i < 3; i++)
        assert_true(pthread_create(&threads[i], NULL, seal_often, &failed[i]) == 0);
    for (size_t i = 0; i < 3; i++) {
        assert_true(pthread_join(threads[i], NULL) == 0);
        assert_true(failed[i] == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sealing_gives_the_bytes_of_the_published_vectors),
        cmocka_unit_test(what_was_sealed_opens_again_also_in_place),
        cmocka_unit_test(an_empty_message_is_sealed_too),
        cmocka_unit_test(each_changed_bit_is_refused_and_shows_nothing),
        cmocka_unit_test(fewer_bytes_than_a_tag_are_refused),
        cmocka_unit_test(derivation_is_that_of_rfc_5869),
        cmocka_unit_test(every_input_of_a_derivation_counts),
        cmocka_unit_test(cleared_keys_are_zeros),
        cmocka_unit_test(threads_seal_at_the_same_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
