#include "backup/archive/writer.h"
#include "backup/base/hex.h"
#include "tests/harness/backingup.h"

static void what_goes_in_comes_out(void **state)
{
    struct fixture *fixture = *state;

    shell(fixture,
          "mkdir -p a/b/c && echo one > a/one && echo two > a/b/two && : > empty && "
          "head -c 65536 /dev/urandom > a/k64 && head -c 65537 /dev/urandom > a/k64plus && "
          "head -c 1048576 /dev/urandom > m1 && head -c 1048577 /dev/urandom > m1plus && "
          "head -c 9000000 /dev/urandom > big && cat big big m1 > bigger && seq 1 400000 > text");
    must_back_up(fixture);
    assert_true(fixture->troubles == 0 && fixture->result.root.complete);
    for (const char *const *name =
             (const char *const[]){"a/one", "a/b/two", "empty", "a/k64", "a/k64plus", "m1",
                                   "m1plus", "big", "bigger", "text", NULL};
         *name; name++)
        must_hold(fixture, *name);
    /* "bigger" is what "big" and "m1" are: little of it is new. */
    assert_true(fixture->result.root.types[TYPE_FILES].new_bytes < 9000000 + 4 * 1048576);
}

static void holes_stay_holes(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(fixture->temp.repo, 1 << 20);
    CLEANUP(held_entry_clear) struct held_entry held = {0};

    shell(
        fixture,
        "truncate -s 20M sparse && echo x | dd of=sparse bs=1 seek=5000000 conv=notrunc "
        "status=none && "
        "truncate -s 3M hollow && truncate -s 300K small && echo y | dd of=small bs=1 seek=200000 "
        "conv=notrunc status=none");
    must_back_up(fixture);
    must_hold(fixture, "sparse");
    must_hold(fixture, "hollow");
    must_hold(fixture, "small");
    assert_true(fixture->result.root.types[TYPE_FILES].new_bytes < 20000);
    find(fixture, blocks, "sparse", &held);
    assert_true(held.entry.content.form == CONTENT_LIST && held.entry.content.count == 3);
}

static void an_unchanged_tree_is_not_read_and_stays_the_same_directory(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(fixture->temp.repo, 1 << 20);
    CLEANUP(held_entry_clear) struct held_entry before = {0};
    CLEANUP(held_entry_clear) struct held_entry after = {0};

    shell(fixture, "mkdir -p d/e && for i in $(seq 300); do echo $i > d/$i; done && ln d/1 "
                   "d/e/link && ln -s x d/sym");
    usleep(50000); /* what changed just before it was read is read again */
    must_back_up(fixture);
    assert_true(fixture->result.files_read == 300);
    find(fixture, blocks, "", &before);
    usleep(50000);
    must_back_up(fixture);
    assert_true(fixture->result.files_read == 0 && fixture->result.bytes_read == 0);
    assert_true(fixture->result.files_unchanged == 300);
    find(fixture, blocks, "", &after);
    assert_true(place_equal(before.entry.directory.place, after.entry.directory.place));
    must_hold(fixture, "d/e/link");

    shell(fixture, "echo changed > d/77");
    must_back_up(fixture);
    assert_true(fixture->result.files_read == 1);
    must_hold(fixture, "d/77");
    must_hold(fixture, "d/78");
    fixture->force = true;
    must_back_up(fixture);
    assert_true(fixture->result.files_read == 300);
}

static void a_change_that_keeps_size_and_mtime_is_seen(void **state)
{
    struct fixture *fixture = *state;

    shell(fixture, "echo aaaa > f && touch -d @1000 f");
    must_back_up(fixture);
    usleep(50000);
    shell(fixture, "echo bbbb > f && touch -d @1000 f");
    must_back_up(fixture);
    assert_true(fixture->result.files_read == 1);
    must_hold(fixture, "f");
}

static void names_of_one_file_share_its_inode(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(fixture->temp.repo, 1 << 20);
    CLEANUP(held_entry_clear) struct held_entry first = {0};
    CLEANUP(held_entry_clear) struct held_entry second = {0};

    shell(fixture, "mkdir -p x y && head -c 3000000 /dev/urandom > x/f && ln x/f y/g && ln x/f y/h "
                   "&& mkfifo y/p && ln y/p x/q");
    must_back_up(fixture);
    find(fixture, blocks, "x/f", &first);
    find(fixture, blocks, "y/g", &second);
    assert_true(first.entry.shared && second.entry.shared && first.entry.links == 3);
    assert_true(place_equal(first.entry.place, second.entry.place));
    assert_true(fixture->result.files_read == 1);
    must_hold(fixture, "y/h");
}

