#include "backup/job/prune.h"

#include "backup/archive/writer.h"
#include "backup/base/hex.h"
#include "tests/harness/pruning.h"

static void what_is_forgotten_goes_when_the_grace_is_over(void **state)
{
    struct fixture *fixture = *state;

    two_snapshots(fixture);
    prune(fixture);
    assert_true(result.marked == 0 && result.deleted == 0 && objects(fixture, "marks") == 0);
    decide(fixture, &fixture->before, NOTE_FORGET, 0);
    prune(fixture);
    /* Data, metadata, their index, the root. */
    assert_true(result.deleted == 0 && result.marked == 4 && result.marked_bytes > 300000);
    unsigned before = archives(fixture);
    later(GRACE - HOUR);
    prune(fixture);
    assert_true(result.deleted == 0 && result.waiting == 4 && result.next_ns == HOUR);
    later(HOUR);
    prune(fixture);
    assert_true(result.snapshots == 1 && result.deleted == 4 && result.freed > 300000);
    assert_int_equal(objects(fixture, "snapshots"), 1);
    assert_int_equal(archives(fixture), before - 3);
    must_be_whole(fixture);
    must_hold(fixture, "d/new");
}

static void what_is_wanted_again_loses_its_mark_while_that_is_young(void **state)
{
    struct fixture *fixture = *state;

    two_snapshots(fixture);
    decide(fixture, &fixture->before, NOTE_FORGET, 0);
    prune(fixture);
    later(GRACE / 2 - HOUR);
    decide(fixture, &fixture->before, NOTE_UNFORGET, 1);
    prune(fixture);
    assert_true(result.unmarked == 4 && result.stuck == 0 && objects(fixture, "marks") == 0);
    later(4 * GRACE);
    prune(fixture);
    assert_true(result.deleted == 0);
    must_be_whole(fixture);
}

static void an_older_mark_stays_and_what_is_under_it_too(void **state)
{
    struct fixture *fixture = *state;

    two_snapshots(fixture);
    decide(fixture, &fixture->before, NOTE_FORGET, 0);
    prune(fixture);
    later(GRACE / 2 + HOUR);
    decide(fixture, &fixture->before, NOTE_UNFORGET, 1);
    for (int i = 0; i < 3; i++) {
        prune(fixture);
        assert_true(result.stuck == 3 && result.deleted == 0);
        later(GRACE);
    }
    must_be_whole(fixture);
    /* Forgotten once more, it has a grace once more, whatever the marks' age. */
    decide(fixture, &fixture->before, NOTE_FORGET, 2);
    prune(fixture);
    later(GRACE - HOUR);
    prune(fixture);
    assert_true(result.deleted == 0);
    later(2 * HOUR);
    prune(fixture);
    assert_true(result.snapshots == 1 && result.freed > 300000);
    must_be_whole(fixture);
}

static void a_clock_that_leaps_deletes_nothing(void **state)
{
    struct fixture *fixture = *state;

    two_snapshots(fixture);
    decide(fixture, &fixture->before, NOTE_FORGET, 0);
    prune(fixture);
    now.time_ns += 10 * 365 * 24 * HOUR; /* in the same boot */
    prune(fixture);
    assert_true(result.deleted == 0);
    now.boot = 78; /* in another one */
    now.boot_ns += 1000 * HOUR;
    attested = GRACE - 1;
    prune(fixture);
    assert_true(result.deleted == 0);
    attested = GRACE;
    prune(fixture);
    assert_true(result.snapshots == 1);
}

static void a_mark_from_the_future_has_no_age(void **state)
{
    struct fixture *fixture = *state;

    two_snapshots(fixture);
    now.time_ns += 1000 * HOUR;
    decide(fixture, &fixture->before, NOTE_FORGET, 0);
    prune(fixture);
    now = (struct marks_moment){now.time_ns - 500 * HOUR, 78, HOUR};
    attested = 10 * GRACE;
    prune(fixture);
    assert_true(result.deleted == 0);
}

