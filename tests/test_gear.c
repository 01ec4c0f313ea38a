#include "backup/archive/gear.h"

#include <string.h>
#include <sys/mman.h>

#include "tests/harness/cmocka.h"

enum { DATA_SIZE = 256 * 1024, PAGE = 64 * 1024 };

static uint64_t table[256];
static uint8_t *data; /* nothing can be read before it, or behind it */

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005U + 1442695040888963407U;
    return *state ^ *state >> 29;
}

/* As docs/format.md says it. */
static size_t by_the_book(size_t from, size_t to, uint64_t limit)
{
    for (size_t i = from; i < to; i++) {
        uint64_t hash = 0;
        for (size_t k = i - (GEAR_WINDOW - 1); k <= i; k++)
            hash = (hash << 1) + table[data[k]];
        if (hash < limit)
            return i;
    }
    return to;
}

static void assert_all_forms_find(size_t from, size_t to, uint64_t limit, size_t expected)
{
    size_t count;
    const struct gear_form *forms = gear_forms(&count);

    for (size_t i = 0; i < count; i++) {
        if (!forms[i].usable())
            continue;
        size_t found = forms[i].scan(table, data, from, to, limit);
        if (found != expected)
            fail_msg("%s: %zu instead of %zu in [%zu, %zu)", forms[i].name, found, expected, from,
                     to);
    }
}

static void every_form_finds_the_places_of_the_book(void **state)
{
    (void)state;
    uint64_t seed = 4;

    for (unsigned bits = 6; bits <= 20; bits++)
        for (size_t i = 0; i < 12; i++) {
            size_t from = GEAR_WINDOW - 1 + next_random(&seed) % 5000;
            size_t to = from + next_random(&seed) % (size_t)(DATA_SIZE - from);
            uint64_t limit = (uint64_t)1 << (64 - bits);
            size_t expected;

            do { /* every place of the range, one after the other */
                expected = by_the_book(from, to, limit);
                assert_all_forms_find(from, to, limit, expected);
                from = expected + 1;
            } while (expected < to && next_random(&seed) % 16 != 0);
        }
}

static void no_form_finds_what_is_not_there(void **state)
{
    (void)state;
    for (size_t from = GEAR_WINDOW - 1; from < GEAR_WINDOW + 9; from++) {
        assert_all_forms_find(from, DATA_SIZE, 0, DATA_SIZE);
        assert_all_forms_find(from, from, UINT64_MAX, from);
        for (size_t to = from + 8 * 1024 - 70; to < from + 8 * 1024 + 70; to++)
            assert_all_forms_find(from, to, 0, to);
    }
}

static void a_place_is_found_wherever_it_lies(void **state)
{
    (void)state;
    enum { FROM = 100, TO = FROM + 20000 };
    uint8_t cutting[GEAR_WINDOW];
    uint64_t limit = (uint64_t)1 << (64 - 16);
    size_t at = by_the_book(FROM, DATA_SIZE, limit);

    assert_true(at < DATA_SIZE);
    memcpy(cutting, data + at + 1 - GEAR_WINDOW, GEAR_WINDOW);
    memset(data, 0, TO);
    if (by_the_book(FROM, TO, limit) != TO)
        fail_msg("zeros are cut under this table");
    for (size_t place = FROM + GEAR_WINDOW; place < TO; place += 37) {
        memcpy(data + place + 1 - GEAR_WINDOW, cutting, GEAR_WINDOW);
        assert_all_forms_find(FROM, TO, limit, by_the_book(FROM, TO, limit));
        memset(data, 0, TO);
    }
}

static void the_fastest_is_one_that_can_be_used(void **state)
{
    (void)state;
    size_t count, found = 0;
    const struct gear_form *forms = gear_forms(&count);
    gear_scan *fastest = gear_fastest(table);

    for (size_t i = 0; i < count; i++)
        found += forms[i].scan == fastest && forms[i].usable();
    assert_int_equal(found, 1);
}

static int prepare(void **state)
{
    (void)state;
    uint64_t seed = 2026;

    uint8_t *pages =
        mmap(NULL, DATA_SIZE + (size_t)2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED || mprotect(pages + PAGE, DATA_SIZE, PROT_READ | PROT_WRITE) < 0)
        return -1;
    data = pages + PAGE;
    for (size_t i = 0; i < 256; i++)
        table[i] = next_random(&seed);
    for (size_t i = 0; i < DATA_SIZE; i++)
        data[i] = (uint8_t)(next_random(&seed) >> 40);
    return 0;
}

static int finish(void **state)
{
    (void)state;
    return munmap(data - PAGE, DATA_SIZE + (size_t)2 * PAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_form_finds_the_places_of_the_book, prepare, finish),
        cmocka_unit_test_setup_teardown(no_form_finds_what_is_not_there, prepare, finish),
        cmocka_unit_test_setup_teardown(a_place_is_found_wherever_it_lies, prepare, finish),
        cmocka_unit_test_setup_teardown(the_fastest_is_one_that_can_be_used, prepare, finish),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
