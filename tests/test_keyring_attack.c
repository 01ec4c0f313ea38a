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

enum { EPOCH_BOXES_AT = 112 };

static const uint8_t other_id[REPO_ID_SIZE] = "another-one-yes";

static void each_changed_bit_is_an_error_or_harmless(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    size_t harmless = 0;
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    assert_true(add_to(&shelf, made, 'b', &err) == 0);
    for (size_t i = 0; i < shelf.count; i++) {
        for (size_t bit = 0; bit < 8 * shelf.objects[i].size; bit++) {
            CLEANUP(keyring_freep) struct keyring *opened = NULL;
            uint8_t *byte = &shelf.objects[i].bytes[bit / 8];
            *byte ^= (uint8_t)(1U << bit % 8);
            int r = open_with(&shelf, 'a', &opened, &err);
            *byte ^= (uint8_t)(1U << bit % 8);
            assert_true(r == 0 || r == -ERR_CORRUPT || r == -ERR_WRONG_KEY);
            harmless += r == 0;
            if (r == 0)
                assert_same_keys(made, opened);
        }
    }
    /* The other secret's slot, and the generation before. */
    char name[KEY_NAME_SIZE];
    epoch_name(1, 0, name);
    assert_true(harmless == 8 * (SLOT_SIZE + find(&shelf, name)->size));
}

static void an_object_that_was_cut_short_or_grew_is_refused(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    for (size_t i = 0; i < shelf.count; i++) {
        size_t size = shelf.objects[i].size;
        for (size_t cut = 0; cut <= size + 1; cut++) {
            shelf.objects[i].size = cut;
            if (cut != size)
                assert_refused(&shelf, 'a', -ERR_CORRUPT, shelf.objects[i].name);
        }
        shelf.objects[i].size = size;
    }
    assert_opens(&shelf, 'a');
}

static void scrypts_parameters_are_bounded_and_cannot_be_lowered(void **state)
{
    (void)state;
    static const uint32_t bad[][3] = {
        {0, 0, 0},   {9, 8, 1},          {21, 1, 1},          {16, 0, 1},
        {16, 17, 1}, {16, 8, 0},         {16, 8, 17},         {20, 9, 1},
        {16, 1, 1},  {0xFFFFFFFF, 8, 1}, {16, 0xFFFFFFFF, 1}, {16, 8, 0x80000001},
    };
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    CLEANUP(secret_clear) struct secret secret = {0};
    struct keyring *opened = NULL;
    struct err err;

    shelf_init(&shelf);
    assert_true(secret_parse("horse", 5, &secret, &err) == 0);
    assert_true(keyring_create(&shelf.access, repo_id, &secret, "", &made, &err) == 0);
    uint8_t *cost = find_slot(&shelf)->bytes + 80;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        for (size_t k = 0; k < 3; k++)
            store_le32(cost + 4 * k, bad[i][k]);
        assert_true(keyring_open(&shelf.access, repo_id, &secret, &opened, &err) == -ERR_CORRUPT);
        assert_non_null(strstr(err.text, "keys/slot/"));
        assert_non_null(strstr(err.text, "bounds"));
    }
    store_le32(cost, 10);
    store_le32(cost + 4, 8);
    store_le32(cost + 8, 1);
    assert_true(keyring_open(&shelf.access, repo_id, &secret, &opened, &err) == -ERR_WRONG_KEY);
    assert_null(opened);
}

static bool contains(const struct object *object, const uint8_t *bytes, size_t count)
{
    return memmem(object->bytes, object->size, bytes, count) != NULL;
}

static void no_key_stands_in_the_store_and_no_public_half_either(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    assert_true(add_to(&shelf, made, 'b', &err) == 0);
    for (size_t i = 0; i < shelf.count; i++) {
        assert_false(contains(&shelf.objects[i], made->own.private_half, 32));
        assert_false(contains(&shelf.objects[i], made->key[0].master, 32));
        assert_false(contains(&shelf.objects[i], made->id_key.bytes, 32));
        assert_false(contains(&shelf.objects[i], made->member[0].public_half, 32));
        assert_false(contains(&shelf.objects[i], made->member[1].public_half, 32));
    }
}

static void put_epoch(struct shelf *shelf, const struct keyring *keyring)
{
    CLEANUP(buf_clear) struct buf buf = {.limit = EPOCH_LIMIT};
    char name[KEY_NAME_SIZE];
    struct err err;

    epoch_name(keyring->epoch, keyring->generation, name);
    assert_true(epoch_encode(keyring, &buf, &err) == 0);
    assert_true(shelf_create(shelf, name, buf.data, buf.size, &err) == 0);
}