static void shorter_graces_do_not_hold_for_marks_of_longer_ones(void **state)
{
    struct fixture *fixture = *state;
    const struct marks_moment made = now;

    two_snapshots(fixture);
    decide(fixture, &fixture->before, NOTE_FORGET, 0);
    for (size_t i = 0; i < fixture->before.archive_count; i++)
        assert_int_equal(
            marks_put(fixture->temp.repo, &fixture->before.archives[i].id, &made, 3 * GRACE, &err),
            0);
    prune(fixture);
    later(2 * GRACE);
    unsigned before = archives(fixture);
    prune(fixture);
    assert_int_equal(result.snapshots, 1);
    assert_int_equal(archives(fixture), before);
    later(GRACE);
    prune(fixture);
    assert_true(archives(fixture) < before);
}

/* The largest object in a folder of the repository, with one bit wrong. */
static void damage(struct fixture *fixture, const char *folder, const struct archive_id *id)
{
    char path[256], hex[2 * ARCHIVE_ID_SIZE + 1];

    hex_encode(id->bytes, ARCHIVE_ID_SIZE, hex);
    (void)snprintf(path, sizeof(path), "%s/%s/%s", fixture->temp.directory, folder, hex);
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, 210, SEEK_SET), 0); /* in the first block */
    int byte = fgetc(file);
    assert_int_equal(fseek(file, 210, SEEK_SET), 0);
    assert_true(fputc(byte ^ 4, file) != EOF);
    assert_int_equal(fclose(file), 0);
}

static const struct archive_id *metadata_of(const struct fixture *fixture, const struct root *root)
{
    return idtable_id(fixture->temp.repo->ids, root->types[TYPE_FILES].directory.place.archive);
}

static void a_kept_directory_that_cannot_be_read_lets_nothing_go(void **state)
{
    struct fixture *fixture = *state;

    two_snapshots(fixture);
    decide(fixture, &fixture->before, NOTE_FORGET, 0);
    prune(fixture);
    later(2 * GRACE);
    unsigned before = archives(fixture);
    damage(fixture, "meta", metadata_of(fixture, &fixture->result.root));
    assert_int_equal(prune_with(fixture, NULL, false), -ERR_CORRUPT);
    assert_int_equal(prune_with(fixture, NULL, true), -ERR_CORRUPT);
    assert_non_null(strstr(err.text, fixture->result.root.name));
    assert_int_equal(archives(fixture), before);
    assert_int_equal(objects(fixture, "snapshots"), 2);
}

static void damage_in_what_is_forgotten_keeps_nobody_from_pruning(void **state)
{
    struct fixture *fixture = *state;

    two_snapshots(fixture);
    damage(fixture, "meta", metadata_of(fixture, &fixture->before));
    decide(fixture, &fixture->before, NOTE_FORGET, 0);
    prune(fixture);
    later(GRACE);
    prune(fixture);
    assert_int_equal(result.snapshots, 1);
    must_be_whole(fixture);
}

static void an_orphan_is_let_be_as_long_as_a_writer_may_be_writing(void **state)
{
    CLEANUP(codec_freep) struct codec *codec = codec_new(1);
    struct fixture *fixture = *state;
    struct writer *writer;
    struct writer_result archive;
    uint32_t raw, stored;
    uint8_t bytes[5000] = {1, 2, 3};
    struct chunk chunk = {.length = sizeof(bytes)};

    two_snapshots(fixture);
    assert_int_equal(writer_new(fixture->temp.repo, ARCHIVE_DATA, &writer, &err), 0);
    assert_int_equal(
        writer_append(writer, codec, bytes, sizeof(bytes), &chunk, 1, &raw, &stored, &err), 0);
    assert_int_equal(writer_commit(writer, NULL, NULL, &archive, &err), 0);
    later(4 * GRACE - HOUR);
    prune(fixture);
    assert_int_equal(result.marked, 0);
    later(2 * HOUR);
    prune(fixture);
    assert_true(result.marked == 1 && result.marked_bytes == archive.size);
    later(GRACE);
    prune(fixture);
    assert_true(result.deleted == 1 && result.freed == archive.size);
    must_be_whole(fixture);
}

