/* SQL files come apart at their semicolons, and nowhere else. */
#include "backup/source/pgsql.h"

#include <string.h>

#include "tests/harness/cmocka.h"

static void must_be(const char **at, const char *want)
{
    const char *statement;
    size_t size;

    assert_true(pgsql_next(at, &statement, &size));
    assert_int_equal(size, strlen(want));
    assert_memory_equal(statement, want, size);
}

static void semicolons_within_quotes_end_nothing(void **state)
{
    const char *at =
        "CREATE ROLE \"a;b\";\nCOMMENT ON ROLE x IS 'it''s; \"\nsecond line';\nSELECT 1";
    const char *statement;
    size_t size;

    (void)state;
    must_be(&at, "CREATE ROLE \"a;b\"");
    must_be(&at, "COMMENT ON ROLE x IS 'it''s; \"\nsecond line'");
    must_be(&at, "SELECT 1");
    assert_false(pgsql_next(&at, &statement, &size));
}

static void comments_and_commands_of_psql_are_passed_over(void **state)
{
    const char *at =
        "-- a comment; with a semicolon\n\\restrict key\n\n  SET x = 1;\n--\n\\unrestrict key\n";
    const char *statement;
    size_t size;

    (void)state;
    must_be(&at, "SET x = 1");
    assert_false(pgsql_next(&at, &statement, &size));
}

static void a_quote_that_is_not_closed_goes_to_the_end(void **state)
{
    const char *at = "SELECT 'abc;\n";

    (void)state;
    must_be(&at, "SELECT 'abc;\n");
    assert_int_equal(*at, 0);
}

static void names_end_where_they_should(void **state)
{
    static const char *const names[][2] = {
        {"keeper WITH LOGIN", "keeper"},
        {"\"Odd \"\"Role\" WITH", "\"Odd \"\"Role\""},
        {"a;", "a"},
        {"\"open", "\"open"},
        {"", ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const char *at = names[i][0];
        assert_int_equal(pgsql_name_size(at, at + strlen(at)), strlen(names[i][1]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(semicolons_within_quotes_end_nothing),
        cmocka_unit_test(comments_and_commands_of_psql_are_passed_over),
        cmocka_unit_test(a_quote_that_is_not_closed_goes_to_the_end),
        cmocka_unit_test(names_end_where_they_should),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
