#include "backup/crypto/recovery.h"

#include <stdio.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/crypto/keyring.h"
#include "tests/harness/cmocka.h"

static void make_key(uint8_t key[RECOVERY_KEY_SIZE])
{
    for (size_t i = 0; i < RECOVERY_KEY_SIZE; i++)
        key[i] = (uint8_t)(7 * i + 3);
}

static void a_key_is_written_as_the_format_says(void **state)
{
    (void)state;
    uint8_t key[RECOVERY_KEY_SIZE];
    char text[RECOVERY_TEXT_SIZE];

    make_key(key);
    recovery_format(key, text);
    /* The checks come from tests/harness/blake3.py. */
    assert_string_equal(text, "YESTER RECOVERY KEY\n"
                              "1: 030a 1118 1f26 2d34 - 7a92\n"
                              "2: 3b42 4950 575e 656c - 9870\n"
                              "3: 737a 8188 8f96 9da4 - 838a\n"
                              "4: abb2 b9c0 c7ce d5dc - fabf\n");
}

static void assert_reads(const char *text)
{
    uint8_t wanted[RECOVERY_KEY_SIZE], key[RECOVERY_KEY_SIZE];
    struct err err = {0};

    make_key(wanted);
    assert_true(recovery_is(text, strlen(text)));
    int r = recovery_parse(text, strlen(text), key, &err);
    assert_string_equal(err.text, "");
    assert_true(r == 0);
    assert_memory_equal(key, wanted, sizeof(key));
}

/* The text with `from` replaced by `to`, once. */
static const char *with(const char *from, const char *to)
{
    static char out[2 * RECOVERY_TEXT_SIZE];
    uint8_t key[RECOVERY_KEY_SIZE];
    char text[RECOVERY_TEXT_SIZE];

    make_key(key);
    recovery_format(key, text);
    char *at = strstr(text, from);
    assert_non_null(at);
    (void)snprintf(out, sizeof(out), "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    return out;
}

static void what_was_printed_is_read(void **state)
{
    (void)state;
    assert_reads(with("YESTER", "YESTER"));
}

static void spaces_capitals_and_look_alikes_do_not_matter(void **state)
{
    (void)state;
    assert_reads(
        with("YESTER RECOVERY KEY\n1: 030a 1118", " \tYester Recovery Key \r\n  1:O3oA-ilL8"));
    assert_reads(with("\n3:", "\n\nthis is text around it\n 3:"));
    assert_reads(with("YESTER", "a sheet\n1: of paper\nYESTER"));
}

static void assert_refused(const char *text, const char *part)
{
    uint8_t key[RECOVERY_KEY_SIZE];
    struct err err;

    assert_int_equal(recovery_parse(text, strlen(text), key, &err), -ERR_USAGE);
    if (!strstr(err.text, part))
        assert_string_equal(err.text, part);
}

static void a_line_that_is_mistyped_is_named(void **state)
{
    (void)state;
    assert_refused(with("1118", "1119"), "line 1 of the recovery key is mistyped");
    assert_refused(with("4950", "4590"), "line 2 of the recovery key is mistyped");
    assert_refused(with("9da4", "9da"), "line 3 of the recovery key has 19 digits, not 20");
    assert_refused(with("d5dc", "d5dc 0"), "line 4 of the recovery key has 21 digits, not 20");
    assert_refused(with("d5dc", "d5dx"), "line 4 of the recovery key has something else");
    assert_refused(with("3:", "4:"), "line 3 of the recovery key is missing");
    assert_refused(with("2:", "2 "), "line 2 of the recovery key is missing");
    assert_refused("YESTER RECOVERY KEY", "line 1 of the recovery key is missing");
    assert_refused("", "no line says");
}

static void every_wrong_digit_of_every_line_is_found(void **state)
{
    (void)state;
    uint8_t key[RECOVERY_KEY_SIZE];
    char text[RECOVERY_TEXT_SIZE];

    make_key(key);
    recovery_format(key, text);
    for (char *at = strchr(text, '\n'); *at; at++) {
        char before = *at;
        uint8_t read[RECOVERY_KEY_SIZE];
        struct err err;

        if (!strchr("0123456789abcdef", before) || at[1] == ':')
            continue;
        *at = before == '9' ? 'a' : before == 'f' ? '0' : (char)(before + 1);
        assert_int_equal(recovery_parse(text, strlen(text), read, &err), -ERR_USAGE);
        *at = before;
    }
}

static void lines_of_two_keys_do_not_go_together(void **state)
{
    (void)state;
    uint8_t key[RECOVERY_KEY_SIZE], read[RECOVERY_KEY_SIZE];
    char text[RECOVERY_TEXT_SIZE], other[RECOVERY_TEXT_SIZE];
    struct err err;

    make_key(key);
    recovery_format(key, text);
    key[0] ^= 1;
    recovery_format(key, other);
    memcpy(strstr(text, "2:"), strstr(other, "2:"), strlen("2: 3b42 4950 575e 656c - 0000"));
    assert_int_equal(recovery_parse(text, strlen(text), read, &err), -ERR_USAGE);
    assert_non_null(strstr(err.text, "line 2"));
}

static void a_recovery_key_is_a_secret_like_the_base64_of_its_bytes(void **state)
{
    (void)state;
    CLEANUP(secret_clear) struct secret typed = {0};
    CLEANUP(secret_clear) struct secret scanned = {0};
    CLEANUP(secret_clear) struct secret none = {0};
    const char *text = with("YESTER", "YESTER");
    char line[SECRET_TEXT_SIZE];
    struct err err;

    assert_int_equal(secret_parse(text, strlen(text), &typed, &err), 0);
    assert_true(typed.kdf == SLOT_KDF_HKDF && typed.count == RECOVERY_KEY_SIZE);
    secret_text(&typed, line);
    assert_int_equal(secret_parse(line, strlen(line), &scanned, &err), 0);
    assert_true(scanned.kdf == SLOT_KDF_HKDF);
    assert_memory_equal(typed.bytes, scanned.bytes, RECOVERY_KEY_SIZE);
    /* Mistyped, it is refused, and not taken for a passphrase. */
    text = with("1118", "1119");
    assert_int_equal(secret_parse(text, strlen(text), &none, &err), -ERR_USAGE);
    text = "yester recovery keys are no passphrase";
    assert_int_equal(secret_parse(text, strlen(text), &none, &err), 0);
    assert_true(none.kdf == SLOT_KDF_SCRYPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_written_as_the_format_says),
        cmocka_unit_test(what_was_printed_is_read),
        cmocka_unit_test(spaces_capitals_and_look_alikes_do_not_matter),
        cmocka_unit_test(a_line_that_is_mistyped_is_named),
        cmocka_unit_test(every_wrong_digit_of_every_line_is_found),
        cmocka_unit_test(lines_of_two_keys_do_not_go_together),
        cmocka_unit_test(a_recovery_key_is_a_secret_like_the_base64_of_its_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
