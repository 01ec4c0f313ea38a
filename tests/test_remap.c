#include "backup/archive/remap.h"

#include <stdio.h>

#include "backup/archive/idtable.h"
#include "backup/archive/remap_internal.h"
#include "backup/archive/repo.h"
#include "backup/archive/writer.h"
#include "backup/base/buf.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/store/store.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/remaps.h"
#include "tests/harness/temprepo.h"

static int publish(struct repo *repo, const struct remap_entry *entries, size_t count)
{
    struct writer_result result;
    struct err err;
    int r = remap_publish(repo, entries, count, NULL, NULL, &result, &err);

    return r < 0 ? r : result.size > 0;
}

/* Past all that remap_publish() sees to. */
static void write_raw(struct repo *repo, const void *bytes, size_t size, size_t piece)
{
    CLEANUP(codec_freep) struct codec *codec = codec_new(1);
    struct writer_result result;
    struct writer *writer;
    uint32_t raw, stored;
    struct err err;

    assert_int_equal(writer_new(repo, ARCHIVE_REMAP, &writer, &err), 0);
    for (size_t at = 0; at < size; at += piece)
        assert_int_equal(writer_append(writer, codec, (const uint8_t *)bytes + at,
                                       size - at < piece ? size - at : piece, NULL, 0, &raw,
                                       &stored, &err),
                         0);
    assert_int_equal(writer_commit(writer, NULL, NULL, &result, &err), 0);
}

static void write_entries(struct repo *repo, struct remap_entry *entries, size_t count)
{
    CLEANUP(buf_clear) struct buf bytes = {.limit = remap_document_limit()};
    struct remap_document document = {.entries = entries, .count = count};
    struct err err;

    qsort(entries, count, sizeof(*entries), remap_compare);
    assert_int_equal(remap_document_encode(&document, &bytes, &err), 0);
    write_raw(repo, bytes.data, bytes.size, 100000);
}

static uint32_t number_of(struct repo *repo, char letter)
{
    struct archive_id id = id_of(letter);
    uint32_t number;
    struct err err;

    assert_int_equal(idtable_number(repo->ids, &id, ARCHIVE_DATA, &number, &err), 0);
    return number;
}

/* Where a place is found, as "B25 C7", in order. */
static const char *find(struct repo *repo, char letter, uint32_t raw)
{
    static char text[400];
    struct remap_found found[REMAP_FOUND_MAX];
    struct err err;
    int count = remap_find(repo, (struct place){number_of(repo, letter), raw}, found, &err);

    if (count < 0)
        return count == -ERR_CORRUPT ? "corrupt" : "other";
    text[0] = '\0';
    for (int i = 0; i < count; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%c%u", i > 0 ? " " : "",
                 idtable_id(repo->ids, found[i].place.archive)->bytes[0], found[i].place.raw);
    return text;
}

static void what_was_published_is_found_by_others_too(void **state)
{
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    struct remap_entry entries[] = {entry('A', 'N', 10, 20, 100), entry('B', 'N', 0, 5, 50)};
    struct err err;

    (void)state;
    assert_string_equal(find(temp.repo, 'A', 12), "");
    assert_int_equal(publish(temp.repo, entries, 2), 1);
    CLEANUP(repo_freep) struct repo *other = temprepo_open_again(&temp);
    assert_string_equal(find(other, 'A', 12), "");
    assert_int_equal(remap_refresh(other, &err), 0);
    for (int i = 0; i < 2; i++) {
        struct repo *repo = i == 0 ? temp.repo : other;
        assert_string_equal(find(repo, 'A', 9), "");
        assert_string_equal(find(repo, 'A', 10), "N100");
        assert_string_equal(find(repo, 'A', 19), "N109");
        assert_string_equal(find(repo, 'A', 20), "");
        assert_string_equal(find(repo, 'B', 3), "N53");
        assert_true(remap_has(repo, number_of(repo, 'A')));
        assert_false(remap_has(repo, number_of(repo, 'N')));
    }
}

static void nothing_to_say_writes_nothing(void **state)
{
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();

    (void)state;
    assert_int_equal(publish(temp.repo, NULL, 0), 0);
    assert_int_equal(remap_generation(temp.repo), 0);
}

