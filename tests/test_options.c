#include "tools/options.h"

#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "tests/harness/cmocka.h"

static const struct option_spec of_program[] = {
    {"repo", 0, "LOCATION", "the repository"},
    {"quiet", 'q', NULL, "say less"},
    {"verbose", 'v', NULL, "say more"},
    {0},
};

static const struct option_spec of_command[] = {
    {"exclude", 'e', "PATTERN", "leave out"},
    {"foreground", 'f', NULL, "stay"},
    {"thaw", 0, "[=HASTE]", "ask for it"},
    {"size", 0, "[+-]N", "larger or smaller"},
    {0},
};

static struct err err;

/* Takes words up to NULL. */
static int parse(struct options *options, bool stop, int *used, const char *const *words)
{
    int count = 0;

    while (words[count])
        count++;
    options_table(options, of_program);
    options_table(options, of_command);
    return options_parse(options, count, words, stop, used, &err);
}

static void long_options_take_a_value_behind_a_sign_or_as_the_next_word(void **state)
{
    (void)state;
    CLEANUP(options_clear) struct options options = {0};
    const char *words[] = {
        "--repo=/a=b", "--exclude", "--quiet", "--exclude=", "--size", "+1K", "path", NULL};
    const char **list = NULL;
    size_t count;
    int used;

    assert_int_equal(parse(&options, false, &used, words), 0);
    assert_string_equal(options_text(&options, "repo"), "/a=b");
    assert_string_equal(options_text(&options, "size"), "+1K");
    assert_int_equal(options_count(&options, "quiet"), 0);
    assert_int_equal(options_list(&options, "exclude", &list, &count, &err), 0);
    assert_int_equal(count, 2);
    assert_string_equal(list[0], "--quiet");
    assert_string_equal(list[1], "");
    assert_true(options.argument_count == 1 && strcmp(options.arguments[0], "path") == 0);
    free(list);
}

static void a_value_that_may_be_left_out_never_takes_the_next_word(void **state)
{
    (void)state;
    CLEANUP(options_clear) struct options options = {0};
    const char *words[] = {"--thaw", "bulk", NULL};
    const char *more[] = {"--thaw=bulk", NULL};
    int used;

    assert_int_equal(parse(&options, false, &used, words), 0);
    assert_int_equal(options_count(&options, "thaw"), 1);
    assert_null(options_text(&options, "thaw"));
    assert_int_equal(options.argument_count, 1);
    assert_int_equal(options_parse(&options, 1, more, false, &used, &err), 0);
    assert_string_equal(options_text(&options, "thaw"), "bulk");
}

static void letters_stand_alone_or_together(void **state)
{
    (void)state;
    CLEANUP(options_clear) struct options options = {0};
    const char *words[] = {"-qfv", "-q", "-e*.o", "-fe", "*.a", "-", NULL};
    int used;

    assert_int_equal(parse(&options, false, &used, words), 0);
    assert_int_equal(options_count(&options, "quiet"), 2);
    assert_int_equal(options_count(&options, "foreground"), 2);
    assert_int_equal(options_count(&options, "exclude"), 2);
    assert_string_equal(options_text(&options, "exclude"), "*.a");
    assert_true(options.argument_count == 1 && strcmp(options.arguments[0], "-") == 0);
}

static void the_last_value_counts(void **state)
{
    (void)state;
    CLEANUP(options_clear) struct options options = {0};
    const char *words[] = {"--repo", "/a", "--repo", "/b", NULL};
    int used;

    assert_int_equal(parse(&options, false, &used, words), 0);
    assert_string_equal(options_text(&options, "repo"), "/b");
    assert_null(options_text(&options, "exclude"));
}

static void two_dashes_end_the_options(void **state)
{
    (void)state;
    CLEANUP(options_clear) struct options options = {0};
    const char *words[] = {"a", "--", "--quiet", "--", "-x", NULL};
    int used;

    assert_int_equal(parse(&options, false, &used, words), 0);
    assert_int_equal(options.argument_count, 4);
    assert_string_equal(options.arguments[1], "--quiet");
    assert_int_equal(options_count(&options, "quiet"), 0);
}

static void the_options_of_the_program_end_at_the_command(void **state)
{
    (void)state;
    CLEANUP(options_clear) struct options options = {0};
    const char *words[] = {"-q", "--repo", "/a", "backup", "--verbose", NULL};
    int used;

    assert_int_equal(parse(&options, true, &used, words), 0);
    assert_int_equal(used, 3);
    assert_int_equal(options.argument_count, 0);
    assert_int_equal(options_count(&options, "verbose"), 0);
}

static void refuses(const char *word, const char *text)
{
    CLEANUP(options_clear) struct options options = {0};
    const char *words[] = {word, NULL};
    int used;

    assert_int_equal(parse(&options, false, &used, words), -ERR_USAGE);
    if (!strstr(err.text, text))
        fail_msg("%s: \"%s\" does not say \"%s\"", word, err.text, text);
}

static void what_is_unknown_is_named_with_what_was_meant(void **state)
{
    (void)state;
    refuses("--exlude=x", "did you mean --exclude?");
    refuses("--qiuet", "did you mean --quiet?");
    refuses("--nothing-like-it", "unknown option --nothing-like-it");
    refuses("-x", "unknown option -x");
    refuses("-qx", "unknown option -x");
}

static void abbreviations_are_not_taken(void **state)
{
    (void)state;
    refuses("--verb", "did you mean --verbose?");
    refuses("--foregroun", "did you mean --foreground?");
}

static void a_value_is_there_where_one_is_needed_and_only_there(void **state)
{
    (void)state;
    refuses("--repo", "LOCATION");
    refuses("-e", "PATTERN");
    refuses("--quiet=yes", "takes no value");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(long_options_take_a_value_behind_a_sign_or_as_the_next_word),
        cmocka_unit_test(a_value_that_may_be_left_out_never_takes_the_next_word),
        cmocka_unit_test(letters_stand_alone_or_together),
        cmocka_unit_test(the_last_value_counts),
        cmocka_unit_test(two_dashes_end_the_options),
        cmocka_unit_test(the_options_of_the_program_end_at_the_command),
        cmocka_unit_test(what_is_unknown_is_named_with_what_was_meant),
        cmocka_unit_test(abbreviations_are_not_taken),
        cmocka_unit_test(a_value_is_there_where_one_is_needed_and_only_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
