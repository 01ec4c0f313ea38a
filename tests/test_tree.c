#include "backup/archive/tree.h"

#include "backup/archive/tree_internal.h"

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "tests/harness/temptree.h"

static struct err err;

static void assert_found(struct temptree *temp, const struct dirref *directory, unsigned n)
{
    CLEANUP(held_entry_clear) struct held_entry held = {0};
    char name[32];
    struct entry entry = temptree_file(temp, n, name);

    assert_int_equal(tree_find(temp->blocks, directory, name, entry.name_size, &held, &err), 0);
    temptree_assert_file(temp, n, &held.entry);
}

static void assert_missing(struct temptree *temp, const struct dirref *directory, const char *name)
{
    struct held_entry held;

    assert_int_equal(tree_find(temp->blocks, directory, name, strlen(name), &held, &err),
                     -ERR_NOT_FOUND);
}

/* Goes through all from entry `first` on. */
static void assert_all_from(struct temptree *temp, const struct dirref *directory, unsigned first,
                            unsigned count)
{
    CLEANUP(tree_closep) struct tree_cursor *cursor = NULL;
    struct tree_position at, before = {0};
    const struct entry *entry;

    assert_int_equal(tree_open(temp->blocks, directory, first, &cursor, &err), 0);
    for (unsigned n = first; n < count; n++) {
        assert_int_equal(tree_next(cursor, &entry, &err), 0);
        assert_non_null(entry);
        temptree_assert_file(temp, n, entry);
        tree_position(cursor, &at);
        assert_true(at.slot < at.count);
        if (n > first)
            assert_true(place_equal(at.leaf, before.leaf) ? at.slot == before.slot + 1
                                                          : at.slot == 0 && !before.last_leaf);
        assert_true(at.last_leaf == (n - at.slot + at.count == count));
        before = at;
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(tree_next(cursor, &entry, &err), 0);
        assert_null(entry);
    }
}

static void every_name_of_a_directory_of_any_size_is_found(void **state)
{
    (void)state;
    static const unsigned sizes[] = {0, 1, 2, 64, 65, 1000, 200000};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        CLEANUP(temptree_clear) struct temptree temp = temptree_make();
        struct dirref directory = temptree_write(&temp, sizes[i]);
        char name[32];

        assert_int_equal(directory.entries, sizes[i]);
        assert_all_from(&temp, &directory, 0, sizes[i]);
        for (unsigned n = 0; n < sizes[i]; n++)
            assert_found(&temp, &directory, n);
        for (unsigned n = 0; n < 2000 && n < sizes[i]; n++) {
            snprintf(name, sizeof(name), "file-%08u.txt", 2 * (n * 97 % sizes[i]) + 1);
            assert_missing(&temp, &directory, name);
        }
        assert_missing(&temp, &directory, "a");
        assert_missing(&temp, &directory, "file-00000000");
        assert_missing(&temp, &directory, "file-00000000.txtx");
        assert_missing(&temp, &directory, "zz");
        assert_missing(&temp, &directory, "");
    }
}

/* The entries below the lowest index items that were met. */
struct met {
    struct temptree *temp;
    uint64_t entries, items;
};

static int meet(void *context, struct place place, struct err *out)
{
    CLEANUP(slice_clear) struct slice slice = {0};
    struct met *met = context;
    struct branch branch;
    struct node node;

    assert_int_equal(tree_node(met->temp->blocks, place, ANY_LEVEL, &slice, &node, out), 0);
    assert_true(node.level > 0);
    for (size_t i = 0; i < node.count && node.level == 1; i++) {
        assert_true(node_branch(&node, slice.block, i, &branch));
        met->entries += branch.entries;
    }
    met->items++;
    return 0;
}

static void all_index_items_of_a_directory_are_met(void **state)
{
    (void)state;
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    struct dirref small = temptree_write(&temp, 1000), large = temptree_write(&temp, 200000);
    struct met met = {.temp = &temp};

    assert_int_equal(tree_index_items(temp.blocks, &small, meet, &met, &err), 0);
    assert_int_equal(met.items, 0);
    assert_int_equal(tree_index_items(temp.blocks, &large, meet, &met, &err), 0);
    assert_int_equal(met.entries, 200000);
    assert_true(met.items > 1);
}

static void a_cursor_begins_at_any_entry(void **state)
{
    (void)state;
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    struct dirref directory = temptree_write(&temp, 30000);

    for (unsigned first = 0; first < 30000; first += 1999)
        assert_all_from(&temp, &directory, first, 30000);
    assert_all_from(&temp, &directory, 29999, 30000);
    assert_all_from(&temp, &directory, 30000, 30000);
    assert_all_from(&temp, &directory, 4000000000, 30000);
}

