/* Entries that are not written, and blocks that are not believed. */
#include "backup/base/cleanup.h"
#include "tests/harness/entrysample.h"

static void refused(struct entry *entry)
{
    CLEANUP(buf_clear) struct buf out = {.limit = BLOCK_LIMIT};
    struct reftable refs = {0};

    assert_int_equal(entry_encode(entry, &refs, &out, &err), -ERR_USAGE);
    assert_true(out.size == 0 && refs.count == 0);
}

static struct entry plain_file(void)
{
    return (struct entry){.type = ENTRY_FILE, .name = "name", .name_size = 4, .links = 1};
}

static void what_a_reader_would_refuse_is_not_written(void **state)
{
    (void)state;
    static char long_name[ENTRY_NAME_MAX + 1];
    static const struct {
        const char *name;
        size_t size;
    } names[] = {{"", 0},    {".", 1},    {"..", 2},
                 {"a/b", 3}, {"a\0b", 3}, {long_name, ENTRY_NAME_MAX + 1}};
    struct entry entry;

    memset(long_name, 'x', sizeof(long_name));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        entry = plain_file();
        entry.name = names[i].name;
        entry.name_size = names[i].size;
        refused(&entry);
    }
    entry = plain_file();
    entry.mode = 010000;
    refused(&entry);
    entry = plain_file();
    entry.mtime_ns = 1000000000;
    refused(&entry);
    entry = plain_file();
    entry.size = 5; /* and no content */
    refused(&entry);
    entry = plain_file();
    entry.content = (struct content){.form = CONTENT_ONE, .size = 5};
    refused(&entry);
    entry = plain_file();
    entry.flags = ENTRY_PARTIAL;
    refused(&entry);
    entry = plain_file();
    entry.type = ENTRY_SYMLINK;
    entry.target = "";
    refused(&entry);
}

static void a_list_that_does_not_sum_to_the_size_is_refused(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf items = {.limit = BLOCK_LIMIT};
    const struct extent list[] = {{10, {archive_of(ARCHIVE_DATA), 0}}, {7, {NO_ARCHIVE, 0}}};
    struct entry entry = plain_file(), decoded;
    struct reftable refs = {0};

    entry.size = 17;
    entry.content = (struct content){.form = CONTENT_LIST, .size = 17, .list = list, .count = 2};
    assert_int_equal(entry_encode(&entry, &refs, &items, &err), 0);
    CLEANUP(block_unrefp) struct block *block = make_block(&items, &refs);
    assert_int_equal(entry_prepare_block(block, ids, &err), 0);
    assert_int_equal(entry_decode(block, 0, (struct place){0}, &decoded, NULL, &err), 0);
    block->data[items.size - 1] += 2; /* the hole is one byte longer */
    assert_int_equal(entry_decode(block, 0, (struct place){0}, &decoded, NULL, &err), -ERR_CORRUPT);
    block->data[items.size - 1] -= 4;
    assert_int_equal(entry_decode(block, 0, (struct place){0}, &decoded, NULL, &err), -ERR_CORRUPT);
    entry.content.size = entry.size = 18;
    refused(&entry);
}

static void a_reference_to_an_archive_of_another_kind_is_refused(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf items = {.limit = BLOCK_LIMIT};
    struct entry entry = plain_file(), decoded;
    struct reftable refs = {0};

    entry.size = 5;
    entry.content =
        (struct content){.form = CONTENT_ONE, .size = 5, .place = random_place(ARCHIVE_METADATA)};
    assert_int_equal(entry_encode(&entry, &refs, &items, &err), 0);
    CLEANUP(block_unrefp) struct block *block = make_block(&items, &refs);
    assert_int_equal(entry_prepare_block(block, ids, &err), 0);
    assert_int_equal(entry_decode(block, 0, (struct place){0}, &decoded, NULL, &err), -ERR_CORRUPT);
}

static void a_full_table_refuses_one_archive_more(void **state)
{
    (void)state;
    static struct reftable refs;
    size_t index;

    for (uint32_t i = 0; i < BLOCK_REFS_MAX; i++)
        assert_int_equal(reftable_index(&refs, 7 * i, &index, &err), 0);
    assert_int_equal(reftable_index(&refs, 7 * 5, &index, &err), 0);
    assert_int_equal(index, 5);
    assert_int_equal(reftable_index(&refs, 3, &index, &err), -ERR_TOO_LARGE);
}

static void a_table_that_cannot_be_is_refused(void **state)
{
    (void)state;
    CLEANUP(block_unrefp) struct block *block = block_new(100);

    memset(block->data, 0, 100);
    store_le16(block->data + 98, 3); /* 99 bytes of table in 100 */
    assert_int_equal(entry_prepare_block(block, ids, &err), -ERR_CORRUPT);
    store_le16(block->data + 98, 2); /* of kind 0 */
    assert_int_equal(entry_prepare_block(block, ids, &err), -ERR_CORRUPT);
    store_le16(block->data + 98, 0xFFFF);
    assert_int_equal(entry_prepare_block(block, ids, &err), -ERR_CORRUPT);
    block->size = 2; /* no items */
    block->data[0] = block->data[1] = 0;
    assert_int_equal(entry_prepare_block(block, ids, &err), -ERR_CORRUPT);
    block->size = 1;
    assert_int_equal(entry_prepare_block(block, ids, &err), -ERR_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_reader_would_refuse_is_not_written),
        cmocka_unit_test(a_list_that_does_not_sum_to_the_size_is_refused),
        cmocka_unit_test(a_reference_to_an_archive_of_another_kind_is_refused),
        cmocka_unit_test(a_full_table_refuses_one_archive_more),
        cmocka_unit_test(a_table_that_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, prepare, finish);
}
