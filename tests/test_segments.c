#include "catalog/segments.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup/archive/idtable.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/crypto/digest.h"
#include "catalog/states.h"
#include "tests/harness/cmocka.h"

enum { ARCHIVES = 8 };

struct fixture {
    char directory[64];
    struct digest_key key;
    struct segment_home home;
    struct states *states;
    uint32_t archives[ARCHIVES];
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct err err;

    strcpy(f->directory, "/tmp/test_segments.XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    memset(f->key.bytes, 7, sizeof(f->key.bytes));
    f->home = (struct segment_home){.key = &f->key, .ids = idtable_new()};
    f->home.dirfd = open(f->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    f->states = states_new();
    assert_true(f->home.dirfd >= 0 && f->home.ids && f->states);
    for (uint8_t i = 0; i < ARCHIVES; i++) {
        struct archive_id id = {.bytes = {i, 1, 2}};
        assert_true(idtable_number(f->home.ids, &id, ARCHIVE_DATA, &f->archives[i], &err) == 0);
        assert_true(states_set(f->states, f->archives[i], STATE_PRESENT, &err) == 0);
    }
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    char command[96];

    close(f->home.dirfd);
    states_free(f->states);
    idtable_free(f->home.ids);
    snprintf(command, sizeof(command), "rm -rf %s", f->directory);
    assert_true(system(command) == 0);
    free(f);
    return 0;
}

/* Chunk number `number` of the tests: an id as a digest would be, and a place that follows from it.
 */
static struct chunk_entry chunk(const struct fixture *f, uint64_t number)
{
    struct chunk_entry entry = {.length = (uint32_t)(number % 100000 + 1)};

    for (unsigned i = 0; i < 4; i++) { /* splitmix64 */
        uint64_t z = (number * 4 + i + 1) * UINT64_C(0x9E3779B97F4A7C15);
        z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
        store_le64(entry.id + 8 * i, z ^ (z >> 31));
    }
    entry.place = (struct place){f->archives[number % ARCHIVES], (uint32_t)(number * 64)};
    return entry;
}

/* A segment of the chunks from `first` on. */
static struct segment *make(const struct fixture *f, uint64_t first, uint64_t count)
{
    CLEANUP(memtable_freep) struct memtable *table = memtable_new();
    struct segment *segment = NULL;
    struct err err;

    for (uint64_t i = first; i < first + count; i++) {
        struct chunk_entry entry = chunk(f, i);
        assert_true(memtable_add(table, &entry, &err) == 0);
    }
    assert_true(segment_from_memtable(&f->home, table, &segment, &err) == 0);
    return segment;
}

static bool finds(const struct fixture *f, struct segment *segment, uint64_t number)
{
    struct chunk_entry entry = chunk(f, number);
    struct place place;

    if (!segment_find(segment, f->states, entry.id, entry.length, &place))
        return false;
    assert_true(place_equal(place, entry.place));
    return true;
}

static void a_million_chunks_are_found_and_others_are_not(void **state)
{
    struct fixture *f = *state;
    CLEANUP(segment_closep) struct segment *segment = make(f, 0, 1000000);
    uint64_t wrong = 0;

    assert_true(segment_count(segment) == 1000000);
    for (uint64_t i = 0; i < 1000000; i++)
        wrong += !finds(f, segment, i);
    for (uint64_t i = 1000000; i < 1500000; i++)
        wrong += finds(f, segment, i);
    assert_int_equal(wrong, 0);
}

static void a_segment_is_the_same_when_opened_again(void **state)
{
    struct fixture *f = *state;
    CLEANUP(segment_closep) struct segment *first = make(f, 0, 5000), *again = NULL;
    struct err err;

    assert_true(segment_open(&f->home, segment_name(first), &again, &err) == 0);
    for (uint64_t i = 0; i < 5000; i++)
        assert_true(finds(f, again, i));
    assert_false(finds(f, again, 5000));
}

static void a_chunk_of_another_length_is_another_chunk(void **state)
{
    struct fixture *f = *state;
    CLEANUP(segment_closep) struct segment *segment = make(f, 0, 10);
    struct chunk_entry entry = chunk(f, 3);
    struct place place;

    assert_false(segment_find(segment, f->states, entry.id, entry.length + 1, &place));
}

static void equal_prefixes_never_give_a_wrong_chunk(void **state)
{
    struct fixture *f = *state;
    CLEANUP(memtable_freep) struct memtable *table = memtable_new();
    CLEANUP(segment_closep) struct segment *segment = NULL;
    struct chunk_entry entry = chunk(f, 1);
    struct place place;
    struct err err;

    for (uint32_t i = 0; i < 3000; i++) { /* alike in all but the last bytes */
        store_le32(entry.id + 28, i * 2);
        entry.place.raw = i;
        assert_true(memtable_add(table, &entry, &err) == 0);
    }
    assert_true(segment_from_memtable(&f->home, table, &segment, &err) == 0);
    for (uint32_t i = 0; i < 3000; i++) {
        store_le32(entry.id + 28, i * 2);
        assert_true(segment_find(segment, f->states, entry.id, entry.length, &place));
        assert_int_equal(place.raw, i);
        store_le32(entry.id + 28, i * 2 + 1);
        assert_false(segment_find(segment, f->states, entry.id, entry.length, &place));
    }
}

static void badly_spread_ids_are_found_too(void **state)
{
    struct fixture *f = *state;
    CLEANUP(memtable_freep) struct memtable *table = memtable_new();
    CLEANUP(segment_closep) struct segment *segment = NULL;
    struct place place;
    struct err err;

    for (uint64_t i = 0; i < 20000; i++) { /* half of them below 2^20, the rest far above */
        struct chunk_entry entry = chunk(f, i);
        uint64_t prefix = htobe64(i % 2 ? i : UINT64_MAX - i * i);
        memcpy(entry.id, &prefix, sizeof(prefix));
        assert_true(memtable_add(table, &entry, &err) == 0);
    }
    assert_true(segment_from_memtable(&f->home, table, &segment, &err) == 0);
    for (uint64_t i = 0; i < 20000; i++) {
        struct chunk_entry entry = chunk(f, i);
        uint64_t prefix = htobe64(i % 2 ? i : UINT64_MAX - i * i);
        memcpy(entry.id, &prefix, sizeof(prefix));
        assert_true(segment_find(segment, f->states, entry.id, entry.length, &place));
        assert_true(place_equal(place, entry.place));
    }
}

static void archives_that_are_not_usable_are_passed_over(void **state)
{
    struct fixture *f = *state;
    CLEANUP(segment_closep) struct segment *segment = make(f, 0, 100);
    struct err err;

    assert_true(states_set(f->states, f->archives[1], 0, &err) == 0);
    assert_true(states_set(f->states, f->archives[2], STATE_PRESENT | STATE_MARKED, &err) == 0);
    assert_true(states_set(f->states, f->archives[3], STATE_PRESENT | STATE_DAMAGED, &err) == 0);
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(finds(f, segment, i), i % ARCHIVES < 1 || i % ARCHIVES > 3);
    for (unsigned i = 0; i < ARCHIVES; i++)
        assert_true(states_set(f->states, f->archives[i], STATE_PRESENT, &err) == 0);
}

static void an_empty_segment_finds_nothing(void **state)
{
    struct fixture *f = *state;
    CLEANUP(segment_closep) struct segment *segment = make(f, 0, 0);

    assert_int_equal(segment_count(segment), 0);
    assert_false(finds(f, segment, 0));
}

/* Every byte in turn is changed: the file is refused, or answers rightly or not at all. */
static void a_changed_byte_never_gives_a_wrong_place(void **state)
{
    struct fixture *f = *state;
    CLEANUP(segment_closep) struct segment *segment = make(f, 0, 60);
    CLEANUP(closep) int fd = openat(f->home.dirfd, segment_name(segment), O_RDWR | O_CLOEXEC);
    unsigned refused = 0, lost = 0;
    struct stat st;

    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    uint8_t *map = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(map != MAP_FAILED);
    for (off_t at = 0; at < st.st_size; at++) {
        struct segment *changed = NULL;
        struct err err;
        map[at] ^= (uint8_t)(1U << (at % 8));
        int r = segment_open(&f->home, segment_name(segment), &changed, &err);
        assert_true(r == 0 || r == -ERR_CORRUPT);
        refused += r != 0;
        for (uint64_t i = 0; r == 0 && i < 60; i++)
            lost += !finds(f, changed, i); /* checks the place */
        map[at] ^= (uint8_t)(1U << (at % 8));
        segment_close(changed);
    }
    munmap(map, (size_t)st.st_size);
    assert_true(refused >= 256 + ARCHIVES * 32);
    assert_true(lost >= 60 * 40);
}

static void a_cut_off_file_is_refused(void **state)
{
    struct fixture *f = *state;
    CLEANUP(segment_closep) struct segment *segment = make(f, 0, 60);
    char path[128];
    struct stat st;

    snprintf(path, sizeof(path), "%s/%s", f->directory, segment_name(segment));
    assert_true(stat(path, &st) == 0);
    for (off_t size = st.st_size - 1; size >= 0; size -= 97) {
        struct segment *cut = NULL;
        struct err err;
        assert_true(truncate(path, size) == 0);
        assert_true(segment_open(&f->home, segment_name(segment), &cut, &err) == -ERR_CORRUPT);
    }
}

static void a_file_of_garbage_is_refused(void **state)
{
    struct fixture *f = *state;
    CLEANUP(closep) int fd = openat(f->home.dirfd, "segment-x", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    struct segment *segment = NULL;
    uint8_t bytes[8192];
    struct err err;

    memset(bytes, 0xA5, sizeof(bytes));
    assert_true(io_write_full(fd, bytes, sizeof(bytes), &err) == 0);
    assert_true(segment_open(&f->home, "segment-x", &segment, &err) == -ERR_CORRUPT);
    assert_true(segment_open(&f->home, "segment-none", &segment, &err) == -ERR_NOT_FOUND);
}

static void an_aborted_writer_leaves_no_file(void **state)
{
    struct fixture *f = *state;
    CLEANUP(segment_writer_abortp) struct segment_writer *writer = NULL;
    struct err err;

    assert_true(segment_writer_new(&f->home, f->archives, 1, 10, &writer, &err) == 0);
    segment_writer_abort(STEAL(writer));
    assert_int_equal(rmdir(f->directory), 0);
}

static void merging_keeps_what_is_present_and_drops_doubles(void **state)
{
    struct fixture *f = *state;
    CLEANUP(segment_closep)
    struct segment *a = make(f, 0, 4000), *b = make(f, 2000, 4000), *merged = NULL;
    struct segment *both[] = {a, b};
    struct err err;

    assert_true(states_set(f->states, f->archives[5], 0, &err) == 0);
    assert_true(segment_merge(&f->home, both, 2, f->states, &merged, &err) == 0);
    assert_int_equal(segment_count(merged), 6000 / ARCHIVES * (ARCHIVES - 1));
    assert_true(states_set(f->states, f->archives[5], STATE_PRESENT, &err) == 0);
    for (uint64_t i = 0; i < 6000; i++)
        assert_int_equal(finds(f, merged, i), i % ARCHIVES != 5);
}

static void segments_in_memory_work_without_a_directory(void **state)
{
    struct fixture *f = *state;
    struct fixture memory = *f;

    memory.home.dirfd = -1;
    CLEANUP(segment_closep) struct segment *segment = make(&memory, 0, 1000);
    assert_string_equal(segment_name(segment), "");
    assert_true(finds(&memory, segment, 999) && !finds(&memory, segment, 1000));
}

static void nine_of_similar_size_are_picked_for_merging(void **state)
{
    struct fixture *f = *state;
    struct segments *segments = segments_new(1 << 20);
    struct segment *picked[SEGMENTS_MERGE_AT];
    struct chunk_entry entry = chunk(f, 7000);
    struct place place;
    struct err err;

    assert_true(segments_add(segments, make(f, 0, 70000), &err) == 0); /* of another tier */
    for (uint64_t i = 0; i < SEGMENTS_MERGE_AT; i++) {
        assert_int_equal(segments_pick(segments, picked), 0);
        assert_true(segments_add(segments, make(f, 100000 + i * 10, 10), &err) == 0);
    }
    assert_int_equal(segments_pick(segments, picked), SEGMENTS_MERGE_AT);
    assert_true(segments_find(segments, f->states, entry.id, entry.length, &place));
    segments_remove(segments, segments_at(segments, 0));
    assert_false(segments_find(segments, f->states, entry.id, entry.length, &place));
    entry = chunk(f, 100055);
    assert_true(segments_find(segments, f->states, entry.id, entry.length, &place));
    assert_int_equal(segments_count(segments), SEGMENTS_MERGE_AT);
    segments_free(segments);
}

static void a_memtable_answers_with_what_came_last(void **state)
{
    struct fixture *f = *state;
    CLEANUP(memtable_freep) struct memtable *table = memtable_new();
    struct chunk_entry entry = chunk(f, 1);
    struct place place;
    struct err err;

    assert_false(memtable_find(table, entry.id, entry.length, &place));
    for (uint64_t i = 0; i < 50000; i++) {
        entry = chunk(f, i);
        assert_true(memtable_add(table, &entry, &err) == 0);
    }
    entry = chunk(f, 77);
    entry.place.raw = 4242;
    assert_true(memtable_add(table, &entry, &err) == 0);
    assert_int_equal(memtable_count(table), 50001);
    assert_true(memtable_find(table, entry.id, entry.length, &place) && place.raw == 4242);
    assert_false(memtable_find(table, entry.id, entry.length + 1, &place));
    entry = chunk(f, 50000);
    assert_false(memtable_find(table, entry.id, entry.length, &place));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_million_chunks_are_found_and_others_are_not),
        cmocka_unit_test(a_segment_is_the_same_when_opened_again),
        cmocka_unit_test(a_chunk_of_another_length_is_another_chunk),
        cmocka_unit_test(equal_prefixes_never_give_a_wrong_chunk),
        cmocka_unit_test(badly_spread_ids_are_found_too),
        cmocka_unit_test(archives_that_are_not_usable_are_passed_over),
        cmocka_unit_test(an_empty_segment_finds_nothing),
        cmocka_unit_test(a_changed_byte_never_gives_a_wrong_place),
        cmocka_unit_test(a_cut_off_file_is_refused),
        cmocka_unit_test(a_file_of_garbage_is_refused),
        cmocka_unit_test_setup_teardown(an_aborted_writer_leaves_no_file, set_up, tear_down),
        cmocka_unit_test(merging_keeps_what_is_present_and_drops_doubles),
        cmocka_unit_test(segments_in_memory_work_without_a_directory),
        cmocka_unit_test(nine_of_similar_size_are_picked_for_merging),
        cmocka_unit_test(a_memtable_answers_with_what_came_last),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
