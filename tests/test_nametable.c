#include "backup/store/nametable.h"

#include <stdio.h>

#include "backup/base/cleanup.h"
#include "tests/harness/cmocka.h"

static void put(struct nametable *table, size_t number)
{
    char name[40], text[40];

    (void)snprintf(name, sizeof(name), "data/%zu", number);
    (void)snprintf(text, sizeof(text), "versionId=%zu", number * 7);
    nametable_put(table, name, text);
}

/* Whether it is there; what it has has to be right. */
static bool has(const struct nametable *table, size_t number)
{
    char name[40], wanted[40];

    (void)snprintf(name, sizeof(name), "data/%zu", number);
    (void)snprintf(wanted, sizeof(wanted), "versionId=%zu", number * 7);
    const char *text = nametable_get(table, name);
    if (text)
        assert_string_equal(text, wanted);
    return text != NULL;
}

static void what_was_put_last_is_found(void **state)
{
    (void)state;
    CLEANUP(nametable_clear) struct nametable table = {0};

    assert_null(nametable_get(&table, "data/1"));
    nametable_put(&table, "data/1", "a");
    nametable_put(&table, "data/12", "");
    nametable_put(&table, "data/1", "a longer one");
    assert_string_equal(nametable_get(&table, "data/1"), "a longer one");
    assert_string_equal(nametable_get(&table, "data/12"), "");
    assert_null(nametable_get(&table, "data/"));
    assert_int_equal(table.count, 2);
    assert_false(table.is_partial);
}

static void one_too_many_makes_it_partial_and_the_others_stay(void **state)
{
    (void)state;
    CLEANUP(nametable_clear) struct nametable table = {0};

    for (size_t i = 0; i < NAMETABLE_MAX; i++)
        put(&table, i);
    put(&table, 5); /* is there already */
    assert_false(table.is_partial);
    put(&table, NAMETABLE_MAX);
    assert_true(table.is_partial);
    assert_false(has(&table, NAMETABLE_MAX));
    for (size_t i = 0; i < NAMETABLE_MAX; i++)
        assert_true(has(&table, i));
    nametable_clear(&table);
    assert_false(table.is_partial);
    assert_false(has(&table, 5));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_last_is_found),
        cmocka_unit_test(one_too_many_makes_it_partial_and_the_others_stay),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