static void seek_to(struct tree_cursor *cursor, unsigned number)
{
    char name[32];
    size_t size = (size_t)snprintf(name, sizeof(name), "file-%08u.txt", number);

    assert_int_equal(tree_seek(cursor, name, size, &err), 0);
}

static void a_cursor_goes_forward_to_a_name_and_never_back(void **state)
{
    (void)state;
    enum { COUNT = 50000 };
    static const unsigned steps[] = {1, 3, 50, 700, 3000, 20000};
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    struct dirref directory = temptree_write(&temp, COUNT);
    const struct entry *entry;

    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        CLEANUP(tree_closep) struct tree_cursor *cursor = NULL;

        assert_int_equal(tree_open(temp.blocks, &directory, 0, &cursor, &err), 0);
        for (unsigned n = steps[i]; n < COUNT; n += steps[i]) {
            seek_to(cursor, 2 * n - n % 2); /* its own name, or one between */
            seek_to(cursor, n);             /* lies before: no effect */
            assert_int_equal(tree_next(cursor, &entry, &err), 0);
            assert_non_null(entry);
            temptree_assert_file(&temp, n, entry);
        }
        seek_to(cursor, 2 * COUNT);
        assert_int_equal(tree_next(cursor, &entry, &err), 0);
        assert_null(entry);
        seek_to(cursor, 2 * COUNT + 1);
        assert_int_equal(tree_next(cursor, &entry, &err), 0);
        assert_null(entry);
    }
}

static void an_entry_is_found_again_by_its_place(void **state)
{
    (void)state;
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    struct dirref directory = temptree_write(&temp, 3000);

    for (unsigned n = 0; n < 3000; n += 7) {
        CLEANUP(held_entry_clear) struct held_entry held = {0}, again = {0};
        char name[32];
        struct entry entry = temptree_file(&temp, n, name);

        assert_int_equal(tree_find(temp.blocks, &directory, name, entry.name_size, &held, &err), 0);
        assert_int_equal(tree_at(temp.blocks, held.entry.place, false, &again, &err), 0);
        temptree_assert_file(&temp, n, &again.entry);
    }
}

static void add_named(struct dirwriter *dir, const char *name, struct entry entry)
{
    entry.name = name;
    entry.name_size = strlen(name);
    assert_int_equal(dirwriter_add(dir, &entry, NULL, &err), 0);
}

static void several_names_share_one_inode(void **state)
{
    (void)state;
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    CLEANUP(tree_closep) struct tree_cursor *cursor = NULL;
    CLEANUP(held_entry_clear) struct held_entry held = {0}, at = {0};
    static const char *const names[] = {"a", "b", "other"};
    const struct entry *entry;
    struct dirwriter *dir;
    struct dirref directory;
    char name[32];

    temptree_begin(&temp);
    struct entry file = temptree_file(&temp, 9, name);
    file.shared = true;
    file.links = 3;
    assert_int_equal(treewriter_put_inode(temp.writer, &file, &file.place, &err), 0);
    assert_int_equal(dirwriter_new(temp.writer, NULL, &dir, &err), 0);
    for (size_t i = 0; i < 3; i++)
        add_named(dir, names[i], file);
    assert_int_equal(dirwriter_finish(dir, &directory, &err), 0);
    temptree_end(&temp);

    assert_int_equal(tree_open(temp.blocks, &directory, 0, &cursor, &err), 0);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(tree_next(cursor, &entry, &err), 0);
        assert_true(entry->shared && entry->links == 3 && entry->uid == 9);
        assert_true(place_equal(entry->place, file.place));
        assert_int_equal(entry->name_size, strlen(names[i]));
        assert_memory_equal(entry->name, names[i], entry->name_size);
    }
    assert_int_equal(tree_find(temp.blocks, &directory, "b", 1, &held, &err), 0);
    assert_true(held.entry.shared && place_equal(held.entry.place, file.place));
    assert_int_equal(tree_at(temp.blocks, held.entry.place, true, &at, &err), 0);
    assert_true(at.entry.uid == 9 && at.entry.name_size == 0 && at.entry.links == 3);
}

static struct dirref directory_of_one(struct temptree *temp, const char *name, struct entry entry)
{
    struct dirwriter *dir;
    struct dirref out;

    assert_int_equal(dirwriter_new(temp->writer, NULL, &dir, &err), 0);
    add_named(dir, name, entry);
    assert_int_equal(dirwriter_finish(dir, &out, &err), 0);
    return out;
}

