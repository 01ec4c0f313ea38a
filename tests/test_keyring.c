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
    "01000000de0000000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"
    "b1677f13ad4a0ca4ad150ada99cd3d9fdd933be4c32c02608e0cf8925bcf3fa62021222324252627"
    "28292a2b2c2d2e2f675dd574ed7789310b3d2e7681f3790b466c773b1521fecf36577958371ea52f"
    "0abc56c0bbe3ad2f63c1d0a78aeb7c6cc554065bae317d74ef92cb8d901e4179d67a8458050229cb"
    "80923e28fe8c9957da0753a6e89559bc2780f498e35e1b7a9625a33f6ae373cd8e29d5d791287e17"
    "68f339d02638a34db170f4f552c80bb52284300eacf32e8cd8e0885a2ca6a93cd72d4e5f3f08724c"
    "d15d423c98de5a254e270eae15edc87e2c75440e9496a9db26263229a37ecb1b1d0c19bfd7c01222"
    "d0f02a92f1de55afb46b460a3cd5b93f1adc852fd4d69aca3c88cd60c4d8fe5f137fadcbd5290c88"
    "408a736491304599b644e7087db0cd56d26fe341c522fc944a694768c1a20087a4656557480f612d"
    "3d3dd1b06460d99717890e01c997e6690beaece45966657f7cff61be2a68";

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

static void count_damage(void *context, const char *name, const struct err *err)
{
    assert_true(strncmp(name, "keys/slot/", 10) == 0 && err->code == ERR_CORRUPT);
    ++*(unsigned *)context;
}

static unsigned damaged_slots(struct shelf *shelf, const struct keyring *keyring)
{
    unsigned damaged = 0;
    struct err err;

    assert_true(keyring_check(keyring, &shelf->access, count_damage, &damaged, &err) == 0);
    return damaged;
}

/* Whose secret is not at hand cannot be tried, but its object can be looked at. */
static void a_slot_of_another_key_that_is_damaged_or_gone_is_told(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *keyring = NULL;
    CLEANUP(keyring_freep) struct keyring *again = NULL;
    char name[KEY_NAME_SIZE];
    struct err err;

    shelf_init(&shelf);
    keyring = create_with(&shelf, 'a');
    assert_true(add_to(&shelf, keyring, 'b', &err) == 0);
    assert_true(add_to(&shelf, keyring, 'c', &err) == 0);
    assert_true(remove_labelled(&shelf, keyring, "key c", &err) == 0);
    assert_true(open_with(&shelf, 'a', &again, &err) == 0);
    assert_true(damaged_slots(&shelf, keyring) == 0 && damaged_slots(&shelf, again) == 0);
    slot_name(labelled(again, "key b")->info.id, name);
    struct object *object = find(&shelf, name);
    for (size_t i = 0; i < object->size; i++) {
        object->bytes[i] ^= 1;
        assert_true(damaged_slots(&shelf, again) == 1);
        object->bytes[i] ^= 1;
    }
    assert_true(shelf_remove(&shelf, name, &err) == 0);
    assert_true(damaged_slots(&shelf, again) == 1);
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
        cmocka_unit_test(a_slot_of_another_key_that_is_damaged_or_gone_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
