#include "fs/forest.h"

#include "backup/base/cleanup.h"
#include "fs/find.h"
#include "tests/harness/shots.h"

static struct err err;

enum { MANY = 20000 };

struct seen {
    struct forest *forest;
    size_t entries;
    uint32_t nodes[16]; /* of the names a, b, c … */
};

static int hang(void *context, const struct forest_visit *visit, struct err *out)
{
    struct seen *seen = context;
    uint8_t letter = (uint8_t)visit->entry->name[0];
    uint32_t node;
    bool fresh;

    seen->entries++;
    if (visit->entry->type == ENTRY_DIRECTORY || visit->entry->name_size != 1)
        return 0;
    int rc = forest_hang(seen->forest, letter, 0, &node, &fresh, out);
    seen->nodes[letter - 'a'] = node;
    return rc;
}

static void assert_range(const struct seen *seen, char letter, uint32_t first, uint32_t last)
{
    uint32_t found_first, found_last;

    forest_range(seen->forest, seen->nodes[letter - 'a'], &found_first, &found_last);
    assert_int_equal(found_first, first);
    assert_int_equal(found_last, last);
}

static void walk(struct temptree *temp, const struct timeline *timeline, struct seen *seen)
{
    assert_int_equal(forest_new(temp->blocks, timeline, &seen->forest, &err), 0);
    assert_int_equal(forest_walk(seen->forest, TYPE_FILES, hang, seen, &err), 0);
    assert_int_equal(forest_finish(seen->forest, &err), 0);
}

static void what_several_directories_share_is_read_once_and_lasts_as_long_as_any(void **state)
{
    (void)state;
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    struct seen seen = {0};

    temptree_begin(&temp);
    struct dirref kept = DIRECTORY(&temp, {"a", .version = 1});
    struct dirref first = DIRECTORY(&temp, {"b", .version = 1}, {"kept", .below = &kept});
    struct dirref second = DIRECTORY(&temp, {"c", .version = 1}, {"kept", .below = &kept});
    struct dirref tops[] = {DIRECTORY(&temp, {"dir", .below = &first}),
                            DIRECTORY(&temp, {"dir", .below = &second}),
                            DIRECTORY(&temp, {"d", .version = 1}, {"dir", .below = &second}),
                            DIRECTORY(&temp, {"e", .version = 1})};
    temptree_end(&temp);
    struct timeline_shot shots[] = {SHOT("", tops[0]), SHOT("", tops[1]), SHOT("", tops[2]),
                                    SHOT("", tops[2]), SHOT("", tops[3])};
    const struct timeline timeline = TIMELINE(shots);
    walk(&temp, &timeline, &seen);
    assert_range(&seen, 'a', 0, 3);
    assert_range(&seen, 'b', 0, 0);
    assert_range(&seen, 'c', 1, 3);
    assert_range(&seen, 'd', 2, 3);
    assert_range(&seen, 'e', 4, 4);
    assert_int_equal(forest_directories(seen.forest), 4 + 2 + 1);
    assert_int_equal(seen.entries, 1 + 1 + 2 + 1 + 2 + 2 + 1);
    forest_free(seen.forest);
}

static void one_directory_at_two_paths_is_met_at_both(void **state)
{
    (void)state;
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    struct seen seen = {0};

    temptree_begin(&temp);
    struct dirref both = DIRECTORY(&temp, {"a", .version = 1});
    struct dirref top = DIRECTORY(&temp, {"one", .below = &both}, {"two", .below = &both});
    temptree_end(&temp);
    struct timeline_shot shots[] = {SHOT("", top), SHOT("", top)};
    const struct timeline timeline = TIMELINE(shots);
    walk(&temp, &timeline, &seen);
    assert_int_equal(seen.entries, 4);
    forest_free(seen.forest);
}

/* A directory of many leaves, those of `previous` (may be NULL) as far as they are the same, with
 * one name more where `extra` is not NULL. */
static struct dirref many(struct temptree *temp, const struct dirref *previous, const char *extra)
{
    CLEANUP(tree_closep) struct tree_cursor *cursor = NULL;
    struct dirwriter *dir;
    struct tree_position position;
    const struct entry *same;
    struct dirref out;
    char name[16];

