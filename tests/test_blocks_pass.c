#include <stdio.h>

#include "backup/archive/blocks.h"
#include "backup/archive/idtable.h"
#include "backup/archive/reader.h"
#include "backup/archive/repo.h"
#include "backup/archive/writer.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/temprepo.h"
#include "tests/harness/writeblocks.h"

enum { BLOCKS = 60, BLOCK_SIZE = 20011, RAW_SIZE = BLOCKS * BLOCK_SIZE };

/* Every other block can be compressed. */
static uint8_t byte_at(uint32_t archive, size_t raw)
{
    (void)archive;
    uint64_t mixed = (raw + 1) * UINT64_C(0x9E3779B97F4A7C15);

    if (raw / BLOCK_SIZE % 2 == 0)
        return (uint8_t)(raw / BLOCK_SIZE + raw % 7);
    mixed = (mixed ^ mixed >> 29) * UINT64_C(0xBF58476D1CE4E5B9);
    return (uint8_t)(mixed >> 40);
}

static uint32_t write_archive(struct repo *repo, enum archive_kind kind)
{
    return writeblocks(repo, kind, BLOCKS, BLOCK_SIZE, byte_at);
}

struct fixture {
    struct temprepo temp;
    struct blocks *blocks;
    struct passage *passage;
    uint32_t archive;
    uint64_t from, end; /* what was given */
    size_t calls, stop_at;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->temp = temprepo_make();
    f->archive = write_archive(f->temp.repo, ARCHIVE_DATA);
    f->blocks = blocks_new(f->temp.repo, 64 << 20);
    f->passage = passage_new(f->blocks);
    f->from = UINT64_MAX;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    passage_free(f->passage);
    blocks_free(f->blocks);
    temprepo_clear(&f->temp);
    free(f);
    return 0;
}

static int take(void *context, uint32_t raw, const uint8_t *data, size_t size, struct err *err)
{
    struct fixture *f = context;

    if (f->from == UINT64_MAX)
        f->from = f->end = raw;
    assert_int_equal(raw, f->end); /* in order, nothing twice */
    for (size_t i = 0; i < size; i++)
        if (data[i] != byte_at(0, raw + i))
            fail_msg("byte %zu", raw + i);
    f->end += size;
    return ++f->calls == f->stop_at ? err_set(err, ERR_CANCELLED, "enough") : 0;
}

static int run(struct fixture *f, uint32_t raw, size_t count, uint32_t from, uint64_t until,
               struct err *err)
{
    return passage_run(f->passage, (struct place){f->archive, raw}, count, from, until, take, f,
                       err);
}

static struct blockcache_stats stats_of(const struct fixture *f)
{
    struct blockcache_stats stats;

    blocks_stats(f->blocks, &stats);
    return stats;
}

static void blocks_go_by_in_order_and_leave_nothing_in_the_cache(void **state)
{
    struct fixture *f = *state;
    struct err err;

    assert_int_equal(run(f, 0, RAW_SIZE, 0, RAW_SIZE, &err), 0);
    assert_int_equal(f->from, 0);
    assert_int_equal(f->end, RAW_SIZE);
    assert_true(f->calls <= BLOCKS / 4); /* several at once */
    assert_int_equal(stats_of(f).loads, BLOCKS);
    assert_int_equal(stats_of(f).bytes, 0);
}

static void blocks_at_the_edge_are_kept_for_others_who_need_them(void **state)
{
    struct fixture *f = *state;
    struct slice slice = {0};
    struct err err;

    assert_int_equal(
        run(f, BLOCK_SIZE + 1, 5 * BLOCK_SIZE, BLOCK_SIZE + 1, 6 * BLOCK_SIZE + 1, &err), 0);
    assert_int_equal(f->from, BLOCK_SIZE);
    assert_int_equal(f->end, 7 * BLOCK_SIZE);
    assert_int_equal(stats_of(f).loads, 6);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        int there = blocks_peek(f->blocks, (struct place){f->archive, i * BLOCK_SIZE}, &slice);
        assert_int_equal(there, i == 1 || i == 6);
        slice_clear(&slice);
    }
    f->from = UINT64_MAX; /* the neighbour */
    assert_int_equal(
        run(f, 6 * BLOCK_SIZE + 1, 2 * BLOCK_SIZE - 1, 6 * BLOCK_SIZE + 1, 8 * BLOCK_SIZE, &err),
        0);
    assert_int_equal(f->end, 8 * BLOCK_SIZE);
    assert_int_equal(stats_of(f).loads, 7);
}

