#include "backup/archive/blockcache.h"

#include <pthread.h>

#include "backup/archive/block.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "tests/harness/cmocka.h"

enum { BLOCK_SIZE = 1000, BLOCK_COST_MAX = BLOCK_SIZE + 200 };

struct disk {
    _Atomic int loads;
    _Atomic int failures_left;
    pthread_barrier_t *reached; /* the loader is inside … */
    pthread_barrier_t *go;      /* … and waits for this */
};

static int load(void *context, uint64_t key, struct block **out, struct err *err)
{
    struct disk *disk = context;

    disk->loads++;
    if (disk->reached) {
        pthread_barrier_wait(disk->reached);
        pthread_barrier_wait(disk->go);
    }
    if (disk->failures_left > 0) {
        disk->failures_left--;
        return err_set(err, ERR_CORRUPT, "block %llu", (unsigned long long)key);
    }
    struct block *block = block_new(BLOCK_SIZE);
    if (!block)
        return err_set(err, ERR_NOMEM, "block");
    for (size_t i = 0; i < BLOCK_SIZE; i++)
        block->data[i] = (uint8_t)(key >> (8 * (i % 8)));
    *out = block;
    return 0;
}

static void get_and_drop(struct blockcache *cache, struct disk *disk, uint64_t key)
{
    CLEANUP(block_unrefp) struct block *block = NULL;
    struct err err;

    assert_true(blockcache_get(cache, key, load, disk, &block, &err) == 0);
    assert_true(block->data[0] == (uint8_t)key &&
                block->data[BLOCK_SIZE - 7] == (uint8_t)(key >> 8));
}

static void a_block_is_loaded_once(void **state)
{
    (void)state;
    struct blockcache *cache = blockcache_new(64 * 1024 * 1024);
    struct disk disk = {0};
    struct blockcache_stats stats;

    assert_null(blockcache_peek(cache, 7));
    for (uint64_t key = 0; key < 3000; key++)
        get_and_drop(cache, &disk, key << 32 | key);
    for (uint64_t key = 0; key < 3000; key++)
        get_and_drop(cache, &disk, key << 32 | key);
    assert_int_equal(disk.loads, 3000);
    block_unref(blockcache_peek(cache, UINT64_C(7) << 32 | 7));
    blockcache_stats(cache, &stats);
    assert_true(stats.loads == 3000 && stats.hits == 3001 && stats.evictions == 0);
    assert_in_range(stats.bytes, 3000 * BLOCK_SIZE, 3000 * BLOCK_COST_MAX);
    blockcache_free(cache);
}

static void it_holds_no_more_bytes_than_its_limit(void **state)
{
    (void)state;
    struct blockcache *cache = blockcache_new(10 * BLOCK_COST_MAX);
    struct disk disk = {0};
    struct blockcache_stats stats;

    for (uint64_t key = 0; key < 500; key++) {
        get_and_drop(cache, &disk, key);
        blockcache_stats(cache, &stats);
        assert_in_range(stats.bytes, BLOCK_SIZE, 10 * BLOCK_COST_MAX);
    }
    assert_true(stats.evictions >= 485 && stats.evictions <= 490);
    blockcache_free(cache);
}

static void what_is_in_use_outlasts_what_is_not(void **state)
{
    (void)state;
    struct blockcache *cache = blockcache_new(10 * BLOCK_COST_MAX);
    struct disk disk = {0};

    get_and_drop(cache, &disk, 9999);
    for (uint64_t key = 0; key < 500; key++) {
        get_and_drop(cache, &disk, key);
        get_and_drop(cache, &disk, 9999);
    }
    assert_int_equal(disk.loads, 501);
    blockcache_free(cache);
}

/* A long read with a window ahead of it, in a cache that holds four windows. */
static void what_was_loaded_ahead_is_not_pushed_out_by_what_was_read(void **state)
{
    (void)state;
    enum { HELD = 100, WINDOW = 25, KEYS = 2000 };
    struct blockcache *cache = blockcache_new((size_t)HELD * BLOCK_COST_MAX);
    struct disk disk = {0};
    struct err err;

    for (uint64_t key = 0; key < KEYS; key++) {
        uint64_t last = key + WINDOW < KEYS ? key + WINDOW : KEYS - 1;
        for (uint64_t ahead = key; ahead <= last; ahead++)
            assert_int_equal(blockcache_ahead(cache, ahead, load, &disk, &err), 0);
        assert_true(blockcache_has(cache, key));
        get_and_drop(cache, &disk, key);
        get_and_drop(cache, &disk, key); /* as where a block belongs to two reads */
    }
    assert_int_equal(disk.loads, KEYS);
    disk.failures_left = 1;
    assert_int_equal(blockcache_ahead(cache, KEYS, load, &disk, &err), -ERR_CORRUPT);
    assert_false(blockcache_has(cache, KEYS));
    get_and_drop(cache, &disk, KEYS);
    blockcache_free(cache);
}

