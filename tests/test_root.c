#include "backup/archive/root.h"

#include <stdio.h>
#include <string.h>

#include "backup/archive/idtable.h"
#include "backup/archive/repo.h"
#include "backup/base/buf.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/temprepo.h"

static void add(struct strings *strings, const char *text)
{
    struct err err;

    assert_int_equal(strings_add(strings, text, strlen(text), &err), 0);
}

/* A root with something in every field. */
static struct root make_root(struct idtable *ids)
{
    struct root root = {
        .name = "20260204_120000",
        .revision = 3,
        .host = "db1.example.org",
        .parent = "20260203_120000",
        .sequence = 17,
        .start_ns = -5,
        .end_ns = INT64_MAX,
        .complete = true,
        .version = "0.1.0",
    };
    struct archive_id id = {{1, 2, 3}};
    struct root_type *files = &root.types[TYPE_FILES];
    struct root_type *database = &root.types[TYPE_DATABASE];
    uint32_t number;
    struct err err;

    assert_int_equal(idtable_number(ids, &id, ARCHIVE_METADATA, &number, &err), 0);
    *files = (struct root_type){.present = true,
                                .complete = true,
                                .files = 7,
                                .directories = 2,
                                .others = 1,
                                .bytes = UINT64_MAX,
                                .new_bytes = 99,
                                .unreadable = 4,
                                .directory = {.place = {number, 4711}, .entries = 10}};
    add(&files->sources, "/srv/app");
    add(&files->sources, "/home/\xff\n");
    *database =
        (struct root_type){.present = true, .directory = {.place = {NO_ARCHIVE, UINT32_MAX}}};
    add(&root.tags, "before the upgrade");
    add(&root.tags, "");
    add(&root.tags, "third");
    add(&root.exclusions, "*.o");
    root.archive_count = 2;
    root.archives = calloc(2, sizeof(*root.archives));
    root.archives[0] = (struct root_archive){.id = id, .kind = ARCHIVE_METADATA, .size = 4096};
    root.archives[1] = (struct root_archive){.id = {{9}}, .kind = ARCHIVE_DATA, .size = 1 << 26};
    return root;
}

static void assert_strings_equal(const struct strings *a, const struct strings *b)
{
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++)
        assert_string_equal(a->at[i], b->at[i]);
}

static void assert_types_equal(const struct root_type *a, const struct root_type *b)
{
    assert_int_equal(a->present, b->present);
    assert_int_equal(a->complete, b->complete);
    assert_true(!a->present || place_equal(a->directory.place, b->directory.place));
    assert_int_equal(a->directory.entries, b->directory.entries);
    assert_true(a->files == b->files && a->directories == b->directories && a->others == b->others);
    assert_true(a->bytes == b->bytes && a->new_bytes == b->new_bytes);
    assert_int_equal(a->unreadable, b->unreadable);
    assert_strings_equal(&a->sources, &b->sources);
}

static void assert_roots_equal(const struct root *a, const struct root *b)
{
    assert_string_equal(a->name, b->name);
    assert_string_equal(a->host, b->host);
    assert_string_equal(a->parent, b->parent);
    assert_string_equal(a->version, b->version);
    assert_true(a->revision == b->revision && a->sequence == b->sequence);
    assert_true(a->start_ns == b->start_ns && a->end_ns == b->end_ns);
    assert_true(a->complete == b->complete && a->adhoc == b->adhoc);
    assert_strings_equal(&a->tags, &b->tags);
    assert_strings_equal(&a->exclusions, &b->exclusions);
    for (size_t i = 1; i <= TYPES; i++)
        assert_types_equal(&a->types[i], &b->types[i]);
    assert_int_equal(a->archive_count, b->archive_count);
    for (size_t i = 0; i < a->archive_count; i++) {
        assert_true(archive_id_equal(&a->archives[i].id, &b->archives[i].id));
        assert_int_equal(a->archives[i].kind, b->archives[i].kind);
        assert_int_equal(a->archives[i].size, b->archives[i].size);
    }
}

static void a_published_root_is_read_as_it_was(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    CLEANUP(root_clear) struct root root = make_root(temp.repo->ids);
    CLEANUP(root_clear) struct root back = {0};
    uint64_t size;
    struct err err;

    assert_int_equal(root_publish(temp.repo, &root, &size, &err), 0);
    assert_int_equal(root_read(temp.repo, root.name, 3, &back, &err), 0);
    assert_roots_equal(&root, &back);

    size_t stored;
    free(temprepo_load(&temp, "snapshots/20260204_120000/00000003", &stored));
    assert_int_equal(stored, size);
    struct root none = {0};
    assert_int_equal(root_read(temp.repo, root.name, 4, &none, &err), -ERR_NOT_FOUND);
    assert_int_equal(root_read(temp.repo, "../../repository", 4, &none, &err), -ERR_USAGE);
}

