#include "backup/archive/entry.h"

#include <string.h>
#include <sys/stat.h>

#include "backup/archive/block.h"
#include "backup/archive/idtable.h"
#include "backup/base/buf.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "tests/harness/entrysample.h"

static void assert_same_content(const struct content *a, const struct content *b)
{
    assert_int_equal(a->form, b->form);
    assert_int_equal(a->size, b->size);
    if (a->form == CONTENT_ONE || a->form == CONTENT_TREE)
        assert_true(place_equal(a->place, b->place));
    if (a->form == CONTENT_INLINE)
        assert_memory_equal(a->bytes, b->bytes, a->size);
    if (a->form == CONTENT_LIST)
        assert_int_equal(a->count, b->count);
}

static void assert_same_entry(const struct entry *a, const struct entry *b)
{
    assert_int_equal(a->name_size, b->name_size);
    assert_memory_equal(a->name, b->name, a->name_size);
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->flags, b->flags);
    assert_int_equal(entry_st_mode(a), entry_st_mode(b));
    assert_true(a->uid == b->uid && a->gid == b->gid);
    assert_true(a->mtime_s == b->mtime_s && a->mtime_ns == b->mtime_ns);
    assert_true(a->ctime_s == b->ctime_s && a->ctime_ns == b->ctime_ns);
    assert_true(a->inode == b->inode && a->device == b->device);
    assert_true(a->links == b->links && a->shared == b->shared);
    assert_int_equal(a->size, b->size);
    assert_memory_equal(a->digest, b->digest, ENTRY_DIGEST_SIZE);
    assert_int_equal(a->directory.entries, b->directory.entries);
    if (a->directory.entries > 0)
        assert_true(place_equal(a->directory.place, b->directory.place));
    assert_true(a->below_entries == b->below_entries && a->below_bytes == b->below_bytes);
    assert_int_equal(a->target_size, b->target_size);
    if (a->target_size > 0)
        assert_memory_equal(a->target, b->target, a->target_size);
    assert_true(a->rdev == b->rdev);
    assert_same_content(&a->content, &b->content);
    assert_same_content(&a->xattrs, &b->xattrs);
}

static void every_entry_comes_back_as_it_was(void **state)
{
    (void)state;
    static struct sample samples[RECORDS];
    CLEANUP(buf_clear) struct buf items = {.limit = BLOCK_LIMIT};
    CLEANUP(buf_clear) struct buf again = {.limit = BLOCK_LIMIT};
    struct reftable refs = {0}, refs_again = {0};
    size_t size, at = 0;

    seed = 1;
    for (size_t i = 0; i < RECORDS; i++) {
        make_sample(&samples[i]);
        assert_int_equal(entry_encode(&samples[i].entry, &refs, &items, &err), 0);
    }
    CLEANUP(block_unrefp) struct block *block = make_block(&items, &refs);
    assert_int_equal(entry_prepare_block(block, ids, &err), 0);
    assert_int_equal(entry_items_size(block), items.size);
    for (size_t i = 0; i < RECORDS; i++, at += size) {
        struct place place = {3, (uint32_t)(1000 + at)};
        struct entry entry;

        assert_int_equal(entry_decode(block, at, place, &entry, &size, &err), 0);
        assert_true(place_equal(entry.place, place));
        assert_same_entry(&samples[i].entry, &entry);
        assert_int_equal(entry_encode(&entry, &refs_again, &again, &err), 0);
    }
    assert_int_equal(again.size, items.size);
    assert_memory_equal(again.data, items.data, items.size);
    assert_memory_equal(refs_again.archives, refs.archives, refs.count * sizeof(uint32_t));
}

static void a_shared_entry_is_a_link_and_an_inode(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf items = {.limit = BLOCK_LIMIT};
    static struct sample sample;
    struct reftable refs = {0};
    struct entry link, inode;
    size_t size;

    seed = 3;
    do
        make_sample(&sample);
    while (sample.entry.type != ENTRY_FILE || sample.entry.content.form != CONTENT_LIST);
    sample.entry.shared = true;
    sample.entry.links = 5;
    assert_int_equal(entry_encode_inode(&sample.entry, &refs, &items, &err), 0);
    size_t record = items.size;
    sample.entry.place = random_place(ARCHIVE_METADATA);
    assert_int_equal(entry_encode(&sample.entry, &refs, &items, &err), 0);

    CLEANUP(block_unrefp) struct block *block = make_block(&items, &refs);
    assert_int_equal(entry_prepare_block(block, ids, &err), 0);
    assert_int_equal(entry_decode_inode(block, 0, sample.entry.place, &inode, &err), 0);
    assert_int_equal(entry_decode(block, record, (struct place){0}, &link, &size, &err), 0);
    assert_int_equal(record + size, items.size);
    assert_int_equal(link.type, ENTRY_LINK);
    assert_true(place_equal(link.link, sample.entry.place));
    inode.name = link.name;
    inode.name_size = link.name_size;
    assert_same_entry(&sample.entry, &inode);
    assert_int_equal(entry_decode(block, 0, (struct place){0}, &link, NULL, &err), -ERR_CORRUPT);
    assert_int_equal(entry_decode_inode(block, record, (struct place){0}, &link, &err),
                     -ERR_CORRUPT);
}

