#include "backup/source/glob.h"

#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "tests/harness/cmocka.h"

static bool matches(const char *pattern, const char *path)
{
    CLEANUP(glob_freep) struct glob *glob = NULL;
    struct err err;

    assert_true(glob_new(pattern, strlen(pattern), &glob, &err) == 0);
    if (!strchr(pattern, '/') && !strchr(path, '/') && strcmp(pattern, "**") != 0)
        assert_true(glob_matches_name(glob, path, strlen(path)) ==
                    glob_matches_path(glob, path, strlen(path)));
    return glob_matches_path(glob, path, strlen(path));
}

static void plain_bytes_match_themselves(void **state)
{
    (void)state;
    assert_true(matches("abc", "abc"));
    assert_false(matches("abc", "ab"));
    assert_false(matches("abc", "abcd"));
    assert_true(matches("a/b", "a/b"));
    assert_false(matches("a/b", "a"));
    assert_false(matches("a/b", "a/b/c"));
    assert_false(matches("", "a"));
    assert_true(matches("\xff\n", "\xff\n"));
    assert_true(matches("\\*\\?\\[\\a", "*?[a"));
    assert_false(matches("\\*", "x"));
}

static void wildcards_stop_at_slashes(void **state)
{
    (void)state;
    assert_true(matches("*", "abc"));
    assert_false(matches("*", "a/b"));
    assert_true(matches("a*c", "ac"));
    assert_true(matches("a*c", "abcbc"));
    assert_false(matches("a*c", "abcb"));
    assert_true(matches("*.tar.*", "x.tar.tar.gz"));
    assert_true(matches("a?c", "abc"));
    assert_false(matches("a?c", "a/c"));
    assert_false(matches("?", ""));
    assert_true(matches("*/b", "a/b"));
    assert_false(matches("*/b", "a/x/b"));
    assert_true(matches("a*/*b/c*", "ax/xb/c"));
}

static void two_stars_stand_for_any_number_of_directories(void **state)
{
    (void)state;
    assert_true(matches("**/a", "a"));
    assert_true(matches("**/a", "x/y/a"));
    assert_false(matches("**/a", "x/ya"));
    assert_true(matches("a/**", "a/x/y"));
    assert_false(matches("a/**", "a"));
    assert_true(matches("a/**/b", "a/b"));
    assert_true(matches("a/**/b", "a/x/b/y/b"));
    assert_false(matches("a/**/b", "a/x/b/y"));
    assert_true(matches("**/a/**/b/*.c", "x/a/a/b/x/b/z.c"));
    assert_false(matches("**/a/**/b/*.c", "x/a/a/b/x/b/y/z.c"));
    assert_true(matches("a/**/**/b", "a/b"));
    assert_true(matches("**", "x/y"));
    assert_true(matches("a/***/b", "a/x/y/b"));
    assert_true(matches("a/**b", "a/xb")); /* here they are one star */
    assert_false(matches("a/**b", "a/x/b"));
}

static void sets_hold_bytes_ranges_and_classes(void **state)
{
    (void)state;
    assert_true(matches("[abc]", "b") && !matches("[abc]", "d"));
    assert_true(matches("[a-c]", "b") && !matches("[a-c]", "d"));
    assert_true(matches("[!a-c]", "d") && !matches("[!a-c]", "a"));
    assert_true(matches("[^a]", "b") && !matches("[^a]", "a"));
    assert_true(matches("[]]", "]") && matches("[]a]", "a") && !matches("[!]]", "]"));
    assert_true(matches("[a-]", "-") && matches("[-a]", "-") && matches("[--0]", "."));
    assert_true(matches("[a-c-e]", "-") && !matches("[a-c-e]", "d"));
    assert_true(matches("[\\]]", "]") && matches("[\\a-c]", "b") && matches("[a\\-c]", "-"));
    assert_true(matches("[c-a]", "c") && !matches("[c-a]", "b"));
    assert_true(matches("[[:digit:]x]", "7") && matches("[[:digit:]x]", "x"));
    assert_true(matches("[![:upper:][:space:]]", "a") && !matches("[![:upper:]]", "A"));
    assert_true(matches("[[:punct:]]", "_") && !matches("[[:punct:]]", "a"));
    assert_true(matches("[[:]", ":") && matches("[[:]", "["));
    assert_false(matches("[!a]", "/") || matches("x[/]y", "x/y"));
    assert_true(matches("[\x80-\xff]", "\xc3"));
}

static void a_malformed_pattern_matches_nothing(void **state)
{
    (void)state;
    static const char *const malformed[] = {"[",    "[a",        "[]",  "[!",         "a\\",
                                            "[a\\", "[[:nix:]]", "[a-", "x[[:alpha:]"};

    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
        assert_false(matches(malformed[i], malformed[i]));
        assert_false(matches(malformed[i], "a"));
    }
}

static void patterns_made_to_be_slow_are_not(void **state)
{
    (void)state;
    static char pattern[3000];
    static char path[20001];
    clock_t start = clock();

    for (size_t i = 0; i < 2000; i += 2)
        memcpy(pattern + i, "*a", 2);
    pattern[2000] = 'b';
    memset(path, 'a', 20000);
    assert_false(matches(pattern, path));

    memset(pattern + 1, 'a', 1999); /* one star before a long run of bytes */
    assert_false(matches(pattern, path));

    memset(pattern, 0, sizeof(pattern));
    for (size_t i = 0; i < 2500; i += 5)
        memcpy(pattern + i, "**/a/", 5);
    pattern[2500] = 'b';
    for (size_t i = 1; i < 20000; i += 2)
        path[i] = '/';
    path[19999] = 'a';
    assert_false(matches(pattern, path));
    assert_true((clock() - start) / CLOCKS_PER_SEC < 20); /* not some ages of the universe */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_bytes_match_themselves),
        cmocka_unit_test(wildcards_stop_at_slashes),
        cmocka_unit_test(two_stars_stand_for_any_number_of_directories),
        cmocka_unit_test(sets_hold_bytes_ranges_and_classes),
        cmocka_unit_test(a_malformed_pattern_matches_nothing),
        cmocka_unit_test(patterns_made_to_be_slow_are_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
