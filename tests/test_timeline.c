#include "fs/timeline.h"

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "fs/history.h"
#include "fs/merged.h"
#include "tests/harness/shots.h"

static struct err err;

/* "0-3 5-5 ": the runs of a path. */
static void assert_trail(struct temptree *temp, const struct timeline *timeline, const char *path,
                         const char *expected)
{
    CLEANUP(trail_clear) struct trail trail = {0};
    char text[200] = "";

    assert_int_equal(trail_follow(temp->blocks, timeline, TYPE_FILES, path, &trail, &err), 0);
    for (size_t i = 0; i < trail.count; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%u-%u ", trail.at[i].first,
                 trail.at[i].last);
    assert_string_equal(text, expected);
}

/* "0-1 new", "2-2 +CONTENT" … as numbers of enum diff_part. */
static void assert_versions(struct temptree *temp, const struct timeline *timeline,
                            const char *path, const char *expected)
{
    CLEANUP(trail_clear) struct trail trail = {0};
    CLEANUP(versions_clear) struct versions versions = {0};
    char text[300] = "";

    assert_int_equal(trail_follow(temp->blocks, timeline, TYPE_FILES, path, &trail, &err), 0);
    assert_int_equal(history_versions(temp->blocks, &trail, &versions, &err), 0);
    for (size_t i = 0; i < versions.count; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%u-%u %s%u; ",
                 versions.at[i].first, versions.at[i].last, versions.at[i].again ? "again " : "",
                 versions.at[i].changes);
    assert_string_equal(text, expected);
}

static void snapshots_of_one_directory_are_one_run_and_one_look(void **state)
{
    (void)state;
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    struct timeline_shot shots[300];
    struct blockcache_stats stats;

    temptree_begin(&temp);
    struct dirref below = DIRECTORY(&temp, {"file", .version = 1});
    struct dirref top = DIRECTORY(&temp, {"dir", .below = &below});
    temptree_end(&temp);
    for (size_t i = 0; i < 300; i++)
        shots[i] = (struct timeline_shot)SHOT("", top);
    const struct timeline timeline = TIMELINE(shots);
    assert_trail(&temp, &timeline, "/dir/file", "0-299 ");
    blocks_stats(temp.blocks, &stats);
    assert_true(stats.hits + stats.loads < 10);
    assert_trail(&temp, &timeline, "/dir/other", "");
    assert_trail(&temp, &timeline, "/dir/file/below", "");
    assert_trail(&temp, &timeline, "/", "0-299 ");
}

static void a_path_that_was_gone_begins_anew_but_not_over_an_adhoc_snapshot(void **state)
{
    (void)state;
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();

    temptree_begin(&temp);
    struct dirref with = DIRECTORY(&temp, {"file", .version = 1});
    struct dirref without = DIRECTORY(&temp, {"other", .version = 1});
    temptree_end(&temp);
    struct timeline_shot shots[] = {SHOT("", with), SHOT("", without), SHOT("", with),
                                    SHOT("", with)};
    const struct timeline timeline = TIMELINE(shots);
    assert_trail(&temp, &timeline, "/file", "0-0 2-3 ");
    assert_versions(&temp, &timeline, "/file", "0-0 0; 2-3 again 0; ");
    shots[1].adhoc = true;
    assert_trail(&temp, &timeline, "/file", "0-3 ");
    shots[1].adhoc = false;
    shots[1].types = 1 << TYPE_CONFIG;
    assert_trail(&temp, &timeline, "/file", "0-3 ");
}

static void only_what_a_restore_would_bring_back_makes_a_version(void **state)
{
    (void)state;
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    struct dirref tops[5];

    temptree_begin(&temp);
    const char versions[] = {1, 1, 2, 2, 1};
    for (size_t i = 0; i < 5; i++) {
        struct dirref below =
            DIRECTORY(&temp, {"file", .version = versions[i], .mode = i == 3 ? 0600 : 0644});
        tops[i] = DIRECTORY(&temp, {"dir", .below = &below});
    }
    temptree_end(&temp);
    struct timeline_shot shots[] = {SHOT("", tops[0]), SHOT("", tops[1]), SHOT("", tops[2]),
                                    SHOT("", tops[3]), SHOT("", tops[4])};
    const struct timeline timeline = TIMELINE(shots);
    assert_versions(&temp, &timeline, "/dir/file", "0-1 0; 2-2 2; 3-3 4; 4-4 6; ");
    assert_versions(&temp, &timeline, "/dir", "0-1 0; 2-2 2; 3-3 2; 4-4 2; ");
}

static void a_directory_of_all_snapshots_has_each_name_once(void **state)
{
    (void)state;
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    CLEANUP(trail_clear) struct trail trail = {0};
    struct merged *merged;
    struct merged_name name;
    uint64_t position = 0;

    temptree_begin(&temp);
    struct dirref inner = DIRECTORY(&temp, {"x", .version = 1});
    struct dirref one = DIRECTORY(&temp, {"a", .version = 1}, {"both", .version = 1});
    struct dirref two =
        DIRECTORY(&temp, {"b", .version = 1}, {"both", .below = &inner, .mode = 0750},
                  {"c", .below = &inner, .mode = 0700});
    struct dirref three = DIRECTORY(&temp, {"both", .below = &inner, .mode = 0705, .uid = 5});
    temptree_end(&temp);
    struct timeline_shot shots[] = {SHOT("", one), SHOT("", two), SHOT("", three), SHOT("", one)};
    const struct timeline timeline = TIMELINE(shots);
    assert_int_equal(trail_start(&timeline, TYPE_FILES, &trail, &err), 0);
    assert_int_equal(merged_make(temp.blocks, &trail, &merged, &err), 0);
    assert_true(merged_next(merged, &position, &name));
    assert_true(strcmp(name.name, "a") == 0 && name.other && !name.directory);
    assert_true(merged_next(merged, &position, &name) && strcmp(name.name, "b") == 0);
    uint64_t at = position;
    assert_true(merged_next(merged, &position, &name));
    assert_true(strcmp(name.name, "both") == 0 && name.other && name.directory);
    assert_int_equal(name.common.mode, 0700);
    assert_true(name.common.other_uid && !name.common.other_gid);
    assert_true(merged_next(merged, &at, &name) && strcmp(name.name, "both") == 0);
    assert_true(merged_next(merged, &position, &name) && strcmp(name.name, "c") == 0);
    assert_false(merged_next(merged, &position, &name));
    merged_free(merged);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(snapshots_of_one_directory_are_one_run_and_one_look),
        cmocka_unit_test(a_path_that_was_gone_begins_anew_but_not_over_an_adhoc_snapshot),
        cmocka_unit_test(only_what_a_restore_would_bring_back_makes_a_version),
        cmocka_unit_test(a_directory_of_all_snapshots_has_each_name_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