static void a_block_larger_than_the_cache_is_given_and_not_kept(void **state)
{
    (void)state;
    struct blockcache *cache = blockcache_new(BLOCK_SIZE / 2);
    struct disk disk = {0};
    struct blockcache_stats stats;

    get_and_drop(cache, &disk, 1);
    get_and_drop(cache, &disk, 1);
    assert_int_equal(disk.loads, 2);
    blockcache_stats(cache, &stats);
    assert_int_equal(stats.bytes, 0);
    blockcache_free(cache);
}

static void a_failed_load_is_tried_again(void **state)
{
    (void)state;
    struct blockcache *cache = blockcache_new(1024 * 1024);
    struct disk disk = {.failures_left = 1};
    struct block *block = NULL;
    struct err err;

    assert_true(blockcache_get(cache, 9, load, &disk, &block, &err) == -ERR_CORRUPT);
    assert_true(!block);
    get_and_drop(cache, &disk, 9);
    assert_true(disk.loads == 2);
    blockcache_free(cache);
}

static void a_block_outlives_its_cache(void **state)
{
    (void)state;
    struct blockcache *cache = blockcache_new(1024 * 1024);
    CLEANUP(block_unrefp) struct block *block = NULL;
    struct disk disk = {0};
    struct err err;

    assert_true(blockcache_get(cache, 3, load, &disk, &block, &err) == 0);
    blockcache_free(cache);
    assert_true(block->data[0] == 3);
    blockcache_free(NULL);
}

struct user {
    struct blockcache *cache;
    struct disk *disk;
    uint64_t seed;
    int result;
};

static void *get_one(void *argument)
{
    struct user *user = argument;
    CLEANUP(block_unrefp) struct block *block = NULL;
    struct err err;

    user->result = blockcache_get(user->cache, user->seed, load, user->disk, &block, &err);
    return NULL;
}

enum { WAITERS = 4 };

/* Several threads ask for a block that is being loaded; the load ends when they have had time to.
 */
static void ask_at_once(struct disk *disk, int out_results[WAITERS])
{
    pthread_barrier_t reached, go;
    struct blockcache *cache = blockcache_new(1024 * 1024);
    struct user users[WAITERS];
    pthread_t threads[WAITERS];

    pthread_barrier_init(&reached, NULL, 2);
    pthread_barrier_init(&go, NULL, 2);
    disk->reached = &reached;
    disk->go = &go;
    for (size_t i = 0; i < WAITERS; i++) {
        users[i] = (struct user){.cache = cache, .disk = disk, .seed = 5};
        assert_true(pthread_create(&threads[i], NULL, get_one, &users[i]) == 0);
        if (i == 0)
            pthread_barrier_wait(&reached);
    }
    assert_null(blockcache_peek(cache, 5));
    disk->reached = NULL; /* only the first stops there */
    pthread_barrier_wait(&go);
    for (size_t i = 0; i < WAITERS; i++) {
        pthread_join(threads[i], NULL);
        out_results[i] = users[i].result;
    }
    pthread_barrier_destroy(&reached);
    pthread_barrier_destroy(&go);
    blockcache_free(cache);
}

static void of_several_that_miss_one_loads(void **state)
{
    (void)state;
    struct disk disk = {0};
    int results[WAITERS];

    ask_at_once(&disk, results);
    assert_int_equal(disk.loads, 1);
    for (size_t i = 0; i < WAITERS; i++)
        assert_int_equal(results[i], 0);
}

static void who_waited_for_a_failed_load_tries_for_itself(void **state)
{
    (void)state;
    struct disk disk = {.failures_left = 1};
    int results[WAITERS];

    ask_at_once(&disk, results);
    assert_int_equal(disk.loads, 2);
    assert_int_equal(results[0], -ERR_CORRUPT);
    for (size_t i = 1; i < WAITERS; i++)
        assert_int_equal(results[i], 0);
}

static void *read_at_random(void *argument)
{
    struct user *user = argument;

    for (int i = 0; i < 20000; i++) {
        user->seed = user->seed * 6364136223846793005U + 1442695040888963407U;
        get_and_drop(user->cache, user->disk, user->seed >> 59);
    }
    return NULL;
}

static void many_threads_may_read_at_once(void **state)
{
    (void)state;
    enum { THREADS = 8 };
    struct blockcache *cache = blockcache_new(16 * BLOCK_COST_MAX);
    struct disk disk = {0};
    struct user users[THREADS];
    pthread_t threads[THREADS];

    for (unsigned i = 0; i < THREADS; i++) {
        users[i] = (struct user){.cache = cache, .disk = &disk, .seed = i};
        assert_true(pthread_create(&threads[i], NULL, read_at_random, &users[i]) == 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    blockcache_free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_is_loaded_once),
        cmocka_unit_test(it_holds_no_more_bytes_than_its_limit),
        cmocka_unit_test(what_is_in_use_outlasts_what_is_not),
        cmocka_unit_test(what_was_loaded_ahead_is_not_pushed_out_by_what_was_read),
        cmocka_unit_test(a_block_larger_than_the_cache_is_given_and_not_kept),
        cmocka_unit_test(a_failed_load_is_tried_again),
        cmocka_unit_test(a_block_outlives_its_cache),
        cmocka_unit_test(of_several_that_miss_one_loads),
        cmocka_unit_test(who_waited_for_a_failed_load_tries_for_itself),
        cmocka_unit_test(many_threads_may_read_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
