#include "backup/archive/wal.h"

#include <stdlib.h>
#include <string.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "tests/harness/temprepo.h"

enum { MIB = 1024 * 1024 };

static struct wal_meta segment_at(uint64_t start)
{
    return (struct wal_meta){.what = WAL_SEGMENT,
                             .system = UINT64_C(7711137783309444479),
                             .timeline = 3,
                             .segment_size = MIB,
                             .start = start,
                             .host = "db1",
                             .made_ns = 5};
}

/* Bytes that differ from block to block; `seed` makes another content. */
static uint8_t *make_content(unsigned seed)
{
    uint8_t *bytes = malloc(MIB);

    assert_non_null(bytes);
    for (size_t i = 0; i < MIB; i++)
        bytes[i] = (uint8_t)(i / 4096 * 31 + i % 7 + seed);
    return bytes;
}

static int store(struct repo *repo, const struct wal_meta *meta, unsigned seed, unsigned marks,
                 char out[OBJECT_NAME_SIZE], struct err *err)
{
    struct walwriter *writer;
    uint8_t *bytes = make_content(seed);

    assert_int_equal(walwriter_new(repo, 1, meta, &writer, err), 0);
    assert_int_equal(walwriter_add(writer, bytes, meta->length ? meta->length : MIB, err), 0);
    for (unsigned i = 0; i < marks; i++) {
        struct wal_mark mark = {meta->start + i * 40, 700 + i, 1000000 - (int64_t)i};
        assert_int_equal(walwriter_mark(writer, &mark, err), 0);
    }
    free(bytes);
    return walwriter_commit(writer, 0xD110, meta->start + 9, (const uint8_t *)"open", 4, out, err);
}

static int gather(void *context, const uint8_t *bytes, size_t count, struct err *err)
{
    return buf_append(context, bytes, count, err);
}

static int count_marks(void *context, const struct wal_mark *mark, struct err *err)
{
    unsigned *count = context;

    (void)err;
    assert_true(mark->lsn == 16 * (uint64_t)MIB + *count * 40);
    assert_true(mark->xid == 700 + *count && mark->time_us == 1000000 - (int64_t)*count);
    ++*count;
    return 0;
}

static void a_segment_comes_back_with_its_commits(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    CLEANUP(walreader_closep) struct walreader *reader = NULL;
    CLEANUP(buf_clear) struct buf content = {.limit = MIB};
    const struct wal_meta meta = segment_at(16 * MIB);
    enum { MARKS = 60000 }; /* more than an index block holds */
    char object[OBJECT_NAME_SIZE], name[OBJECT_NAME_SIZE];
    uint8_t *bytes = make_content(0);
    unsigned marks = 0;
    struct err err;

    assert_int_equal(store(temp.repo, &meta, 0, MARKS, object, &err), 0);
    wal_object_name(temp.repo, &meta, name);
    assert_string_equal(object, name);
    assert_true(wal_is_name(object));
    assert_int_equal(walreader_open(temp.repo, object, &reader, &err), 0);
    const struct wal_meta *read = walreader_meta(reader);
    assert_true(read->system == meta.system && read->timeline == 3 && read->magic == 0xD110);
    assert_true(read->commits == MARKS && read->latest_us == 1000000 && read->first.xid == 700);
    assert_true(read->open_size == 4 && memcmp(read->open, "open", 4) == 0);
    assert_int_equal(walreader_marks(reader, count_marks, &marks, &err), 0);
    assert_true(marks == MARKS);
    assert_int_equal(walreader_copy(reader, 0, MIB, gather, &content, &err), 0);
    assert_true(content.size == MIB);
    assert_memory_equal(content.data, bytes, MIB);
    content.size = 0;
    assert_int_equal(walreader_copy(reader, 300000, 800000, gather, &content, &err), 0);
    assert_true(content.size == 500000);
    assert_memory_equal(content.data, bytes + 300000, 500000);
    free(bytes);
}

static void the_same_segment_twice_is_fine_and_another_content_is_not(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    const struct wal_meta meta = segment_at(0x5000000);
    char object[OBJECT_NAME_SIZE];
    struct err err;

    assert_int_equal(store(temp.repo, &meta, 1, 0, object, &err), 0);
    assert_int_equal(store(temp.repo, &meta, 1, 0, object, &err), 0);
    assert_int_equal(store(temp.repo, &meta, 2, 0, object, &err), -ERR_EXISTS);
}

