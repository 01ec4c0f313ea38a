#include "backup/crypto/keyring.h"

#include <string.h>

#include "backup/base/buf.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/hex.h"
#include "backup/crypto/keyring_internal.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/shelf.h"

/* From tests/harness/format_keys.py, which knows docs/format.md and nothing of this code. */
static const char *const golden_slot =
    "59535452534c4f540100020000000000101112131415161718191a1b1c1d1e1f2021222324252627"
    "28292a2b2c2d2e2f000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
    "0a000000080000000100000000000000000000000000000000000000000000000000000000000000"
    "0000000000000000d254c5de35cba00c4ba182a4283e2b7a0402dd95c35f3b71b741e942af9dc11a"
    "67cb086380cc805c6b7477ba3d88e63dfbf00a6512615fda30407383fae07dfbadf274f63b772768"
    "ab433e2f2ebc23f3";
static const char *const golden_epoch =
    "5953545245504f430100000000000000101112131415161718191a1b1c1d1e1f0200000003000000"
    "01000000be0000000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"
    "240baa69d95ecbb68ab5a27ad274ce0a3855c5635355465b44569abe1a7745742021222324252627"
    "28292a2b2c2d2e2f675dd574ed7789310b3d2e7681f3790b466c773b1521fecf36577958371ea52f"
    "5812526efdf15fe21dac24957a9b26896fa6baa8007f354c7e39ff5496e79af6dea30d10c950fc1c"
    "1e8f29a5671271d72abd20ee9599a6f1eb29298ef6df2351d0afca2dc10188680b6236e61f46018a"
    "6486590e9528bee167c73836523635cc733731aeb264cdbeb5d0783435ad22c185ca52e58af05dde"
    "f7344c24c8431a6009971c93d3478e06e43d34c07135c421739f4840358c489ddfa9e935153df242"
    "97646d84f5ad44c0df21977ff6fec6ab59cb05016fe318a18d1980792d7cffbeaa32b29ca8b88340"
    "c26f9382e989d667a2ac501fe88cc796ac87f1b313be47fd9ffa49ab0295de662729b7a30dbb";

static void shelve_hex(struct shelf *shelf, const char *name, const char *text)
{
    uint8_t bytes[512];
    size_t size = strlen(text) / 2;
    struct err err;

    assert_true(size <= sizeof(bytes) && hex_decode(text, 2 * size, bytes, size));
    assert_true(shelf_create(shelf, name, bytes, size, &err) == 0);
}

static void assert_counts_from(const uint8_t *bytes, uint8_t first)
{
    for (size_t i = 0; i < 32; i++)
        assert_true(bytes[i] == first + i);
}

static void objects_of_another_hand_open_as_the_format_says(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *opened = NULL;
    CLEANUP(secret_clear) struct secret secret = {0};
    uint8_t repo[REPO_ID_SIZE];
    struct slot_info info;
    struct err err;

    for (size_t i = 0; i < sizeof(repo); i++)
        repo[i] = (uint8_t)(0x10 + i);
    shelf_init(&shelf);
    shelve_hex(&shelf, "keys/slot/202122232425262728292a2b2c2d2e2f", golden_slot);
    shelve_hex(&shelf, "keys/epoch/00000002.00000003", golden_epoch);
    assert_true(secret_parse("golden\n", 7, &secret, &err) == 0);
    assert_true(keyring_open(&shelf.access, repo, &secret, &opened, &err) == 0);
    assert_counts_from(keyring_master(opened, 2), 0x80);
    assert_counts_from(keyring_master(opened, 1), 0xA0);
    assert_counts_from(keyring_id_key(opened)->bytes, 0xC0);
    assert_counts_from(keyring_gear_key(opened)->bytes, 0xE0);
    keyring_slot(opened, 0, &info);
    assert_string_equal(info.label, "golden");
    assert_true(info.kdf == SLOT_KDF_SCRYPT && info.made_ns == INT64_C(1700000000000000000));
}

