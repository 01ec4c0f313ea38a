#include "backup/archive/chunker.h"

#include <string.h>

#include "backup/crypto/digest.h"
#include "tests/harness/cmocka.h"

enum { DATA_SIZE = 4 * 1024 * 1024 };

static struct chunker chunker;
static uint8_t *data;

/* The rule of docs/format.md as it stands there, byte by byte. */
static size_t next_by_the_book(const uint8_t *bytes, size_t count)
{
    const uint64_t mask_short = ~(UINT64_MAX >> 18), mask_long = ~(UINT64_MAX >> 14);
    uint64_t hash = 0;

    for (size_t length = 1; length <= count; length++) {
        hash = (hash << 1) + chunker.table[bytes[length - 1]];
        if (length < CHUNK_MIN)
            continue;
        if (length == CHUNK_MAX || (hash & (length < CHUNK_AIM ? mask_short : mask_long)) == 0)
            return length;
    }
    return count;
}

static void assert_cut_by_the_book(size_t count)
{
    for (size_t at = 0; at < count;) {
        size_t left = count - at;
        size_t length = chunker_next(&chunker, data + at, left, true);

        assert_int_equal(length, next_by_the_book(data + at, left));
        assert_true(length > 0 && length <= CHUNK_MAX && length <= left);
        assert_true(length >= CHUNK_MIN || length == left);
        at += length;
    }
}

static void fill_random(uint64_t seed)
{
    for (size_t i = 0; i < DATA_SIZE; i++) {
        seed = seed * 6364136223846793005U + 1442695040888963407U;
        data[i] = (uint8_t)(seed >> 56);
    }
}

static void random_data_is_cut_by_the_book(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        fill_random(seed);
        assert_cut_by_the_book(DATA_SIZE);
    }
}

static void zeros_text_and_periods_are_cut_by_the_book(void **state)
{
    (void)state;
    static const char text[] = "the quick brown fox jumps over the lazy dog, line ";

    memset(data, 0, DATA_SIZE);
    assert_cut_by_the_book(DATA_SIZE);
    for (size_t i = 0; i < DATA_SIZE; i++)
        data[i] =
            i % 64 == 0 ? (uint8_t)('0' + i / 64 % 10) : (uint8_t)text[i % (sizeof(text) - 1)];
    assert_cut_by_the_book(DATA_SIZE);
    for (size_t period = 1; period < 80; period += 13) {
        for (size_t i = 0; i < DATA_SIZE; i++)
            data[i] = (uint8_t)(i % period * 37);
        assert_cut_by_the_book(CHUNK_MAX * 3);
    }
}

/* Sixty-four bytes after which the hash has its 18 top bits zero, found in random data. */
static bool find_cutting_bytes(uint8_t out[64])
{
    uint64_t hash = 0;

    for (size_t i = 0; i < DATA_SIZE; i++) {
        hash = (hash << 1) + chunker.table[data[i]];
        if (i >= 64 && hash >> (64 - 18) == 0) {
            memcpy(out, data + i - 63, 64);
            return true;
        }
    }
    return false;
}

static void a_cut_is_found_at_every_border_and_not_before(void **state)
{
    (void)state;
    static const size_t ends[] = {
        CHUNK_MIN - 1, CHUNK_MIN,     CHUNK_MIN + 1, CHUNK_AIM - 1,     CHUNK_AIM,
        CHUNK_AIM + 1, CHUNK_MAX - 1, CHUNK_MAX,     CHUNK_MIN + 12345, 64};
    uint8_t cutting[64];

    fill_random(7);
    assert_true(find_cutting_bytes(cutting));
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        size_t expected = ends[i] < CHUNK_MIN ? CHUNK_MAX : ends[i];

        memset(data, 0, 2 * CHUNK_MAX);
        if (next_by_the_book(data, 2 * CHUNK_MAX) != CHUNK_MAX)
            fail_msg("zeros are cut under this key");
        memcpy(data + ends[i] - 64, cutting, 64);
        assert_int_equal(chunker_next(&chunker, data, 2 * CHUNK_MAX, false),
                         next_by_the_book(data, 2 * CHUNK_MAX));
        assert_true(chunker_next(&chunker, data, 2 * CHUNK_MAX, false) <= expected);
        if (ends[i] >= CHUNK_MIN)
            assert_int_equal(chunker_next(&chunker, data, 2 * CHUNK_MAX, true), ends[i]);
    }
}

static void too_few_bytes_ask_for_more_unless_they_are_the_last(void **state)
{
    (void)state;
    fill_random(5);
    assert_int_equal(chunker_next(&chunker, data, CHUNK_MAX - 1, false), 0);
    assert_int_equal(chunker_next(&chunker, data, 0, false), 0);
    assert_int_equal(chunker_next(&chunker, data, 100, true), 100);
    assert_int_equal(chunker_next(&chunker, data, CHUNK_MIN, true), CHUNK_MIN);
    assert_true(chunker_next(&chunker, data, CHUNK_MAX, false) > 0);
}

static void a_byte_put_in_moves_only_the_cuts_near_it(void **state)
{
    (void)state;
    size_t before[256], after[256], befores = 0, afters = 0, common = 0;

    fill_random(11);
    for (size_t at = 1; at < DATA_SIZE;)
        before[befores++] = at += chunker_next(&chunker, data + at, DATA_SIZE - at, true);
    memmove(data, data + 1, 100000); /* one byte more before 100,000, counted from the end */
    for (size_t at = 0; at < DATA_SIZE;)
        after[afters++] = at += chunker_next(&chunker, data + at, DATA_SIZE - at, true);
    for (size_t i = 0; i < befores; i++)
        for (size_t k = 0; k < afters; k++)
            common += before[i] == after[k];
    assert_true(befores > 30 && common + 6 >= befores);
}

/* Changing these would store everything again that any repository holds. */
static void the_cuts_of_version_1_are_these(void **state)
{
    (void)state;
    static const size_t cuts[] = {131072, 108834, 77736, 62732, 71590, 76599, 67857, 77229,
                                  42815,  92096,  72904, 43422, 65561, 84869, 53861, 74796,
                                  82636,  65787,  90106, 83687, 70430, 88963, 66407, 76915};

    fill_random(2026);
    assert_true(chunker.table[0] == 0x763CED0456B7B292 && chunker.table[255] == 0x47054F2762B16204);
    for (size_t i = 0, at = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        assert_int_equal(chunker_next(&chunker, data + at, DATA_SIZE - at, true), cuts[i]);
        at += cuts[i];
    }
}

static int prepare(void **state)
{
    (void)state;
    static const struct digest_key key = {"whats the Elvish word for friend"};

    chunker_init(&chunker, &key);
    data = malloc(DATA_SIZE);
    return data ? 0 : -1;
}

static int finish(void **state)
{
    (void)state;
    free(data);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_data_is_cut_by_the_book),
        cmocka_unit_test(zeros_text_and_periods_are_cut_by_the_book),
        cmocka_unit_test(a_cut_is_found_at_every_border_and_not_before),
        cmocka_unit_test(too_few_bytes_ask_for_more_unless_they_are_the_last),
        cmocka_unit_test(a_byte_put_in_moves_only_the_cuts_near_it),
        cmocka_unit_test(the_cuts_of_version_1_are_these),
    };
    return cmocka_run_group_tests(tests, prepare, finish);
}
