#include "backup/archive/blocks.h"

#include <pthread.h>
#include <stdio.h>

#include "backup/archive/idtable.h"
#include "backup/archive/reader.h"
#include "backup/archive/readers.h"
#include "backup/archive/remap.h"
#include "backup/archive/repo.h"
#include "backup/archive/writer.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/store/sealedcache.h"
#include "backup/store/store.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/numbered.h"
#include "tests/harness/temprepo.h"

static void bytes_are_read_across_blocks(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    uint32_t archive = write_archive(temp.repo);
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(temp.repo, 64 << 20);
    static uint8_t got[RAW_SIZE];
    struct blockcache_stats stats;
    struct err err;

    assert_int_equal(blocks_read(blocks, (struct place){archive, 0}, got, RAW_SIZE, &err), 0);
    check_bytes(archive, 0, got, RAW_SIZE);
    for (uint32_t raw = 1; raw < RAW_SIZE - 25000; raw += 4001) {
        assert_int_equal(blocks_read(blocks, (struct place){archive, raw}, got, 25000, &err), 0);
        check_bytes(archive, raw, got, 25000);
    }
    blocks_stats(blocks, &stats);
    assert_int_equal(stats.loads, BLOCKS);

    struct slice slice = {0};
    assert_int_equal(blocks_get(blocks, (struct place){archive, BLOCK_SIZE + 7}, &slice, &err), 0);
    assert_int_equal(slice.size, BLOCK_SIZE - 7);
    check_bytes(archive, BLOCK_SIZE + 7, slice.data, slice.size);
    slice_clear(&slice);
}

static void a_place_where_nothing_is_stored_is_an_error(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    uint32_t archive = write_archive(temp.repo);
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(temp.repo, 64 << 20);
    uint8_t got[100];
    struct slice slice = {0};
    struct err err;

    assert_int_equal(blocks_get(blocks, (struct place){archive, RAW_SIZE}, &slice, &err),
                     -ERR_CORRUPT);
    assert_int_equal(blocks_read(blocks, (struct place){archive, RAW_SIZE - 99}, got, 100, &err),
                     -ERR_CORRUPT);
    assert_int_equal(blocks_read(blocks, (struct place){archive, RAW_SIZE - 100}, got, 100, &err),
                     0);
    assert_int_equal(blocks_read(blocks, (struct place){archive, UINT32_MAX - 10}, got, 100, &err),
                     -ERR_CORRUPT);
    blocks_prefetch(blocks, (struct place){archive, RAW_SIZE}, 100);
    blocks_prefetch(blocks, (struct place){archive, RAW_SIZE - 1}, SIZE_MAX / 2);
}

static void an_archive_that_is_gone_is_named(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(temp.repo, 64 << 20);
    struct archive_id id = {{0xFE, 0xDC, 0xBA}};
    struct slice slice = {0};
    uint32_t archive;
    struct err err;

    assert_int_equal(idtable_number(temp.repo->ids, &id, ARCHIVE_METADATA, &archive, &err), 0);
    for (size_t twice = 0; twice < 2; twice++) {
        assert_int_equal(blocks_get(blocks, (struct place){archive, 0}, &slice, &err),
                         -ERR_NOT_FOUND);
        assert_non_null(strstr(err.text, "meta/fedcba"));
    }
    assert_null(slice.block);
    assert_int_equal(blocks_peek(blocks, (struct place){archive, 0}, &slice), 0);
}

static void damage_in_one_block_hurts_no_other(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    uint32_t archive = write_archive(temp.repo);
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(temp.repo, 64 << 20);
    const struct reader *reader;
    static uint8_t got[RAW_SIZE];
    char name[OBJECT_NAME_SIZE];
    size_t size;
    struct err err;

    repo_object_name(ARCHIVE_DATA, idtable_id(temp.repo->ids, archive), name);
    uint8_t *bytes = temprepo_load(&temp, name, &size);
    assert_int_equal(blocks_acquire(blocks, archive, &reader, &err), 0);
    bytes[reader_block(reader, 5)->offset + 1000] ^= 4;
    blocks_release(blocks, archive, reader);
    temprepo_replace(&temp, name, bytes, size);
    free(bytes);

    blocks_prefetch(blocks, (struct place){archive, 0}, RAW_SIZE);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        struct place place = {archive, i * BLOCK_SIZE};
        assert_int_equal(blocks_read(blocks, place, got, BLOCK_SIZE, &err),
                         i == 5 ? -ERR_CORRUPT : 0);
        if (i == 5)
            assert_non_null(strstr(err.text, "block 5"));
        else
            check_bytes(archive, place.raw, got, BLOCK_SIZE);
    }
}