/* He knows the slot's id, which is the name of its object, but not its public half. */
static void an_epoch_of_the_attackers_own_is_refused(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    CLEANUP(keyring_freep) struct keyring *forged = NULL;
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    assert_true(keyring_copy(made, &forged, &err) == 0);
    memset(&forged->own, 0, sizeof(forged->own));
    memset(forged->key, 0, sizeof(*forged->key));
    forged->keys = 0;
    assert_true(keyring_append_key(forged, 2, &err) == 0);
    memset(forged->member[0].public_half, 9, 32);
    put_epoch(&shelf, forged);
    assert_refused(&shelf, 'a', -ERR_CORRUPT, "keys/epoch/00000002.00000000");

    /* A point of small order makes the shared secret known to everybody. */
    char name[KEY_NAME_SIZE];
    epoch_name(2, 0, name);
    memset(find(&shelf, name)->bytes + EPOCH_BOXES_AT + SLOT_ID_SIZE, 0, 32);
    assert_refused(&shelf, 'a', -ERR_CORRUPT, "keys/epoch/00000002.00000000");
}

static void a_body_sealed_with_another_master_key_is_refused(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(shelf_clear) struct shelf theirs;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    CLEANUP(keyring_freep) struct keyring *forged = NULL;
    char name[KEY_NAME_SIZE];
    struct err err;

    shelf_init(&shelf);
    shelf_init(&theirs);
    made = create_with(&shelf, 'a');
    assert_true(keyring_copy(made, &forged, &err) == 0);
    forged->key[0].master[0] ^= 1;
    put_epoch(&theirs, forged);
    epoch_name(1, 0, name);
    struct object *mine = find(&shelf, name);
    struct object *other = find(&theirs, name);
    assert_true(mine->size == other->size);
    size_t body = EPOCH_BOXES_AT + BOX_SIZE;
    memcpy(mine->bytes + body, other->bytes + body, mine->size - body);
    assert_refused(&shelf, 'a', -ERR_CORRUPT, name);
}

static void slots_and_epochs_of_another_repository_are_refused(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(secret_clear) struct secret secret = {0};
    struct keyring *keyring = NULL;
    struct err err;

    shelf_init(&shelf);
    make_secret(&secret, 'a');
    assert_true(keyring_create(&shelf.access, other_id, &secret, "", &keyring, &err) == 0);
    keyring_free(keyring);
    assert_refused(&shelf, 'a', -ERR_CORRUPT, "belongs to another repository");
    /* With the plain ids rewritten nothing opens either. */
    for (size_t i = 0; i < shelf.count; i++)
        memcpy(shelf.objects[i].bytes + 16, repo_id, REPO_ID_SIZE);
    assert_refused(&shelf, 'a', -ERR_WRONG_KEY, "no key slot");
}

static void an_older_generation_under_a_newer_name_is_refused(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    char name[KEY_NAME_SIZE];
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    epoch_name(1, 0, name);
    struct object *old = find(&shelf, name);
    epoch_name(1, 7, name);
    assert_true(shelf_create(&shelf, name, old->bytes, old->size, &err) == 0);
    assert_refused(&shelf, 'a', -ERR_CORRUPT, name);
    store_le32(find(&shelf, name)->bytes + 36, 7);
    assert_refused(&shelf, 'a', -ERR_CORRUPT, name);
}

static void names_that_are_no_epochs_are_left_alone(void **state)
{
    (void)state;
    static const char *const names[] = {"keys/epoch/00000009",
                                        "keys/epoch/9.0",
                                        "keys/epoch/00000009.000000000",
                                        "keys/epoch/00000009.-0000001",
                                        "keys/epoch/000000x9.00000000",
                                        "keys/epoch/00000000.00000001",
                                        "keys/slot/xyz",
                                        "keys/slot/0123456789ABCDEF0123456789ABCDEF"};
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_true(shelf_create(&shelf, names[i], "x", 1, &err) == 0);
    assert_opens(&shelf, 'a');
    assert_refused(&shelf, 'b', -ERR_WRONG_KEY, "no key slot");
}

/* With the keys, but hostile. */
static void a_body_that_does_not_fit_its_epoch_is_refused(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    CLEANUP(keyring_freep) struct keyring *twice = NULL;
    CLEANUP(keyring_freep) struct keyring *future = NULL;
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    assert_true(keyring_copy(made, &twice, &err) == 0);
    keyring_append_member(twice, &made->member[0]);
    twice->generation = 1;
    put_epoch(&shelf, twice);
    assert_refused(&shelf, 'a', -ERR_CORRUPT, "no known form");

    assert_true(keyring_copy(made, &future, &err) == 0);
    assert_true(keyring_append_key(future, 2, &err) == 0);
    future->key[0].epoch = 2;
    put_epoch(&shelf, future);
    assert_refused(&shelf, 'a', -ERR_CORRUPT, "no known form");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_changed_bit_is_an_error_or_harmless),
        cmocka_unit_test(an_object_that_was_cut_short_or_grew_is_refused),
        cmocka_unit_test(scrypts_parameters_are_bounded_and_cannot_be_lowered),
        cmocka_unit_test(no_key_stands_in_the_store_and_no_public_half_either),
        cmocka_unit_test(an_epoch_of_the_attackers_own_is_refused),
        cmocka_unit_test(a_body_sealed_with_another_master_key_is_refused),
        cmocka_unit_test(slots_and_epochs_of_another_repository_are_refused),
        cmocka_unit_test(an_older_generation_under_a_newer_name_is_refused),
        cmocka_unit_test(names_that_are_no_epochs_are_left_alone),
        cmocka_unit_test(a_body_that_does_not_fit_its_epoch_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