static void a_chain_is_written_flat_and_what_stays_in_the_middle_stays(void **state)
{
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    struct remap_entry first[] = {entry('A', 'M', 10, 30, 100)};
    struct remap_entry second[] = {entry('M', 'N', 105, 112, 5), entry('M', 'O', 112, 115, 900)};
    CLEANUP(repo_freep) struct repo *other = temprepo_open_again(&temp);
    struct remap_entry *all;
    size_t count;
    struct err err;

    (void)state;
    assert_int_equal(publish(temp.repo, first, 1), 1);
    assert_int_equal(publish(other, second, 2), 1);
    assert_string_equal(find(other, 'A', 14), "M104");
    assert_string_equal(find(other, 'A', 15), "M105 N5");
    assert_string_equal(find(other, 'A', 22), "M112 O900");
    assert_string_equal(find(other, 'A', 25), "M115");
    /* Of the newest alone: */
    struct remap_object *objects;
    assert_int_equal(remap_objects(other, &objects, &count, &err), 0);
    assert_int_equal(count, 2);
    for (size_t i = 0; i < count; i++) {
        char name[OBJECT_NAME_SIZE];
        repo_object_name(ARCHIVE_REMAP, &objects[i].id, name);
        if (objects[i].superseded)
            assert_int_equal(store_remove(other->store, name, &err), 0);
    }
    free(objects);
    assert_int_equal(remap_refresh(other, &err), 0);
    assert_string_equal(find(other, 'A', 10), "M100");
    assert_string_equal(find(other, 'A', 14), "M104");
    assert_string_equal(find(other, 'A', 15), "N5");
    assert_string_equal(find(other, 'A', 21), "N11");
    assert_string_equal(find(other, 'A', 22), "O900");
    assert_string_equal(find(other, 'A', 25), "M115");
    assert_string_equal(find(other, 'M', 105), "N5");
    assert_int_equal(remap_entries(other, &all, &count, &err), 0);
    assert_int_equal(count, 6);
    free(all);
}

static bool not_of_a(void *context, const struct remap_entry *entry)
{
    ++*(int *)context;
    return entry->old.bytes[0] != 'A';
}

static void what_nothing_names_any_more_is_left_out(void **state)
{
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    struct remap_entry entries[] = {entry('A', 'N', 10, 20, 100), entry('B', 'N', 0, 5, 50)};
    struct writer_result result;
    struct remap_object *objects;
    size_t count;
    int asked = 0;
    struct err err;

    (void)state;
    assert_int_equal(publish(temp.repo, entries, 2), 1);
    assert_int_equal(remap_publish(temp.repo, NULL, 0, not_of_a, &asked, &result, &err), 0);
    assert_int_equal(asked, 2);
    assert_string_equal(find(temp.repo, 'A', 10), "N100"); /* the old remap is still there */
    assert_int_equal(remap_objects(temp.repo, &objects, &count, &err), 0);
    assert_int_equal(count, 2);
    for (size_t i = 0; i < count; i++) {
        char name[OBJECT_NAME_SIZE];
        assert_int_equal(objects[i].superseded, !archive_id_equal(&objects[i].id, &result.id));
        repo_object_name(ARCHIVE_REMAP, &objects[i].id, name);
        if (objects[i].superseded)
            assert_int_equal(store_remove(temp.repo->store, name, &err), 0);
    }
    free(objects);
    assert_int_equal(remap_refresh(temp.repo, &err), 0);
    assert_string_equal(find(temp.repo, 'A', 10), "");
    assert_string_equal(find(temp.repo, 'B', 0), "N50");
}

static void circles_and_endless_chains_over_several_objects_are_corrupt(void **state)
{
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    struct remap_entry there[] = {entry('A', 'B', 0, 1000, 1)};
    struct remap_entry back[] = {entry('B', 'A', 0, 1000, 0)};
    struct remap_entry round[] = {entry('C', 'D', 0, 9, 0)}, again[] = {entry('D', 'C', 0, 9, 0)};
    struct err err;

    (void)state;
    write_entries(temp.repo, there, 1);
    write_entries(temp.repo, back, 1);
    write_entries(temp.repo, round, 1);
    write_entries(temp.repo, again, 1);
    assert_int_equal(remap_refresh(temp.repo, &err), 0);
    assert_string_equal(find(temp.repo, 'A', 0), "corrupt");
    assert_string_equal(find(temp.repo, 'C', 3), "D3");
    assert_int_equal(publish(temp.repo, NULL, 0), -ERR_CORRUPT);
}

