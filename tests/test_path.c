#include "backup/base/path.h"

#include <string.h>
#include <unistd.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "tests/harness/cmocka.h"

static void assert_holds(const struct buf *buf, const char *expected)
{
    assert_int_equal(buf->size, strlen(expected));
    assert_memory_equal(buf->data, expected, buf->size);
}

static void assert_clean(const char *path, const char *expected)
{
    CLEANUP(buf_clear) struct buf buf = {.limit = 100};
    struct err err;

    assert_true(path_clean(path, strlen(path), &buf, &err) == 0);
    assert_holds(&buf, expected);
}

static void a_clean_path_holds_names_only(void **state)
{
    (void)state;
    assert_clean("/", "/");
    assert_clean("///", "/");
    assert_clean("/./", "/");
    assert_clean("/a//b/./c/", "/a/b/c");
    assert_clean("/...", "/...");
    assert_clean("/.a/\xff\n", "/.a/\xff\n");
}

static void what_cannot_be_cleaned_is_refused(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf buf = {.limit = 8};
    struct err err;

    assert_true(buf_append(&buf, "x", 1, &err) == 0);
    assert_true(path_clean("", 0, &buf, &err) == -ERR_USAGE);
    assert_true(path_clean("a", 1, &buf, &err) == -ERR_USAGE);
    assert_true(path_clean("/a/../b", 7, &buf, &err) == -ERR_USAGE);
    assert_true(path_clean("/a\0b", 4, &buf, &err) == -ERR_USAGE);
    assert_true(path_clean("/a/bcdefghijkl", 14, &buf, &err) == -ERR_TOO_LARGE);
    assert_holds(&buf, "x");
}

static void a_relative_path_starts_here(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf buf = {.limit = 100};
    struct err err;

    assert_true(chdir("/usr") == 0);
    assert_true(path_absolute("./x//y", 6, &buf, &err) == 0);
    assert_holds(&buf, "/usr/x/y");
    buf.size = 0;
    assert_true(chdir("/") == 0);
    assert_true(path_absolute(".", 1, &buf, &err) == 0);
    assert_holds(&buf, "/");
    assert_true(path_absolute("", 0, &buf, &err) == -ERR_USAGE);
}

static void names_are_joined_and_popped(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf buf = {.limit = 8};
    struct err err;

    assert_true(path_clean("/", 1, &buf, &err) == 0);
    assert_true(path_join(&buf, "usr", 3, &err) == 0);
    assert_true(path_join(&buf, "x", 1, &err) == 0);
    assert_holds(&buf, "/usr/x");
    assert_true(path_join(&buf, "long", 4, &err) == -ERR_TOO_LARGE);
    assert_true(path_join(&buf, "..", 2, &err) == -ERR_USAGE);
    assert_true(path_join(&buf, "a/b", 3, &err) == -ERR_USAGE);
    assert_holds(&buf, "/usr/x");
    path_pop(&buf);
    assert_holds(&buf, "/usr");
    path_pop(&buf);
    path_pop(&buf);
    assert_holds(&buf, "/");
}

static void a_path_is_walked_name_by_name(void **state)
{
    (void)state;
    static const char path[] = "//usr/lib//x";
    const char *at = path;
    const char *end = path + strlen(path);
    const char *name;
    size_t size;

    assert_true(path_next(&at, end, &name, &size) && size == 3 && memcmp(name, "usr", 3) == 0);
    assert_true(path_next(&at, end, &name, &size) && size == 3 && memcmp(name, "lib", 3) == 0);
    assert_true(path_next(&at, end, &name, &size) && size == 1 && *name == 'x');
    assert_false(path_next(&at, end, &name, &size));
    assert_false(path_next(&at, end, &name, &size));
}

static void names_that_lead_elsewhere_are_no_names(void **state)
{
    (void)state;
    assert_true(path_is_name("a", 1) && path_is_name("...", 3) && path_is_name("\xff\n", 2));
    assert_false(path_is_name("", 0));
    assert_false(path_is_name(".", 1));
    assert_false(path_is_name("..", 2));
    assert_false(path_is_name("a/b", 3));
    assert_false(path_is_name("a\0b", 3));
}

static void assert_printed(const char *bytes, size_t size, const char *expected)
{
    char out[100];

    assert_int_equal(path_printable(bytes, size, out, sizeof(out)), strlen(expected));
    assert_string_equal(out, expected);

    char again[100];
    path_printable(out, strlen(out), again, sizeof(again));
    assert_string_equal(again, expected);
}

static void only_printable_characters_are_printed(void **state)
{
    (void)state;
    assert_printed("a b\\c", 5, "a b\\c");
    assert_printed("a\n\t\x7f\0z", 6, "a\\012\\011\\177\\000z");
    assert_printed("\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80", 11,
                   "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80");
    assert_printed("\xc2\x9b", 2, "\\302\\233");                   /* a control character */
    assert_printed("\xc0\xaf", 2, "\\300\\257");                   /* overlong */
    assert_printed("\xe0\x80\xaf", 3, "\\340\\200\\257");          /* overlong */
    assert_printed("\xed\xa0\x80", 3, "\\355\\240\\200");          /* a surrogate */
    assert_printed("\xf4\x90\x80\x80", 4, "\\364\\220\\200\\200"); /* beyond Unicode */
    assert_printed("\xe2\x82", 2, "\\342\\202");                   /* cut */
    assert_printed("\xc3"
                   "a",
                   2, "\\303a");
}

static void printing_stops_before_what_does_not_fit(void **state)
{
    (void)state;
    char out[6];

    assert_int_equal(path_printable("ab\n", 3, out, 6), 2);
    assert_string_equal(out, "ab");
    assert_int_equal(path_printable("a\nb", 3, out, 6), 5);
    assert_string_equal(out, "a\\012");
    assert_int_equal(path_printable("a", 1, out, 1), 0);
    assert_string_equal(out, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_clean_path_holds_names_only),
        cmocka_unit_test(what_cannot_be_cleaned_is_refused),
        cmocka_unit_test(a_relative_path_starts_here),
        cmocka_unit_test(names_are_joined_and_popped),
        cmocka_unit_test(a_path_is_walked_name_by_name),
        cmocka_unit_test(names_that_lead_elsewhere_are_no_names),
        cmocka_unit_test(only_printable_characters_are_printed),
        cmocka_unit_test(printing_stops_before_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
