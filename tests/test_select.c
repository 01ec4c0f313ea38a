#include "catalog/select.h"

#include "backup/base/cleanup.h"
#include "tests/harness/tempcatalog.h"

enum {
    FILES = 1 << TYPE_FILES,
    CONFIG = 1 << TYPE_CONFIG,
    DATABASE = 1 << TYPE_DATABASE,
};

struct fixture {
    struct tempcatalog made;
    struct catalog *catalog;
    struct selection selection;
    struct err err;
};

static void add(struct fixture *f, const char *name, const char *host, unsigned types)
{
    struct root root = make_root(name, host, types);

    publish(f->made.temp.repo, &root);
}

static void synced(struct fixture *f)
{
    assert_int_equal(catalog_sync(f->catalog, false, &f->err), 0);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->made = tempcatalog_make();
    f->catalog = tempcatalog_open(&f->made, f->made.temp.repo);
    *state = f;
    return 0;
}

/* Five snapshots of this host, the last two not to be latest. */
static int set_up_five(void **state)
{
    set_up(state);
    struct fixture *f = *state;
    struct root partial = make_root("20260204_120000", "here", FILES);
    struct root adhoc = make_root("20260205_120000", "here", FILES);

    add(f, "20260201_120000", "here", FILES | CONFIG);
    add(f, "20260202_120000", "here", FILES);
    add(f, "20260203_120000", "here", CONFIG | DATABASE);
    partial.complete = false;
    publish(f->made.temp.repo, &partial);
    adhoc.adhoc = true;
    publish(f->made.temp.repo, &adhoc);
    synced(f);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    selection_clear(&f->selection);
    catalog_close(f->catalog);
    tempcatalog_clear(&f->made);
    free(f);
    return 0;
}

static int ask(struct fixture *f, struct select_query query)
{
    query.host = query.host ? query.host : "here";
    selection_clear(&f->selection);
    return select_snapshots(f->catalog, &query, &f->selection, &f->err);
}

/* "NAME NAME NAME" of files, config, database, "-" for none. */
static void assert_types(const struct fixture *f, const char *expected)
{
    char found[64] = "";

    for (unsigned type = 1; type <= TYPES; type++) {
        const struct root *root = f->selection.types[type];
        size_t used = strlen(found);
        snprintf(found + used, sizeof(found) - used, "%s%s", used ? " " : "",
                 root ? root->name : "-");
    }
    assert_string_equal(found, expected);
}

static void assert_says(const struct fixture *f, const char *text)
{
    if (!strstr(f->err.text, text))
        fail_msg("\"%s\" does not say \"%s\"", f->err.text, text);
}

static void latest_joins_the_newest_of_each_type(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ask(f, (struct select_query){0}), 0);
    assert_types(f, "20260202_120000 20260203_120000 20260203_120000");
    assert_int_equal(f->selection.count, 2);
    assert_false(f->selection.other_host);
    assert_string_equal(f->selection.host, "here");
    assert_int_equal(ask(f, (struct select_query){.snapshot = "latest"}), 0);
    assert_types(f, "20260202_120000 20260203_120000 20260203_120000");
}

static void latest_with_a_number_is_older_for_each_type(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ask(f, (struct select_query){.snapshot = "latest~1"}), 0);
    assert_types(f, "20260201_120000 20260201_120000 -");
    assert_int_equal(f->selection.count, 1);
    assert_int_equal(ask(f, (struct select_query){.snapshot = "latest~0"}), 0);
    assert_types(f, "20260202_120000 20260203_120000 20260203_120000");
    assert_int_equal(ask(f, (struct select_query){.snapshot = "latest~2"}), -ERR_NOT_FOUND);
    assert_says(f, "20260205_120000");
}

static void a_type_narrows_what_is_taken(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ask(f, (struct select_query){.types = CONFIG}), 0);
    assert_types(f, "- 20260203_120000 -");
    assert_int_equal(f->selection.count, 1);
    assert_int_equal(ask(f, (struct select_query){.types = FILES | DATABASE}), 0);
    assert_types(f, "20260202_120000 - 20260203_120000");
    assert_int_equal(
        ask(f, (struct select_query){.snapshot = "latest~1", .types = FILES | DATABASE}),
        -ERR_NOT_FOUND);
    assert_says(f, "database");
}

