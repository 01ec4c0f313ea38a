#include "fs/diff.h"

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "tests/harness/temptree.h"

static struct err err;

/* What a test says of an entry; the rest is made up. */
struct spec {
    const char *name;
    char version; /* of its content: the digest */
    const char *target;
    const struct dirref *below;
    uint32_t mode;
    uint64_t inode;
    const struct content *content;
};

/* How much is below the directories made so far. */
static struct {
    struct place place;
    uint64_t below;
} made[20000];
static size_t made_count;

static uint64_t below_of(const struct dirref *directory)
{
    size_t i = made_count;

    while (i > 0 && !place_equal(made[i - 1].place, directory->place))
        i--;
    return directory->entries == 0 ? 0 : i > 0 ? made[i - 1].below : directory->entries;
}

static struct entry make_entry(struct temptree *temp, const struct spec *spec)
{
    struct entry entry = {.type = ENTRY_FILE, .name = spec->name, .links = 1};

    entry.name_size = strlen(spec->name);
    entry.mode = spec->mode ? spec->mode : 0644;
    entry.inode = spec->inode ? spec->inode : 7;
    entry.ctime_s = (int64_t)entry.inode;
    if (spec->below) {
        entry.type = ENTRY_DIRECTORY;
        entry.directory = *spec->below;
        entry.below_entries = below_of(spec->below);
    } else if (spec->target) {
        entry.type = ENTRY_SYMLINK;
        entry.target = spec->target;
        entry.target_size = strlen(spec->target);
    } else {
        entry.content = (struct content){.form = CONTENT_ONE, .size = 100};
        entry.content.place.archive = temptree_archive(temp, ARCHIVE_DATA, 1);
        if (spec->content)
            entry.content = *spec->content;
        entry.size = entry.content.size;
        memset(entry.digest, spec->version, sizeof(entry.digest));
    }
    return entry;
}

static struct dirref make_directory(struct temptree *temp, const struct spec *specs, size_t count)
{
    struct dirwriter *dir;
    struct dirref out;
    uint64_t below = count;

    assert_int_equal(dirwriter_new(temp->writer, NULL, &dir, &err), 0);
    for (size_t i = 0; i < count; i++) {
        struct entry entry = make_entry(temp, &specs[i]);
        below += entry.below_entries;
        assert_int_equal(dirwriter_add(dir, &entry, NULL, &err), 0);
    }
    assert_int_equal(dirwriter_finish(dir, &out, &err), 0);
    assert_true(made_count < sizeof(made) / sizeof(made[0]));
    made[made_count].place = out.place;
    made[made_count++].below = below;
    return out;
}

#define DIRECTORY(temp, ...)                             \
    make_directory((temp), (struct spec[]){__VA_ARGS__}, \
                   sizeof((struct spec[]){__VA_ARGS__}) / sizeof(struct spec))

/* One line for each item: "A path\n" … */
static int note(void *context, const struct diff_item *item, struct err *out)
{
    static const char kinds[] = {[DIFF_ADDED] = 'A',
                                 [DIFF_REMOVED] = 'R',
                                 [DIFF_CONTENT] = 'C',
                                 [DIFF_METADATA] = 'M',
                                 [DIFF_TYPE] = 'T'};
    char line[300];
    int size = snprintf(line, sizeof(line), "%c %.280s\n", kinds[item->kind], item->path);

    assert_true((item->kind == DIFF_ADDED) == (item->before == NULL));
    assert_true((item->kind == DIFF_REMOVED) == (item->after == NULL));
    return buf_append(context, line, (size_t)size, out);
}

static void assert_diff(struct temptree *temp, struct dirref before, struct dirref after,
                        bool whole, const char *expected)
{
    CLEANUP(buf_clear) struct buf lines = {.limit = 1024 * 1024};

    assert_int_equal(diff_trees(temp->blocks, &before, &after, whole, note, &lines, &err), 0);
    assert_int_equal(buf_append(&lines, "", 1, &err), 0);
    assert_string_equal((char *)lines.data, expected);
}

