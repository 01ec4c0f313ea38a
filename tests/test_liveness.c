#include "backup/job/liveness.h"

#include "backup/archive/idtable.h"
#include "backup/archive/reader.h"
#include "backup/archive/remap.h"
#include "backup/archive/repo.h"
#include "backup/store/store.h"
#include "tests/harness/backingup.h"

static struct err err;

static struct liveness *look(struct fixture *fixture, struct blocks *blocks,
                             const struct root *root, const struct liveness *beyond)
{
    struct liveness *live = NULL;

    assert_int_equal(liveness_new(blocks, beyond, &live, &err), 0);
    if (liveness_add(live, &root->types[TYPE_FILES].directory, NULL, &err) < 0)
        fail_msg("%s", err.text);
    (void)fixture;
    return live;
}

/* How many blocks of an archive are needed, and that it says the same of their bytes. */
static size_t count_blocks(struct blocks *blocks, const struct liveness *live, uint32_t archive,
                           size_t *out_all)
{
    const struct reader *reader;
    uint64_t stored = 0;
    size_t count = 0;

    assert_int_equal(blocks_acquire(blocks, archive, &reader, &err), 0);
    *out_all = reader_blocks(reader);
    for (size_t i = 0; i < *out_all; i++) {
        bool needed = liveness_has_block(live, archive, i);
        count += needed;
        stored += needed ? reader_block(reader, i)->stored_size : 0;
    }
    blocks_release(blocks, archive, reader);
    assert_int_equal(liveness_stored(live, archive), stored);
    return count;
}

static uint32_t archive_of(struct fixture *fixture, struct blocks *blocks, const char *path)
{
    CLEANUP(held_entry_clear) struct held_entry held = {0};

    find(fixture, blocks, path, &held);
    return held.entry.content.place.archive;
}

static void what_a_snapshot_wrote_it_needs_and_what_was_removed_it_does_not(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(fixture->temp.repo, 1 << 20);
    size_t all = 0;

    shell(fixture, "head -c 60000 /dev/urandom > stays && head -c 800000 /dev/urandom > goes && "
                   "setfattr -n user.x -v y stays 2>/dev/null; sleep 0.05");
    must_back_up(fixture);
    uint32_t archive = archive_of(fixture, blocks, "stays");
    CLEANUP(liveness_freep)
    struct liveness *first = look(fixture, blocks, &fixture->result.root, NULL);
    size_t needed = count_blocks(blocks, first, archive, &all);
    assert_int_equal(needed, all);
    shell(fixture, "rm goes");
    must_back_up(fixture);
    assert_int_equal(archive_of(fixture, blocks, "stays"), archive);
    CLEANUP(liveness_freep)
    struct liveness *second = look(fixture, blocks, &fixture->result.root, NULL);
    needed = count_blocks(blocks, second, archive, &all);
    assert_true(needed >= 1 && needed <= 2 && all >= 6);
    assert_true(liveness_names(second, archive));
    /* Each directory's metadata: of the first snapshot's not needed by the second, and so on. */
    uint32_t old = fixture->before.types[TYPE_FILES].directory.place.archive;
    uint32_t new = fixture->result.root.types[TYPE_FILES].directory.place.archive;
    assert_true(liveness_has(first, old) && liveness_has(second, new));
    assert_false(liveness_has(second, old) || liveness_has(first, new));
}

