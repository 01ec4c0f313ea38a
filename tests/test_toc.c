#include "backup/archive/toc.h"

#include <stdio.h>
#include <string.h>

#include "backup/base/buf.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "tests/harness/cmocka.h"

/* The section's bytes for chunks with these gaps and lengths. */
static int try_chunks(const uint64_t (*chunks)[2], size_t count, size_t cut)
{
    static const struct block_info blocks[] = {{0, 100, 192, 117}, {200, 100, 309, 117}};
    CLEANUP(buf_clear) struct buf bytes = {.limit = 4096};
    uint8_t id[CHUNK_ID_SIZE] = {0};
    struct chunk *out = NULL;
    size_t out_count;
    struct err err;

    for (size_t i = 0; i < count; i++) {
        put_varint(&bytes, chunks[i][0], &err);
        put_varint(&bytes, chunks[i][1], &err);
        buf_append(&bytes, id, sizeof(id), &err);
    }
    int r = toc_decode_chunks(bytes.data, bytes.size - cut, blocks, 2, &out, &out_count, &err);
    free(out);
    return r;
}

static void a_chunk_lies_within_one_block(void **state)
{
    (void)state;
    assert_int_equal(try_chunks((const uint64_t[][2]){{0, 100}, {100, 100}}, 2, 0), 0);
    assert_int_equal(try_chunks((const uint64_t[][2]){{10, 50}, {140, 99}}, 2, 0), 0);
    assert_int_equal(try_chunks((const uint64_t[][2]){{0, 101}}, 1, 0), -ERR_CORRUPT);
    assert_int_equal(try_chunks((const uint64_t[][2]){{0, 0}}, 1, 0), -ERR_CORRUPT);
    assert_int_equal(try_chunks((const uint64_t[][2]){{100, 10}}, 1, 0), -ERR_CORRUPT);
    assert_int_equal(try_chunks((const uint64_t[][2]){{199, 10}}, 1, 0), -ERR_CORRUPT);
    assert_int_equal(try_chunks((const uint64_t[][2]){{300, 1}}, 1, 0), -ERR_CORRUPT);
    assert_int_equal(try_chunks((const uint64_t[][2]){{UINT64_MAX, 1}}, 1, 0), -ERR_CORRUPT);
    assert_int_equal(try_chunks((const uint64_t[][2]){{0, UINT64_MAX}}, 1, 0), -ERR_CORRUPT);
    assert_int_equal(try_chunks((const uint64_t[][2]){{0, 1}, {UINT32_MAX, 1}}, 2, 0),
                     -ERR_CORRUPT);
    for (size_t cut = 1; cut < 34; cut++)
        assert_int_equal(try_chunks((const uint64_t[][2]){{0, 1}, {1, 1}}, 2, cut), -ERR_CORRUPT);
}

static void references_ascend(void **state)
{
    (void)state;
    uint8_t bytes[3 * ARCHIVE_ID_SIZE] = {0};
    struct archive_id *ids = NULL;
    size_t count;
    struct err err;

    bytes[0] = 1;
    bytes[ARCHIVE_ID_SIZE] = 2;
    bytes[2 * ARCHIVE_ID_SIZE] = 3;
    assert_int_equal(toc_decode_references(bytes, sizeof(bytes), &ids, &count, &err), 0);
    assert_int_equal(count, 3);
    assert_memory_equal(ids, bytes, sizeof(bytes));
    free(ids);
    assert_int_equal(toc_decode_references(bytes, sizeof(bytes) - 1, &ids, &count, &err),
                     -ERR_CORRUPT);
    bytes[2 * ARCHIVE_ID_SIZE] = 2; /* twice the same */
    assert_int_equal(toc_decode_references(bytes, sizeof(bytes), &ids, &count, &err), -ERR_CORRUPT);
    bytes[0] = 4;
    assert_int_equal(toc_decode_references(bytes, sizeof(bytes), &ids, &count, &err), -ERR_CORRUPT);
}

static void a_toc_with_gaps_comes_back(void **state)
{
    (void)state;
    static const struct block_info blocks[] = {
        {5, 100, 192, 117}, {105, 1, 309, 18}, {4000000000U, 1 << 20, 327, 50}};
    CLEANUP(buf_clear) struct buf bytes = {.limit = 4096};
    struct block_info *back = NULL;
    size_t count;
    struct err err;

    assert_int_equal(toc_encode(blocks, 3, &bytes, &err), 0);
    assert_int_equal(toc_decode(bytes.data, bytes.size, &back, &count, &err), 0);
    assert_int_equal(count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_true(back[i].raw == blocks[i].raw && back[i].raw_size == blocks[i].raw_size);
        assert_true(back[i].offset == blocks[i].offset);
        assert_int_equal(back[i].stored_size, blocks[i].stored_size);
    }
    assert_int_equal(toc_stored_end(back, count), 377);
    assert_int_equal(toc_raw_end(back, count), 4000000000U + (1 << 20));
    free(back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chunk_lies_within_one_block),
        cmocka_unit_test(references_ascend),
        cmocka_unit_test(a_toc_with_gaps_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
