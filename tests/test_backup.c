#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup/archive/blocks.h"
#include "backup/archive/idtable.h"
#include "backup/archive/tree.h"
#include "backup/base/cleanup.h"
#include "backup/base/hex.h"
#include "backup/job/backup.h"
#include "backup/job/baseline.h"
#include "tests/harness/temprepo.h"

/* A source directory and a repository; what the last backup said. */
struct fixture {
    struct temprepo temp;
    char source[64];
    struct backup_result result;
    struct root before;
    unsigned troubles, notes;
    bool force;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    strcpy(fixture->source, "/tmp/yester-backup-XXXXXX");
    fixture->temp = temprepo_make();
    *state = fixture;
    return mkdtemp(fixture->source) ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    char command[128];

    (void)snprintf(command, sizeof(command), "rm -rf %s", fixture->source);
    int r = system(command);
    backup_result_clear(&fixture->result);
    root_clear(&fixture->before);
    temprepo_clear(&fixture->temp);
    free(fixture);
    return r;
}

static void shell(struct fixture *fixture, const char *command)
{
    char line[1024];

    (void)snprintf(line, sizeof(line), "cd %s && %s", fixture->source, command);
    assert_true(system(line) == 0);
}

static void trouble(void *context, const char *path, const struct err *err)
{
    struct fixture *fixture = context;

    (void)path;
    (void)err;
    fixture->troubles++;
}

static void note(void *context, const char *path, const char *text)
{
    struct fixture *fixture = context;

    (void)path;
    (void)text;
    fixture->notes++;
}

/* Everything that is in the repository may be referred to; no chunk is remembered. */
static bool find_nothing(struct baseline *baseline, const uint8_t id[32], uint32_t length,
                         struct place *out)
{
    (void)baseline;
    (void)id;
    (void)length;
    (void)out;
    return false;
}

static bool always_usable(struct baseline *baseline, uint32_t archive)
{
    (void)baseline;
    (void)archive;
    return true;
}

static int take_nothing_in(struct baseline *baseline, const struct writer_result *archive,
                           const void *index, size_t size, struct err *err)
{
    (void)baseline;
    (void)archive;
    (void)index;
    (void)size;
    (void)err;
    return 0;
}

static const struct baseline_ops ops = {find_nothing, always_usable, take_nothing_in};
static struct baseline baseline = {&ops};

static int back_up(struct fixture *fixture, struct err *err)
{
    const char *paths[] = {fixture->source};
    bool again = fixture->result.root.name[0] != 0;
    struct backup_source source = {.type = TYPE_FILES, .paths = paths, .path_count = 1};
    struct backup_options options = {
        .repo = fixture->temp.repo,
        .baseline = &baseline,
        .host = "here",
        .sources = &source,
        .source_count = 1,
        .parent = "",
        .force = fixture->force,
        .level = 1,
        .trouble = trouble,
        .note = note,
        .context = fixture,
    };

    root_clear(&fixture->before);
    fixture->before = fixture->result.root;
    fixture->result = (struct backup_result){0};
    source.previous = again ? &fixture->before : NULL;
    fixture->troubles = fixture->notes = 0;
    return backup_run(&options, &fixture->result, err);
}

static void must_back_up(struct fixture *fixture)
{
    struct err err;
    int r = back_up(fixture, &err);

    if (r < 0)
        fail_msg("%s", err.text);
}

/* The stored entry of a path below the source. */
static void find(struct fixture *fixture, struct blocks *blocks, const char *path,
                 struct held_entry *out)
{
    char whole[256];
    struct err err;

    (void)snprintf(whole, sizeof(whole), "%s%s%s", fixture->source + 1, *path ? "/" : "", path);
    int r = tree_resolve(blocks, &fixture->result.root.types[TYPE_FILES].directory, whole,
                         strlen(whole), out, &err);
    if (r < 0)
        fail_msg("%s: %s", path, err.text);
}

static void must_hold(struct fixture *fixture, const char *path)
{
    CLEANUP(blocks_freep) struct blocks *blocks = blocks_new(fixture->temp.repo, 1 << 20);
    CLEANUP(held_entry_clear) struct held_entry held = {0};
    char name[256];
    struct stat st;
    struct err err;

    (void)snprintf(name, sizeof(name), "%s/%s", fixture->source, path);
    FILE *file = fopen(name, "rb");
    assert_true(file && fstat(fileno(file), &st) == 0);
    find(fixture, blocks, path, &held);
    assert_int_equal(held.entry.size, st.st_size);
    size_t size = (size_t)st.st_size;
    uint8_t *want = malloc(size + 1), *got = malloc(size + 1);
    assert_true(fread(want, 1, size, file) == size);
    assert_true(content_read(blocks, &held.entry.content, 0, got, size, &err) == 0);
    assert_memory_equal(want, got, size);
    free(want);
    free(got);
    fclose(file);
}

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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
