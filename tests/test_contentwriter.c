#include "backup/archive/treewriter.h"

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "tests/harness/temptree.h"

static struct err err;

static struct extent extent_number(struct temptree *temp, unsigned n)
{
    struct extent extent = {.length = 1 + n % 77777, .place = {.archive = NO_ARCHIVE}};

    if (n % 10 == 9)
        extent.length = n % 100 == 9 ? 1ULL << 40 : 4096;
    else
        extent.place = (struct place){temptree_archive(temp, ARCHIVE_DATA, n / 64), n % 7 * 100000};
    return extent;
}

static struct content write_content(struct temptree *temp, struct contentwriter **writer,
                                    unsigned count)
{
    struct content out;

    assert_int_equal(contentwriter_new(temp->writer, writer, &err), 0);
    for (unsigned n = 0; n < count; n++) {
        struct extent extent = extent_number(temp, n);

        assert_int_equal(contentwriter_add(*writer, &extent, &err), 0);
    }
    assert_int_equal(contentwriter_finish(*writer, &out, &err), 0);
    return out;
}

/* Goes through the extents from number `first` on, of which `within` bytes are passed over. */
static void assert_extents(struct temptree *temp, const struct content *content, unsigned first,
                           uint64_t start, unsigned count)
{
    CLEANUP(content_close) struct content_cursor cursor = {0};
    struct extent expected = extent_number(temp, first), extent;
    uint64_t at;

    assert_int_equal(content_open(&cursor, temp->blocks, content,
                                  start + (first < count ? expected.length - 1 : 0), &err),
                     0);
    for (unsigned n = first; n < count; n++) {
        expected = extent_number(temp, n);
        assert_int_equal(content_next(&cursor, &extent, &at, &err), 1);
        assert_true(extent.length == expected.length && at == start);
        assert_true(extent_is_hole(&expected) ? extent_is_hole(&extent)
                                              : place_equal(extent.place, expected.place));
        start += extent.length;
    }
    assert_true(start == content->size);
    assert_int_equal(content_next(&cursor, &extent, &at, &err), 0);
    assert_int_equal(content_next(&cursor, &extent, &at, &err), 0);
}

static void content_of_any_number_of_extents_comes_back(void **state)
{
    (void)state;
    static const unsigned counts[] = {1, 2, 64, 65, 1000, 1001, 5000, 100000};

    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        CLEANUP(temptree_clear) struct temptree temp = temptree_make();
        struct contentwriter *writer;
        uint64_t start = 0;

        temptree_begin(&temp);
        struct content content = write_content(&temp, &writer, counts[i]);
        temptree_end(&temp);
        assert_int_equal(content.form, counts[i] == 1    ? CONTENT_ONE
                                       : counts[i] <= 64 ? CONTENT_LIST
                                                         : CONTENT_TREE);
        assert_extents(&temp, &content, 0, 0, counts[i]);
        for (unsigned n = 0; n < counts[i]; n++) {
            if (n % 9973 == 0)
                assert_extents(&temp, &content, n, start, counts[i]);
            start += extent_number(&temp, n).length;
        }
        assert_extents(&temp, &content, counts[i], start, counts[i]);
        contentwriter_free(writer);
    }
}

/* Reads all from `offset` on; extents follow one another up to the size, or it is refused. */
static bool content_is_whole(struct temptree *temp, const struct content *content, uint64_t offset)
{
    CLEANUP(content_close) struct content_cursor cursor = {0};
    struct extent extent;
    uint64_t start, end = 0;

    int r = content_open(&cursor, temp->blocks, content, offset, &err);
    if (r == 0)
        end = cursor.at;
    while (r == 0) {
        r = content_next(&cursor, &extent, &start, &err);
        if (r <= 0)
            break;
        assert_true(start == end && extent.length > 0);
        end += extent.length;
        r = 0;
    }
    assert_true(r == -ERR_CORRUPT || (r == 0 && end == content->size));
    return r == 0;
}

static void damaged_extents_are_refused_or_cover_the_size(void **state)
{
    (void)state;
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    static struct place variants[TEMPTREE_VARIANTS];
    struct contentwriter *writer;
    size_t whole = 0;

    temptree_begin(&temp);
    struct content content = write_content(&temp, &writer, 3500);
    temptree_end(&temp);
    contentwriter_free(writer);
    assert_true(content_is_whole(&temp, &content, 0));
    temptree_damage(&temp, content.place, variants);
    for (size_t i = 0; i < TEMPTREE_VARIANTS; i++) {
        content.place = variants[i];
        whole += content_is_whole(&temp, &content, 0);
        content_is_whole(&temp, &content, content.size / 3);
    }
    assert_in_range(whole, 1, TEMPTREE_VARIANTS - 20);
}

