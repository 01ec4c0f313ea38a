#include "backup/source/findings.h"

#include <stdio.h>
#include <string.h>

#include "backup/base/clock.h"
#include "backup/source/srcdir.h"
#include "tests/harness/cmocka.h"

static int64_t now_ns = NS_PER_SECOND;

int64_t __wrap_clock_monotonic_ns(void);

int64_t __wrap_clock_monotonic_ns(void)
{
    return now_ns;
}

static const struct srcdir here = {.device = 1, .inode = 2};

static void note(struct findings *findings, const char *name, uint64_t size)
{
    struct statx st = {.stx_size = size};

    findings_note(findings, name, &st);
}

static void must_find(struct findings *findings, const char *name, uint64_t size)
{
    struct statx st = {0};

    assert_true(findings_find(findings, name, &st));
    assert_true(st.stx_size == size);
}

static void what_was_noted_in_any_order_is_found_in_that_of_names(void **state)
{
    struct findings *findings = findings_new(&here);
    struct statx st;

    (void)state;
    note(findings, "b", 2);
    note(findings, "\xff", 4);
    note(findings, "a", 1);
    note(findings, "bb", 3);
    findings_finish(findings);
    assert_true(findings_count(findings) == 4);
    assert_false(findings_find(findings, "A", &st));
    must_find(findings, "a", 1);
    assert_false(findings_find(findings, "aa", &st));
    must_find(findings, "b", 2);
    must_find(findings, "b", 2);
    must_find(findings, "\xff", 4); /* passing over one */
    assert_false(findings_find(findings, "\xff\xff", &st));
    findings_free(findings);
}

static void they_are_of_one_directory(void **state)
{
    struct findings *findings = findings_new(&here);
    const struct srcdir other_device = {.device = 2, .inode = 2};
    const struct srcdir other_inode = {.device = 1, .inode = 3};

    (void)state;
    findings_finish(findings);
    assert_true(findings_are_of(findings, &here));
    assert_false(findings_are_of(findings, &other_device));
    assert_false(findings_are_of(findings, &other_inode));
    findings_free(findings);
}

static void after_two_seconds_they_say_nothing(void **state)
{
    struct findings *findings = findings_new(&here);
    struct statx st;

    (void)state;
    note(findings, "a", 1);
    findings_finish(findings);
    now_ns += 2 * NS_PER_SECOND;
    must_find(findings, "a", 1);
    now_ns++;
    assert_false(findings_find(findings, "a", &st));
    findings_free(findings);
}

static void no_more_are_noted_than_are_kept(void **state)
{
    struct findings *findings = findings_new(&here);
    char name[16];

    (void)state;
    for (unsigned i = 0; i < FINDINGS_MOST + 10; i++) {
        (void)snprintf(name, sizeof(name), "%06u", i);
        note(findings, name, i);
    }
    findings_finish(findings);
    assert_true(findings_count(findings) == FINDINGS_MOST);
    must_find(findings, "004095", FINDINGS_MOST - 1);
    findings_free(findings);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_noted_in_any_order_is_found_in_that_of_names),
        cmocka_unit_test(they_are_of_one_directory),
        cmocka_unit_test(after_two_seconds_they_say_nothing),
        cmocka_unit_test(no_more_are_noted_than_are_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