static void trees_written_twice_do_not_differ(void **state)
{
    (void)state;
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    struct dirref roots[2];

    temptree_begin(&temp);
    for (int i = 0; i < 2; i++) {
        struct dirref below = DIRECTORY(&temp, {"b", .version = 1}, {"c", .target = "b"});
        roots[i] = DIRECTORY(&temp, {"a", .version = 2}, {"d", .below = &below});
    }
    temptree_end(&temp);
    assert_false(place_equal(roots[0].place, roots[1].place));
    assert_diff(&temp, roots[0], roots[1], false, "");
}

static void each_change_is_named_once_in_the_order_of_names(void **state)
{
    (void)state;
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    const struct dirref empty = {0};

    temptree_begin(&temp);
    struct dirref old = DIRECTORY(&temp, {"in", .version = 1}, {"out", .version = 1});
    struct dirref new = DIRECTORY(&temp, {"in", .version = 2}, {"new", .version = 1});
    struct dirref before =
        DIRECTORY(&temp, {"content", .version = 1}, {"dir", .below = &old}, {"gone", .version = 1},
                  {"link", .target = "x"}, {"mode", .version = 1}, {"same", .version = 1},
                  {"type", .below = &empty});
    struct dirref after = DIRECTORY(&temp, {"added", .version = 1}, {"content", .version = 2},
                                    {"dir", .below = &new, .mode = 0700}, {"link", .target = "y"},
                                    {"mode", .version = 1, .mode = 0600}, {"same", .version = 1},
                                    {"type", .version = 1});
    temptree_end(&temp);
    assert_diff(
        &temp, before, after, false,
        "A added\nC content\nM dir\nC dir/in\nA dir/new\nR dir/out\nR gone\nC link\nM mode\n"
        "T type\n");
}

static void what_only_the_source_knows_is_no_difference(void **state)
{
    (void)state;
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();

    temptree_begin(&temp);
    struct dirref before = DIRECTORY(&temp, {"a", .version = 1, .inode = 10});
    struct dirref after =
        DIRECTORY(&temp, {"a", .version = 1, .inode = 11}); /* and ctime with it */
    temptree_end(&temp);
    assert_diff(&temp, before, after, false, "");
}

static void an_added_directory_is_one_item_or_all_of_it(void **state)
{
    (void)state;
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    const struct dirref none = {0};

    temptree_begin(&temp);
    struct dirref inner = DIRECTORY(&temp, {"z", .version = 1});
    struct dirref below = DIRECTORY(&temp, {"x", .version = 1}, {"y", .below = &inner});
    struct dirref full = DIRECTORY(&temp, {"dir", .below = &below});
    struct dirref file = DIRECTORY(&temp, {"dir", .version = 1});
    temptree_end(&temp);
    assert_diff(&temp, none, full, false, "A dir\n");
    assert_diff(&temp, none, full, true, "A dir\nA dir/x\nA dir/y\nA dir/y/z\n");
    assert_diff(&temp, full, none, true, "R dir\nR dir/x\nR dir/y\nR dir/y/z\n");
    assert_diff(&temp, full, file, true, "T dir\nR dir/x\nR dir/y\nR dir/y/z\n");
}

static void directories_in_one_place_are_not_read(void **state)
{
    (void)state;
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    CLEANUP(buf_clear) struct buf lines = {.limit = 1000};

    temptree_begin(&temp);
    /* Nobody could read this one. */
    struct dirref lost = {.place = {temptree_archive(&temp, ARCHIVE_METADATA, 9), 5}, .entries = 3};
    struct dirref found = {.place = {lost.place.archive, 6}, .entries = 3};
    struct dirref before = DIRECTORY(&temp, {"a", .version = 1}, {"dir", .below = &lost});
    struct dirref after = DIRECTORY(&temp, {"a", .version = 2}, {"dir", .below = &lost});
    struct dirref other = DIRECTORY(&temp, {"a", .version = 2}, {"dir", .below = &found});
    temptree_end(&temp);
    assert_diff(&temp, before, after, false, "C a\n");
    assert_diff(&temp, lost, lost, true, "");
    assert_true(diff_trees(temp.blocks, &before, &other, false, note, &lines, &err) < 0);
}

static int stop(void *context, const struct diff_item *item, struct err *out)
{
    (void)item;
    (void)out;
    return ++*(int *)context == 2 ? 17 : 0;
}