static void what_was_prefetched_is_there(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    uint32_t archive = write_archive(temp.repo);
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(temp.repo, 64 << 20);
    struct blockcache_stats stats;
    struct slice slice = {0};
    struct err err;

    assert_int_equal(blocks_peek(blocks, (struct place){archive, 0}, &slice), 0);
    assert_int_equal(blocks_get(blocks, (struct place){archive, 4 * BLOCK_SIZE}, &slice, &err), 0);
    slice_clear(&slice);
    blocks_prefetch(blocks, (struct place){archive, BLOCK_SIZE + 1}, 9 * BLOCK_SIZE);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        struct place place = {archive, i * BLOCK_SIZE + 3};
        int there = blocks_peek(blocks, place, &slice);
        assert_int_equal(there, i >= 1 && i <= 10);
        if (there)
            check_bytes(archive, place.raw, slice.data, slice.size);
        slice_clear(&slice);
    }
    blocks_stats(blocks, &stats);
    assert_int_equal(stats.loads, 10);
}

static size_t refusals;

static int refuse(struct store_object *object, uint64_t offset, void *out, size_t count,
                  struct err *err)
{
    (void)object;
    (void)offset;
    (void)out;
    (void)count;
    refusals++;
    return err_set(err, ERR_REMOTE, "the store is away");
}

static void a_store_that_is_away_is_asked_once_for_what_is_wanted_later(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    uint32_t archive = write_archive(temp.repo);
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(temp.repo, 64 << 20);
    const struct store_ops *sound = temp.repo->store->ops;
    struct store_ops away = *sound;
    struct slice slice = {0};
    struct err err;

    for (uint32_t i = 4; i < BLOCKS; i += 4) { /* what is there already parts the rest */
        struct place place = {archive, i * BLOCK_SIZE};
        assert_int_equal(blocks_get(blocks, place, &slice, &err), 0);
        slice_clear(&slice);
    }
    away.read = refuse;
    temp.repo->store->ops = &away;
    refusals = 0;
    assert_false(blocks_prefetch(blocks, (struct place){archive, 0}, RAW_SIZE));
    assert_int_equal(refusals, 1);
    temp.repo->store->ops = sound;
    assert_true(blocks_prefetch(blocks, (struct place){archive, 0}, RAW_SIZE));
}

static void decoded_blocks_take_no_more_than_their_limit(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    uint32_t archive = write_archive(temp.repo);
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(temp.repo, 5 * (BLOCK_SIZE + 200));
    static uint8_t got[RAW_SIZE];
    struct blockcache_stats stats;
    struct err err;

    for (size_t i = 0; i < 3; i++) {
        blocks_prefetch(blocks, (struct place){archive, 0}, RAW_SIZE);
        assert_int_equal(blocks_read(blocks, (struct place){archive, 0}, got, RAW_SIZE, &err), 0);
        check_bytes(archive, 0, got, RAW_SIZE);
        blocks_stats(blocks, &stats);
        assert_in_range(stats.bytes, BLOCK_SIZE, 5 * (BLOCK_SIZE + 200));
    }
}

enum { ARCHIVES = 6, THREADS = 4 };

struct user {
    struct blocks *blocks;
    struct readers *readers;
    const uint32_t *archives;
    unsigned seed;
    int result;
};

static void *read_around(void *context)
{
    struct user *user = context;
    uint8_t *got = malloc(30000);
    struct err err;

    for (unsigned i = 0; i < 300 && user->result == 0; i++) {
        user->seed = user->seed * 1664525 + 1013904223;
        uint32_t archive = user->archives[user->seed >> 8 & 3];
        struct place place = {archive, (user->seed >> 4) % (RAW_SIZE - 30000)};
        if (i % 8 == 0)
            blocks_prefetch(user->blocks, place, 30000);
        user->result = blocks_read(user->blocks, place, got, 30000, &err);
        for (size_t j = 0; j < 30000 && user->result == 0; j++)
            user->result = got[j] == byte_at(archive, place.raw + j) ? 0 : -1;
    }
    free(got);
    return NULL;
}

