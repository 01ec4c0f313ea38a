#include "tools/config.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "tests/harness/cmocka.h"
#include "tools/options.h"

static const struct option_spec of_program[] = {
    {"repo", 0, "LOCATION", ""}, {"key-file", 0, "FILE", ""}, {"config", 0, "FILE", ""},
    {"host", 0, "NAME", ""},     {"cache", 0, "SIZE", ""},    {0},
};

static struct err err;
static char file[] = "/tmp/test_config_XXXXXX";

static int set_up(void **state)
{
    static const char *const variables[] = {"YESTER_REPO", "YESTER_CONFIG", "YESTER_KEY_FILE",
                                            "YESTER_KEY_COMMAND", "BACKUP_ENCRYPTION_KEY"};
    (void)state;
    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
        unsetenv(variables[i]);
    strcpy(file, "/tmp/test_config_XXXXXX");
    int fd = mkstemp(file);
    return fd < 0 ? -1 : close(fd);
}

static int tear_down(void **state)
{
    (void)state;
    return unlink(file);
}

static void write_file(const char *text)
{
    FILE *stream = fopen(file, "w");

    assert_non_null(stream);
    assert_true(fputs(text, stream) >= 0);
    assert_int_equal(fclose(stream), 0);
}

/* Loads it with words of a command line, up to NULL, behind --config FILE. */
static int load(struct config *config, const char *const *words)
{
    CLEANUP(options_clear) struct options options = {0};
    const char *all[16] = {"--config", file};
    int count = 2;
    int used;

    while (words && words[count - 2]) {
        all[count] = words[count - 2];
        count++;
    }
    options_table(&options, of_program);
    assert_int_equal(options_parse(&options, count, all, false, &used, &err), 0);
    return config_load(config, &options, &err);
}

static void must_load(struct config *config, const char *const *words)
{
    int r = load(config, words);

    if (r < 0)
        fail_msg("%s", err.text);
}

static void assert_origin(const struct config *config, enum setting_id id, const char *text)
{
    char origin[160];

    config_origin(config, id, origin, sizeof(origin));
    if (!strstr(origin, text))
        fail_msg("\"%s\" is not from %s", origin, text);
}

static void without_anything_the_defaults_hold(void **state)
{
    (void)state;
    CLEANUP(config_clear) struct config config = {0};

    must_load(&config, NULL);
    assert_string_equal(config_text(&config, SET_LOCATION), "/var/backups/platform");
    assert_null(config_text(&config, SET_KEY_FILE));
    assert_int_equal(config_number(&config, SET_MOUNT_CACHE), 256 << 20);
    assert_int_equal(config_number(&config, SET_BACKUP_COMPRESSION), 1);
    assert_true(config_number(&config, SET_FILES_DEFAULT_EXCLUDES) == 1);
    assert_string_equal(config_list(&config, SET_CONFIG_PATHS)->at[0], "/etc");
    assert_non_null(config_text(&config, SET_BACKUP_HOST));
    assert_false(config_is_set(&config, SET_CONFIG_PATHS));
    assert_origin(&config, SET_LOCATION, "default");
}

static void the_command_line_wins_over_the_environment_and_that_over_the_file(void **state)
{
    (void)state;
    CLEANUP(config_clear) struct config config = {0};
    CLEANUP(config_clear) struct config second = {0};
    CLEANUP(config_clear) struct config third = {0};
    const char *words[] = {"--repo", "/from/line", NULL};

    write_file("[backup]\ntags = a\n[repository]\nlocation = /from/file\n");
    must_load(&config, NULL);
    assert_string_equal(config_text(&config, SET_LOCATION), "/from/file");
    assert_origin(&config, SET_LOCATION, ":4");
    setenv("YESTER_REPO", "/from/environment", 1);
    must_load(&second, NULL);
    assert_string_equal(config_text(&second, SET_LOCATION), "/from/environment");
    assert_origin(&second, SET_LOCATION, "YESTER_REPO");
    must_load(&third, words);
    assert_string_equal(config_text(&third, SET_LOCATION), "/from/line");
    assert_origin(&third, SET_LOCATION, "--repo");
}

static void an_empty_variable_counts_as_not_set(void **state)
{
    (void)state;
    CLEANUP(config_clear) struct config config = {0};

    write_file("[repository]\nlocation = /from/file\n");
    setenv("YESTER_REPO", "", 1);
    must_load(&config, NULL);
    assert_string_equal(config_text(&config, SET_LOCATION), "/from/file");
}