static void a_name_is_taken_once(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    CLEANUP(root_clear) struct root root = make_root(temp.repo->ids);
    CLEANUP(root_clear) struct root back = {0};
    uint64_t size = 0;
    struct err err;

    assert_int_equal(root_publish(temp.repo, &root, &size, &err), 0);
    root.sequence++;
    size = 77;
    assert_int_equal(root_publish(temp.repo, &root, &size, &err), -ERR_EXISTS);
    assert_int_equal(size, 77);
    assert_int_equal(root_read(temp.repo, root.name, 3, &back, &err), 0);
    assert_int_equal(back.sequence, 17);
    root.revision = 4;
    assert_int_equal(root_publish(temp.repo, &root, &size, &err), 0);
}

static void a_root_in_the_place_of_another_is_refused(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    CLEANUP(root_clear) struct root root = make_root(temp.repo->ids);
    struct root back = {0};
    uint64_t size;
    size_t count;
    struct err err;

    assert_int_equal(root_publish(temp.repo, &root, &size, &err), 0);
    root.revision = 4;
    assert_int_equal(root_publish(temp.repo, &root, &size, &err), 0);
    uint8_t *older = temprepo_load(&temp, "snapshots/20260204_120000/00000003", &count);
    temprepo_replace(&temp, "snapshots/20260204_120000/00000004", older, count);
    free(older);
    assert_int_equal(root_read(temp.repo, root.name, 4, &back, &err), -ERR_CORRUPT);
    assert_non_null(strstr(err.text, "00000003"));
}

/* Larger than a block, so that it has several. */
static void a_root_may_name_many_archives(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    CLEANUP(root_clear) struct root root = make_root(temp.repo->ids);
    CLEANUP(root_clear) struct root back = {0};
    uint64_t size;
    struct err err;

    root.archive_count = 30000;
    free(root.archives);
    root.archives = calloc(root.archive_count, sizeof(*root.archives));
    for (uint32_t i = 0; i < root.archive_count; i++) {
        root.archives[i] = (struct root_archive){.kind = ARCHIVE_DATA, .size = i};
        memcpy(root.archives[i].id.bytes, &i, sizeof(i));
    }
    assert_int_equal(root_publish(temp.repo, &root, &size, &err), 0);
    assert_int_equal(root_read(temp.repo, root.name, 3, &back, &err), 0);
    assert_roots_equal(&root, &back);
}

static void every_truncation_of_a_document_is_refused(void **state)
{
    (void)state;
    struct idtable *ids = idtable_new();
    CLEANUP(root_clear) struct root root = make_root(ids);
    CLEANUP(buf_clear) struct buf bytes = {.limit = 1 << 20};
    CLEANUP(root_clear) struct root back = {0};
    struct root none = {0};
    struct err err;

    assert_int_equal(root_encode(&root, ids, &bytes, &err), 0);
    for (size_t cut = 0; cut < bytes.size; cut++) {
        uint8_t *exact = malloc(cut + 1); /* so that a read beyond shows */
        memcpy(exact + 1, bytes.data, cut);
        assert_int_equal(root_decode(exact + 1, cut, ids, &none, &err), -ERR_CORRUPT);
        free(exact);
    }
    assert_int_equal(root_decode(bytes.data, bytes.size, ids, &back, &err), 0);
    assert_roots_equal(&root, &back);
    assert_int_equal(put_u8(&bytes, 0, &err), 0);
    assert_int_equal(root_decode(bytes.data, bytes.size, ids, &none, &err), -ERR_CORRUPT);
    idtable_free(ids);
}

