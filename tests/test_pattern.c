#include "backup/source/pattern.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "tests/harness/cmocka.h"

static struct patterns *list_of(const char *const *lines)
{
    struct patterns *patterns = patterns_new();
    struct err err;

    for (; *lines; lines++)
        assert_true(patterns_add_line(patterns, *lines, strlen(*lines), &err) == 0);
    return patterns;
}

/* The source's root is /home; a slash at the end of `path` makes it a directory. */
static enum pattern_verdict ask(const struct patterns *patterns, const char *path)
{
    char absolute[256];
    size_t size = strlen(path);
    bool is_dir = size > 0 && path[size - 1] == '/';

    size -= is_dir;
    snprintf(absolute, sizeof(absolute), "/home/%.*s", (int)size, path);
    return patterns_match(patterns, path, size, absolute, strlen(absolute), is_dir);
}

static bool leaves_out(const char *line, const char *path)
{
    CLEANUP(patterns_freep) struct patterns *patterns = list_of((const char *const[]){line, NULL});

    return ask(patterns, path) == PATTERN_EXCLUDED;
}

static void a_name_matches_at_every_depth(void **state)
{
    (void)state;
    assert_true(leaves_out("core", "core") && leaves_out("core", "a/b/core"));
    assert_true(leaves_out("*.o", "a/x.o") && !leaves_out("*.o", "a.o/x"));
    assert_true(leaves_out("**", "a/b"));
}

static void a_slash_anchors_at_the_root_of_the_source(void **state)
{
    (void)state;
    assert_true(leaves_out("/core", "core") && !leaves_out("/core", "a/core"));
    assert_true(leaves_out("a/core", "a/core") && !leaves_out("a/core", "b/a/core"));
    assert_true(leaves_out("**/a/core", "b/a/core"));
    assert_false(leaves_out("//core", "core"));
}

static void a_slash_at_the_end_means_directories(void **state)
{
    (void)state;
    assert_true(leaves_out("tmp/", "a/tmp/") && !leaves_out("tmp/", "a/tmp"));
    assert_true(leaves_out("/a/tmp/", "a/tmp/") && !leaves_out("/", "a/"));
}

static void comments_and_spaces_at_the_end_do_not_count(void **state)
{
    (void)state;
    assert_false(leaves_out("#a", "#a"));
    assert_true(leaves_out("\\#a", "#a") && leaves_out("\\!a", "!a"));
    assert_true(leaves_out("a  ", "a") && leaves_out("a\\  ", "a ") && leaves_out(" a", " a"));
    assert_true(leaves_out("a\r", "a") && leaves_out("a\t", "a\t"));
    assert_false(leaves_out("", "a") || leaves_out("   ", " ") || leaves_out("!", "!"));
    assert_false(leaves_out("a\\", "a\\"));
}

static void the_last_match_decides(void **state)
{
    (void)state;
    CLEANUP(patterns_freep)
    struct patterns *patterns =
        list_of((const char *const[]){"*.log", "!keep.log", "/a/keep.log", NULL});

    assert_true(ask(patterns, "x.log") == PATTERN_EXCLUDED);
    assert_true(ask(patterns, "b/keep.log") == PATTERN_INCLUDED);
    assert_true(ask(patterns, "a/keep.log") == PATTERN_EXCLUDED);
    assert_true(ask(patterns, "x") == PATTERN_NONE);
    assert_true(ask(patterns, "") == PATTERN_NONE);
}

static void an_option_is_taken_literally_and_from_the_root(void **state)
{
    (void)state;
    CLEANUP(patterns_freep) struct patterns *patterns = patterns_new();
    struct err err;

    assert_true(patterns_is_empty(patterns));
    assert_true(patterns_add_option(patterns, "/home/*/cache/", &err) == 0);
    assert_true(patterns_add_option(patterns, "#x ", &err) == 0);
    assert_true(patterns_add_option(patterns, "b/c", &err) == 0);
    assert_true(patterns_add_option(patterns, "!/home/u/cache", &err) == 0);
    assert_true(patterns_add_option(patterns, "", &err) == 0);
    assert_false(patterns_is_empty(patterns));
    assert_true(ask(patterns, "v/cache/") == PATTERN_EXCLUDED);
    assert_true(ask(patterns, "v/cache") == PATTERN_NONE);
    assert_true(ask(patterns, "u/cache/") == PATTERN_INCLUDED);
    assert_true(ask(patterns, "a/#x ") == PATTERN_EXCLUDED);
    assert_true(ask(patterns, "b/c") == PATTERN_EXCLUDED);
    assert_true(ask(patterns, "home/v/cache/") == PATTERN_NONE);
    assert_true(patterns_match(patterns, "", 0, "/", 1, true) == PATTERN_NONE);
}

static void a_file_holds_one_pattern_a_line(void **state)
{
    (void)state;
    CLEANUP(patterns_freep) struct patterns *patterns = patterns_new();
    char name[] = "/tmp/test_pattern-XXXXXX";
    FILE *file = fdopen(mkstemp(name), "w");
    struct err err;

    fputs("\xEF\xBB\xBF"
          "first\r\n\n# no\n*.o\nlast",
          file);
    fclose(file);
    int r = patterns_add_file(patterns, AT_FDCWD, name, &err);
    unlink(name);
    assert_true(r == 0);
    assert_true(ask(patterns, "first") == PATTERN_EXCLUDED);
    assert_true(ask(patterns, "x.o") == PATTERN_EXCLUDED);
    assert_true(ask(patterns, "last") == PATTERN_EXCLUDED);
    assert_true(ask(patterns, "# no") == PATTERN_NONE);
    assert_true(patterns_add_file(patterns, AT_FDCWD, name, &err) == -ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_matches_at_every_depth),
        cmocka_unit_test(a_slash_anchors_at_the_root_of_the_source),
        cmocka_unit_test(a_slash_at_the_end_means_directories),
        cmocka_unit_test(comments_and_spaces_at_the_end_do_not_count),
        cmocka_unit_test(the_last_match_decides),
        cmocka_unit_test(an_option_is_taken_literally_and_from_the_root),
        cmocka_unit_test(a_file_holds_one_pattern_a_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