    assert_int_equal(dirwriter_new(temp->writer, previous, &dir, &err), 0);
    if (previous)
        assert_int_equal(tree_open(temp->blocks, previous, 0, &cursor, &err), 0);
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "name%06d", i);
        struct spec spec = {name, .version = 1};
        struct entry entry = shots_entry(temp, &spec);
        if (cursor) {
            assert_int_equal(tree_next(cursor, &same, &err), 0);
            tree_position(cursor, &position);
        }
        assert_int_equal(dirwriter_add(dir, &entry, cursor ? &position : NULL, &err), 0);
    }
    if (extra) {
        struct spec spec = {extra, .version = 1};
        struct entry entry = shots_entry(temp, &spec);
        assert_int_equal(dirwriter_add(dir, &entry, NULL, &err), 0);
    }
    assert_int_equal(dirwriter_finish(dir, &out, &err), 0);
    return out;
}

/* dir/ with many names, the same with one more, and dir as a file. */
static void make_large(struct temptree *temp, struct dirref tops[3])
{
    temptree_begin(temp);
    struct dirref large = many(temp, NULL, NULL);
    tops[0] = DIRECTORY(temp, {"dir", .below = &large});
    tops[2] = DIRECTORY(temp, {"dir", .version = 1});
    temptree_end(temp);
    temptree_begin(temp);
    struct dirref larger = many(temp, &large, "o");
    tops[1] = DIRECTORY(temp, {"dir", .below = &larger});
    temptree_end(temp);
}

static void leaves_that_large_directories_share_are_read_once(void **state)
{
    (void)state;
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    struct seen seen = {0};
    struct dirref tops[3];

    make_large(&temp, tops);
    struct timeline_shot shots[] = {SHOT("", tops[0]), SHOT("", tops[1])};
    const struct timeline timeline = TIMELINE(shots);
    walk(&temp, &timeline, &seen);
    assert_true(seen.entries > MANY && seen.entries < MANY + MANY / 4);
    assert_range(&seen, 'o', 1, 1);
    forest_free(seen.forest);
}

struct found {
    size_t count;
    uint32_t first, last;
};

static int note(void *context, const struct find_match *match, struct err *out)
{
    struct found *found = context;

    (void)out;
    found->count++;
    found->first = match->first;
    found->last = match->last;
    return 0;
}

static struct found find(struct temptree *temp, const struct timeline *timeline,
                         struct find_query query)
{
    struct found found = {0};

    assert_int_equal(find_run(temp->blocks, timeline, &query, note, &found, &err), 0);
    return found;
}

static void names_are_found_in_large_directories_and_by_path(void **state)
{
    (void)state;
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    struct dirref tops[3];

    make_large(&temp, tops);
    struct timeline_shot shots[] = {SHOT("", tops[0]), SHOT("", tops[1]), SHOT("", tops[2])};
    const struct timeline timeline = TIMELINE(shots);
    struct found found = find(&temp, &timeline, (struct find_query){.pattern = "name019999"});
    assert_true(found.count == 1 && found.first == 0 && found.last == 1);
    found = find(&temp, &timeline, (struct find_query){.pattern = "name000000"});
    assert_true(found.count == 1 && found.first == 0 && found.last == 1);
    found = find(&temp, &timeline, (struct find_query){.pattern = "dir/o"});
    assert_true(found.count == 1 && found.first == 1 && found.last == 1);
    found = find(&temp, &timeline, (struct find_query){.pattern = "name*"});
    assert_int_equal(found.count, MANY);
    found = find(&temp, &timeline, (struct find_query){.pattern = "dir"});
    assert_true(found.count == 1 && found.first == 0 && found.last == 2);
    found = find(&temp, &timeline, (struct find_query){.pattern = "dir", .deleted = true});
    assert_int_equal(found.count, 0);
    found = find(&temp, &timeline, (struct find_query){.pattern = "name00000?", .deleted = true});
    assert_int_equal(found.count, 10);
}

static void patterns_that_cannot_be_taken_are_refused(void **state)
{
    (void)state;
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    struct timeline timeline = {0};
    struct found found = {0};
    struct find_query query = {.pattern = "(a)\\1", .regex = true};

    assert_int_equal(find_run(temp.blocks, &timeline, &query, note, &found, &err), -ERR_USAGE);
    query.pattern = "[";
    assert_int_equal(find_run(temp.blocks, &timeline, &query, note, &found, &err), -ERR_USAGE);
    query.pattern = "\\\\1";
    assert_int_equal(find_run(temp.blocks, &timeline, &query, note, &found, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_several_directories_share_is_read_once_and_lasts_as_long_as_any),
        cmocka_unit_test(one_directory_at_two_paths_is_met_at_both),
        cmocka_unit_test(leaves_that_large_directories_share_are_read_once),
        cmocka_unit_test(names_are_found_in_large_directories_and_by_path),
        cmocka_unit_test(patterns_that_cannot_be_taken_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