static void before_takes_the_newest_not_after(void **state)
{
    struct fixture *f = *state;
    int64_t at;

    assert_int_equal(clock_parse_name("20260202_120000", &at, &f->err), 0);
    assert_int_equal(ask(f, (struct select_query){.before_ns = at}), 0);
    assert_types(f, "20260202_120000 20260201_120000 -");
    assert_int_equal(ask(f, (struct select_query){.before_ns = at - 1}), 0);
    assert_types(f, "20260201_120000 20260201_120000 -");
    assert_int_equal(ask(f, (struct select_query){.before_ns = at - 1, .snapshot = "latest~1"}),
                     -ERR_NOT_FOUND);
    assert_int_equal(ask(f, (struct select_query){.before_ns = at, .snapshot = "20260201_120000"}),
                     -ERR_USAGE);
}

static void a_timestamp_takes_any_snapshot(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ask(f, (struct select_query){.snapshot = "20260204_120000"}), 0);
    assert_types(f, "20260204_120000 - -");
    assert_int_equal(ask(f, (struct select_query){.snapshot = "20260205_120000"}), 0);
    assert_types(f, "20260205_120000 - -");
    assert_int_equal(ask(f, (struct select_query){.snapshot = "20260206_120000"}), -ERR_NOT_FOUND);
    assert_int_equal(
        ask(f, (struct select_query){.snapshot = "20260205_120000", .types = DATABASE}),
        -ERR_NOT_FOUND);
    assert_says(f, "has no database; it has: files");
}

static void a_beginning_must_be_of_one_snapshot(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ask(f, (struct select_query){.snapshot = "20260204"}), 0);
    assert_types(f, "20260204_120000 - -");
    assert_int_equal(ask(f, (struct select_query){.snapshot = "20260201_1"}), 0);
    assert_int_equal(ask(f, (struct select_query){.snapshot = "2026020"}), -ERR_USAGE);
    assert_says(f, "20260201_120000, 20260202_120000");
    assert_int_equal(ask(f, (struct select_query){.snapshot = "2025"}), -ERR_NOT_FOUND);
    assert_says(f, "newest is 20260205_120000");
}

static void other_words_are_wrong_usage(void **state)
{
    struct fixture *f = *state;
    static const char *const words[] = {
        "",          "newest", "latest~",           "latest~x",         "latest~-1",
        "latest 1",  "Latest", "20260204_",         "2026-02-04",       "20260204x",
        "202602041", "_",      "latest~1234567890", "20260204_1200001", "../20260204"};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        int r = ask(f, (struct select_query){.snapshot = words[i]});
        if (strcmp(words[i], "20260204_") == 0)
            assert_int_equal(r, 0);
        else
            assert_int_equal(r, -ERR_USAGE);
    }
}

static void an_incomplete_type_is_never_latest(void **state)
{
    struct fixture *f = *state;
    struct root root = make_root("20260206_120000", "here", FILES | CONFIG);

    root.types[TYPE_CONFIG].complete = false;
    publish(f->made.temp.repo, &root);
    synced(f);
    assert_int_equal(ask(f, (struct select_query){0}), 0);
    assert_types(f, "20260206_120000 20260203_120000 20260203_120000");
}

static void without_snapshots_it_says_how_to_make_one(void **state)
{
    struct fixture *f = *state;

    synced(f);
    assert_int_equal(ask(f, (struct select_query){0}), -ERR_NOT_FOUND);
    assert_says(f, "yester backup");
}

static void only_adhoc_and_incomplete_ones_are_no_latest(void **state)
{
    struct fixture *f = *state;
    struct root adhoc = make_root("20260205_120000", "here", FILES);

    adhoc.adhoc = true;
    publish(f->made.temp.repo, &adhoc);
    synced(f);
    assert_int_equal(ask(f, (struct select_query){0}), -ERR_NOT_FOUND);
    assert_says(f, "20260205_120000");
}

