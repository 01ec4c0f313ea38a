#include "backup/archive/entry.h"

#include <string.h>
#include <sys/stat.h>

#include "backup/archive/block.h"
#include "backup/archive/idtable.h"
#include "backup/base/buf.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "tests/harness/cmocka.h"

enum { RECORDS = 400, ARCHIVES = 40, BLOCK_LIMIT = 1024 * 1024 };

static struct idtable *ids;
static uint64_t seed;
static struct err err;

static uint64_t random_below(uint64_t bound)
{
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    return (seed >> 20) % bound;
}

/* Numbers of every length, small ones as often as large ones. */
static uint64_t random_number(void)
{
    uint64_t number = random_below(1ULL << 40) << 24 ^ random_below(1ULL << 40);

    return number >> random_below(64);
}

static uint32_t archive_of(enum archive_kind kind)
{
    struct archive_id id = {{(uint8_t)kind, (uint8_t)random_below(ARCHIVES)}};
    uint32_t number;

    assert_int_equal(idtable_number(ids, &id, kind, &number, &err), 0);
    return number;
}

static struct place random_place(enum archive_kind kind)
{
    return (struct place){archive_of(kind), (uint32_t)random_below(UINT32_MAX / 2)};
}

static void random_text(char *out, size_t size)
{
    for (size_t i = 0; i < size; i++)
        out[i] = (char)(random_below(200) + '0');
}

/* An entry and what it points to. */
struct sample {
    struct entry entry;
    char name[ENTRY_NAME_MAX], target[ENTRY_TARGET_MAX];
    uint8_t xattrs[INLINE_XATTRS_MAX];
    struct extent extents[INLINE_EXTENTS_MAX];
};

static void make_list(struct sample *sample, struct content *content)
{
    content->form = CONTENT_LIST;
    content->count = 1 + random_below(INLINE_EXTENTS_MAX);
    content->size = 0;
    content->list = sample->extents;
    for (size_t i = 0; i < content->count; i++) {
        bool hole = random_below(4) == 0;
        sample->extents[i].length = 1 + random_below(1U << 30);
        sample->extents[i].place =
            hole ? (struct place){.archive = NO_ARCHIVE} : random_place(ARCHIVE_DATA);
        content->size += sample->extents[i].length;
    }
}

static void make_content(struct sample *sample, struct content *content, uint64_t limit)
{
    content->size = 1 + random_below(limit);
    switch (random_below(3)) {
    case 0:
        content->form = CONTENT_ONE;
        content->place = random_place(ARCHIVE_DATA);
        break;
    case 1:
        if (limit > 1U << 30)
            make_list(sample, content);
        else
            content->form = CONTENT_TREE, content->place = random_place(ARCHIVE_METADATA);
        break;
    default:
        content->form = CONTENT_TREE;
        content->place = random_place(ARCHIVE_METADATA);
    }
}

static void make_by_type(struct sample *sample)
{
    struct entry *entry = &sample->entry;

    if (entry->type == ENTRY_FILE && random_below(8) > 0) {
        make_content(sample, &entry->content, (1U << 30) + 1);
        entry->size = entry->content.size;
        random_text((char *)entry->digest, sizeof(entry->digest));
    } else if (entry->type == ENTRY_DIRECTORY && random_below(4) > 0) {
        entry->directory.entries = 1 + random_number() / 2;
        entry->directory.place = random_place(ARCHIVE_METADATA);
        entry->below_entries = entry->directory.entries + random_number() / 4;
        entry->below_bytes = random_number();
    } else if (entry->type == ENTRY_DIRECTORY) {
        entry->directory.place.archive = NO_ARCHIVE;
    } else if (entry->type == ENTRY_SYMLINK) {
        entry->target = sample->target;
        entry->target_size = 1 + random_below(random_below(9) > 0 ? 40 : ENTRY_TARGET_MAX);
        random_text(sample->target, entry->target_size);
    } else if (entry->type == ENTRY_CHARDEV || entry->type == ENTRY_BLOCKDEV) {
        entry->rdev = random_number();
    }
}

static void make_xattrs(struct sample *sample)
{
    struct content *xattrs = &sample->entry.xattrs;

    sample->entry.flags |= ENTRY_XATTRS;
    if (random_below(2) == 0) {
        make_content(sample, xattrs, ENTRY_XATTRS_MAX);
        return;
    }
    xattrs->form = CONTENT_INLINE;
    xattrs->size = 1 + random_below(random_below(9) > 0 ? 60 : INLINE_XATTRS_MAX);
    xattrs->bytes = sample->xattrs;
    random_text((char *)sample->xattrs, xattrs->size);
}

static void make_sample(struct sample *sample)
{
    static const uint8_t file_flags[] = {0, 0, 0, ENTRY_CHANGED};
    struct entry *entry = &sample->entry;

    *entry = (struct entry){.type = (enum entry_type)(1 + random_below(7)), .links = 1};
    entry->name = sample->name;
    entry->name_size = 1 + random_below(random_below(9) > 0 ? 30 : ENTRY_NAME_MAX);
    random_text(sample->name, entry->name_size);
    entry->flags = file_flags[random_below(4)];
    if (entry->type == ENTRY_DIRECTORY && random_below(9) == 0)
        entry->flags |= ENTRY_PARTIAL;
    entry->mode = (uint32_t)random_below(010000);
    entry->uid = (uint32_t)random_number();
    entry->gid = (uint32_t)random_number();
    entry->mtime_s = (int64_t)(random_number() ^ (0 - random_below(2)));
    entry->ctime_s = (int64_t)(random_number() ^ (0 - random_below(2)));
    entry->mtime_ns = (uint32_t)random_below(1000000000);
    entry->ctime_ns = (uint32_t)random_below(1000000000);
    entry->inode = random_number();
    entry->device = random_number();
    make_by_type(sample);
    if (random_below(5) == 0)
        make_xattrs(sample);
}

static struct block *make_block(const struct buf *items, const struct reftable *refs)
{
    size_t table = refs->count * (ARCHIVE_ID_SIZE + 1);
    struct block *block = block_new(items->size + table + 2);

    assert_non_null(block);
    memcpy(block->data, items->data, items->size);
    for (size_t i = 0; i < refs->count; i++) {
        uint8_t *slot = block->data + items->size + i * (ARCHIVE_ID_SIZE + 1);
        memcpy(slot, idtable_id(ids, refs->archives[i])->bytes, ARCHIVE_ID_SIZE);
        slot[ARCHIVE_ID_SIZE] = (uint8_t)idtable_kind(ids, refs->archives[i]);
    }
    store_le16(block->data + items->size + table, (uint16_t)refs->count);
    return block;
}

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

static int prepare(void **state)
{
    (void)state;
    ids = idtable_new();
    return ids ? 0 : -1;
}

static int finish(void **state)
{
    (void)state;
    idtable_free(ids);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_entry_comes_back_as_it_was),
        cmocka_unit_test(a_shared_entry_is_a_link_and_an_inode),
        cmocka_unit_test(no_damage_gives_an_unsound_entry),
        cmocka_unit_test(what_a_reader_would_refuse_is_not_written),
        cmocka_unit_test(a_list_that_does_not_sum_to_the_size_is_refused),
        cmocka_unit_test(a_reference_to_an_archive_of_another_kind_is_refused),
        cmocka_unit_test(a_full_table_refuses_one_archive_more),
        cmocka_unit_test(a_table_that_cannot_be_is_refused),
        cmocka_unit_test(xattrs_come_back_and_damage_is_found),
    };
    return cmocka_run_group_tests(tests, prepare, finish);
}