static void *open_around(void *context)
{
    struct user *user = context;
    struct err err;

    for (unsigned i = 0; i < 500 && user->result == 0; i++) {
        const struct reader *reader;
        user->seed = user->seed * 1664525 + 1013904223;
        uint32_t archive = user->archives[(user->seed >> 8) % ARCHIVES];
        user->result = readers_acquire(user->readers, archive, &reader, &err);
        if (user->result < 0)
            break;
        if (reader_raw_end(reader) != RAW_SIZE)
            user->result = -1;
        readers_release(user->readers, archive);
    }
    return NULL;
}

static void run_threads(void *(*run)(void *context), struct user user)
{
    struct user users[THREADS];
    pthread_t threads[THREADS];

    for (unsigned i = 0; i < THREADS; i++) {
        users[i] = user;
        users[i].seed = i * 77777;
        assert_int_equal(pthread_create(&threads[i], NULL, run, &users[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(users[i].result, 0);
    }
}

static void threads_that_read_the_same_decode_it_once(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    uint32_t archives[4];
    struct blockcache_stats stats;

    for (size_t i = 0; i < 4; i++)
        archives[i] = write_archive(temp.repo);
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(temp.repo, 64 << 20);
    run_threads(read_around, (struct user){.blocks = blocks, .archives = archives});
    blocks_stats(blocks, &stats);
    assert_in_range(stats.loads, 100, 4 * BLOCKS);
    assert_int_equal(stats.evictions, 0);
}

static void threads_may_read_what_is_being_evicted(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    uint32_t archives[4];

    for (size_t i = 0; i < 4; i++)
        archives[i] = write_archive(temp.repo);
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(temp.repo, 6 * BLOCK_SIZE);
    run_threads(read_around, (struct user){.blocks = blocks, .archives = archives});
}

static void idle_archives_are_closed_and_used_ones_stay(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    struct readers *readers = readers_new(temp.repo, SIZE_MAX, 3);
    uint32_t archives[ARCHIVES];
    const struct reader *held, *reader;
    struct err err;

    for (size_t i = 0; i < ARCHIVES; i++)
        archives[i] = write_archive(temp.repo);
    assert_int_equal(readers_acquire(readers, archives[0], &held, &err), 0);
    for (size_t i = 1; i < ARCHIVES; i++) {
        assert_int_equal(readers_acquire(readers, archives[i], &reader, &err), 0);
        readers_release(readers, archives[i]);
    }
    assert_ptr_equal(readers_peek(readers, archives[0]), held);
    readers_release(readers, archives[0]);
    readers_release(readers, archives[0]);
    for (size_t i = 1; i < ARCHIVES; i++) {
        bool there = readers_peek(readers, archives[i]) != NULL;
        assert_int_equal(there, i >= ARCHIVES - 2);
        if (there)
            readers_release(readers, archives[i]);
    }
    run_threads(open_around, (struct user){.readers = readers, .archives = archives});
    readers_free(readers);

    readers = readers_new(temp.repo, 1, 100); /* by memory: not even one */
    assert_int_equal(readers_acquire(readers, archives[0], &reader, &err), 0);
    assert_int_equal(reader_raw_end(reader), RAW_SIZE);
    readers_release(readers, archives[0]);
    assert_null(readers_peek(readers, archives[0]));
    readers_free(readers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_read_across_blocks),
        cmocka_unit_test(a_place_where_nothing_is_stored_is_an_error),
        cmocka_unit_test(an_archive_that_is_gone_is_named),
        cmocka_unit_test(damage_in_one_block_hurts_no_other),
        cmocka_unit_test(what_was_prefetched_is_there),
        cmocka_unit_test(a_store_that_is_away_is_asked_once_for_what_is_wanted_later),
        cmocka_unit_test(decoded_blocks_take_no_more_than_their_limit),
        cmocka_unit_test(threads_that_read_the_same_decode_it_once),
        cmocka_unit_test(threads_may_read_what_is_being_evicted),
        cmocka_unit_test(idle_archives_are_closed_and_used_ones_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
