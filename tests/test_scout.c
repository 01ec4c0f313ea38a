#include "backup/source/scout.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup/base/err.h"
#include "backup/source/findings.h"
#include "backup/source/srcdir.h"
#include "tests/harness/cmocka.h"

static atomic_uint asked;

int __wrap_statx(int dir, const char *path, int flags, unsigned mask, struct statx *out);
int __real_statx(int dir, const char *path, int flags, unsigned mask, struct statx *out);

int __wrap_statx(int dir, const char *path, int flags, unsigned mask, struct statx *out)
{
    atomic_fetch_add(&asked, 1);
    return __real_statx(dir, path, flags, mask, out);
}

static unsigned open_descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    unsigned count = 0;

    while (directory && readdir(directory))
        count++;
    (void)closedir(directory);
    return count;
}

enum { SOON_MS = 200, SOME_DAY_MS = 10000 };

/* A scout is sent into `name` of `top`; how many attributes were asked for there.  It is given the
 * time for `expected` of them; for none, a moment. */
static unsigned sent(const char *top, const char *name, unsigned expected)
{
    struct scout *scout = scout_new();
    struct srcdir *dir = NULL;
    struct err err;

    assert_non_null(scout);
    atomic_store(&asked, 0);
    assert_true(srcdir_open(NULL, top, &dir, &err) == 0);
    unsigned before = open_descriptors();
    scout_send(scout, dir, name);
    unsigned most = expected > 0 ? SOME_DAY_MS : SOON_MS;
    for (unsigned i = 0; i < most && (expected == 0 || atomic_load(&asked) < expected); i++)
        (void)usleep(1000);
    scout_free(scout);
    assert_true(open_descriptors() == before);
    srcdir_unref(dir);
    return atomic_load(&asked);
}

static int set_up(void **state)
{
    static char top[64];

    strcpy(top, "/tmp/yester-scout-XXXXXX");
    *state = top;
    return mkdtemp(top) ? 0 : -1;
}

static int tear_down(void **state)
{
    char command[128];

    (void)snprintf(command, sizeof(command), "rm -rf %s", (const char *)*state);
    return system(command);
}

static void make(const char *top, const char *command)
{
    char line[256];

    (void)snprintf(line, sizeof(line), "cd %s && %s", top, command);
    assert_true(system(line) == 0);
}

static void all_that_is_in_a_directory_is_looked_at(void **state)
{
    const char *top = *state;

    make(top, "mkdir d && touch d/a d/b d/c");
    assert_true(sent(top, "d", 3) == 3);
}

static void what_is_no_directory_or_is_gone_is_passed_over(void **state)
{
    const char *top = *state;

    make(top, "mkdir d && touch d/a f && ln -s d link");
    assert_true(sent(top, "f", 0) == 0);
    assert_true(sent(top, "link", 0) == 0);
    assert_true(sent(top, "gone", 0) == 0);
}

static void another_file_system_is_never_looked_into(void **state)
{
    (void)state;
    assert_true(sent("/", "proc", 0) == 0);
}

/* What was seen in `name` of `top`; NULL: nothing. */
static struct findings *found(const char *top, const char *name, bool reached)
{
    struct scout *scout = scout_new();
    struct srcdir *dir = NULL, *inner = NULL;
    struct findings *findings = NULL;
    struct err err;

    assert_true(srcdir_open(NULL, top, &dir, &err) == 0);
    assert_true(srcdir_open(dir, name, &inner, &err) == 0);
    assert_null(scout_findings(scout, inner));
    if (reached)
        scout_reached(scout, inner);
    scout_send(scout, dir, name);
    for (unsigned i = 0; i < (reached ? 20 : 10000) && !findings; i++) {
        findings = scout_findings(scout, inner);
        (void)usleep(2000);
    }
    assert_null(scout_findings(scout, inner)); /* they were handed over */
    scout_free(scout);
    srcdir_unref(inner);
    srcdir_unref(dir);
    return findings;
}

static void what_it_saw_is_for_who_comes_after_it(void **state)
{
    const char *top = *state;
    struct statx st;

    make(top, "mkdir -p d/sub && echo 12345 > d/file && ln -s file d/link");
    struct findings *findings = found(top, "d", false);
    assert_non_null(findings);
    assert_true(findings_count(findings) == 2); /* no directories */
    assert_true(findings_find(findings, "file", &st) && st.stx_size == 6);
    assert_true(findings_find(findings, "link", &st) && S_ISLNK(st.stx_mode));
    findings_free(findings);
}

static void who_is_late_stays(void **state)
{
    const char *top = *state;

    make(top, "mkdir d && touch d/a d/b d/c");
    atomic_store(&asked, 0);
    assert_null(found(top, "d", true));
    assert_true(atomic_load(&asked) == 0);
}

static void it_pays_for_a_while_after_somebody_had_to_wait(void **state)
{
    const char *top = *state;
    struct scout *scout = scout_new();
    struct srcdir *dir = NULL;
    struct err err;
    long waits = scout_waits();

    assert_false(scout_pays(scout));
    scout_waited(scout, waits);
    assert_false(scout_pays(scout));
    (void)usleep(1000);
    scout_waited(scout, waits);
    assert_true(scout_pays(scout));

    assert_true(srcdir_open(NULL, top, &dir, &err) == 0);
    for (unsigned i = 0; i < 1000 && scout_pays(scout); i++)
        scout_send(scout, dir, "gone");
    assert_false(scout_pays(scout));
    scout_free(scout);
    srcdir_unref(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_that_is_in_a_directory_is_looked_at, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_directory_or_is_gone_is_passed_over, set_up,
                                        tear_down),
        cmocka_unit_test(another_file_system_is_never_looked_into),
        cmocka_unit_test_setup_teardown(what_it_saw_is_for_who_comes_after_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_is_late_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(it_pays_for_a_while_after_somebody_had_to_wait, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