static void the_only_other_host_is_taken_and_said(void **state)
{
    struct fixture *f = *state;

    add(f, "20260201_120000", "there", FILES);
    synced(f);
    assert_int_equal(ask(f, (struct select_query){0}), 0);
    assert_types(f, "20260201_120000 - -");
    assert_true(f->selection.other_host);
    assert_string_equal(f->selection.host, "there");
    assert_int_equal(ask(f, (struct select_query){.snapshot = "2026"}), 0);
    assert_true(f->selection.other_host);
}

static void several_other_hosts_are_listed(void **state)
{
    struct fixture *f = *state;

    add(f, "20260201_120000", "there", FILES);
    add(f, "20260202_120000", "elsewhere", FILES);
    synced(f);
    assert_int_equal(ask(f, (struct select_query){0}), -ERR_USAGE);
    assert_says(f, "elsewhere, there");
    assert_int_equal(ask(f, (struct select_query){.host = "there", .host_given = true}), 0);
    assert_types(f, "20260201_120000 - -");
    assert_false(f->selection.other_host);
}

static void a_host_that_was_asked_for_is_not_replaced(void **state)
{
    struct fixture *f = *state;

    add(f, "20260201_120000", "there", FILES);
    synced(f);
    assert_int_equal(ask(f, (struct select_query){.host = "nowhere", .host_given = true}),
                     -ERR_NOT_FOUND);
    assert_says(f, "there");
    assert_int_equal(ask(f, (struct select_query){.host = "nowhere",
                                                  .host_given = true,
                                                  .snapshot = "20260201_120000"}),
                     -ERR_NOT_FOUND);
    assert_says(f, "is of host there");
}

static void other_hosts_do_not_count_while_this_one_has_some(void **state)
{
    struct fixture *f = *state;

    add(f, "20260209_120000", "there", FILES | CONFIG | DATABASE);
    synced(f);
    assert_int_equal(ask(f, (struct select_query){0}), 0);
    assert_types(f, "20260202_120000 20260203_120000 20260203_120000");
    assert_int_equal(ask(f, (struct select_query){.snapshot = "20260209"}), -ERR_NOT_FOUND);
    assert_int_equal(ask(f, (struct select_query){.snapshot = "20260209_120000"}), 0);
    assert_true(f->selection.other_host);
}

static void long_lists_are_cut_off(void **state)
{
    struct fixture *f = *state;
    char name[SNAPSHOT_NAME_SIZE];

    for (unsigned i = 0; i < 30; i++) {
        snprintf(name, sizeof(name), "20260101_1200%02u", i);
        add(f, name, "here", FILES);
    }
    synced(f);
    assert_int_equal(ask(f, (struct select_query){.snapshot = "20260101"}), -ERR_USAGE);
    assert_says(f, "30 snapshots");
    assert_says(f, "20260101_120001, ");
    assert_says(f, ", ...");
}

#define WITH(test, up) cmocka_unit_test_setup_teardown(test, up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(latest_joins_the_newest_of_each_type, set_up_five),
        WITH(latest_with_a_number_is_older_for_each_type, set_up_five),
        WITH(a_type_narrows_what_is_taken, set_up_five),
        WITH(before_takes_the_newest_not_after, set_up_five),
        WITH(a_timestamp_takes_any_snapshot, set_up_five),
        WITH(a_beginning_must_be_of_one_snapshot, set_up_five),
        WITH(other_words_are_wrong_usage, set_up_five),
        WITH(an_incomplete_type_is_never_latest, set_up_five),
        WITH(without_snapshots_it_says_how_to_make_one, set_up),
        WITH(only_adhoc_and_incomplete_ones_are_no_latest, set_up),
        WITH(the_only_other_host_is_taken_and_said, set_up),
        WITH(several_other_hosts_are_listed, set_up),
        WITH(a_host_that_was_asked_for_is_not_replaced, set_up),
        WITH(other_hosts_do_not_count_while_this_one_has_some, set_up_five),
        WITH(long_lists_are_cut_off, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