static void assert_words(const struct strings *list, const char *const *words)
{
    size_t count = 0;

    for (; words[count]; count++) {
        assert_true(count < list->count);
        assert_string_equal(list->at[count], words[count]);
    }
    assert_int_equal(list->count, count);
}

static void lists_have_words_quotes_and_further_lines(void **state)
{
    (void)state;
    CLEANUP(config_clear) struct config config = {0};

    write_file("; a comment\n"
               "[files]\n"
               "paths = /srv \"/home/a b\"   /x'y z'w   ; and a comment\n"
               "  \"it's\"\n"
               "\t'say \"a\"' ''\n"
               "exclude = *.o \\#x\\  !keep\n"
               "one_file_system = yes\n");
    must_load(&config, NULL);
    assert_words(
        config_list(&config, SET_FILES_PATHS),
        (const char *const[]){"/srv", "/home/a b", "/xy zw", "it's", "say \"a\"", "", NULL});
    assert_words(config_list(&config, SET_FILES_EXCLUDE),
                 (const char *const[]){"*.o", "\\#x\\", "!keep", NULL});
    assert_origin(&config, SET_FILES_PATHS, ":3");
    assert_int_equal(config_number(&config, SET_FILES_ONE_FILE_SYSTEM), 1);
}

static void a_list_of_the_file_takes_the_place_of_the_default(void **state)
{
    (void)state;
    CLEANUP(config_clear) struct config config = {0};

    write_file("[config]\npaths = /opt/etc\n");
    must_load(&config, NULL);
    assert_words(config_list(&config, SET_CONFIG_PATHS), (const char *const[]){"/opt/etc", NULL});
}

static void sizes_have_units(void **state)
{
    (void)state;
    uint64_t size = 0;

    assert_int_equal(config_parse_size("0", &size, &err), 0);
    assert_true(size == 0);
    assert_int_equal(config_parse_size("64K", &size, &err), 0);
    assert_true(size == 65536);
    assert_int_equal(config_parse_size("3MiB", &size, &err), 0);
    assert_true(size == 3 << 20);
    assert_int_equal(config_parse_size("2g", &size, &err), 0);
    assert_true(size == UINT64_C(2) << 30);
    assert_int_equal(config_parse_size("1T", &size, &err), 0);
    assert_true(size == UINT64_C(1) << 40);
    for (const char *const *bad = (const char *const[]){"", "M", "1MB", "1 M", "-1", "1KK",
                                                        "18446744073709551616", NULL};
         *bad; bad++)
        assert_int_equal(config_parse_size(*bad, &size, &err), -ERR_USAGE);
}

/* Fails the test where one of them is taken, or is refused without a word of `why`. */
static void assert_refused(const char *key, const char *const *bad, const char *why)
{
    for (; *bad; bad++) {
        CLEANUP(config_clear) struct config config = {0};
        char text[200];
        (void)snprintf(text, sizeof(text), "[s3]\n%s = %s\n", key, *bad);
        write_file(text);
        assert_int_equal(load(&config, NULL), -ERR_USAGE);
        assert_non_null(strstr(err.text, why));
    }
}

static void seconds_may_have_a_unit_and_numbers_may_not(void **state)
{
    (void)state;
    CLEANUP(config_clear) struct config config = {0};

    write_file("[s3]\npatience = 5m\nconnections = 7\n[mount]\nrefresh = 90\n");
    must_load(&config, NULL);
    assert_int_equal(config_number(&config, SET_S3_PATIENCE), 300);
    assert_int_equal(config_number(&config, SET_S3_CONNECTIONS), 7);
    assert_int_equal(config_number(&config, SET_MOUNT_REFRESH), 90);
    assert_refused("patience", (const char *const[]){"5x", "-1", "1K", "3s4", "9999999999", NULL},
                   "no time");
    assert_refused("connections", (const char *const[]){"5s", "-1", "1K", "9999999999", NULL},
                   "no number");
}

static void a_file_that_was_named_has_to_be_there(void **state)
{
    (void)state;
    CLEANUP(config_clear) struct config config = {0};

    setenv("YESTER_CONFIG", "/does/not/exist", 1);
    assert_int_equal(config_load(&config, NULL, &err), -ERR_USAGE);
    assert_non_null(strstr(err.text, "/does/not/exist"));
}

