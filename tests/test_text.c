/* Text for other programs: quoted so that they read what was meant. */
#include "backup/base/text.h"

#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/source/pgname.h"
#include "tests/harness/cmocka.h"

static void quotes_are_doubled_in_sql_and_escaped_in_json(void **state)
{
    CLEANUP(text_clear) struct text text = {.buf.limit = 1000};
    struct err err;

    (void)state;
    text_identifier(&text, "a\"b");
    text_literal(&text, "it's");
    text_json(&text, "x\"\\\n\001\xc3\xa9");
    assert_int_equal(text_end(&text, &err), 0);
    assert_string_equal(text_of(&text), "\"a\"\"b\"'it''s'\"x\\\"\\\\\\u000a\\u0001\xc3\xa9\"");
    assert_int_equal(text_size(&text), strlen(text_of(&text)));
}

static void a_failure_is_kept_until_the_end(void **state)
{
    CLEANUP(text_clear) struct text text = {.buf.limit = 4};
    struct err err;

    (void)state;
    text_add(&text, "12345");
    text_add(&text, "1");
    assert_int_equal(text_end(&text, &err), -ERR_TOO_LARGE);
}

static void must_encode(const char *name, const char *const *reserved, const char *want)
{
    CLEANUP(text_clear) struct text text = {.buf.limit = 1000};
    struct err err;

    pgname_encode(&text, name, reserved);
    assert_int_equal(text_end(&text, &err), 0);
    assert_string_equal(text_of(&text), want);
}

static void names_of_tables_become_names_of_files(void **state)
{
    (void)state;
    must_encode("users", NULL, "users");
    must_encode("a/b%c", NULL, "a%2Fb%25c");
    must_encode("..", NULL, "%2E.");
    must_encode("tab\there\x7f", NULL, "tab%09here%7F");
    must_encode("\xc3\xa9 \"x\"", NULL, "\xc3\xa9 \"x\"");
    must_encode("schema.sql", pgname_reserved_schemas, "%73chema.sql");
    must_encode("schema.sql", pgname_reserved_databases, "schema.sql");
    must_encode("cluster", pgname_reserved_databases, "%63luster");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quotes_are_doubled_in_sql_and_escaped_in_json),
        cmocka_unit_test(a_failure_is_kept_until_the_end),
        cmocka_unit_test(names_of_tables_become_names_of_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
