#include "backup/store/sealed.h"

#include <stdio.h>

#include "backup/archive/reader.h"
#include "backup/base/cleanup.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/temprepo.h"

enum { MIB = 1024 * 1024, CACHE = 8 * MIB, BLOCKS = 12, BLOCK_SIZE = 100000 };

/* Of an archive with several pages. */
struct stored {
    struct archive_id id;
    char name[OBJECT_NAME_SIZE];
};

static uint8_t byte_at(size_t raw)
{
    uint64_t mixed = (raw + 1) * UINT64_C(0x9E3779B97F4A7C15);

    mixed = (mixed ^ mixed >> 29) * UINT64_C(0xBF58476D1CE4E5B9);
    return (uint8_t)(mixed >> 40);
}

static struct stored store_archive(struct repo *repo)
{
    CLEANUP(codec_freep) struct codec *codec = codec_new(1);
    static uint8_t raw[BLOCK_SIZE];
    struct writer *writer;
    struct writer_result result;
    struct stored stored;
    uint32_t at, size;
    struct err err;

    assert_int_equal(writer_new(repo, ARCHIVE_DATA, &writer, &err), 0);
    for (size_t block = 0; block < BLOCKS; block++) {
        struct chunk chunk = {.id = {(uint8_t)block}, .length = BLOCK_SIZE};
        for (size_t i = 0; i < BLOCK_SIZE; i++)
            raw[i] = byte_at(block * BLOCK_SIZE + i);
        assert_int_equal(writer_append(writer, codec, raw, BLOCK_SIZE, &chunk, 1, &at, &size, &err),
                         0);
    }
    assert_int_equal(writer_commit(writer, NULL, NULL, &result, &err), 0);
    stored.id = result.id;
    repo_object_name(ARCHIVE_DATA, &result.id, stored.name);
    return stored;
}

/* Puts a cache below the repository's own directory. */
static struct sealedcache *give_cache(struct temprepo *temp)
{
    const struct sealedcache_options options = {
        .directory = temp->directory, .bytes = CACHE, .keeps_data = true};
    struct sealedcache *cache = sealedcache_open(&options);

    assert_non_null(cache);
    repo_use_cache(temp->repo, cache);
    return cache;
}

/* All of its blocks, and its chunks: 0 and right, or the first error. */
static int read_all(struct repo *repo, const struct stored *stored)
{
    CLEANUP(reader_closep) struct reader *reader = NULL;
    CLEANUP(codec_freep) struct codec *codec = codec_new(1);
    static uint8_t got[BLOCK_SIZE];
    struct chunk *chunks = NULL;
    size_t count = 0;
    struct err err;
    int r = reader_open(repo, ARCHIVE_DATA, &stored->id, NULL, &reader, &err);

    for (size_t block = 0; r == 0 && block < BLOCKS; block++) {
        r = reader_decode(reader, codec, block, got, &err);
        for (size_t i = 0; r == 0 && i < BLOCK_SIZE; i++)
            if (got[i] != byte_at(block * BLOCK_SIZE + i))
                fail_msg("block %zu: byte %zu", block, i);
    }
    if (r == 0)
        r = reader_chunks(reader, &chunks, &count, &err);
    assert_true(r < 0 || count == BLOCKS);
    free(chunks);
    return r;
}

static void remove_object(const struct temprepo *temp, const char *name)
{
    char path[300];

    (void)snprintf(path, sizeof(path), "%s/%s", temp->directory, name);
    assert_int_equal(unlink(path), 0);
}

static void what_was_read_once_is_read_again_without_the_store(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    struct stored stored = store_archive(temp.repo);
    struct sealedcache_stats stats;

    struct sealedcache *cache = give_cache(&temp);
    assert_int_equal(read_all(temp.repo, &stored), 0);
    sealedcache_stats(cache, &stats);
    assert_true(stats.kept > 10);
    remove_object(&temp, stored.name);
    assert_int_equal(read_all(temp.repo, &stored), 0);
    repo_use_cache(temp.repo, NULL); /* who has no cache asks the store */
    assert_int_equal(read_all(temp.repo, &stored), -ERR_NOT_FOUND);
}