static void a_chain_is_followed_over_as_many_objects_as_there_may_be(void **state)
{
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    struct err err;

    (void)state;
    for (int i = 0; i < REMAP_STEPS_MAX; i++) {
        struct remap_entry one = entry((char)('A' + i), (char)('B' + i), 0, 100, 0);
        write_entries(temp.repo, &one, 1);
    }
    assert_int_equal(remap_refresh(temp.repo, &err), 0);
    assert_string_equal(find(temp.repo, 'A', 7) + strlen(find(temp.repo, 'A', 7)) - 2, "Q7");
    struct remap_entry more = entry('Q', 'R', 0, 100, 0);
    write_entries(temp.repo, &more, 1);
    assert_int_equal(remap_refresh(temp.repo, &err), 0);
    assert_string_equal(find(temp.repo, 'A', 7), "corrupt");
    assert_string_equal(find(temp.repo, 'Q', 7), "R7");
}

static void a_damaged_remap_is_told_and_the_others_count(void **state)
{
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    CLEANUP(repo_freep) struct repo *other = temprepo_open_again(&temp);
    struct remap_entry good[] = {entry('A', 'N', 10, 20, 100)};
    static const uint8_t bad[] = {1, 0, 0, 9};
    struct err err;

    (void)state;
    write_entries(temp.repo, good, 1);
    write_raw(temp.repo, bad, sizeof(bad), 1);
    assert_int_equal(remap_refresh(other, &err), -ERR_CORRUPT);
    assert_non_null(strstr(err.text, "remap/"));
    assert_string_equal(find(other, 'A', 10), "N100");
    assert_int_equal(publish(other, NULL, 0), -ERR_CORRUPT);
    /* Who misses something is told why it cannot be found, and not once for each read. */
    for (int i = 0; i < 2; i++)
        assert_int_equal(
            remap_look_again(other, number_of(other, 'X'), remap_generation(other), &err),
            -ERR_CORRUPT);
}

struct wanted {
    struct repo *repo;
    uint32_t target;
    bool refuse_object;
};

static bool object_counts(void *context, uint32_t archive)
{
    const struct wanted *wanted = context;

    assert_int_equal(idtable_kind(wanted->repo->ids, archive), ARCHIVE_REMAP);
    return !wanted->refuse_object;
}

static bool is_target(void *context, uint32_t archive)
{
    return archive == ((const struct wanted *)context)->target;
}

static void what_leads_to_an_archive_is_found_over_several_objects(void **state)
{
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    struct remap_entry first[] = {entry('A', 'B', 0, 9, 0)}, second[] = {entry('B', 'C', 0, 9, 0)};
    struct wanted wanted = {.repo = temp.repo, .target = number_of(temp.repo, 'C')};
    struct remap_filter filter = {object_counts, is_target, &wanted};
    struct err err;

    (void)state;
    write_entries(temp.repo, first, 1);
    write_entries(temp.repo, second, 1);
    assert_int_equal(remap_refresh(temp.repo, &err), 0);
    assert_true(remap_leads(temp.repo, number_of(temp.repo, 'A'), &filter));
    assert_false(remap_leads(temp.repo, number_of(temp.repo, 'C'), &filter));
    wanted.refuse_object = true;
    assert_false(remap_leads(temp.repo, number_of(temp.repo, 'A'), &filter));
    wanted.refuse_object = false;
    wanted.target = number_of(temp.repo, 'A');
    assert_false(remap_leads(temp.repo, number_of(temp.repo, 'A'), &filter));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_published_is_found_by_others_too),
        cmocka_unit_test(nothing_to_say_writes_nothing),
        cmocka_unit_test(a_chain_is_written_flat_and_what_stays_in_the_middle_stays),
        cmocka_unit_test(what_nothing_names_any_more_is_left_out),
        cmocka_unit_test(circles_and_endless_chains_over_several_objects_are_corrupt),
        cmocka_unit_test(a_chain_is_followed_over_as_many_objects_as_there_may_be),
        cmocka_unit_test(a_damaged_remap_is_told_and_the_others_count),
        cmocka_unit_test(what_leads_to_an_archive_is_found_over_several_objects),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