/* Whatever decodes is sound, and is written as the bytes that it was read from. */
static void assert_sound_or_refused(const uint8_t *bytes, size_t size)
{
    CLEANUP(block_unrefp) struct block *block = block_new(size);
    CLEANUP(buf_clear) struct buf again = {.limit = BLOCK_LIMIT};
    struct reftable refs;
    struct entry entry;
    size_t length;

    assert_non_null(block);
    memcpy(block->data, bytes, size);
    if (entry_prepare_block(block, ids, &err) < 0)
        return;
    for (size_t at = 0; at < entry_items_size(block); at += length) {
        if (entry_decode(block, at, (struct place){0}, &entry, &length, &err) < 0) {
            assert_int_equal(err.code, ERR_CORRUPT);
            return;
        }
        assert_true(entry.name_size > 0 && entry.name_size <= ENTRY_NAME_MAX);
        assert_null(memchr(entry.name, '/', entry.name_size));
        assert_true(length > 0 && at + length <= entry_items_size(block));
        refs.count = load_le16(block->data + block->size - 2);
        for (size_t i = 0; i < refs.count; i++)
            memcpy(&refs.archives[i], block->data + entry_items_size(block) + 33 * i, 4);
        again.size = 0;
        assert_int_equal(entry_encode(&entry, &refs, &again, &err), 0);
        /* Two slots may name one archive: the first is taken then. */
        if (again.size == length && memcmp(again.data, block->data + at, length) != 0)
            assert_true(refs.count > 1);
    }
}

static struct block *small_block(uint64_t first_seed)
{
    CLEANUP(buf_clear) struct buf items = {.limit = BLOCK_LIMIT};
    static struct sample sample;
    struct reftable refs = {0};

    seed = first_seed;
    while (items.size < 600) {
        make_sample(&sample);
        if (sample.entry.target_size < 100 && sample.entry.xattrs.size != INLINE_XATTRS_MAX)
            assert_int_equal(entry_encode(&sample.entry, &refs, &items, &err), 0);
    }
    return make_block(&items, &refs);
}

static void no_damage_gives_an_unsound_entry(void **state)
{
    (void)state;
    static const uint8_t values[] = {0, 1, 2, 0x2F, 0x7F, 0x80, 0xFF};

    for (uint64_t first = 10; first < 14; first++) {
        CLEANUP(block_unrefp) struct block *block = small_block(first);

        for (size_t size = 1; size < block->size; size++)
            assert_sound_or_refused(block->data, size);
        for (size_t at = 0; at < block->size; at++) {
            uint8_t right = block->data[at];

            for (unsigned bit = 0; bit < 8; bit++) {
                block->data[at] = (uint8_t)(right ^ 1U << bit);
                assert_sound_or_refused(block->data, block->size);
            }
            for (size_t i = 0; i < sizeof(values); i++) {
                block->data[at] = values[i];
                assert_sound_or_refused(block->data, block->size);
            }
            block->data[at] = right;
        }
    }
}

static void xattrs_come_back_and_damage_is_found(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf set = {.limit = BLOCK_LIMIT};
    const uint8_t *at, *value;
    size_t name_size, value_size;
    const char *name;

    assert_int_equal(xattrs_append(&set, "user.a", 6, "", 0, &err), 0);
    assert_int_equal(xattrs_append(&set, "user.b", 6, "1\0002", 3, &err), 0);
    assert_int_equal(xattrs_append(&set, "", 0, "x", 1, &err), -ERR_USAGE);
    at = set.data;
    const uint8_t *end = set.data + set.size;
    assert_int_equal(xattrs_next(&at, end, &name, &name_size, &value, &value_size, &err), 1);
    assert_true(name_size == 6 && memcmp(name, "user.a", 6) == 0 && value_size == 0);
    assert_int_equal(xattrs_next(&at, end, &name, &name_size, &value, &value_size, &err), 1);
    assert_true(value_size == 3 && memcmp(value, "1\0002", 3) == 0);
    assert_int_equal(xattrs_next(&at, end, &name, &name_size, &value, &value_size, &err), 0);
    for (size_t size = 1; size < set.size; size++) {
        int r = 1;

        for (at = set.data; r == 1;)
            r = xattrs_next(&at, set.data + size, &name, &name_size, &value, &value_size, &err);
        assert_true(r == -ERR_CORRUPT || (r == 0 && size == 8));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_entry_comes_back_as_it_was),
        cmocka_unit_test(a_shared_entry_is_a_link_and_an_inode),
        cmocka_unit_test(no_damage_gives_an_unsound_entry),
        cmocka_unit_test(xattrs_come_back_and_damage_is_found),
    };
    return cmocka_run_group_tests(tests, prepare, finish);
}