static void what_is_in_the_cache_is_not_decoded_again(void **state)
{
    struct fixture *f = *state;
    struct err err;

    blocks_prefetch(f->blocks, (struct place){f->archive, 20 * BLOCK_SIZE}, 3 * BLOCK_SIZE);
    blocks_prefetch(f->blocks, (struct place){f->archive, 0}, 1);
    assert_int_equal(stats_of(f).loads, 4);
    assert_int_equal(run(f, 0, RAW_SIZE, 0, RAW_SIZE, &err), 0);
    assert_int_equal(f->end, RAW_SIZE);
    assert_int_equal(stats_of(f).loads, BLOCKS);
}

static void a_room_that_was_used_takes_other_blocks(void **state)
{
    struct fixture *f = *state;
    struct err err;

    for (uint32_t i = BLOCKS - 1; i > 1; i -= 2) {
        f->from = UINT64_MAX;
        if (run(f, i * BLOCK_SIZE, BLOCK_SIZE, 0, RAW_SIZE, &err) < 0)
            fail_msg("%s", err.text);
        assert_int_equal(f->from, i * BLOCK_SIZE);
        assert_int_equal(f->end, (i + 1) * BLOCK_SIZE);
    }
}

static void damage_is_an_error_and_nothing_of_it_is_given(void **state)
{
    struct fixture *f = *state;
    const struct reader *reader;
    char name[OBJECT_NAME_SIZE];
    size_t size;
    struct err err;

    repo_object_name(ARCHIVE_DATA, idtable_id(f->temp.repo->ids, f->archive), name);
    uint8_t *bytes = temprepo_load(&f->temp, name, &size);
    assert_int_equal(blocks_acquire(f->blocks, f->archive, &reader, &err), 0);
    for (size_t block = 30; block < 32; block++) /* compressed, and not */
        bytes[reader_block(reader, block)->offset + 20] ^= 4;
    blocks_release(f->blocks, f->archive, reader);
    temprepo_replace(&f->temp, name, bytes, size);
    free(bytes);

    assert_int_equal(run(f, 0, RAW_SIZE, 0, RAW_SIZE, &err), -ERR_CORRUPT);
    assert_non_null(strstr(err.text, "block 30"));
    assert_true(f->end <= 30 * BLOCK_SIZE);
    f->from = UINT64_MAX;
    assert_int_equal(run(f, 31 * BLOCK_SIZE, BLOCK_SIZE, 0, RAW_SIZE, &err), -ERR_CORRUPT);
    assert_int_equal(f->from, UINT64_MAX);
    assert_int_equal(run(f, 32 * BLOCK_SIZE, RAW_SIZE, 0, RAW_SIZE, &err), 0);
    assert_int_equal(f->from, 32 * BLOCK_SIZE);
    assert_int_equal(f->end, RAW_SIZE);
}

static void who_takes_them_can_end_it(void **state)
{
    struct fixture *f = *state;
    struct err err;

    f->stop_at = 2;
    assert_int_equal(run(f, 0, RAW_SIZE, 0, RAW_SIZE, &err), -ERR_CANCELLED);
    assert_int_equal(f->calls, 2);
}

static void a_place_where_nothing_is_stored_and_an_archive_of_directories_are_errors(void **state)
{
    struct fixture *f = *state;
    struct err err;

    assert_int_equal(run(f, RAW_SIZE, 1, 0, UINT64_MAX, &err), -ERR_CORRUPT);
    assert_int_equal(run(f, RAW_SIZE - 1, SIZE_MAX / 2, 0, RAW_SIZE, &err), 0);
    assert_int_equal(f->end, RAW_SIZE);
    f->archive = write_archive(f->temp.repo, ARCHIVE_METADATA);
    assert_int_equal(run(f, 0, 1, 0, RAW_SIZE, &err), -ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(blocks_go_by_in_order_and_leave_nothing_in_the_cache,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(blocks_at_the_edge_are_kept_for_others_who_need_them,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_in_the_cache_is_not_decoded_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_room_that_was_used_takes_other_blocks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damage_is_an_error_and_nothing_of_it_is_given, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(who_takes_them_can_end_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_place_where_nothing_is_stored_and_an_archive_of_directories_are_errors, set_up,
            tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
