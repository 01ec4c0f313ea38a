#include "backup/archive/move.h"
#include "backup/archive/reader.h"
#include "backup/archive/remap.h"
#include "backup/base/hex.h"
#include "backup/job/runindex.h"
#include "backup/store/store.h"
#include "tests/harness/backingup.h"

/* ---- what a pruner does -------------------------------------------------------------------- */

static int note_done(void *context, const struct writer_result *archive, const void *index,
                     size_t size, struct err *err)
{
    return runindex_add(context, archive, index, size, NULL, err);
}

static void mark(struct repo *repo, const struct archive_id *id)
{
    char name[128] = "marks/";
    uint8_t bytes[64] = "YSTRMARK";
    struct err err;

    hex_encode(id->bytes, sizeof(id->bytes), name + 6);
    assert_int_equal(store_create(repo->store, name, bytes, sizeof(bytes), &err), 0);
}

static void take_away(struct repo *repo, enum archive_kind kind, const struct archive_id *id)
{
    char name[OBJECT_NAME_SIZE];
    struct err err;

    mark(repo, id);
    repo_object_name(kind, id, name);
    assert_int_equal(store_remove(repo->store, name, &err), 0);
}

/* Moves all blocks, or all but the first, of an archive. */
static void move_one(struct mover *mover, struct repo *repo, const struct root_archive *archive,
                     bool but_first)
{
    CLEANUP(reader_closep) struct reader *reader = NULL;
    uint8_t live[1024];
    struct err err;

    memset(live, 0xFF, sizeof(live));
    live[0] = but_first ? 0xFE : 0xFF;
    assert_int_equal(
        reader_open(repo, (enum archive_kind)archive->kind, &archive->id, NULL, &reader, &err), 0);
    assert_int_equal(mover_add(mover, reader, live, &err), 0);
}

/* What the last run wrote is moved, and the old archives are deleted. */
static void compact(struct fixture *fixture, enum archive_kind kind, bool but_first)
{
    struct repo *repo = fixture->temp.repo;
    const struct root *root = &fixture->result.root;
    struct runindex *index;
    struct mover *mover;
    const struct remap_entry *entries;
    size_t count;
    struct err err;

    assert_int_equal(runindex_new(repo, NULL, 1, &index, &err), 0);
    assert_int_equal(mover_new(repo, kind, note_done, index, &mover, &err), 0);
    for (size_t i = 0; i < root->archive_count; i++)
        if (root->archives[i].kind == kind)
            move_one(mover, repo, &root->archives[i], but_first);
    assert_int_equal(mover_finish(mover, &err), 0);
    entries = mover_entries(mover, &count);
    if (count > 0)
        assert_int_equal(runindex_finish(index, &err), 0);
    assert_int_equal(remap_publish(repo, entries, count, NULL, NULL, NULL, &err), 0);
    mover_free(mover);
    runindex_free(index);
    for (size_t i = 0; i < root->archive_count; i++)
        if (root->archives[i].kind == kind)
            take_away(repo, kind, &root->archives[i].id);
}

/* The archive that moved content came to; or the remap that stands in for the others. */
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

static struct {
    struct repo *repo;
    enum { MARK_TARGET, MARK_REMAPS } harm;
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
        mark(pruner.repo, &id);
        return 0;
    }
    assert_int_equal(remap_objects(pruner.repo, &objects, &count, err), 0);
    for (size_t i = 0; i < count; i++)
        mark(pruner.repo, &objects[i].id);
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
    compact(fixture, ARCHIVE_DATA, false);
    compact(fixture, ARCHIVE_METADATA, false);
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
    compact(fixture, ARCHIVE_DATA, true);
    must_back_up(fixture);
    assert_int_equal(fixture->result.files_read, 1); /* whichever had the first block */
    must_hold(fixture, "a");
    must_hold(fixture, "b");
}

static void back_up_beside_a_pruner(struct fixture *fixture, int harm)
{
    shell(fixture, "head -c 300000 /dev/urandom > f; echo old > g");
    usleep(50000);
    must_back_up(fixture);
    compact(fixture, ARCHIVE_DATA, false);
    struct archive_id target = target_of(fixture->temp.repo);
    uint32_t archive = archive_of(fixture, "f");
    shell(fixture, "echo new > g");
    pruner.repo = fixture->temp.repo;
    pruner.harm = harm;
    pruner.done = false;
    baseline.ops = &met;
    must_back_up(fixture);
    baseline.ops = &ops;
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
