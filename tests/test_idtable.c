#include "backup/archive/idtable.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/err.h"
#include "tests/harness/cmocka.h"

static struct archive_id id_of(uint32_t n)
{
    struct archive_id id = {{0}};

    memcpy(id.bytes + 20, &n, sizeof(n)); /* all the same, but for four bytes */
    return id;
}

static void numbers_are_given_in_the_order_of_first_mention(void **state)
{
    (void)state;
    struct idtable *table = idtable_new();
    uint32_t number;
    struct err err;

    for (uint32_t i = 0; i < 10000; i++) {
        struct archive_id id = id_of(i * 7);
        assert_true(idtable_find(table, &id) == NO_ARCHIVE);
        assert_int_equal(idtable_number(table, &id, ARCHIVE_DATA, &number, &err), 0);
        assert_int_equal(number, i);
    }
    for (uint32_t i = 0; i < 10000; i++) {
        struct archive_id id = id_of(i * 7);
        assert_int_equal(idtable_number(table, &id, ARCHIVE_DATA, &number, &err), 0);
        assert_int_equal(number, i);
        assert_int_equal(idtable_find(table, &id), i);
        assert_true(archive_id_equal(idtable_id(table, i), &id));
    }
    assert_int_equal(idtable_count(table), 10000);
    idtable_free(table);
}

static void an_archive_has_one_kind(void **state)
{
    (void)state;
    struct idtable *table = idtable_new();
    struct archive_id id = id_of(1);
    uint32_t number = 77;
    struct err err;

    assert_int_equal(idtable_number(table, &id, ARCHIVE_METADATA, &number, &err), 0);
    assert_int_equal(idtable_kind(table, number), ARCHIVE_METADATA);
    number = 77;
    assert_int_equal(idtable_number(table, &id, ARCHIVE_DATA, &number, &err), -ERR_CORRUPT);
    assert_int_equal(number, 77);
    assert_int_equal(idtable_count(table), 1);
    idtable_free(table);
    idtable_free(NULL);
}

static void an_array_by_number_grows_and_what_is_new_is_zero(void **state)
{
    (void)state;
    uint32_t *array = NULL;
    size_t room = 0;
    struct err err;

    assert_int_equal(idtable_room(&array, &room, sizeof(*array), 5, &err), 0);
    assert_true(room > 5 && array[5] == 0);
    memset(array, 0xEE, room * sizeof(*array));
    size_t before = room;
    assert_int_equal(idtable_room(&array, &room, sizeof(*array), (uint32_t)room - 1, &err), 0);
    assert_true(room == before);
    assert_int_equal(idtable_room(&array, &room, sizeof(*array), 100000, &err), 0);
    assert_true(room > 100000 && array[before - 1] == 0xEEEEEEEE);
    for (size_t i = before; i < room; i++)
        assert_int_equal(array[i], 0);
    free(array);
}

static void only_the_digits_of_an_id_are_an_archives(void **state)
{
    (void)state;
    char digits[2 * ARCHIVE_ID_SIZE + 1];
    struct archive_id id;

    memset(digits, 'a', sizeof(digits) - 1);
    digits[sizeof(digits) - 1] = '\0';
    assert_true(idtable_parse(digits, &id) && id.bytes[31] == 0xAA);
    digits[7] = 'x';
    assert_false(idtable_parse(digits, &id));
    digits[7] = '\0';
    assert_false(idtable_parse(digits, &id));
}

static void *number_many(void *context)
{
    struct idtable *table = context;
    struct err err;

    for (uint32_t i = 0; i < 6000; i++) {
        struct archive_id id = id_of(i);
        uint32_t number;
        if (idtable_number(table, &id, ARCHIVE_DATA, &number, &err) < 0 ||
            !archive_id_equal(idtable_id(table, number), &id))
            return context;
    }
    return NULL;
}

static void threads_agree_on_the_numbers(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    struct idtable *table = idtable_new();
    pthread_t threads[THREADS];

    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, number_many, table), 0);
    for (size_t i = 0; i < THREADS; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_int_equal(idtable_count(table), 6000);
    idtable_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_array_by_number_grows_and_what_is_new_is_zero),
        cmocka_unit_test(only_the_digits_of_an_id_are_an_archives),
        cmocka_unit_test(numbers_are_given_in_the_order_of_first_mention),
        cmocka_unit_test(an_archive_has_one_kind),
        cmocka_unit_test(threads_agree_on_the_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
