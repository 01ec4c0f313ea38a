#include "backup/archive/treewriter.h"

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "tests/harness/temptree.h"

enum { MANY = 100000, NONE = -1 };

static struct err err;

/* What is different from the directory before; numbers of files, or NONE. */
struct change {
    int altered, removed, added; /* `added`: a name behind that file's */
};

struct merge {
    struct temptree *temp;
    struct tree_cursor *cursor;
    struct dirwriter *dir;
};

static void add_one(struct merge *merge, const struct entry *entry, int n,
                    const struct change *change)
{
    struct tree_position at;
    struct entry other = *entry;
    char name[40];

    tree_position(merge->cursor, &at);
    if (n == change->altered) {
        other.mtime_s++;
        assert_int_equal(dirwriter_add(merge->dir, &other, NULL, &err), 0);
    } else if (n != change->removed) {
        assert_int_equal(dirwriter_add(merge->dir, entry, &at, &err), 0);
    }
    if (n != change->added)
        return;
    other.name_size = (size_t)snprintf(name, sizeof(name), "file-%08u.txt", 2 * n + 1);
    other.name = name;
    assert_int_equal(dirwriter_add(merge->dir, &other, NULL, &err), 0);
}

/* Writes a directory once more, as a backup does that compares with the one before. */
static struct dirref write_again(struct temptree *temp, const struct dirref *before,
                                 struct change change)
{
    CLEANUP(tree_closep) struct tree_cursor *cursor = NULL;
    struct merge merge = {.temp = temp};
    const struct entry *entry;
    struct dirref out;

    temptree_begin(temp);
    assert_int_equal(tree_open(temp->blocks, before, 0, &cursor, &err), 0);
    merge.cursor = cursor;
    assert_int_equal(dirwriter_new(temp->writer, before, &merge.dir, &err), 0);
    for (int n = 0;; n++) {
        assert_int_equal(tree_next(cursor, &entry, &err), 0);
        if (!entry)
            break;
        add_one(&merge, entry, n, &change);
    }
    assert_int_equal(dirwriter_finish(merge.dir, &out, &err), 0);
    temptree_end(temp);
    return out;
}

static size_t list_leaves(struct temptree *temp, const struct dirref *directory,
                          struct place *leaves, size_t limit)
{
    CLEANUP(tree_closep) struct tree_cursor *cursor = NULL;
    struct tree_position at;
    const struct entry *entry;
    size_t count = 0;

    assert_int_equal(tree_open(temp->blocks, directory, 0, &cursor, &err), 0);
    for (;;) {
        assert_int_equal(tree_next(cursor, &entry, &err), 0);
        if (!entry)
            return count;
        tree_position(cursor, &at);
        if (at.slot > 0)
            continue;
        assert_true(count < limit);
        leaves[count++] = at.leaf;
    }
}

static size_t count_new_leaves(struct temptree *temp, const struct dirref *before,
                               const struct dirref *after)
{
    enum { LIMIT = 4000 };
    static struct place old[LIMIT], new[LIMIT];
    size_t olds = list_leaves(temp, before, old, LIMIT);
    size_t news = list_leaves(temp, after, new, LIMIT);
    size_t known = 0;

    assert_true(olds > 100 && news > 100);
    for (size_t i = 0; i < news; i++)
        for (size_t k = 0; k < olds; k++)
            known += place_equal(new[i], old[k]);
    return news - known;
}

static void an_unchanged_directory_is_the_old_one_and_nothing_is_written(void **state)
{
    (void)state;
    static const unsigned sizes[] = {0, 1, 63, 1000, MANY};
    static const struct change nothing = {NONE, NONE, NONE};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        CLEANUP(temptree_clear) struct temptree temp = temptree_make();
        struct dirref before = temptree_write(&temp, sizes[i]);
        struct dirref after = write_again(&temp, &before, nothing);

        assert_int_equal(temp.archives, 0);
        assert_int_equal(after.entries, sizes[i]);
        assert_true(sizes[i] == 0 || place_equal(after.place, before.place));
    }
}

