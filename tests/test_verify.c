#include "backup/job/verify.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup/archive/blocks.h"
#include "backup/base/cleanup.h"
#include "backup/job/backup.h"
#include "tests/harness/temprepo.h"
#include "tests/harness/trusting.h"

struct fixture {
    struct temprepo temp;
    char source[64];
    struct backup_result first, second;
    struct verify_result found;
    unsigned objects;
    char hurt[8192]; /* "SNAP:PATH\n"… */
};

static struct err err;

static void shell(const char *directory, const char *command)
{
    char line[1024];

    (void)snprintf(line, sizeof(line), "cd %s && %s", directory, command);
    assert_true(system(line) == 0);
}

static void quiet_trouble(void *context, const char *path, const struct err *why)
{
    (void)context;
    fail_msg("%s: %s", path, why->text);
}

static void quiet_note(void *context, const char *path, const char *text)
{
    (void)context;
    (void)path;
    (void)text;
}

static void back_up(struct fixture *fixture, const struct root *previous, struct backup_result *out)
{
    const char *paths[] = {fixture->source};
    struct backup_source source = {
        .type = TYPE_FILES, .paths = paths, .path_count = 1, .previous = previous};
    struct backup_options options = {.repo = fixture->temp.repo,
                                     .baseline = &baseline,
                                     .host = "here",
                                     .sources = &source,
                                     .source_count = 1,
                                     .parent = previous ? previous->name : "",
                                     .sequence = previous ? previous->sequence : 0,
                                     .level = 1,
                                     .trouble = quiet_trouble,
                                     .note = quiet_note};

    assert_int_equal(backup_run(&options, out, &err), 0);
}

/* Two snapshots of a small tree; the second has one file more. */
static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    strcpy(fixture->source, "/tmp/test_verify_XXXXXX");
    fixture->temp = temprepo_make();
    assert_non_null(mkdtemp(fixture->source));
    shell(fixture->source, "mkdir -p a/b c && echo one > a/b/one && : > empty && "
                           "head -c 700000 /dev/urandom > c/big && truncate -s 3M c/sparse && "
                           "echo end >> c/sparse && echo first > a/first && ln a/first c/link && "
                           "ln -s x sym && sleep 0.05");
    back_up(fixture, NULL, &fixture->first);
    shell(fixture->source, "head -c 300000 /dev/urandom > c/more");
    back_up(fixture, &fixture->first.root, &fixture->second);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    char remove[128];

    (void)snprintf(remove, sizeof(remove), "rm -rf %s", fixture->source);
    shell("/", remove);
    backup_result_clear(&fixture->first);
    backup_result_clear(&fixture->second);
    temprepo_clear(&fixture->temp);
    free(fixture);
    return 0;
}

static void damaged(void *context, const char *object, uint32_t archive, const struct err *why)
{
    struct fixture *fixture = context;

    (void)object;
    (void)archive;
    (void)why;
    fixture->objects++;
}

static void hurt(void *context, const char *snapshot, const char *path, const struct err *why)
{
    struct fixture *fixture = context;
    size_t used = strlen(fixture->hurt);

    (void)why;
    (void)snprintf(fixture->hurt + used, sizeof(fixture->hurt) - used, "%s:%s\n", snapshot, path);
}

/* As another process does it: nothing is in any cache. */
static int check(struct fixture *fixture, bool data, const char *snapshot)
{
    struct repo *repo = temprepo_open_again(&fixture->temp);
    struct blocks *blocks = blocks_new(repo, 1 << 20);
    struct verify_options options = {.snapshots = &snapshot,
                                     .snapshot_count = snapshot ? 1 : 0,
                                     .data = data,
                                     .damaged = damaged,
                                     .hurt = hurt,
                                     .context = fixture};

    fixture->objects = 0;
    fixture->hurt[0] = '\0';
    int r = verify_run(blocks, &options, &fixture->found, &err);
    blocks_free(blocks);
    repo_free(repo);
    return r;
}

static bool is_hurt(const struct fixture *fixture, const char *snapshot, const char *path)
{
    char line[512];

    (void)snprintf(line, sizeof(line), "%s:files%s%s\n", snapshot, fixture->source, path);
    return strstr(fixture->hurt, line) != NULL;
}