static void names_tell_apart_what_differs_and_nothing_else(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    CLEANUP(temprepo_clear) struct temprepo other = temprepo_make();
    struct wal_meta a = segment_at(0x5000000), b = a;
    char first[OBJECT_NAME_SIZE], second[OBJECT_NAME_SIZE];

    wal_object_name(temp.repo, &a, first);
    b.made_ns = 99;
    wal_object_name(temp.repo, &b, second);
    assert_string_equal(first, second);
    b.timeline++;
    wal_object_name(temp.repo, &b, second);
    assert_string_not_equal(first, second);
    wal_object_name(other.repo, &a, second); /* without the key nobody can tell */
    assert_string_not_equal(first, second);
    assert_false(wal_is_name("wal/000000010000000000000001"));
    assert_false(wal_is_name("data/0"));
}

static void an_archive_under_another_name_is_refused(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    CLEANUP(walreader_closep) struct walreader *reader = NULL;
    const struct wal_meta a = segment_at(0x5000000), b = segment_at(0x6000000);
    char first[OBJECT_NAME_SIZE], second[OBJECT_NAME_SIZE], from[200], to[200];
    struct err err;

    assert_int_equal(store(temp.repo, &a, 1, 0, first, &err), 0);
    wal_object_name(temp.repo, &b, second);
    (void)snprintf(from, sizeof(from), "%s/%s", temp.directory, first);
    (void)snprintf(to, sizeof(to), "%s/%s", temp.directory, second);
    assert_int_equal(rename(from, to), 0);
    assert_int_equal(walreader_open(temp.repo, second, &reader, &err), -ERR_CORRUPT);
    assert_int_equal(walreader_open(temp.repo, first, &reader, &err), -ERR_NOT_FOUND);
}

static int decode(const uint8_t *bytes, size_t size)
{
    struct wal_meta meta = {0};
    uint32_t *index = NULL;
    size_t count = 0;
    struct err err;
    int r = wal_document_decode(bytes, size, &meta, &index, &count, &err);

    free(index);
    wal_meta_clear(&meta);
    return r;
}

static void a_document_that_is_cut_off_or_flipped_never_crashes(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf document = {.limit = MIB};
    struct wal_point point = {0x5000100, 7, "before the release"};
    struct wal_meta meta = segment_at(0x5000000);
    uint32_t index[] = {2, 3};
    struct err err;

    meta.length = MIB;
    meta.commits = 2;
    meta.points = &point;
    meta.point_count = 1;
    assert_int_equal(wal_document_encode(&meta, index, 2, &document, &err), 0);
    assert_int_equal(decode(document.data, document.size), 0);
    for (size_t size = 0; size < document.size; size++)
        assert_int_equal(decode(document.data, size), -ERR_CORRUPT);
    for (size_t bit = 0; bit < 8 * document.size; bit++) {
        document.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        int r = decode(document.data, document.size);
        assert_true(r == 0 || r == -ERR_CORRUPT);
        document.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void places_that_cannot_be_are_refused(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf document = {.limit = MIB};
    struct wal_meta bad[6];
    struct err err;

    for (size_t i = 0; i < 6; i++) {
        bad[i] = segment_at(0x5000000);
        bad[i].length = MIB;
    }
    bad[0].start += 512;           /* a segment begins at a multiple of its size */
    bad[1].length = MIB - 1;       /* and is whole */
    bad[2].segment_size = MIB + 1; /* a power of two */
    bad[3].timeline = 0;
    bad[4].what = WAL_TAIL; /* a tail that passes its segment's end */
    bad[4].start += 4096;
    bad[5].start = UINT64_MAX - MIB + 1;
    for (size_t i = 0; i < 6; i++) {
        document.size = 0;
        assert_int_equal(wal_document_encode(&bad[i], NULL, 0, &document, &err), 0);
        assert_int_equal(decode(document.data, document.size), -ERR_CORRUPT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_segment_comes_back_with_its_commits),
        cmocka_unit_test(the_same_segment_twice_is_fine_and_another_content_is_not),
        cmocka_unit_test(names_tell_apart_what_differs_and_nothing_else),
        cmocka_unit_test(an_archive_under_another_name_is_refused),
        cmocka_unit_test(a_document_that_is_cut_off_or_flipped_never_crashes),
        cmocka_unit_test(places_that_cannot_be_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