static void what_cannot_be_read_is_counted_and_the_rest_is_there(void **state)
{
    struct fixture *fixture = *state;

    if (geteuid() == 0)
        skip();
    shell(fixture, "echo a > a && echo b > b && chmod 000 a && mkdir closed && chmod 000 closed");
    must_back_up(fixture);
    assert_true(fixture->troubles == 2 && !fixture->result.root.complete);
    assert_true(fixture->result.root.types[TYPE_FILES].unreadable == 2);
    must_hold(fixture, "b");
}

static void nothing_to_read_is_no_snapshot(void **state)
{
    struct fixture *fixture = *state;
    struct err err;

    assert_true(rmdir(fixture->source) == 0);
    assert_true(back_up(fixture, &err) == -ERR_NOT_FOUND);
    assert_true(fixture->troubles == 1);
    assert_true(mkdir(fixture->source, 0700) == 0);
}

/* A mark on the archive that the file is in: a pruner is about to delete it. */
static void an_archive_under_a_mark_is_not_referred_to(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(fixture->temp.repo, 1 << 20);
    CLEANUP(held_entry_clear) struct held_entry before = {0};
    CLEANUP(held_entry_clear) struct held_entry after = {0};
    char name[128] = "marks/";
    uint8_t mark[64] = "YSTRMARK";
    struct err err;

    shell(fixture, "echo precious > f");
    must_back_up(fixture);
    find(fixture, blocks, "f", &before);
    const struct archive_id *id =
        idtable_id(fixture->temp.repo->ids, before.entry.content.place.archive);
    hex_encode(id->bytes, sizeof(id->bytes), name + 6);
    assert_true(store_create(fixture->temp.repo->store, name, mark, sizeof(mark), &err) == 0);
    usleep(50000);
    must_back_up(fixture);
    assert_true(fixture->result.files_read == 1);
    find(fixture, blocks, "f", &after);
    assert_true(after.entry.content.place.archive != before.entry.content.place.archive);
    must_hold(fixture, "f");
}

/* What a pruner does the moment the first data archive is there. */
enum harm { MARK_IT, REMOVE_IT };
static struct {
    struct repo *repo;
    enum harm harm;
    bool done;
    struct archive_id id;
} pruner;

static int meet_pruner(struct baseline *unused, const struct writer_result *archive,
                       const void *index, size_t size, struct err *err)
{
    char name[128] = "marks/";

    (void)unused;
    (void)index;
    (void)size;
    if (pruner.done || archive->kind != ARCHIVE_DATA)
        return 0;
    pruner.done = true;
    pruner.id = archive->id;
    if (pruner.harm == MARK_IT) {
        hex_encode(archive->id.bytes, sizeof(archive->id.bytes), name + 6);
        return store_create(pruner.repo->store, name, "YSTRMARK", 8, err);
    }
    repo_object_name(ARCHIVE_DATA, &archive->id, name);
    return store_remove(pruner.repo->store, name, err);
}

static const struct baseline_ops met = {
    .find_chunk = find_nothing, .archive_usable = always_usable, .add_archive = meet_pruner};

static void back_up_beside_a_pruner(struct fixture *fixture, enum harm harm)
{
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(fixture->temp.repo, 1 << 20);
    CLEANUP(held_entry_clear) struct held_entry held = {0};

    pruner.repo = fixture->temp.repo;
    pruner.harm = harm;
    pruner.done = false;
    baseline.ops = &met;
    shell(fixture, "echo precious > f");
    must_back_up(fixture);
    baseline.ops = &trusting;
    assert_true(pruner.done);
    find(fixture, blocks, "f", &held);
    assert_false(archive_id_equal(
        &pruner.id, idtable_id(fixture->temp.repo->ids, held.entry.content.place.archive)));
    must_hold(fixture, "f");
    assert_int_equal(fixture->result.root.revision, 0); /* seen before it was published */
}

static void a_mark_that_comes_while_it_runs_is_seen_before_anything_is_published(void **state)
{
    back_up_beside_a_pruner(*state, MARK_IT);
}

static void an_archive_that_went_while_it_runs_is_stored_again(void **state)
{
    back_up_beside_a_pruner(*state, REMOVE_IT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_goes_in_comes_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(holes_stay_holes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_unchanged_tree_is_not_read_and_stays_the_same_directory,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_change_that_keeps_size_and_mtime_is_seen, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(names_of_one_file_share_its_inode, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_read_is_counted_and_the_rest_is_there,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_to_read_is_no_snapshot, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_archive_under_a_mark_is_not_referred_to, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            a_mark_that_comes_while_it_runs_is_seen_before_anything_is_published, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(an_archive_that_went_while_it_runs_is_stored_again, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