static void leaves_that_are_shared_are_gone_through_once_and_needed_all_the_same(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(fixture->temp.repo, 4 << 20);
    size_t all = 0;

    shell(fixture, "mkdir d && cd d && seq 1 20000 | xargs touch && sleep 0.05");
    must_back_up(fixture);
    shell(fixture, "echo x > d/3000");
    must_back_up(fixture);
    CLEANUP(liveness_freep)
    struct liveness *both = look(fixture, blocks, &fixture->before, NULL);
    uint32_t archive = fixture->before.types[TYPE_FILES].directory.place.archive;
    size_t needed = count_blocks(blocks, both, archive, &all);
    assert_int_equal(needed, all);
    assert_true(all > 4);
    assert_int_equal(
        liveness_add(both, &fixture->result.root.types[TYPE_FILES].directory, NULL, &err), 0);
    /* The second alone needs nearly all of the first one's, and what is new. */
    CLEANUP(liveness_freep)
    struct liveness *second = look(fixture, blocks, &fixture->result.root, NULL);
    needed = count_blocks(blocks, second, archive, &all);
    assert_true(needed + 3 >= all);
    uint32_t fresh = fixture->result.root.types[TYPE_FILES].directory.place.archive;
    assert_int_equal(count_blocks(blocks, both, fresh, &all),
                     count_blocks(blocks, second, fresh, &all));
}

static void beyond_another_only_what_that_has_not_is_looked_at(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(fixture->temp.repo, 1 << 20);

    shell(fixture, "mkdir same && head -c 70000 /dev/urandom > same/a && echo 1 > b && sleep 0.05");
    must_back_up(fixture);
    uint32_t shared = archive_of(fixture, blocks, "same/a");
    shell(fixture, "head -c 300000 /dev/urandom > c");
    must_back_up(fixture);
    CLEANUP(liveness_freep)
    struct liveness *kept = look(fixture, blocks, &fixture->before, NULL);
    CLEANUP(liveness_freep)
    struct liveness *graced = look(fixture, blocks, &fixture->result.root, kept);
    assert_true(liveness_has(graced, archive_of(fixture, blocks, "c")));
    assert_true(liveness_has(kept, shared));
}

static void a_directory_that_cannot_be_read_is_told(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(fixture->temp.repo, 1 << 20);
    CLEANUP(liveness_freep) struct liveness *live = NULL;

    shell(fixture, "echo a > a");
    must_back_up(fixture);
    struct dirref wrong = fixture->result.root.types[TYPE_FILES].directory;
    wrong.place.raw += 3;
    assert_int_equal(liveness_new(blocks, NULL, &live, &err), 0);
    assert_int_equal(liveness_add(live, &wrong, NULL, &err), -ERR_CORRUPT);
}

static void what_cannot_be_looked_at_is_needed_to_its_end(void **state)
{
    struct fixture *fixture = *state;
    struct repo *repo = fixture->temp.repo;
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(repo, 1 << 20);
    struct writer_result remap;
    char name[OBJECT_NAME_SIZE];
    uint32_t moved[3];

    shell(fixture, "head -c 60000 /dev/urandom > stays");
    must_back_up(fixture);
    uint32_t archive = archive_of(fixture, blocks, "stays");
    struct remap_entry entries[3];
    for (uint8_t i = 0; i < 3; i++) {
        entries[i] = (struct remap_entry){.old = *idtable_id(repo->ids, archive),
                                          .new = {.bytes = {[0] = (uint8_t)(i + 1)}},
                                          .kind = ARCHIVE_DATA,
                                          .from = i * 20000U,
                                          .end = (i + 1U) * 20000U};
        assert_int_equal(idtable_number(repo->ids, &entries[i].new, ARCHIVE_DATA, &moved[i], &err),
                         0);
    }
    assert_int_equal(remap_publish(repo, entries, 3, NULL, NULL, &remap, &err), 0);
    repo_object_name(ARCHIVE_DATA, idtable_id(repo->ids, archive), name);
    assert_int_equal(store_remove(repo->store, name, &err), 0);
    CLEANUP(blocks_freep) struct blocks *fresh = blocks_new(repo, 1 << 20);
    CLEANUP(liveness_freep)
    struct liveness *live = look(fixture, fresh, &fixture->result.root, NULL);
    for (size_t i = 0; i < 3; i++)
        assert_true(liveness_has(live, moved[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            what_a_snapshot_wrote_it_needs_and_what_was_removed_it_does_not, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            leaves_that_are_shared_are_gone_through_once_and_needed_all_the_same, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(beyond_another_only_what_that_has_not_is_looked_at, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_directory_that_cannot_be_read_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_looked_at_is_needed_to_its_end, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