/* Whatever is accepted means just what it says: it encodes to the same bytes again. */
static void every_changed_byte_is_refused_or_means_something_else(void **state)
{
    (void)state;
    struct idtable *ids = idtable_new();
    CLEANUP(root_clear) struct root root = make_root(ids);
    CLEANUP(buf_clear) struct buf bytes = {.limit = 1 << 20};
    CLEANUP(buf_clear) struct buf again = {.limit = 1 << 20};
    size_t accepted = 0;
    struct err err;

    assert_int_equal(root_encode(&root, ids, &bytes, &err), 0);
    for (size_t bit = 0; bit < (bytes.size - 1) * 8; bit++) { /* the last byte: extensions */
        CLEANUP(root_clear) struct root back = {0};
        bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (root_decode(bytes.data, bytes.size, ids, &back, &err) == 0) {
            again.size = 0;
            assert_int_equal(root_encode(&back, ids, &again, &err), 0);
            assert_int_equal(again.size, bytes.size);
            assert_memory_equal(again.data, bytes.data, bytes.size);
            accepted++;
        }
        bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_in_range(accepted, 100, bytes.size * 8 - 100);
    idtable_free(ids);
}

/* A document that is right up to where `tail` begins: version, flags, name …, the tags next. */
static int decode_with_tail(const uint8_t *tail, size_t size)
{
    struct idtable *ids = idtable_new();
    CLEANUP(buf_clear) struct buf bytes = {.limit = 1 << 20};
    CLEANUP(root_clear) struct root back = {0};
    struct err err;

    put_varint(&bytes, 1, &err);
    put_varint(&bytes, 0, &err);
    put_varint(&bytes, 15, &err);
    buf_append(&bytes, "20260204_120000", 15, &err);
    put_varint(&bytes, 0, &err);
    put_varint(&bytes, 1, &err);
    buf_append(&bytes, "h", 1, &err);
    put_varint(&bytes, 1, &err);
    for (size_t i = 0; i < 5; i++) /* parent, times, flags, version */
        put_varint(&bytes, 0, &err);
    buf_append(&bytes, tail, size, &err);
    int r = root_decode(bytes.data, bytes.size, ids, &back, &err);
    idtable_free(ids);
    return r;
}

static void numbers_that_cannot_be_are_refused(void **state)
{
    (void)state;
    static const uint8_t least[] = {0, 0, 0, 0, 0};
    static const uint8_t many_tags[] = {0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0, 0, 0, 0};
    static const uint8_t long_tag[] = {1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1};
    static const uint8_t nul_tag[] = {1, 1, 0, 0, 0, 0, 0};
    static const uint8_t many_types[] = {0, 4, 1, 1, 1, 1};
    static const uint8_t many_archives[] = {0, 0, 0, 0x80, 0x80, 0x40, 0, 0, 0};
    static const uint8_t extension[] = {0, 0, 0, 0, 1, 9, 3, 'a', 'b', 'c'};
    static const uint8_t long_extension[] = {0, 0, 0, 0, 1, 9, 0xFF, 0xFF, 0xFF, 0xFF, 7, 'c'};
    static const uint8_t many_extensions[] = {0, 0, 0, 0, 0xFF, 0xFF, 3, 9, 0, 9, 0};

    assert_int_equal(decode_with_tail(least, sizeof(least)), 0);
    assert_int_equal(decode_with_tail(many_tags, sizeof(many_tags)), -ERR_CORRUPT);
    assert_int_equal(decode_with_tail(long_tag, sizeof(long_tag)), -ERR_CORRUPT);
    assert_int_equal(decode_with_tail(nul_tag, sizeof(nul_tag)), -ERR_CORRUPT);
    assert_int_equal(decode_with_tail(many_types, sizeof(many_types)), -ERR_CORRUPT);
    assert_int_equal(decode_with_tail(many_archives, sizeof(many_archives)), -ERR_CORRUPT);
    assert_int_equal(decode_with_tail(extension, sizeof(extension)), 0);
    assert_int_equal(decode_with_tail(long_extension, sizeof(long_extension)), -ERR_CORRUPT);
    assert_int_equal(decode_with_tail(many_extensions, sizeof(many_extensions)), -ERR_CORRUPT);
}

static void a_root_without_a_proper_name_is_not_written(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    CLEANUP(root_clear) struct root root = make_root(temp.repo->ids);
    uint64_t size;
    struct err err;

    strcpy(root.name, "../20260204_120");
    assert_int_equal(root_publish(temp.repo, &root, &size, &err), -ERR_USAGE);
    strcpy(root.name, "20260204_120000");
    root.host[0] = '\0';
    assert_int_equal(root_publish(temp.repo, &root, &size, &err), -ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_published_root_is_read_as_it_was),
        cmocka_unit_test(a_name_is_taken_once),
        cmocka_unit_test(a_root_in_the_place_of_another_is_refused),
        cmocka_unit_test(a_root_may_name_many_archives),
        cmocka_unit_test(every_truncation_of_a_document_is_refused),
        cmocka_unit_test(every_changed_byte_is_refused_or_means_something_else),
        cmocka_unit_test(numbers_that_cannot_be_are_refused),
        cmocka_unit_test(a_root_without_a_proper_name_is_not_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
