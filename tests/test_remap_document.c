/* The document of a remap: what it must not say is refused. */
#include "backup/archive/remap_internal.h"
#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/remaps.h"

static int decode(const struct remap_entry *entries, size_t count)
{
    CLEANUP(buf_clear) struct buf bytes = {.limit = remap_document_limit()};
    CLEANUP(remap_document_clear) struct remap_document got = {0};
    struct remap_entry copy[100];
    struct remap_document document = {.entries = copy, .count = count};
    struct err err;

    memcpy(copy, entries, count * sizeof(*entries));
    assert_int_equal(remap_document_encode(&document, &bytes, &err), 0);
    return remap_document_decode(bytes.data, bytes.size, &got, &err);
}

static void entries_that_cannot_be_are_refused(void **state)
{
    struct remap_entry many[REMAP_ALIKE_MAX + 1];
    struct remap_entry other = entry('B', 'C', 0, 9, 0);

    (void)state;
    other.kind = ARCHIVE_METADATA;
    assert_int_equal(decode((struct remap_entry[]){entry('A', 'B', 0, 9, 0)}, 1), 0);
    assert_int_equal(decode((struct remap_entry[]){entry('A', 'A', 0, 9, 100)}, 1), -ERR_CORRUPT);
    assert_int_equal(decode((struct remap_entry[]){entry('A', 'B', 9, 9, 0)}, 1), -ERR_CORRUPT);
    assert_int_equal(decode((struct remap_entry[]){entry('A', 'B', 9, 8, 0)}, 1), -ERR_CORRUPT);
    assert_int_equal(decode((struct remap_entry[]){entry('A', 'B', 0, 2, UINT32_MAX - 2)}, 1), 0);
    assert_int_equal(decode((struct remap_entry[]){entry('A', 'B', 0, 2, UINT32_MAX - 1)}, 1),
                     -ERR_CORRUPT);
    assert_int_equal(
        decode((struct remap_entry[]){entry('B', 'C', 0, 9, 0), entry('A', 'D', 0, 9, 0)}, 2),
        -ERR_CORRUPT);
    assert_int_equal(
        decode((struct remap_entry[]){entry('A', 'C', 0, 9, 0), entry('A', 'C', 0, 9, 0)}, 2),
        -ERR_CORRUPT);
    /* Circles, and what is not flat. */
    assert_int_equal(
        decode((struct remap_entry[]){entry('A', 'B', 0, 9, 0), entry('B', 'A', 0, 9, 0)}, 2),
        -ERR_CORRUPT);
    assert_int_equal(
        decode((struct remap_entry[]){entry('A', 'B', 0, 9, 0), entry('B', 'C', 8, 20, 0)}, 2),
        -ERR_CORRUPT);
    assert_int_equal(
        decode((struct remap_entry[]){entry('A', 'B', 0, 9, 0), entry('B', 'C', 9, 20, 0)}, 2), 0);
    assert_int_equal(decode((struct remap_entry[]){entry('A', 'B', 50, 59, 50), other}, 2),
                     -ERR_CORRUPT); /* of two kinds */
    for (uint32_t i = 0; i < REMAP_ALIKE_MAX + 1; i++)
        many[i] = entry('A', 'B', i, i + 1, i);
    assert_int_equal(decode(many, REMAP_ALIKE_MAX), 0);
    assert_int_equal(decode(many, REMAP_ALIKE_MAX + 1), -ERR_CORRUPT);
}

static void documents_that_cannot_be_are_refused(void **state)
{
    static const uint8_t millions[] = {1, 0, 0, 0x80, 0x89, 0x7A}; /* 2,000,000 entries */
    static const uint8_t many[] = {1, 0, 0x81, 0x08};              /* stands in for 1,025 */
    static const uint8_t newer[] = {2, 0, 0, 0}, flagged[] = {1, 1, 0, 0}, more[] = {1, 0, 0, 0, 0};
    static const uint8_t good[] = {1, 0, 0, 0};
    CLEANUP(remap_document_clear) struct remap_document got = {0};
    CLEANUP(buf_clear) struct buf bytes = {.limit = 1 << 20};
    struct archive_id twice[2] = {id_of('A'), id_of('A')};
    struct remap_document document = {.superseded = twice, .superseded_count = 2};
    struct err err;

    (void)state;
    assert_int_equal(remap_document_decode(millions, sizeof(millions), &got, &err), -ERR_CORRUPT);
    assert_int_equal(remap_document_decode(many, sizeof(many), &got, &err), -ERR_CORRUPT);
    assert_int_equal(remap_document_decode(newer, sizeof(newer), &got, &err), -ERR_CORRUPT);
    assert_int_equal(remap_document_decode(flagged, sizeof(flagged), &got, &err), -ERR_CORRUPT);
    assert_int_equal(remap_document_decode(more, sizeof(more), &got, &err), -ERR_CORRUPT);
    assert_int_equal(remap_document_encode(&document, &bytes, &err), 0);
    assert_int_equal(remap_document_decode(bytes.data, bytes.size, &got, &err), -ERR_CORRUPT);
    for (size_t size = 0; size < sizeof(good); size++)
        assert_int_equal(remap_document_decode(good, size, &got, &err), -ERR_CORRUPT);
    assert_int_equal(remap_document_decode(good, sizeof(good), &got, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_that_cannot_be_are_refused),
        cmocka_unit_test(documents_that_cannot_be_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
