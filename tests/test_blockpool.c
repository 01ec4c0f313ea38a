#include "backup/archive/blockpool.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "backup/archive/block.h"
#include "backup/base/cleanup.h"
#include "tests/harness/cmocka.h"

enum { SEVERAL = 300, THREADS = 4, ROUNDS = 2000 };

/* From less than a unit to nearly nine. */
static size_t size_of(size_t number)
{
    return 1 + number * 7919 % (140 * 1024);
}

static bool is_all(const uint8_t *memory, size_t size, uint8_t byte)
{
    return memory[0] == byte && memcmp(memory, memory + 1, size - 1) == 0;
}

static void take_and_fill(struct blockpool *pool, uint8_t *pieces[SEVERAL], size_t from)
{
    for (size_t i = from; i < SEVERAL; i += 2) {
        pieces[i] = blockpool_take(pool, size_of(i));
        assert_non_null(pieces[i]);
        memset(pieces[i], (int)(i % 251), size_of(i));
    }
}

static void give_all(struct blockpool *pool, uint8_t *pieces[SEVERAL], size_t from)
{
    for (size_t i = from; i < SEVERAL; i += 2) {
        assert_true(is_all(pieces[i], size_of(i), (uint8_t)(i % 251)));
        blockpool_give(pool, pieces[i], size_of(i));
    }
}

static void pieces_do_not_overlap(void **state)
{
    struct blockpool *pool = blockpool_new();
    uint8_t *pieces[SEVERAL];

    (void)state;
    take_and_fill(pool, pieces, 0);
    take_and_fill(pool, pieces, 1);
    give_all(pool, pieces, 1); /* every second one, and then others into the gaps */
    take_and_fill(pool, pieces, 1);
    give_all(pool, pieces, 0);
    give_all(pool, pieces, 1);
    blockpool_close(pool);
}

static void what_was_given_back_is_taken_before_anything_new(void **state)
{
    struct blockpool *pool = blockpool_new();
    uint8_t *pieces[SEVERAL], *lowest = NULL;

    (void)state;
    for (size_t round = 0; round < 5; round++) {
        uint8_t *first = NULL;
        for (size_t i = 0; i < SEVERAL; i++) {
            pieces[i] = blockpool_take(pool, BLOCKPOOL_MOST);
            first = !first || pieces[i] < first ? pieces[i] : first;
        }
        assert_true(round == 0 || first == lowest);
        lowest = first;
        for (size_t i = 0; i < SEVERAL; i++)
            blockpool_give(pool, pieces[i], BLOCKPOOL_MOST);
    }
    blockpool_close(pool);
}

static void a_piece_outlives_its_pool(void **state)
{
    struct blockpool *pool = blockpool_new();
    uint8_t *first = blockpool_take(pool, 1), *second = blockpool_take(pool, 100000);

    (void)state;
    blockpool_close(pool);
    blockpool_give(pool, first, 1);
    memset(second, 7, 100000);
    assert_true(is_all(second, 100000, 7));
    blockpool_give(pool, second, 100000);
}

static void only_blocks_that_fill_units_are_in_a_pool(void **state)
{
    static const size_t in[] = {2 * BLOCKPOOL_UNIT, 100000, BLOCKPOOL_MOST};
    static const size_t beside[] = {0, 1000, BLOCKPOOL_UNIT, BLOCKPOOL_MOST + 1};
    struct blockpool *pool = blockpool_new();

    (void)state;
    for (size_t i = 0; i < sizeof(in) / sizeof(in[0]); i++) {
        CLEANUP(block_unrefp) struct block *block = block_new_in(pool, in[i]);
        memset(block->data, 1, block->size);
        assert_true(block->size == in[i] && block_weight(block) >= blockpool_weight(in[i]));
        assert_ptr_equal(block->pool, pool);
    }
    for (size_t i = 0; i < sizeof(beside) / sizeof(beside[0]); i++) {
        CLEANUP(block_unrefp) struct block *block = block_new_in(pool, beside[i]);
        memset(block->data, 1, block->size);
        assert_true(block->size == beside[i] && block_weight(block) < beside[i] + 100);
        assert_null(block->pool);
    }
    blockpool_close(pool);
}

struct user {
    struct blockpool *pool;
    uint8_t mark;
    unsigned others; /* bytes that somebody else wrote */
};

enum { HELD = 8 };

static void *take_and_give(void *argument)
{
    struct user *user = argument;
    uint8_t *held[HELD] = {0};

    for (unsigned i = 0; i < ROUNDS; i++) {
        size_t number = i * 5 % HELD, size = size_of(number);
        uint8_t **piece = &held[number];
        if (*piece) {
            user->others += (*piece)[0] != user->mark || (*piece)[size - 1] != user->mark;
            blockpool_give(user->pool, *piece, size);
        }
        *piece = blockpool_take(user->pool, size);
        (*piece)[0] = (*piece)[size - 1] = user->mark;
    }
    for (size_t i = 0; i < HELD; i++)
        blockpool_give(user->pool, held[i], size_of(i));
    return NULL;
}

static void many_threads_never_have_the_same_memory(void **state)
{
    struct blockpool *pool = blockpool_new();
    struct user users[THREADS];
    pthread_t threads[THREADS];

    (void)state;
    for (unsigned i = 0; i < THREADS; i++) {
        users[i] = (struct user){.pool = pool, .mark = (uint8_t)(i + 1)};
        assert_true(pthread_create(&threads[i], NULL, take_and_give, &users[i]) == 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < THREADS; i++)
        assert_true(users[i].others == 0);
    blockpool_close(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_do_not_overlap),
        cmocka_unit_test(what_was_given_back_is_taken_before_anything_new),
        cmocka_unit_test(a_piece_outlives_its_pool),
        cmocka_unit_test(only_blocks_that_fill_units_are_in_a_pool),
        cmocka_unit_test(many_threads_never_have_the_same_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
