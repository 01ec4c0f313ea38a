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

static void an_added_secret_opens_what_the_first_one_opens(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    CLEANUP(keyring_freep) struct keyring *opened = NULL;
    struct slot_info info;
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    assert_true(add_to(&shelf, made, 'b', &err) == 0);
    assert_true(keyring_slots(made) == 2 && keyring_own_slot(made) == 0);
    assert_true(open_with(&shelf, 'b', &opened, &err) == 0);
    assert_same_keys(made, opened);
    assert_true(keyring_slots(opened) == 2 && keyring_own_slot(opened) == 1);
    keyring_slot(opened, 1, &info);
    assert_string_equal(info.label, "key b");
    assert_opens(&shelf, 'a');
}

static void labels_have_at_most_255_bytes(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    CLEANUP(keyring_freep) struct keyring *opened = NULL;
    CLEANUP(secret_clear) struct secret secret = {0};
    char label[SLOT_LABEL_MAX + 2];
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    make_secret(&secret, 'b');
    memset(label, 'x', sizeof(label));
    label[SLOT_LABEL_MAX + 1] = '\0';
    assert_true(keyring_add(made, &shelf.access, &secret, label, &err) == -ERR_USAGE);
    assert_true(shelf.count == 2);
    label[SLOT_LABEL_MAX] = '\0';
    assert_true(keyring_add(made, &shelf.access, &secret, label, &err) == 0);
    assert_true(open_with(&shelf, 'a', &opened, &err) == 0);
    assert_string_equal(opened->member[1].info.label, label);
}

static void a_removed_secret_opens_nothing_that_is_written_from_then_on(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    CLEANUP(keyring_freep) struct keyring *before = NULL;
    CLEANUP(keyring_freep) struct keyring *after = NULL;
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    assert_true(add_to(&shelf, made, 'b', &err) == 0 && add_to(&shelf, made, 'c', &err) == 0);
    assert_true(open_with(&shelf, 'b', &before, &err) == 0);
    assert_true(remove_labelled(&shelf, made, "key b", &err) == 0);
    assert_true(shelf.count == 3); /* two slots, one epoch */
    assert_refused(&shelf, 'b', -ERR_WRONG_KEY, "no key slot of this repository opens with");

    assert_true(open_with(&shelf, 'c', &after, &err) == 0);
    assert_same_keys(made, after);
    assert_true(keyring_epoch(after) == 2 && keyring_slots(after) == 2);
    assert_memory_equal(keyring_master(after, 1), keyring_master(before, 1), MASTER_KEY_SIZE);
    assert_memory_not_equal(keyring_master(after, 2), keyring_master(before, 1), MASTER_KEY_SIZE);
    assert_null(keyring_master(before, 2));
    assert_memory_equal(keyring_id_key(after), keyring_id_key(before), DIGEST_KEY_SIZE);
    assert_memory_equal(keyring_gear_key(after), keyring_gear_key(before), DIGEST_KEY_SIZE);
}

static void after_a_rotation_every_secret_opens_the_new_epoch_and_the_old_one(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    CLEANUP(keyring_freep) struct keyring *before = NULL;
    CLEANUP(keyring_freep) struct keyring *after = NULL;
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    assert_true(add_to(&shelf, made, 'b', &err) == 0);
    assert_true(open_with(&shelf, 'b', &before, &err) == 0);
    assert_true(keyring_rotate(made, &shelf.access, &err) == 0);
    assert_true(shelf.count == 3); /* two slots, one epoch */
    assert_true(keyring_epoch(made) == 2 && keyring_older(made) == 1);
    assert_true(open_with(&shelf, 'b', &after, &err) == 0);
    assert_same_keys(made, after);
    assert_memory_equal(keyring_master(after, 1), keyring_master(before, 1), MASTER_KEY_SIZE);
    assert_memory_not_equal(keyring_master(after, 2), keyring_master(before, 1), MASTER_KEY_SIZE);
    assert_opens(&shelf, 'a');
}

static void who_has_a_keyring_open_finds_the_epoch_of_another_ones_rotation(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    CLEANUP(keyring_freep) struct keyring *other = NULL;
    CLEANUP(keyring_freep) struct keyring *again = NULL;
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    assert_true(add_to(&shelf, made, 'b', &err) == 0);
    assert_true(open_with(&shelf, 'b', &other, &err) == 0);
    assert_true(keyring_rotate(made, &shelf.access, &err) == 0);
    assert_true(keyring_reopen(other, &shelf.access, &again, &err) == 0);
    assert_same_keys(made, again);
    assert_true(remove_labelled(&shelf, made, "key b", &err) == 0);
    keyring_free(STEAL(again));
    assert_true(keyring_reopen(other, &shelf.access, &again, &err) == -ERR_WRONG_KEY);
}

static void older_epochs_that_were_dropped_open_for_nobody_and_the_rest_does(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    CLEANUP(keyring_freep) struct keyring *opened = NULL;
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    assert_true(keyring_rotate(made, &shelf.access, &err) == 0);
    assert_true(add_to(&shelf, made, 'b', &err) == 0);
    assert_true(keyring_rotate(made, &shelf.access, &err) == 0);
    assert_true(add_to(&shelf, made, 'c', &err) == 0);
    assert_true(keyring_older(made) == 2);
    assert_true(keyring_drop_older(made, &shelf.access, &err) == 0);
    assert_true(shelf.count == 4); /* three slots, one generation */
    assert_true(open_with(&shelf, 'b', &opened, &err) == 0);
    assert_same_keys(made, opened);
    assert_true(keyring_epoch(opened) == 3 && keyring_older(opened) == 0);
    assert_null(keyring_master(opened, 1));
    assert_null(keyring_master(opened, 2));
    assert_opens(&shelf, 'a');
    assert_opens(&shelf, 'c');
    assert_true(keyring_rotate(made, &shelf.access, &err) == 0);
    assert_true(add_to(&shelf, made, 'd', &err) == 0);
    assert_opens(&shelf, 'd');
}