static void a_bad_value_on_the_command_line_names_its_option(void **state)
{
    (void)state;
    CLEANUP(config_clear) struct config config = {0};
    const char *words[] = {"--cache", "much", NULL};

    assert_int_equal(load(&config, words), -ERR_USAGE);
    assert_non_null(strstr(err.text, "--cache"));
    assert_non_null(strstr(err.text, "much"));
}

static void the_line_and_the_nearest_name_are_told(void **state)
{
    (void)state;
    CLEANUP(config_clear) struct config config = {0};
    CLEANUP(config_clear) struct config second = {0};

    write_file("[files]\n\npats = /srv\n");
    assert_int_equal(load(&config, NULL), -ERR_USAGE);
    assert_non_null(strstr(err.text, ":3: "));
    assert_non_null(strstr(err.text, "did you mean \"paths\"?"));
    write_file("\n[flies]\npaths = /srv\n");
    assert_int_equal(load(&second, NULL), -ERR_USAGE);
    assert_non_null(strstr(err.text, ":3: "));
    assert_non_null(strstr(err.text, "[files]"));
}

static void assert_s3(const struct config *config, size_t replica, enum setting_id id,
                      const char *text)
{
    const char *found = setting_text(config_s3(config, &config->replicas[replica], id));

    if (!text)
        assert_null(found);
    else
        assert_string_equal(found, text);
}

static void a_replica_has_what_it_says_itself_before_what_all_buckets_have(void **state)
{
    (void)state;
    CLEANUP(config_clear) struct config config = {0};

    setenv("BACKUP_S3_BUCKET", "b/p", 1);
    write_file("[s3]\nendpoint = https://near\nregion = near\nprofile = me\nconnections = 5\n"
               "[replica far]\nlocation = s3://b/p\nregion = far\nendpoint =\nconnections = 7\n"
               "[replica BACKUP_S3_BUCKET]\nprofile = other\n");
    must_load(&config, NULL);
    unsetenv("BACKUP_S3_BUCKET");
    assert_int_equal(config.replica_count, 2);
    assert_s3(&config, 0, SET_S3_REGION, "far");
    assert_s3(&config, 0, SET_S3_ENDPOINT, NULL);
    assert_s3(&config, 0, SET_S3_PROFILE, "me");
    assert_int_equal(config_s3(&config, &config.replicas[0], SET_S3_CONNECTIONS)->number, 7);
    assert_string_equal(config.replicas[1].location, "s3://b/p");
    assert_s3(&config, 1, SET_S3_PROFILE, "other");
    assert_s3(&config, 1, SET_S3_REGION, "near");
    assert_string_equal(setting_text(config_s3(&config, NULL, SET_S3_REGION)), "near");
    /* The first is at another endpoint, where the location is another bucket. */
    assert_ptr_equal(config_replica_at(&config, "s3://b/p"), &config.replicas[1]);
    assert_null(config_replica_at(&config, "s3://b/q"));
}

/* Each of them has been a way to be read wrongly; none may be taken, and none without its place. */
static void every_bad_file_is_refused(void **state)
{
    (void)state;
    char directory[4096];
    const char *root = getenv("YESTER_SOURCE_ROOT");
    size_t count = 0;

    if (!root)
        skip();
    (void)snprintf(directory, sizeof(directory), "%s/tests/corpus/bad/config", root);
    DIR *stream = opendir(directory);
    assert_non_null(stream);
    for (struct dirent *entry; (entry = readdir(stream));) {
        CLEANUP(config_clear) struct config config = {0};
        char name[4400];

        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(name, sizeof(name), "%s/%s", directory, entry->d_name);
        setenv("YESTER_CONFIG", name, 1);
        if (config_load(&config, NULL, &err) != -ERR_USAGE)
            fail_msg("%s was taken", entry->d_name);
        assert_null(strstr(err.text, "hunter2"));
        count++;
    }
    closedir(stream);
    assert_true(count >= 18);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(without_anything_the_defaults_hold, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            the_command_line_wins_over_the_environment_and_that_over_the_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_empty_variable_counts_as_not_set, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lists_have_words_quotes_and_further_lines, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_list_of_the_file_takes_the_place_of_the_default, set_up,
                                        tear_down),
        cmocka_unit_test(sizes_have_units),
        cmocka_unit_test(seconds_may_have_a_unit_and_numbers_may_not),
        cmocka_unit_test_setup_teardown(a_file_that_was_named_has_to_be_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_bad_value_on_the_command_line_names_its_option, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_line_and_the_nearest_name_are_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_replica_has_what_it_says_itself_before_what_all_buckets_have, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_bad_file_is_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