static void extents_that_touch_are_one(void **state)
{
    (void)state;
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    struct contentwriter *writer;
    struct content content;

    temptree_begin(&temp);
    struct place place = {temptree_archive(&temp, ARCHIVE_DATA, 0), 5000};
    assert_int_equal(contentwriter_new(temp.writer, &writer, &err), 0);
    for (int i = 0; i < 1000; i++, place.raw += 70)
        assert_int_equal(contentwriter_add(writer, &(struct extent){70, place}, &err), 0);
    assert_int_equal(contentwriter_finish(writer, &content, &err), 0);
    assert_true(content.form == CONTENT_ONE && content.size == 70000 && content.place.raw == 5000);
    contentwriter_free(writer);

    assert_int_equal(contentwriter_new(temp.writer, &writer, &err), 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(
            contentwriter_add(writer, &(struct extent){1ULL << 50, {NO_ARCHIVE, 0}}, &err), 0);
    assert_int_equal(contentwriter_finish(writer, &content, &err), 0);
    assert_true(content.form == CONTENT_LIST && content.count == 1);
    assert_true(content.list[0].length == 5ULL << 50);
    assert_int_equal(contentwriter_add(writer, &(struct extent){0, {NO_ARCHIVE, 0}}, &err),
                     -ERR_USAGE);
    assert_int_equal(contentwriter_add(writer, &(struct extent){INT64_MAX, {NO_ARCHIVE, 0}}, &err),
                     -ERR_USAGE);
    contentwriter_free(writer);

    assert_int_equal(contentwriter_new(temp.writer, &writer, &err), 0);
    assert_int_equal(contentwriter_finish(writer, &content, &err), 0);
    assert_true(content.form == CONTENT_NONE && content.size == 0);
    contentwriter_free(writer);
}

enum { STORED = 1024 * 1024 };

/* A data archive of bytes that tell their offset. */
static uint32_t write_data(struct temptree *temp, uint8_t *bytes)
{
    CLEANUP(codec_freep) struct codec *codec = codec_new(1);
    struct writer_result result;
    struct writer *writer;
    uint32_t raw, stored;

    for (size_t i = 0; i < STORED; i++)
        bytes[i] = (uint8_t)(i * 31 + i / 251);
    assert_int_equal(writer_new(temp->repo.repo, ARCHIVE_DATA, &writer, &err), 0);
    for (size_t at = 0; at < STORED; at += BLOCK_RAW_TARGET) {
        struct chunk chunk = {.length = BLOCK_RAW_TARGET};

        assert_int_equal(writer_append(writer, codec, bytes + at, BLOCK_RAW_TARGET, &chunk, 1, &raw,
                                       &stored, &err),
                         0);
    }
    assert_int_equal(writer_commit(writer, NULL, NULL, &result, &err), 0);
    return result.archive;
}

static void content_is_read_from_any_offset(void **state)
{
    (void)state;
    enum { EXTENTS = 300 };
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    static uint8_t stored[STORED], expected[EXTENTS * 9000], read[EXTENTS * 9000];
    uint32_t archive = write_data(&temp, stored);
    struct contentwriter *writer;
    struct content content;
    uint64_t size = 0, seed = 1;

    temptree_begin(&temp);
    assert_int_equal(contentwriter_new(temp.writer, &writer, &err), 0);
    for (unsigned i = 0; i < EXTENTS; i++) {
        seed = seed * 6364136223846793005U + 1442695040888963407U;
        struct extent extent = {1 + (seed >> 33) % 9000, {NO_ARCHIVE, 0}};

        if (i % 5 > 0) {
            extent.place =
                (struct place){archive, (uint32_t)((seed >> 20) % (STORED - extent.length))};
            memcpy(expected + size, stored + extent.place.raw, extent.length);
        }
        size += extent.length;
        assert_int_equal(contentwriter_add(writer, &extent, &err), 0);
    }
    assert_int_equal(contentwriter_finish(writer, &content, &err), 0);
    temptree_end(&temp);
    assert_true(content.form == CONTENT_TREE && content.size == size);
    for (unsigned i = 0; i < 3000; i++) {
        seed = seed * 6364136223846793005U + 1442695040888963407U;
        uint64_t offset = (seed >> 30) % (size + 1);
        size_t count = (seed >> 10) % (i % 100 == 0 ? size : 5000);
        count = count < size - offset ? count : size - offset;
        assert_int_equal(content_read(temp.blocks, &content, offset, read, count, &err), 0);
        assert_memory_equal(read, expected + offset, count);
    }
    assert_int_equal(content_read(temp.blocks, &content, size, read, 1, &err), -ERR_USAGE);
    contentwriter_free(writer);
}

/* A list is read from the record of the file as well, also when it was copied into another leaf. */
static void a_list_of_extents_survives_being_copied(void **state)
{
    (void)state;
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    CLEANUP(held_entry_clear) struct held_entry held = {0}, copied = {0};
    struct contentwriter *writer;
    struct dirref first, second;
    struct dirwriter *dir;
    char name[32];

    temptree_begin(&temp);
    struct entry entry = temptree_file(&temp, 5, name);
    entry.content = write_content(&temp, &writer, 50);
    entry.size = entry.content.size;
    assert_int_equal(dirwriter_new(temp.writer, NULL, &dir, &err), 0);
    assert_int_equal(dirwriter_add(dir, &entry, NULL, &err), 0);
    assert_int_equal(dirwriter_finish(dir, &first, &err), 0);
    temptree_end(&temp);
    contentwriter_free(writer);
    assert_int_equal(tree_find(temp.blocks, &first, name, entry.name_size, &held, &err), 0);
    assert_extents(&temp, &held.entry.content, 0, 0, 50);

    temptree_begin(&temp);
    assert_int_equal(dirwriter_new(temp.writer, NULL, &dir, &err), 0);
    assert_int_equal(dirwriter_add(dir, &held.entry, NULL, &err), 0);
    assert_int_equal(dirwriter_finish(dir, &second, &err), 0);
    temptree_end(&temp);
    assert_int_equal(tree_find(temp.blocks, &second, name, entry.name_size, &copied, &err), 0);
    assert_extents(&temp, &copied.entry.content, 7, 7 + 7 * 6 / 2, 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(content_of_any_number_of_extents_comes_back),
        cmocka_unit_test(damaged_extents_are_refused_or_cover_the_size),
        cmocka_unit_test(extents_that_touch_are_one),
        cmocka_unit_test(content_is_read_from_any_offset),
        cmocka_unit_test(a_list_of_extents_survives_being_copied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