static void every_range_is_as_the_object_has_it(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    struct stored stored = store_archive(temp.repo);
    struct sealedcache *cache = give_cache(&temp);
    struct sealed *sealed = NULL;
    unsigned seed = 7;
    size_t size;
    struct err err;
    uint8_t *whole = temprepo_load(&temp, stored.name, &size);
    uint8_t *got = malloc(size + 1);

    assert_int_equal(sealed_open(temp.repo->store, cache, SEALED_DATA, stored.name, &sealed, &err),
                     0);
    assert_int_equal(sealed_size(sealed), size);
    for (size_t i = 0; i < 2000; i++) {
        size_t offset = (size_t)rand_r(&seed) % (size + 1);
        size_t count = (size_t)rand_r(&seed) % (i % 3 ? 3000 : 300000);
        count = count < size - offset ? count : size - offset;
        assert_int_equal(sealed_read(sealed, offset, got, count, &err), 0);
        assert_memory_equal(got, whole + offset, count);
    }
    assert_int_equal(sealed_read(sealed, size - 10, got, 11, &err), -ERR_CORRUPT);
    assert_int_equal(sealed_read(sealed, UINT64_MAX - 5, got, 10, &err), -ERR_CORRUPT);
    sealed_close(sealed);
    free(whole);
    free(got);
}

/* Puts wrong bytes in place of a page, with a check that fits them. */
static void poison(struct sealedcache *cache, const struct stored *stored, uint64_t page,
                   uint64_t object_size)
{
    const struct sealedcache_key key = {.object = stored->name, .page = page};
    static uint8_t bytes[SEALEDCACHE_PAGE];
    uint64_t whole;
    size_t size = SEALEDCACHE_PAGE;

    (void)sealedcache_get(cache, &key, bytes, sizeof(bytes), &size, &whole);
    for (size_t i = 0; i < size; i += 1000)
        bytes[i] ^= 1;
    sealedcache_drop(cache, &key);
    sealedcache_put(cache, &key, SEALED_DATA, bytes, size, object_size);
}

static void a_cache_that_lies_is_no_damage_and_is_put_right(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    struct stored stored = store_archive(temp.repo);
    struct sealedcache *cache = give_cache(&temp);
    size_t size;
    uint8_t *whole = temprepo_load(&temp, stored.name, &size);

    for (uint64_t page = 0; page * SEALEDCACHE_PAGE < size; page++) {
        assert_int_equal(read_all(temp.repo, &stored), 0);
        poison(cache, &stored, page, size);
        assert_int_equal(read_all(temp.repo, &stored), 0);
    }
    for (int i = 0; i < 3; i++) {
        poison(cache, &stored, SEALEDCACHE_TAIL, (uint64_t[]){size, size + 64, 100}[i]);
        assert_int_equal(read_all(temp.repo, &stored), 0);
    }
    free(whole);
}

static void damage_in_the_store_is_found_past_the_cache_and_by_who_has_none(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    struct stored stored = store_archive(temp.repo);
    struct sealedcache *cache = give_cache(&temp);
    size_t size;
    uint8_t *whole = temprepo_load(&temp, stored.name, &size);

    assert_int_equal(read_all(temp.repo, &stored), 0);
    whole[200000] ^= 4;
    temprepo_replace(&temp, stored.name, whole, size);
    assert_int_equal(read_all(temp.repo, &stored), 0); /* what the cache has is what was written */
    const struct sealedcache_key key = {.object = stored.name, .page = 200000 / SEALEDCACHE_PAGE};
    sealedcache_drop(cache, &key);
    assert_int_equal(read_all(temp.repo, &stored), -ERR_CORRUPT);
    repo_use_cache(temp.repo, NULL);
    assert_int_equal(read_all(temp.repo, &stored), -ERR_CORRUPT);
    free(whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_read_once_is_read_again_without_the_store),
        cmocka_unit_test(every_range_is_as_the_object_has_it),
        cmocka_unit_test(a_cache_that_lies_is_no_damage_and_is_put_right),
        cmocka_unit_test(damage_in_the_store_is_found_past_the_cache_and_by_who_has_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