static void one_change_rewrites_few_leaves(void **state)
{
    (void)state;
    static const struct change changes[] = {
        {0, NONE, NONE},     {54321, NONE, NONE}, {MANY - 1, NONE, NONE},
        {NONE, 0, NONE},     {NONE, 33333, NONE}, {NONE, MANY - 1, NONE},
        {NONE, NONE, 77777}, {NONE, NONE, 12},    {NONE, NONE, MANY - 1},
    };
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    struct dirref before = temptree_write(&temp, MANY);

    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        struct dirref after = write_again(&temp, &before, changes[i]);

        assert_int_equal(temp.archives, 1);
        assert_int_equal(after.entries,
                         MANY - (changes[i].removed != NONE) + (changes[i].added != NONE));
        assert_in_range(count_new_leaves(&temp, &before, &after), 1, 6);
    }
}

/* Change after change: leaves must not decay into ever smaller ones. */
static void many_generations_keep_leaves_whole(void **state)
{
    (void)state;
    enum { COUNT = 20000, GENERATIONS = 60 };
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    struct dirref directory = temptree_write(&temp, COUNT);
    static struct place leaves[1000];
    size_t first = list_leaves(&temp, &directory, leaves, 1000);
    unsigned seed = 1;

    for (int i = 0; i < GENERATIONS; i++) {
        seed = seed * 1103515245U + 12345U;
        struct change change = {(int)(seed >> 8) % COUNT, NONE, NONE};
        directory = write_again(&temp, &directory, change);
    }
    assert_in_range(list_leaves(&temp, &directory, leaves, 1000), first / 2, first * 2);
}

static void names_out_of_order_or_twice_are_refused(void **state)
{
    (void)state;
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    static const char *const orders[][2] = {{"b", "a"}, {"a", "a"}, {"ab", "a"}, {"\xC3", "a"}};
    char name[32];

    temptree_begin(&temp);
    struct entry entry = temptree_file(&temp, 1, name);
    for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
        struct dirwriter *dir;

        assert_int_equal(dirwriter_new(temp.writer, NULL, &dir, &err), 0);
        entry.name = orders[i][0];
        entry.name_size = strlen(entry.name);
        assert_int_equal(dirwriter_add(dir, &entry, NULL, &err), 0);
        entry.name = orders[i][1];
        entry.name_size = strlen(entry.name);
        assert_int_equal(dirwriter_add(dir, &entry, NULL, &err), -ERR_USAGE);
        dirwriter_abort(dir);
    }
}

/* More archives than a leaf or a block may refer to, in records of every size. */
static void any_number_of_archives_and_long_records_fit(void **state)
{
    (void)state;
    enum { COUNT = 3000, LONG = 3000 };
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    CLEANUP(tree_closep) struct tree_cursor *cursor = NULL;
    static char target[LONG];
    const struct entry *entry;
    struct dirwriter *dir;
    struct dirref out;
    char name[32];

    memset(target, 't', sizeof(target));
    temptree_begin(&temp);
    assert_int_equal(dirwriter_new(temp.writer, NULL, &dir, &err), 0);
    for (unsigned n = 0; n < COUNT; n++) {
        struct entry file = temptree_file(&temp, n, name);

        file.content.place.archive = temptree_archive(&temp, ARCHIVE_DATA, n);
        if (n % 100 > 60) {
            file.type = ENTRY_SYMLINK;
            file.target = target;
            file.target_size = 1 + n % LONG;
        }
        assert_int_equal(dirwriter_add(dir, &file, NULL, &err), 0);
    }
    assert_int_equal(dirwriter_finish(dir, &out, &err), 0);
    temptree_end(&temp);
    assert_int_equal(tree_open(temp.blocks, &out, 0, &cursor, &err), 0);
    for (unsigned n = 0; n < COUNT; n++) {
        assert_int_equal(tree_next(cursor, &entry, &err), 0);
        assert_non_null(entry);
        assert_int_equal(entry->uid, n);
        if (entry->type == ENTRY_SYMLINK)
            assert_int_equal(entry->target_size, 1 + n % LONG);
        else
            assert_int_equal(entry->content.place.archive,
                             temptree_archive(&temp, ARCHIVE_DATA, n));
    }
    assert_int_equal(tree_next(cursor, &entry, &err), 0);
    assert_null(entry);
}

