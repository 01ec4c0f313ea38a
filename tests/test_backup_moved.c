#include "tests/harness/backingup.h"
#include "tests/harness/compacting.h"

static void compact_last(struct fixture *fixture, enum archive_kind kind, bool but_first)
{
    const struct compacting how = {fixture->temp.repo, but_first, true, true};

    compact(&how, &fixture->result.root, kind);
}

/* The archive that moved content came to. */
static struct archive_id target_of(struct repo *repo)
{
    struct remap_entry *entries;
    size_t count;
    struct err err;

    assert_int_equal(remap_entries(repo, &entries, &count, &err), 0);
    struct archive_id id = {0};
    for (size_t i = 0; i < count; i++)
        if (entries[i].kind == ARCHIVE_DATA)
            id = entries[i].new;
    free(entries);
    return id;
}

/* ---- meeting one --------------------------------------------------------------------------- */

enum harm { MARK_TARGET, MARK_REMAPS };
static struct {
    struct repo *repo;
    enum harm harm;
    bool done;
} pruner;

static int meet_pruner(struct baseline *unused, const struct writer_result *archive,
                       const void *index, size_t size, struct err *err)
{
    struct remap_object *objects;
    size_t count;

    (void)unused;
    (void)index;
    (void)size;
    if (pruner.done || archive->kind != ARCHIVE_DATA)
        return 0;
    pruner.done = true;
    if (pruner.harm == MARK_TARGET) {
        struct archive_id id = target_of(pruner.repo);
        compacting_mark(pruner.repo, &id);
        return 0;
    }
    assert_int_equal(remap_objects(pruner.repo, &objects, &count, err), 0);
    for (size_t i = 0; i < count; i++)
        compacting_mark(pruner.repo, &objects[i].id);
    free(objects);
    return 0;
}

static const struct baseline_ops met = {
    .find_chunk = find_nothing, .archive_usable = always_usable, .add_archive = meet_pruner};

static struct place place_of(struct fixture *fixture, const char *directory)
{
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(fixture->temp.repo, 1 << 20);
    CLEANUP(held_entry_clear) struct held_entry held = {0};

    find(fixture, blocks, directory, &held);
    return held.entry.directory.place;
}

static uint32_t archive_of(struct fixture *fixture, const char *path)
{
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(fixture->temp.repo, 1 << 20);
    CLEANUP(held_entry_clear) struct held_entry held = {0};

    find(fixture, blocks, path, &held);
    return held.entry.content.place.archive;
}

static void what_was_moved_is_neither_read_nor_stored_again(void **state)
{
    struct fixture *fixture = *state;

    shell(fixture, "echo precious > f; mkdir d; head -c 400000 /dev/urandom > d/big; ln f g");
    usleep(50000); /* what is as new as its backup is read again */
    must_back_up(fixture);
    struct place before = place_of(fixture, "");
    uint32_t archive = archive_of(fixture, "d/big");
    compact_last(fixture, ARCHIVE_DATA, false);
    compact_last(fixture, ARCHIVE_METADATA, false);
    must_hold(fixture, "d/big");
    must_back_up(fixture);
    assert_int_equal(fixture->result.files_read, 0);
    assert_int_equal(fixture->result.root.revision, 0);
    assert_true(place_equal(before, place_of(fixture, "")));
    assert_int_equal(archive_of(fixture, "d/big"), archive);
    must_hold(fixture, "d/big");
    must_hold(fixture, "g");
}

static void what_was_not_moved_is_read_again(void **state)
{
    struct fixture *fixture = *state;

    shell(fixture, "head -c 400000 /dev/urandom > a; head -c 400000 /dev/urandom > b");
    usleep(50000);
    must_back_up(fixture);
    compact_last(fixture, ARCHIVE_DATA, true);
    must_back_up(fixture);
    assert_int_equal(fixture->result.files_read, 1); /* whichever had the first block */
    must_hold(fixture, "a");
    must_hold(fixture, "b");
}

static void back_up_beside_a_pruner(struct fixture *fixture, enum harm harm)
{
    shell(fixture, "head -c 300000 /dev/urandom > f; echo old > g");
    usleep(50000);
    must_back_up(fixture);
    compact_last(fixture, ARCHIVE_DATA, false);
    struct archive_id target = target_of(fixture->temp.repo);
    uint32_t archive = archive_of(fixture, "f");
    shell(fixture, "echo new > g");
    pruner.repo = fixture->temp.repo;
    pruner.harm = harm;
    pruner.done = false;
    baseline.ops = &met;
    must_back_up(fixture);
    baseline.ops = &trusting;
    assert_true(pruner.done);
    assert_int_equal(fixture->result.files_read, 2);
    assert_int_not_equal(archive_of(fixture, "f"), archive);
    assert_false(
        archive_id_equal(&target, idtable_id(fixture->temp.repo->ids, archive_of(fixture, "f"))));
    must_hold(fixture, "f");
    must_hold(fixture, "g");
}

static void a_mark_on_where_it_was_moved_to_is_seen(void **state)
{
    back_up_beside_a_pruner(*state, MARK_TARGET);
}

static void a_mark_on_the_only_remap_that_says_so_is_seen(void **state)
{
    back_up_beside_a_pruner(*state, MARK_REMAPS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_moved_is_neither_read_nor_stored_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_was_not_moved_is_read_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_mark_on_where_it_was_moved_to_is_seen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_mark_on_the_only_remap_that_says_so_is_seen, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