static void old_masters_are_kept_through_many_removals(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    CLEANUP(keyring_freep) struct keyring *opened = NULL;
    uint8_t masters[6][MASTER_KEY_SIZE];
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    for (uint32_t epoch = 1; epoch < 6; epoch++) {
        memcpy(masters[epoch], keyring_master(made, epoch), MASTER_KEY_SIZE);
        assert_true(add_to(&shelf, made, 'b', &err) == 0);
        assert_true(remove_labelled(&shelf, made, "key b", &err) == 0);
    }
    assert_true(open_with(&shelf, 'a', &opened, &err) == 0);
    assert_true(keyring_epoch(opened) == 6);
    for (uint32_t epoch = 1; epoch < 6; epoch++)
        assert_memory_equal(keyring_master(opened, epoch), masters[epoch], MASTER_KEY_SIZE);
}

static void a_key_that_was_removed_is_told_so(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(shelf_clear) struct shelf before;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    assert_true(add_to(&shelf, made, 'b', &err) == 0);
    shelf_copy(&before, &shelf);
    assert_true(remove_labelled(&shelf, made, "key b", &err) == 0);
    /* As if it had been killed before it deleted the old objects. */
    for (size_t i = 0; i < before.count; i++)
        (void)shelf_create(&shelf, before.objects[i].name, before.objects[i].bytes,
                           before.objects[i].size, &err);
    assert_refused(&shelf, 'b', -ERR_WRONG_KEY, "was removed from the repository; use one");
    assert_opens(&shelf, 'a');
}

static void an_adding_that_was_interrupted_is_told_and_can_be_done_again(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    char name[KEY_NAME_SIZE];
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    assert_true(add_to(&shelf, made, 'b', &err) == 0);
    epoch_name(1, 1, name);
    assert_true(shelf_remove(&shelf, name, &err) == 0);
    assert_refused(&shelf, 'b', -ERR_WRONG_KEY, "its adding was not finished");

    keyring_free(made);
    made = NULL;
    assert_true(open_with(&shelf, 'a', &made, &err) == 0);
    assert_true(add_to(&shelf, made, 'b', &err) == 0);
    assert_opens(&shelf, 'b');
}

static void unknown_keys_the_last_one_and_ones_own_are_not_removed(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    const uint8_t unknown[SLOT_ID_SIZE] = {1};
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    assert_true(keyring_remove(made, &shelf.access, unknown, &err) == -ERR_USAGE);
    assert_true(remove_labelled(&shelf, made, "first", &err) == -ERR_USAGE);
    assert_non_null(strstr(err.text, "last key"));
    assert_true(add_to(&shelf, made, 'b', &err) == 0);
    assert_true(remove_labelled(&shelf, made, "first", &err) == -ERR_USAGE);
    assert_non_null(strstr(err.text, "another one"));
    assert_opens(&shelf, 'a');
    assert_opens(&shelf, 'b');
}

static void a_damaged_newest_epoch_is_named_and_no_older_one_taken(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    char name[KEY_NAME_SIZE];
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    assert_true(add_to(&shelf, made, 'b', &err) == 0);
    epoch_name(1, 1, name);
    find(&shelf, name)->bytes[0] ^= 1;
    assert_refused(&shelf, 'a', -ERR_CORRUPT, name);
}

static void ones_damaged_slot_does_not_keep_another_from_opening(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    char name[KEY_NAME_SIZE];
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    assert_true(add_to(&shelf, made, 'b', &err) == 0);
    slot_name(made->own.id, name);
    find(&shelf, name)->bytes[0] ^= 1;
    assert_opens(&shelf, 'b');
    assert_refused(&shelf, 'a', -ERR_CORRUPT, name);
    assert_true(shelf_remove(&shelf, name, &err) == 0);
    assert_opens(&shelf, 'b');
    assert_refused(&shelf, 'a', -ERR_CORRUPT, "is missing");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_added_secret_opens_what_the_first_one_opens),
        cmocka_unit_test(labels_have_at_most_255_bytes),
        cmocka_unit_test(a_removed_secret_opens_nothing_that_is_written_from_then_on),
        cmocka_unit_test(after_a_rotation_every_secret_opens_the_new_epoch_and_the_old_one),
        cmocka_unit_test(who_has_a_keyring_open_finds_the_epoch_of_another_ones_rotation),
        cmocka_unit_test(older_epochs_that_were_dropped_open_for_nobody_and_the_rest_does),
        cmocka_unit_test(old_masters_are_kept_through_many_removals),
        cmocka_unit_test(a_key_that_was_removed_is_told_so),
        cmocka_unit_test(an_adding_that_was_interrupted_is_told_and_can_be_done_again),
        cmocka_unit_test(unknown_keys_the_last_one_and_ones_own_are_not_removed),
        cmocka_unit_test(a_damaged_newest_epoch_is_named_and_no_older_one_taken),
        cmocka_unit_test(ones_damaged_slot_does_not_keep_another_from_opening),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
