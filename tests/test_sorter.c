#include "backup/base/sorter.h"

#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "tests/harness/cmocka.h"

enum { RECORDS = 20000, RECORD_MAX = 900 };

struct record {
    uint8_t bytes[RECORD_MAX];
    size_t size;
};

static struct record records[RECORDS];

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

/* Few letters and lengths, so that many are equal or prefixes of each other; a few are long. */
static void make_record(struct record *record, uint32_t *seed)
{
    record->size = next_random(seed) % 12;
    if (next_random(seed) % 200 == 0)
        record->size = next_random(seed) % RECORD_MAX;
    for (size_t i = 0; i < record->size; i++)
        record->bytes[i] = (uint8_t)("\0a\xff"[next_random(seed) % 3]);
}

static int compare(const void *a, const void *b)
{
    const struct record *x = a;
    const struct record *y = b;
    int order = memcmp(x->bytes, y->bytes, x->size < y->size ? x->size : y->size);

    return order != 0 ? order : (x->size > y->size) - (x->size < y->size);
}

static void check_sorted(size_t count, size_t memory_limit)
{
    CLEANUP(sorter_freep) struct sorter *sorter = NULL;
    const uint8_t *bytes;
    size_t size;
    uint32_t seed = (uint32_t)count;
    struct err err;

    assert_true(sorter_new("/tmp", memory_limit, &sorter, &err) == 0);
    for (size_t i = 0; i < count; i++) {
        make_record(&records[i], &seed);
        assert_true(sorter_add(sorter, records[i].bytes, records[i].size, &err) == 0);
    }
    qsort(records, count, sizeof(records[0]), compare);
    assert_true(sorter_finish(sorter, &err) == 0);
    for (size_t i = 0; i < count; i++) {
        assert_true(sorter_next(sorter, &bytes, &size, &err) == 0 && bytes);
        assert_true(size == records[i].size && memcmp(bytes, records[i].bytes, size) == 0);
    }
    for (int i = 0; i < 2; i++)
        assert_true(sorter_next(sorter, &bytes, &size, &err) == 0 && !bytes);
}

static void few_records_are_sorted_in_memory(void **state)
{
    (void)state;
    check_sorted(0, 4096);
    check_sorted(1, 4096);
    check_sorted(1000, 1 << 20);
}

static void many_records_are_merged_from_runs(void **state)
{
    (void)state;
    check_sorted(300, 4096);
    check_sorted(RECORDS, 4096); /* over a hundred runs */
    check_sorted(RECORDS, 100001);
}

static void a_record_that_would_not_fit_is_refused(void **state)
{
    (void)state;
    CLEANUP(sorter_freep) struct sorter *sorter = NULL;
    static const uint8_t zeros[4096];
    const uint8_t *bytes;
    size_t size;
    struct err err;

    assert_true(sorter_new("/tmp", 4096, &sorter, &err) == 0);
    assert_true(sorter_add(sorter, zeros, 1024, &err) == -ERR_TOO_LARGE);
    for (int i = 0; i < 9; i++)
        assert_true(sorter_add(sorter, zeros, 1000, &err) == 0);
    assert_true(sorter_finish(sorter, &err) == 0);
    for (int i = 0; i < 9; i++)
        assert_true(sorter_next(sorter, &bytes, &size, &err) == 0 && bytes && size == 1000);
    assert_true(sorter_next(sorter, &bytes, &size, &err) == 0 && !bytes);
}

static void without_a_place_for_the_file_it_is_an_error(void **state)
{
    (void)state;
    CLEANUP(sorter_freep) struct sorter *sorter = NULL;
    struct err err;
    int r = 0;

    assert_true(sorter_new("/no/such", 4096, &sorter, &err) == 0);
    for (int i = 0; r == 0 && i < 1000; i++)
        r = sorter_add(sorter, "abcdefgh", 8, &err);
    assert_true(r == -ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_records_are_sorted_in_memory),
        cmocka_unit_test(many_records_are_merged_from_runs),
        cmocka_unit_test(a_record_that_would_not_fit_is_refused),
        cmocka_unit_test(without_a_place_for_the_file_it_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
