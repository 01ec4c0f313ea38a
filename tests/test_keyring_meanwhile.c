/* Keys that are changed while another host changes them, too. */
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/crypto/keyring.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/shelf.h"

static void other_adds(struct shelf *shelf)
{
    CLEANUP(keyring_freep) struct keyring *other = NULL;
    struct err err;

    assert_true(open_with(shelf, 'a', &other, &err) == 0);
    assert_true(add_to(shelf, other, 'x', &err) == 0);
}

static void other_removes(struct shelf *shelf)
{
    CLEANUP(keyring_freep) struct keyring *other = NULL;
    struct err err;

    assert_true(open_with(shelf, 'a', &other, &err) == 0);
    assert_true(remove_labelled(shelf, other, "key r", &err) == 0);
}

static void other_rotates(struct shelf *shelf)
{
    CLEANUP(keyring_freep) struct keyring *other = NULL;
    struct err err;

    assert_true(open_with(shelf, 'a', &other, &err) == 0);
    assert_true(keyring_rotate(other, &shelf->access, &err) == 0);
}

static size_t calls_left;
static void (*late_change)(struct shelf *shelf);

static void count_down(struct shelf *shelf)
{
    if (calls_left-- > 0)
        shelf->before = count_down;
    else
        late_change(shelf);
}

enum own_change { ADDS, REMOVES, ROTATES };

static int change_own(struct shelf *shelf, struct keyring *keyring, enum own_change what,
                      struct err *err)
{
    if (what == ROTATES)
        return keyring_rotate(keyring, &shelf->access, err);
    return what == ADDS ? add_to(shelf, keyring, 'b', err)
                        : remove_labelled(shelf, keyring, "key q", err);
}

/* Runs `change` at one of the calls of a keyring that knows nothing of it. */
static void assert_both_changes_hold(void (*change)(struct shelf *), enum own_change what,
                                     size_t call)
{
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    struct err err = {0};

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    assert_true(add_to(&shelf, made, 'q', &err) == 0 && add_to(&shelf, made, 'r', &err) == 0);
    calls_left = call;
    late_change = change;
    shelf.before = count_down;
    uint32_t before = keyring_epoch(made);
    assert_true(change_own(&shelf, made, what, &err) == 0);
    if (shelf.before) { /* fewer calls than that */
        shelf.before = NULL;
        change(&shelf);
    }
    assert_opens(&shelf, 'a');
    if (what == ADDS)
        assert_opens(&shelf, 'b');
    else
        assert_true(keyring_epoch(made) > before);
    if (what == REMOVES)
        assert_refused(&shelf, 'q', -ERR_WRONG_KEY, "");
    else
        assert_opens(&shelf, 'q');
    if (change == other_adds)
        assert_opens(&shelf, 'x');
    if (change == other_removes)
        assert_refused(&shelf, 'r', -ERR_WRONG_KEY, "");
    else
        assert_opens(&shelf, 'r');
}

static void two_hosts_change_the_keys_at_once_and_both_changes_hold(void **state)
{
    (void)state;
    static void (*const others[])(struct shelf *) = {other_adds, other_removes, other_rotates};

    for (size_t call = 0; call < 6; call++)
        for (enum own_change what = ADDS; what <= ROTATES; what++)
            for (size_t i = 0; i < 3; i++)
                assert_both_changes_hold(others[i], what, call);
}

static void a_key_that_is_added_while_older_epochs_are_dropped_stays(void **state)
{
    (void)state;

    for (size_t call = 0; call < 6; call++) {
        CLEANUP(shelf_clear) struct shelf shelf;
        CLEANUP(keyring_freep) struct keyring *made = NULL;
        CLEANUP(keyring_freep) struct keyring *opened = NULL;
        struct err err;

        shelf_init(&shelf);
        made = create_with(&shelf, 'a');
        assert_true(keyring_rotate(made, &shelf.access, &err) == 0);
        calls_left = call;
        late_change = other_adds;
        shelf.before = count_down;
        assert_true(keyring_drop_older(made, &shelf.access, &err) == 0);
        bool came = !shelf.before;
        shelf.before = NULL;
        assert_true(open_with(&shelf, 'a', &opened, &err) == 0);
        assert_true(keyring_older(opened) == 0);
        assert_true(came || call > 1);
        assert_int_equal(keyring_slots(opened), came ? 2 : 1);
        if (came)
            assert_opens(&shelf, 'x');
    }
}

static void keys_that_go_away_between_list_and_read_are_looked_for_again(void **state)
{
    (void)state;
    CLEANUP(shelf_clear) struct shelf shelf;
    CLEANUP(keyring_freep) struct keyring *made = NULL;
    CLEANUP(keyring_freep) struct keyring *opened = NULL;
    struct err err;

    shelf_init(&shelf);
    made = create_with(&shelf, 'a');
    assert_true(add_to(&shelf, made, 'r', &err) == 0);
    shelf.before = other_removes;
    assert_true(open_with(&shelf, 'a', &opened, &err) == 0);
    assert_true(keyring_epoch(opened) == 2);
}

static void keys_that_were_rolled_back_are_not_built_upon(void **state)
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
    assert_true(add_to(&before, made, 'c', &err) == -ERR_CORRUPT);
    assert_non_null(strstr(err.text, "taken away"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_hosts_change_the_keys_at_once_and_both_changes_hold),
        cmocka_unit_test(a_key_that_is_added_while_older_epochs_are_dropped_stays),
        cmocka_unit_test(keys_that_go_away_between_list_and_read_are_looked_for_again),
        cmocka_unit_test(keys_that_were_rolled_back_are_not_built_upon),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
