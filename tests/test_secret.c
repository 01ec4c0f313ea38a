#include "tools/secret.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "tests/harness/cmocka.h"
#include "tools/config.h"
#include "tools/options.h"

static const struct option_spec of_program[] = {{"key-file", 0, "FILE", ""}, {0}};

static struct err err;
static char directory[] = "/tmp/test_secret_XXXXXX";

static const char *in_directory(const char *name)
{
    static char paths[8][128];
    static unsigned next;
    char *path = paths[next++ % 8];

    (void)snprintf(path, sizeof(paths[0]), "%s/%s", directory, name);
    return path;
}

static void write_file(const char *name, const char *text)
{
    FILE *stream = fopen(in_directory(name), "w");

    assert_non_null(stream);
    assert_true(fputs(text, stream) >= 0);
    assert_int_equal(fclose(stream), 0);
    assert_int_equal(chmod(in_directory(name), 0600), 0);
}

/* Every place holds a passphrase that tells where it was. */
static int set_up(void **state)
{
    char settings[512];

    (void)state;
    strcpy(directory, "/tmp/test_secret_XXXXXX");
    if (!mkdtemp(directory))
        return -1;
    write_file("option", "of --key-file\n");
    write_file("variable", "of YESTER_KEY_FILE\n");
    write_file("settings", "of key_file\n");
    (void)snprintf(settings, sizeof(settings),
                   "[repository]\nkey_file = %s\nkey_command = echo of key_command\n",
                   in_directory("settings"));
    write_file("both.conf", settings);
    write_file("command.conf", "[repository]\nkey_command = echo of key_command\n");
    write_file("none.conf", "");
    setenv("YESTER_CONFIG", in_directory("both.conf"), 1);
    setenv("YESTER_KEY_FILE", in_directory("variable"), 1);
    setenv("YESTER_KEY_COMMAND", "echo of YESTER_KEY_COMMAND", 1);
    setenv("BACKUP_ENCRYPTION_KEY", "of BACKUP_ENCRYPTION_KEY", 1);
    return 0;
}

static int tear_down(void **state)
{
    char command[128];

    (void)state;
    (void)snprintf(command, sizeof(command), "rm -rf %s", directory);
    return system(command);
}

static int find(const char *option, struct secret *out, char *from)
{
    CLEANUP(options_clear) struct options options = {0};
    CLEANUP(config_clear) struct config config = {0};
    const char *words[] = {"--key-file", option};
    int used;

    options_table(&options, of_program);
    assert_int_equal(options_parse(&options, option ? 2 : 0, words, false, &used, &err), 0);
    assert_int_equal(config_load(&config, &options, &err), 0);
    return secret_find(&config, false, out, from, &err);
}

static void assert_found(const char *option, const char *text)
{
    CLEANUP(secret_clear) struct secret secret = {0};
    char from[SECRET_FROM_SIZE];
    int r = find(option, &secret, from);

    if (r < 0)
        fail_msg("%s", err.text);
    assert_int_equal(secret.count, strlen(text));
    assert_memory_equal(secret.bytes, text, strlen(text));
}

static void the_first_place_that_has_a_key_counts(void **state)
{
    (void)state;
    assert_found(in_directory("option"), "of --key-file");
    assert_found(NULL, "of YESTER_KEY_FILE");
    setenv("YESTER_KEY_FILE", "", 1);
    assert_found(NULL, "of YESTER_KEY_COMMAND");
    unsetenv("YESTER_KEY_COMMAND");
    assert_found(NULL, "of BACKUP_ENCRYPTION_KEY");
    setenv("BACKUP_ENCRYPTION_KEY", "", 1);
    assert_found(NULL, "of key_file");
    setenv("YESTER_CONFIG", in_directory("command.conf"), 1);
    assert_found(NULL, "of key_command");
}

static void a_place_that_fails_is_not_passed_over(void **state)
{
    (void)state;
    CLEANUP(secret_clear) struct secret secret = {0};
    char from[SECRET_FROM_SIZE];

    assert_int_equal(find("/does/not/exist", &secret, from), -ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "/does/not/exist"));
    unsetenv("YESTER_KEY_FILE");
    setenv("YESTER_KEY_COMMAND", "echo half a key; exit 7", 1);
    assert_int_equal(find(NULL, &secret, from), -ERR_SYSTEM);
    assert_non_null(strstr(err.text, "exit status 7"));
    assert_null(strstr(err.text, "half a key"));
    setenv("YESTER_KEY_COMMAND", "kill -9 $$", 1);
    assert_int_equal(find(NULL, &secret, from), -ERR_SYSTEM);
    assert_non_null(strstr(err.text, "signal 9"));
}

static void an_empty_key_is_refused(void **state)
{
    (void)state;
    CLEANUP(secret_clear) struct secret secret = {0};
    char from[SECRET_FROM_SIZE];

    write_file("option", "\n");
    assert_int_equal(find(in_directory("option"), &secret, from), -ERR_USAGE);
    unsetenv("YESTER_KEY_FILE");
    setenv("YESTER_KEY_COMMAND", "true", 1);
    assert_int_equal(find(NULL, &secret, from), -ERR_USAGE);
}

static void what_is_too_long_for_a_key_is_refused(void **state)
{
    (void)state;
    CLEANUP(secret_clear) struct secret secret = {0};

    assert_int_equal(secret_from_file("/dev/zero", &secret, &err), -ERR_USAGE);
    assert_int_equal(secret_from_command("yes | head -c 200000", &secret, &err) < 0, 1);
}

static void thirty_two_bytes_in_base64_are_a_key_and_no_passphrase(void **state)
{
    (void)state;
    CLEANUP(secret_clear) struct secret key = {0};
    CLEANUP(secret_clear) struct secret passphrase = {0};

    assert_int_equal(secret_from_command("head -c 32 /dev/zero | base64", &key, &err), 0);
    assert_true(key.kdf == SLOT_KDF_HKDF && key.count == 32);
    assert_int_equal(secret_from_command("head -c 31 /dev/zero | base64", &passphrase, &err), 0);
    assert_true(passphrase.kdf == SLOT_KDF_SCRYPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_first_place_that_has_a_key_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_place_that_fails_is_not_passed_over, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_empty_key_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_too_long_for_a_key_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(thirty_two_bytes_in_base64_are_a_key_and_no_passphrase,
                                        set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