static void thousands_of_directories_may_be_open_at_once(void **state)
{
    (void)state;
    enum { DEPTH = 3000 };
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    CLEANUP(held_entry_clear) struct held_entry held = {0};
    static struct dirwriter *open[DEPTH];
    struct dirref below = {.place = {.archive = NO_ARCHIVE}};
    char name[32];

    temptree_begin(&temp);
    struct entry file = temptree_file(&temp, 3, name);
    for (int i = 0; i < DEPTH; i++) {
        assert_int_equal(dirwriter_new(temp.writer, NULL, &open[i], &err), 0);
        assert_int_equal(dirwriter_add(open[i], &file, NULL, &err), 0);
    }
    for (int i = DEPTH - 1; i >= 0; i--) {
        struct entry entry = {.type = ENTRY_DIRECTORY,
                              .name = "sub",
                              .name_size = 3,
                              .directory = below,
                              .below_entries = below.entries};

        assert_int_equal(dirwriter_add(open[i], &entry, NULL, &err), 0);
        assert_int_equal(dirwriter_finish(open[i], &below, &err), 0);
        assert_int_equal(below.entries, 2);
    }
    temptree_end(&temp);
    assert_int_equal(tree_resolve(temp.blocks, &below, "sub/sub/sub", 11, &held, &err), 0);
}

static void a_large_tree_takes_several_archives(void **state)
{
    (void)state;
    enum { COUNT = 300000 };
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    CLEANUP(tree_closep) struct tree_cursor *cursor = NULL;
    const struct entry *entry;
    struct dirwriter *dir;
    struct dirref out;
    uint64_t seed = 9;
    char name[32];

    temptree_begin(&temp);
    assert_int_equal(dirwriter_new(temp.writer, NULL, &dir, &err), 0);
    for (unsigned n = 0; n < COUNT; n++) {
        struct entry file = temptree_file(&temp, n, name);

        for (size_t i = 0; i < sizeof(file.digest); i++) { /* nothing to compress */
            seed = seed * 6364136223846793005U + 1442695040888963407U;
            file.digest[i] = (uint8_t)(seed >> 50);
        }
        file.inode = seed;
        file.device = seed * 3;
        file.mtime_s = (int64_t)(seed >> 9);
        file.ctime_s = (int64_t)(seed >> 7) * -1;
        file.content.place.raw = (uint32_t)(seed >> 35);
        assert_int_equal(dirwriter_add(dir, &file, NULL, &err), 0);
    }
    assert_int_equal(dirwriter_finish(dir, &out, &err), 0);
    temptree_end(&temp);
    assert_true(temp.archives >= 2);
    assert_int_equal(tree_open(temp.blocks, &out, 0, &cursor, &err), 0);
    for (unsigned n = 0; n < COUNT; n++) {
        assert_int_equal(tree_next(cursor, &entry, &err), 0);
        assert_true(entry && entry->uid == n);
    }
}

static int refuse(void *context, const struct writer_result *archive, const void *index,
                  size_t size, struct err *failure)
{
    (void)context;
    (void)archive;
    (void)index;
    (void)size;
    return err_set(failure, ERR_SYSTEM, "no");
}

static void a_writer_that_failed_does_not_finish(void **state)
{
    (void)state;
    CLEANUP(temptree_clear) struct temptree temp = temptree_make();
    struct place place;
    char name[32];

    struct entry entry = temptree_file(&temp, 1, name);
    entry.shared = true;
    assert_int_equal(treewriter_new(temp.repo.repo, 1, refuse, NULL, &temp.writer, &err), 0);
    assert_int_equal(treewriter_put_inode(temp.writer, &entry, &place, &err), 0);
    assert_int_equal(treewriter_finish(temp.writer, &err), -ERR_SYSTEM);
    assert_int_equal(treewriter_finish(temp.writer, &err), -ERR_SYSTEM);
    assert_int_equal(treewriter_put_inode(temp.writer, &entry, &place, &err), -ERR_SYSTEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unchanged_directory_is_the_old_one_and_nothing_is_written),
        cmocka_unit_test(one_change_rewrites_few_leaves),
        cmocka_unit_test(many_generations_keep_leaves_whole),
        cmocka_unit_test(names_out_of_order_or_twice_are_refused),
        cmocka_unit_test(any_number_of_archives_and_long_records_fit),
        cmocka_unit_test(thousands_of_directories_may_be_open_at_once),
        cmocka_unit_test(a_large_tree_takes_several_archives),
        cmocka_unit_test(a_writer_that_failed_does_not_finish),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