/* The largest object in a folder of the repository. */
static void largest(const struct fixture *fixture, const char *folder, char *out, size_t size)
{
    char path[512];
    off_t most = -1;
    struct stat st;

    (void)snprintf(path, sizeof(path), "%s/%s", fixture->temp.directory, folder);
    DIR *stream = opendir(path);
    assert_non_null(stream);
    for (struct dirent *entry; (entry = readdir(stream));) {
        (void)snprintf(path, sizeof(path), "%s/%s/%s", fixture->temp.directory, folder,
                       entry->d_name);
        if (stat(path, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size <= most)
            continue;
        most = st.st_size;
        (void)snprintf(out, size, "%s", path);
    }
    closedir(stream);
    assert_true(most > 0);
}

static void flip(const char *path, long offset)
{
    FILE *file = fopen(path, "r+");

    assert_non_null(file);
    assert_int_equal(fseek(file, offset, SEEK_SET), 0);
    int byte = fgetc(file);
    assert_int_equal(fseek(file, offset, SEEK_SET), 0);
    assert_true(fputc(byte ^ 4, file) != EOF);
    assert_int_equal(fclose(file), 0);
}

static void a_whole_repository_has_no_damage(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(check(fixture, false, NULL), 0);
    assert_true(fixture->found.snapshots == 2 && fixture->found.blocks == 0);
    uint64_t entries = fixture->found.entries;
    assert_int_equal(check(fixture, true, NULL), 0);
    assert_true(fixture->found.entries == entries && fixture->found.chunks > 10);
    assert_true(fixture->found.bytes > 1000000);
    assert_true(fixture->objects == 0 && fixture->hurt[0] == '\0');
    assert_int_equal(check(fixture, true, fixture->first.root.name), 0);
    assert_int_equal(fixture->found.snapshots, 1);
}

static void a_changed_block_is_found_with_data_and_names_the_files_that_need_it(void **state)
{
    struct fixture *fixture = *state;
    char path[1024];

    largest(fixture, "data", path, sizeof(path));
    flip(path, 400000);
    assert_int_equal(check(fixture, false, NULL), 0);
    assert_int_equal(check(fixture, true, NULL), -ERR_CORRUPT);
    assert_int_equal(fixture->objects, 1);
    assert_true(is_hurt(fixture, fixture->first.root.name, "/c/big"));
    assert_true(is_hurt(fixture, fixture->second.root.name, "/c/big"));
    assert_false(is_hurt(fixture, fixture->second.root.name, "/c/more"));
    assert_false(is_hurt(fixture, fixture->second.root.name, "/empty"));
    assert_int_equal(fixture->found.hurt_snapshots, 2);
}

static void a_missing_archive_is_found_without_data(void **state)
{
    struct fixture *fixture = *state;
    char path[1024];

    largest(fixture, "data", path, sizeof(path));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(check(fixture, false, NULL), -ERR_CORRUPT);
    assert_int_equal(fixture->objects, 1);
    assert_true(is_hurt(fixture, fixture->second.root.name, "/c/big"));
    assert_true(is_hurt(fixture, fixture->second.root.name, "/c/link"));
    assert_false(is_hurt(fixture, fixture->second.root.name, "/c/more"));
    assert_false(is_hurt(fixture, fixture->second.root.name, "/sym"));
}

static void a_damaged_directory_hurts_only_who_needs_it(void **state)
{
    struct fixture *fixture = *state;
    char path[1024];

    largest(fixture, "meta", path, sizeof(path));
    flip(path, 300); /* in the first block */
    assert_int_equal(check(fixture, false, NULL), -ERR_CORRUPT);
    assert_int_equal(fixture->objects, 1);
    assert_true(fixture->found.hurt_paths > 0);
}

static void a_damaged_root_hurts_its_snapshot(void **state)
{
    struct fixture *fixture = *state;
    char folder[64], path[1024];

    (void)snprintf(folder, sizeof(folder), "snapshots/%s", fixture->first.root.name);
    largest(fixture, folder, path, sizeof(path));
    flip(path, 1);
    assert_int_equal(check(fixture, false, NULL), -ERR_CORRUPT);
    assert_int_equal(fixture->found.hurt_snapshots, 1);
    assert_non_null(strstr(fixture->hurt, fixture->first.root.name));
    assert_null(strstr(fixture->hurt, fixture->second.root.name));
    assert_int_equal(check(fixture, true, fixture->second.root.name), 0);
}

static void a_missing_index_is_found(void **state)
{
    struct fixture *fixture = *state;
    char path[1024];

    largest(fixture, "index", path, sizeof(path));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(check(fixture, false, NULL), -ERR_CORRUPT);
    assert_true(fixture->objects == 1 && fixture->found.hurt_paths == 0);
}

/* Header, padding, tables, trailer, blocks: no byte of an archive is looked at by nobody. */
static void a_change_anywhere_in_an_archive_is_found(void **state)
{
    static const char *const folders[] = {"data", "meta", "index"};
    struct fixture *fixture = *state;

    for (size_t i = 0; i < 3; i++) {
        char path[1024];
        struct stat st;

        largest(fixture, folders[i], path, sizeof(path));
        assert_int_equal(stat(path, &st), 0);
        for (long step = 0; step < 40; step++) {
            long offset = step < 20 ? (long)st.st_size - 1 - step * 47 : step * 11 - 220;

            if (offset < 0 || offset >= (long)st.st_size)
                continue;
            flip(path, offset);
            if (check(fixture, true, NULL) != -ERR_CORRUPT)
                fail_msg("%s: byte %ld of %ld", folders[i], offset, (long)st.st_size);
            flip(path, offset);
        }
    }
    assert_int_equal(check(fixture, true, NULL), 0);
}

static void a_snapshot_that_is_not_there_is_named(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(check(fixture, false, "20010203_040506"), -ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "20010203_040506"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_whole_repository_has_no_damage, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_changed_block_is_found_with_data_and_names_the_files_that_need_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_missing_archive_is_found_without_data, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_directory_hurts_only_who_needs_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_root_hurts_its_snapshot, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_missing_index_is_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_change_anywhere_in_an_archive_is_found, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_snapshot_that_is_not_there_is_named, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