static void a_result_other_than_zero_ends_it(void **state)
{
    (void)state;
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    const struct dirref none = {0};
    int calls = 0;

    temptree_begin(&temp);
    struct dirref full =
        DIRECTORY(&temp, {"a", .version = 1}, {"b", .version = 1}, {"c", .version = 1});
    temptree_end(&temp);
    assert_int_equal(diff_trees(temp.blocks, &none, &full, false, stop, &calls, &err), 17);
    assert_int_equal(calls, 2);
}

static void a_very_deep_tree_is_gone_through(void **state)
{
    (void)state;
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    CLEANUP(buf_clear) struct buf lines = {.limit = 1024 * 1024};
    struct dirref roots[2];

    temptree_begin(&temp);
    for (char i = 0; i < 2; i++) {
        roots[(int)i] = DIRECTORY(&temp, {"bottom", .version = i});
        for (int depth = 0; depth < 5000; depth++) {
            struct dirref below = roots[(int)i];
            roots[(int)i] = DIRECTORY(&temp, {"d", .below = &below});
        }
    }
    temptree_end(&temp);
    assert_int_equal(diff_trees(temp.blocks, &roots[0], &roots[1], false, note, &lines, &err), 0);
    assert_true(lines.size > 200 && memcmp(lines.data, "C d/d/d", 7) == 0);
}

/* ---- content that is there --------------------------------------------------------------- */

enum { HALF = 8192 };

/* Two blocks of HALF bytes: `first`, then `second`. */
static struct place write_data(struct temptree *temp, char first, char second)
{
    uint8_t raw[2 * HALF];
    struct chunk chunk = {.length = sizeof(raw)};
    struct codec *codec = codec_new(1);
    struct writer_result result;
    struct writer *writer;
    uint32_t at, stored;

    memset(raw, first, HALF);
    memset(raw + HALF, second, HALF);
    assert_int_equal(writer_new(temp->repo.repo, ARCHIVE_DATA, &writer, &err), 0);
    assert_int_equal(writer_append(writer, codec, raw, sizeof(raw), &chunk, 1, &at, &stored, &err),
                     0);
    assert_int_equal(writer_commit(writer, NULL, NULL, &result, &err), 0);
    codec_free(codec);
    return (struct place){result.archive, at};
}

static void a_hole_is_as_good_as_zeros(void **state)
{
    (void)state;
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    struct place zeros = write_data(&temp, 0, 'x'), text = write_data(&temp, 'y', 'x');
    const struct extent sparse[] = {{HALF, {NO_ARCHIVE, 0}}, {HALF, {zeros.archive, HALF}}};
    const struct content whole = {.form = CONTENT_ONE, .size = 2 * HALF, .place = zeros};
    const struct content other = {.form = CONTENT_ONE, .size = 2 * HALF, .place = text};
    const struct content holes = {
        .form = CONTENT_LIST, .size = 2 * HALF, .list = sparse, .count = 2};

    temptree_begin(&temp);
    struct dirref with_zeros = DIRECTORY(&temp, {"a", .version = 1, .content = &whole});
    struct dirref with_hole = DIRECTORY(&temp, {"a", .version = 2, .content = &holes});
    struct dirref with_text = DIRECTORY(&temp, {"a", .version = 3, .content = &other});
    temptree_end(&temp);
    assert_diff(&temp, with_zeros, with_hole, false, "");
    assert_diff(&temp, with_hole, with_zeros, false, "");
    assert_diff(&temp, with_hole, with_text, false, "C a\n");
    assert_diff(&temp, with_zeros, with_text, false, "C a\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trees_written_twice_do_not_differ),
        cmocka_unit_test(each_change_is_named_once_in_the_order_of_names),
        cmocka_unit_test(what_only_the_source_knows_is_no_difference),
        cmocka_unit_test(an_added_directory_is_one_item_or_all_of_it),
        cmocka_unit_test(directories_in_one_place_are_not_read),
        cmocka_unit_test(a_result_other_than_zero_ends_it),
        cmocka_unit_test(a_very_deep_tree_is_gone_through),
        cmocka_unit_test(a_hole_is_as_good_as_zeros),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