static void a_path_is_followed_name_by_name(void **state)
{
    (void)state;
    enum { DEPTH = 3000 };
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    CLEANUP(held_entry_clear) struct held_entry held = {0}, top = {0};
    static char path[2 * DEPTH + 32];
    struct held_entry none;
    char name[32];

    temptree_begin(&temp);
    struct dirref directory = directory_of_one(&temp, "leaf", temptree_file(&temp, 1, name));
    for (int i = 0; i < DEPTH; i++) {
        struct entry entry = {.type = ENTRY_DIRECTORY, .directory = directory, .below_entries = 1};

        directory = directory_of_one(&temp, "d", entry);
        strcat(path, "d/");
    }
    temptree_end(&temp);
    strcat(path, "leaf");
    assert_int_equal(tree_resolve(temp.blocks, &directory, path, strlen(path), &held, &err), 0);
    assert_int_equal(held.entry.uid, 1);
    assert_int_equal(tree_resolve(temp.blocks, &directory, "", 0, &top, &err), 0);
    assert_int_equal(top.entry.type, ENTRY_DIRECTORY);
    assert_true(place_equal(top.entry.directory.place, directory.place));
    assert_int_equal(tree_resolve(temp.blocks, &directory, "d/x", 3, &none, &err), -ERR_NOT_FOUND);
    strcat(path, "/below-a-file");
    assert_int_equal(tree_resolve(temp.blocks, &directory, path, strlen(path), &none, &err),
                     -ERR_NOT_FOUND);
}

/* Reads to the end; whatever comes is in order and not more than the directory has. */
static void read_what_can_be_read(struct temptree *temp, const struct dirref *directory)
{
    CLEANUP(tree_closep) struct tree_cursor *cursor = NULL;
    CLEANUP(held_entry_clear) struct held_entry held = {0};
    const struct entry *entry;
    char name[32];
    uint64_t count = 0;

    struct entry wanted = temptree_file(temp, 77, name);
    int r = tree_find(temp->blocks, directory, name, wanted.name_size, &held, &err);
    assert_true(r == 0 || r == -ERR_NOT_FOUND || r == -ERR_CORRUPT);
    r = tree_open(temp->blocks, directory, 0, &cursor, &err);
    while (r == 0) {
        r = tree_next(cursor, &entry, &err);
        if (r == 0 && !entry)
            break;
        count += r == 0;
    }
    assert_true(r == 0 ? count == directory->entries : r == -ERR_CORRUPT);
}

static void a_damaged_directory_is_refused_or_whole(void **state)
{
    (void)state;
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    struct dirref directory = temptree_write(&temp, 700);
    static struct place variants[TEMPTREE_VARIANTS];

    temptree_damage(&temp, directory.place, variants);
    for (size_t i = 0; i < TEMPTREE_VARIANTS; i++) {
        directory.place = variants[i];
        read_what_can_be_read(&temp, &directory);
    }
}

static void a_place_that_is_no_directory_is_refused(void **state)
{
    (void)state;
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    struct dirref good = temptree_write(&temp, 10), bad = good;
    struct held_entry held;
    struct tree_cursor *cursor;

    bad.place.raw += 1;
    assert_int_equal(tree_find(temp.blocks, &bad, "a", 1, &held, &err), -ERR_CORRUPT);
    bad = good;
    bad.entries++;
    assert_int_equal(tree_open(temp.blocks, &bad, 0, &cursor, &err), -ERR_CORRUPT);
    bad.place.archive = temptree_archive(&temp, ARCHIVE_DATA, 0);
    assert_int_equal(tree_find(temp.blocks, &bad, "a", 1, &held, &err), -ERR_CORRUPT);
    bad.place.archive = NO_ARCHIVE;
    assert_int_equal(tree_find(temp.blocks, &bad, "a", 1, &held, &err), -ERR_CORRUPT);
}

static void a_name_in_an_archive_that_is_gone_is_not_a_missing_name(void **state)
{
    (void)state;
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    struct dirref gone = temptree_write(&temp, 10);
    struct held_entry held;

    gone.place.archive = temptree_archive(&temp, ARCHIVE_METADATA, 3);
    assert_int_equal(tree_find(temp.blocks, &gone, "a", 1, &held, &err), -ERR_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_of_a_directory_of_any_size_is_found),
        cmocka_unit_test(all_index_items_of_a_directory_are_met),
        cmocka_unit_test(a_cursor_begins_at_any_entry),
        cmocka_unit_test(a_cursor_goes_forward_to_a_name_and_never_back),
        cmocka_unit_test(an_entry_is_found_again_by_its_place),
        cmocka_unit_test(several_names_share_one_inode),
        cmocka_unit_test(a_path_is_followed_name_by_name),
        cmocka_unit_test(a_damaged_directory_is_refused_or_whole),
        cmocka_unit_test(a_place_that_is_no_directory_is_refused),
        cmocka_unit_test(a_name_in_an_archive_that_is_gone_is_not_a_missing_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