static unsigned revisions(const struct fixture *fixture, const struct root *root)
{
    char folder[64];

    (void)snprintf(folder, sizeof(folder), "snapshots/%s", root->name);
    return objects(fixture, folder);
}

/* Whoever looks for a free name asks for its first revision. */
static void the_first_revision_stays_as_long_as_any(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(root_clear) struct root root = {0};
    uint64_t size;

    two_snapshots(fixture);
    assert_int_equal(root_read(fixture->temp.repo, fixture->before.name, 0, &root, &err), 0);
    for (root.revision = 1; root.revision < 4; root.revision++)
        assert_int_equal(root_publish(fixture->temp.repo, &root, &size, &err), 0);
    prune(fixture);
    assert_true(result.deleted == 2 && revisions(fixture, &root) == 2);
    root.revision = 0;
    assert_int_equal(root_publish(fixture->temp.repo, &root, &size, &err), -ERR_EXISTS);
    root.revision = 3;
    assert_int_equal(root_publish(fixture->temp.repo, &root, &size, &err), -ERR_EXISTS);
    decide(fixture, &root, NOTE_FORGET, 0);
    prune(fixture);
    later(GRACE);
    prune(fixture);
    assert_true(result.snapshots == 1 && revisions(fixture, &root) == 0);
}

static void what_somebody_knows_to_be_alive_does_not_die(void **state)
{
    struct fixture *fixture = *state;
    struct prune_known known = {.revision = 0};

    two_snapshots(fixture);
    strcpy(known.name, fixture->before.name);
    decide(fixture, &fixture->before, NOTE_FORGET, 0);
    assert_int_equal(prune_with(fixture, &known, true), 0);
    assert_true(result.deleted == 0);
    known.dead = true;
    assert_int_equal(prune_with(fixture, &known, true), 0);
    assert_true(result.snapshots == 1 && result.freed > 300000);
}

static void alone_it_frees_at_once_and_leaves_no_marks(void **state)
{
    struct fixture *fixture = *state;

    two_snapshots(fixture);
    decide(fixture, &fixture->before, NOTE_FORGET, 0);
    prune(fixture);
    assert_true(objects(fixture, "marks") > 0);
    assert_int_equal(prune_with(fixture, NULL, true), 0);
    assert_true(result.snapshots == 1 && result.freed > 300000 && result.marked == 0);
    assert_int_equal(prune_with(fixture, NULL, true), 0);
    assert_int_equal(objects(fixture, "marks"), 0);
    assert_int_equal(result.deleted, 0);
    must_be_whole(fixture);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_forgotten_goes_when_the_grace_is_over),
        TEST(what_is_wanted_again_loses_its_mark_while_that_is_young),
        TEST(an_older_mark_stays_and_what_is_under_it_too),
        TEST(a_clock_that_leaps_deletes_nothing),
        TEST(a_mark_from_the_future_has_no_age),
        TEST(shorter_graces_do_not_hold_for_marks_of_longer_ones),
        TEST(a_kept_directory_that_cannot_be_read_lets_nothing_go),
        TEST(damage_in_what_is_forgotten_keeps_nobody_from_pruning),
        TEST(an_orphan_is_let_be_as_long_as_a_writer_may_be_writing),
        TEST(the_first_revision_stays_as_long_as_any),
        TEST(what_somebody_knows_to_be_alive_does_not_die),
        TEST(alone_it_frees_at_once_and_leaves_no_marks),
    };
    int here = cmocka_run_group_tests_name("in a directory", tests, NULL, NULL);
    is_remote = true;
    return here +
           cmocka_run_group_tests_name("where many are asked for at once", tests, NULL, NULL);
}
