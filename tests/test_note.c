#include "backup/archive/note.h"

#include <string.h>

#include "backup/archive/reader.h"
#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "tests/harness/temprepo.h"

static struct note make_note(enum note_kind kind)
{
    struct note note = {.kind = kind,
                        .snapshot = "20260204_120000",
                        .host = "db1",
                        .sequence = 17,
                        .start_ns = -5,
                        .made_ns = INT64_MAX,
                        .by = "admin",
                        .reason = "wegen der Revision"};

    if (kind >= NOTE_HOLD)
        note.id[3] = 0xab;
    else
        note.number = 12;
    return note;
}

static void assert_same(const struct note *a, const struct note *b)
{
    assert_true(a->kind == b->kind && a->sequence == b->sequence && a->start_ns == b->start_ns &&
                a->number == b->number && a->made_ns == b->made_ns);
    assert_string_equal(a->snapshot, b->snapshot);
    assert_string_equal(a->host, b->host);
    assert_string_equal(a->by, b->by);
    assert_string_equal(a->reason, b->reason);
    assert_memory_equal(a->id, b->id, NOTE_ID_SIZE);
}

static void a_note_of_each_kind_comes_back(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();

    for (enum note_kind kind = NOTE_FORGET; kind <= NOTE_RELEASE; kind++) {
        struct note note = make_note(kind), named = {0}, read = {0};
        char object[OBJECT_NAME_SIZE];
        struct err err;

        note.number += kind == NOTE_UNFORGET;
        assert_int_equal(note_publish(temp.repo, &note, &err), 0);
        note_object_name(&note, object);
        assert_true(note_parse_name(object, &named));
        assert_string_equal(named.snapshot, note.snapshot);
        assert_true(named.number == note.number);
        assert_memory_equal(named.id, note.id, NOTE_ID_SIZE);
        assert_int_equal(note_read(temp.repo, object, &read, &err), 0);
        assert_same(&read, &note);
    }
}

static void a_number_is_given_once(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    struct note forget = make_note(NOTE_FORGET), unforget = make_note(NOTE_UNFORGET);
    struct err err;

    assert_int_equal(note_publish(temp.repo, &forget, &err), 0);
    assert_int_equal(note_publish(temp.repo, &unforget, &err), -ERR_EXISTS);
}

/* Who holds the storage can copy what there is under any name. */
static void a_note_under_another_name_is_refused(void **state)
{
    (void)state;
    static const char *const others[] = {
        "forgets/20260204_120001.00000012",
        "forgets/20260204_120000.00000013",
    };
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    struct note note = make_note(NOTE_FORGET), read;
    char object[OBJECT_NAME_SIZE];
    struct err err;
    size_t size;

    assert_int_equal(note_publish(temp.repo, &note, &err), 0);
    note_object_name(&note, object);
    uint8_t *bytes = temprepo_load(&temp, object, &size);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_int_equal(store_create(temp.repo->store, others[i], bytes, size, &err), 0);
        assert_int_equal(note_read(temp.repo, others[i], &read, &err), -ERR_CORRUPT);
    }
    free(bytes);
}

static void a_hold_does_not_pass_for_its_release(void **state)
{
    (void)state;
    static const char hold[] = "holds/20260204_120000.000000ab000000000000000000000000";
    static const char release[] = "releases/20260204_120000.000000ab000000000000000000000000";
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    struct note note = make_note(NOTE_HOLD), read;
    struct err err;
    size_t size;

    assert_int_equal(note_publish(temp.repo, &note, &err), 0);
    uint8_t *bytes = temprepo_load(&temp, hold, &size);
    assert_int_equal(store_create(temp.repo->store, release, bytes, size, &err), 0);
    assert_int_equal(note_read(temp.repo, release, &read, &err), -ERR_CORRUPT);
    free(bytes);
}

static void a_changed_byte_anywhere_is_found(void **state)
{
    (void)state;
    CLEANUP(temprepo_clear) struct temprepo temp = temprepo_make();
    struct note note = make_note(NOTE_FORGET), read;
    char object[OBJECT_NAME_SIZE];
    struct err err;
    size_t size;

    assert_int_equal(note_publish(temp.repo, &note, &err), 0);
    note_object_name(&note, object);
    uint8_t *bytes = temprepo_load(&temp, object, &size);
    for (size_t i = 0; i < size; i++) {
        bytes[i] ^= 1;
        temprepo_replace(&temp, object, bytes, size);
        bytes[i] ^= 1;
        if (note_read(temp.repo, object, &read, &err) == 0)
            fail_msg("byte %zu of %zu", i, size);
    }
    free(bytes);
}

static void names_that_are_none_are_not_taken(void **state)
{
    (void)state;
    static const char *const names[] = {
        "forgets/20260204_120000",
        "forgets/20260204_120000.1",
        "forgets/20260204_120000.0000000x",
        "forgets/20260204-120000.00000001",
        "holds/20260204_120000.00000001",
        "holds/20260204_120000.000000AB000000000000000000000000",
        "marks/20260204_120000.00000001",
        "forgets/20260204_120000.00000001.old",
        "",
    };
    struct note note;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_false(note_parse_name(names[i], &note));
}

static void every_cut_and_every_nonsense_is_refused(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf whole = {.limit = 4096};
    struct note note = make_note(NOTE_FORGET), read;
    struct err err;

    assert_int_equal(note_encode(&note, &whole, &err), 0);
    assert_int_equal(note_decode(whole.data, whole.size, &read, &err), 0);
    for (size_t size = 0; size < whole.size; size++)
        assert_int_equal(note_decode(whole.data, size, &read, &err), -ERR_CORRUPT);
    whole.data[2] = 5; /* what it says */
    assert_int_equal(note_decode(whole.data, whole.size, &read, &err), -ERR_CORRUPT);
    whole.data[2] = NOTE_HOLD; /* has no number, but an id */
    assert_int_equal(note_decode(whole.data, whole.size, &read, &err), -ERR_CORRUPT);
    whole.data[2] = NOTE_FORGET;
    whole.data[1] = 1; /* a flag that nobody knows */
    assert_int_equal(note_decode(whole.data, whole.size, &read, &err), -ERR_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_note_of_each_kind_comes_back),
        cmocka_unit_test(a_number_is_given_once),
        cmocka_unit_test(a_note_under_another_name_is_refused),
        cmocka_unit_test(a_hold_does_not_pass_for_its_release),
        cmocka_unit_test(a_changed_byte_anywhere_is_found),
        cmocka_unit_test(names_that_are_none_are_not_taken),
        cmocka_unit_test(every_cut_and_every_nonsense_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