static void base64_of_32_bytes_is_a_key_and_any_other_text_a_passphrase(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum slot_kdf kdf;
        size_t count;
    } cases[] = {
        {"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", SLOT_KDF_HKDF, 32},
        {" \n\tAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\r\n\n", SLOT_KDF_HKDF, 32},
        {"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=", SLOT_KDF_SCRYPT, 44},
        {"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", SLOT_KDF_SCRYPT, 43},
        {"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8==", SLOT_KDF_SCRYPT, 45},
        {"AAECAwQFBgcICQoL DA0ODxAREhMUFRYXGBkaGxwdHh=", SLOT_KDF_SCRYPT, 44},
        {"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==", SLOT_KDF_SCRYPT, 44},
        {"correct horse\n", SLOT_KDF_SCRYPT, 13},
        {"correct horse\n\n", SLOT_KDF_SCRYPT, 14},
        {" x ", SLOT_KDF_SCRYPT, 3},
    };
    struct err err;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CLEANUP(secret_clear) struct secret secret = {0};
        assert_true(secret_parse(cases[i].text, strlen(cases[i].text), &secret, &err) == 0);
        assert_true(secret.kdf == cases[i].kdf && secret.count == cases[i].count);
        for (size_t b = 0; cases[i].kdf == SLOT_KDF_HKDF && b < 32; b++)
            assert_true(secret.bytes[b] == b);
    }
}

static void an_empty_secret_is_refused(void **state)
{
    (void)state;
    struct secret secret = {0};
    struct err err;

    assert_true(secret_parse("", 0, &secret, &err) == -ERR_USAGE);
    assert_true(secret_parse("\n", 1, &secret, &err) == -ERR_USAGE);
    assert_null(secret.bytes);
}

static void a_keyring_opens_with_its_secret_and_no_other(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    CLEANUP(keyring_freep) struct keyring *opened = NULL;
    struct slot_info info;
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    assert_true(open_with(&shelf, 'a', &opened, &err) == 0);
    assert_same_keys(made, opened);
    assert_true(keyring_epoch(opened) == 1 && keyring_slots(opened) == 1);
    assert_true(keyring_own_slot(opened) == 0);
    assert_null(keyring_master(opened, 2));
    keyring_slot(opened, 0, &info);
    assert_string_equal(info.label, "first");
    assert_true(info.kdf == SLOT_KDF_HKDF && info.made_ns > 0);
    assert_refused(&shelf, 'b', -ERR_WRONG_KEY, "no key slot of this repository opens with");
}

static void a_passphrase_opens_too_and_is_slow_to_try(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    CLEANUP(keyring_freep) struct keyring *opened = NULL;
    CLEANUP(secret_clear) struct secret secret = {0};
    CLEANUP(secret_clear) struct secret wrong = {0};
    struct err err;

    shelf_init(&shelf);
    assert_true(secret_parse("correct horse", 13, &secret, &err) == 0);
    assert_true(secret_parse("correct horsf", 13, &wrong, &err) == 0);
    assert_true(keyring_create(&shelf.access, repo_id, &secret, "", &made, &err) == 0);
    assert_true(keyring_open(&shelf.access, repo_id, &secret, &opened, &err) == 0);
    assert_same_keys(made, opened);
    const uint8_t *cost = find_slot(&shelf)->bytes + 80;
    assert_true(load_le32(cost) == 16 && load_le32(cost + 4) == 8 && load_le32(cost + 8) == 2);
    keyring_free(opened);
    opened = NULL;
    assert_true(keyring_open(&shelf.access, repo_id, &wrong, &opened, &err) == -ERR_WRONG_KEY);
}

static void without_keys_there_is_no_repository(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;

    shelf_init(&shelf);
    assert_refused(&shelf, 'a', -ERR_NO_REPOSITORY, "no keys");
}

static void keys_are_not_made_twice(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    CLEANUP(secret_clear) struct secret secret = {0};
    struct keyring *again = NULL;
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    make_secret(&secret, 'b');
    assert_true(keyring_create(&shelf.access, repo_id, &secret, "", &again, &err) == -ERR_EXISTS);
    assert_true(shelf.count == 2);
    assert_opens(&shelf, 'a');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_of_another_hand_open_as_the_format_says),
        cmocka_unit_test(base64_of_32_bytes_is_a_key_and_any_other_text_a_passphrase),
        cmocka_unit_test(an_empty_secret_is_refused),
        cmocka_unit_test(a_keyring_opens_with_its_secret_and_no_other),
        cmocka_unit_test(a_passphrase_opens_too_and_is_slow_to_try),
        cmocka_unit_test(without_keys_there_is_no_repository),
        cmocka_unit_test(keys_are_not_made_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
