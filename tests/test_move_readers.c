/* Who reads archives while they are moved. */
#include <pthread.h>
#include <stdatomic.h>

#include "tests/harness/moving.h"

static void who_has_an_archive_open_reads_on_when_it_is_moved_and_deleted(void **state)
{
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    CLEANUP(repo_freep) struct repo *reading = temprepo_open_again(&temp);
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(reading, 0);
    uint8_t live[1][(BLOCKS + 7) / 8] = {{0xFF, 0xFF, 0xFF, 0xFF, 0xFF}};
    uint32_t archive = write_archive(temp.repo), others[2], number;
    struct moved moved = {0};
    uint8_t got[10];
    struct err err;

    (void)state;
    assert_int_equal(idtable_number(reading->ids, idtable_id(temp.repo->ids, archive), ARCHIVE_DATA,
                                    &number, &err),
                     0);
    assert_int_equal(blocks_read(blocks, (struct place){number, 0}, got, 10, &err), 0);
    compact(temp.repo, &archive, live, 1, &moved);
    remove_archive(temp.repo, archive);
    for (uint32_t raw = 0; raw < RAW_SIZE; raw += BLOCK_SIZE) {
        assert_int_equal(blocks_read(blocks, (struct place){number, raw}, got, 10, &err), 0);
        assert_int_equal(got[9], byte_at(archive, raw + 9));
    }
    /* And one that is opened only now. */
    others[0] = write_archive(temp.repo);
    assert_int_equal(idtable_number(reading->ids, idtable_id(temp.repo->ids, others[0]),
                                    ARCHIVE_DATA, &number, &err),
                     0);
    compact(temp.repo, others, live, 1, &moved);
    remove_archive(temp.repo, others[0]);
    blocks_prefetch(blocks, (struct place){number, BLOCK_SIZE}, 3 * BLOCK_SIZE);
    assert_int_equal(blocks_read(blocks, (struct place){number, 77}, got, 10, &err), 0);
    assert_int_equal(got[0], byte_at(others[0], 77));
    free(moved.chunks);
}

struct reading {
    struct blocks *blocks;
    uint32_t archive, looks_like, seed;
    atomic_bool *done;
    unsigned failures;
};

static void *read_on(void *argument)
{
    struct reading *reading = argument;
    uint8_t got[3 * BLOCK_SIZE];
    struct err err;

    for (unsigned i = 0; i < 50 || !atomic_load(reading->done); i++) {
        struct place place = {reading->archive,
                              random_below(&reading->seed, RAW_SIZE - (uint32_t)sizeof(got))};
        if (blocks_read(reading->blocks, place, got, sizeof(got), &err) < 0)
            reading->failures++;
        else if (got[77] != byte_at(reading->looks_like, place.raw + 77))
            reading->failures++;
    }
    return NULL;
}

/* Small caches, so that archives are opened again and again. */
static void many_readers_go_on_while_archives_are_moved_again_and_again(void **state)
{
    enum { READERS = 4, MOVES = 5 };
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    CLEANUP(repo_freep) struct repo *reading = temprepo_open_again(&temp);
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(reading, 0);
    uint32_t archive = write_archive(temp.repo), number, at = archive;
    struct reading readers[READERS];
    pthread_t threads[READERS];
    struct moved moved = {0};
    atomic_bool done = false;
    struct err err;

    (void)state;
    assert_int_equal(idtable_number(reading->ids, idtable_id(temp.repo->ids, archive), ARCHIVE_DATA,
                                    &number, &err),
                     0);
    for (uint32_t i = 0; i < READERS; i++) {
        readers[i] = (struct reading){blocks, number, archive, i, &done, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, read_on, &readers[i]), 0);
    }
    for (int i = 0; i < MOVES; i++) {
        compact(temp.repo, &at, NULL, 1, &moved);
        remove_archive(temp.repo, at);
        assert_int_equal(idtable_number(temp.repo->ids, &moved.last, ARCHIVE_DATA, &at, &err), 0);
        assert_int_equal(remap_refresh(reading, &err), 0);
    }
    atomic_store(&done, true);
    for (size_t i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(readers[i].failures, 0);
    }
    free(moved.chunks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_has_an_archive_open_reads_on_when_it_is_moved_and_deleted),
        cmocka_unit_test(many_readers_go_on_while_archives_are_moved_again_and_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
