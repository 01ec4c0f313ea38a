#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "backup/base/buf.h"
#include "backup/base/err.h"
#include "backup/source/pattern.h"
#include "backup/source/scout.h"
#include "backup/source/walk.h"
#include "tests/harness/cmocka.h"

/* Whoever asks has waited since: scouts are sent wherever the walk goes. */
int __wrap_getrusage(int who, struct rusage *out);

int __wrap_getrusage(int who, struct rusage *out)
{
    static atomic_long waits;

    (void)who;
    memset(out, 0, sizeof(*out));
    out->ru_nvcsw = ++waits;
    return 0;
}

static atomic_uint sent;

void __wrap_scout_send(struct scout *scout, struct srcdir *dir, const char *name);
void __real_scout_send(struct scout *scout, struct srcdir *dir, const char *name);

void __wrap_scout_send(struct scout *scout, struct srcdir *dir, const char *name)
{
    sent++;
    __real_scout_send(scout, dir, name);
}

/* Each test has a directory of its own, and what a walk of it gave, a line an item. */
struct fixture {
    char top[64];
    char log[16384];
    size_t used;
    unsigned troubles, left_out;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    strcpy(fixture->top, "/tmp/yester-walk-XXXXXX");
    *state = fixture;
    return mkdtemp(fixture->top) ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    char command[128];

    (void)snprintf(command, sizeof(command), "rm -rf %s", fixture->top);
    int r = system(command);
    free(fixture);
    return r;
}

static void shell(struct fixture *fixture, const char *command)
{
    char line[1024];

    (void)snprintf(line, sizeof(line), "cd %s && %s", fixture->top, command);
    assert_true(system(line) == 0);
}

static void trouble(void *context, const char *path, const struct err *err)
{
    struct fixture *fixture = context;

    (void)path;
    (void)err;
    fixture->troubles++;
}

static void left_out(void *context, const char *path, const char *reason)
{
    struct fixture *fixture = context;

    (void)path;
    (void)reason;
    fixture->left_out++;
}

static void note(struct fixture *fixture, const struct walk *walk, const struct walk_item *item)
{
    const char *path = walk_path(walk, NULL);
    size_t top = strlen(fixture->top);
    bool inside = strncmp(path, fixture->top, top) == 0;

    if (!inside || item->event == WALK_LEAVE)
        return;
    int size =
        snprintf(fixture->log + fixture->used, sizeof(fixture->log) - fixture->used, "%s%s%s ",
                 path + top, item->event == WALK_ENTER ? "/" : "", item->partial ? "?" : "");
    fixture->used += (size_t)size;
}

static const char *walk_all(struct fixture *fixture, const struct rules *rules,
                            const char *const *names, size_t count)
{
    char paths[8][256];
    const char *pointers[8];
    struct walk *walk;
    struct walk_item item = {.event = WALK_END};
    struct err err;
    int depth = 0;

    for (size_t i = 0; i < count; i++) {
        (void)snprintf(paths[i], sizeof(paths[i]), "%s%s", fixture->top, names[i]);
        pointers[i] = paths[i];
    }
    struct walk_options options = {pointers, count, rules, trouble, left_out, NULL, fixture};
    fixture->used = 0;
    atomic_store(&sent, 0);
    assert_true(walk_new(&options, &walk, &err) == 0);
    for (;;) {
        assert_true(walk_next(walk, &item, &err) == 0);
        if (item.event == WALK_END)
            break;
        depth += (item.event == WALK_ENTER) - (item.event == WALK_LEAVE);
        note(fixture, walk, &item);
    }
    assert_true(depth == 0);
    walk_free(walk);
    return fixture->log;
}

static void names_come_in_the_order_of_their_bytes(void **state)
{
    struct fixture *fixture = *state;
    struct rules rules = {0};

    shell(fixture, "mkdir d && touch d/b d/a a.b a B && mkdir a-d && touch a-d/x");
    const char *log = walk_all(fixture, &rules, (const char *[]){""}, 1);
    assert_string_equal(log, "/ /B /a /a-d/ /a-d/x /a.b /d/ /d/a /d/b ");
}

static void only_the_paths_asked_for_are_read(void **state)
{
    struct fixture *fixture = *state;
    struct rules rules = {0};

    shell(fixture, "mkdir -p p/q/r p/z && touch p/q/r/f p/q/other p/z/g p/w");
    const char *log = walk_all(fixture, &rules, (const char *[]){"/p/z", "/p/q/r/f", "/p/z/g"}, 3);
    assert_string_equal(log, "/? /p/? /p/q/? /p/q/r/? /p/q/r/f /p/z/ /p/z/g ");
}

static void a_missing_path_is_reported_and_the_rest_is_read(void **state)
{
    struct fixture *fixture = *state;
    struct rules rules = {0};

    shell(fixture, "touch here");
    const char *log = walk_all(fixture, &rules, (const char *[]){"/here", "/not"}, 2);
    assert_string_equal(log, "/? /here ");
    assert_true(fixture->troubles == 1);
}

static void what_a_build_makes_and_caches_are_left_out(void **state)
{
    struct fixture *fixture = *state;
    struct rules rules = {.default_excludes = true};

    shell(fixture,
          "mkdir -p app/node_modules/x app/dist build dist c n && touch app/package.json "
          "app/dist/o dist/keep n/.nobackup "
          "n/f c/f && echo 'Signature: 8a477f597d28d172789f06886806bc55' > c/CACHEDIR.TAG");
    const char *log = walk_all(fixture, &rules, (const char *[]){""}, 1);
    assert_string_equal(log, "/ /app/ /app/package.json /build/ /dist/ /dist/keep ");
    assert_true(fixture->left_out == 4);
    rules = (struct rules){.caches = true};
    log = walk_all(fixture, &rules, (const char *[]){"/c", "/n"}, 2);
    assert_string_equal(log, "/? /c/ /c/CACHEDIR.TAG /c/f /n/ /n/.nobackup /n/f ");
}

static void patterns_leave_out_but_never_what_was_named(void **state)
{
    struct fixture *fixture = *state;
    struct patterns *excludes = patterns_new();
    struct rules rules = {.excludes = excludes};
    struct err err;

    assert_true(patterns_add_option(excludes, "*.log", &err) == 0);
    assert_true(patterns_add_option(excludes, "tmp/", &err) == 0);
    shell(fixture, "mkdir -p tmp s/tmp && touch a.log s/b.log s/c s/tmp/d tmp/e");
    const char *log = walk_all(fixture, &rules, (const char *[]){"/a.log", "/s", "/tmp"}, 3);
    assert_string_equal(log, "/? /a.log /s/ /s/c /tmp/ /tmp/e ");
    patterns_free(excludes);
}

static void what_is_named_below_a_path_is_taken_whatever_leaves_it_out(void **state)
{
    struct fixture *fixture = *state;
    struct patterns *excludes = patterns_new();
    struct rules rules = {.excludes = excludes, .default_excludes = true};
    struct err err;

    assert_true(patterns_add_option(excludes, "*.log", &err) == 0);
    shell(fixture, "mkdir -p s/node_modules/keep s/node_modules/drop s/n && touch "
                   "s/node_modules/keep/f s/a.log s/b.log "
                   "s/n/.nobackup");
    const char *log = walk_all(
        fixture, &rules,
        (const char *[]){"/s", "/s/a.log", "/s/node_modules/keep", "/s/missing", "/s/n"}, 5);
    assert_string_equal(
        log, "/? /s/ /s/a.log /s/n/ /s/n/.nobackup /s/node_modules/? /s/node_modules/keep/ "
             "/s/node_modules/keep/f ");
    assert_true(fixture->troubles == 1);
    log = walk_all(fixture, &rules, (const char *[]){"/s/n"}, 1);
    assert_string_equal(log, "/? /s/? /s/n/ /s/n/.nobackup ");
    patterns_free(excludes);
}

static void configuration_is_what_its_patterns_name(void **state)
{
    struct fixture *fixture = *state;
    struct patterns *only = patterns_new();
    char whole_path[128];
    const char *whole[] = {whole_path};
    struct rules rules = {.only = only, .whole = whole, .whole_count = 1};
    struct err err;

    (void)snprintf(whole_path, sizeof(whole_path), "%s/etc", fixture->top);
    assert_true(patterns_add_option(only, ".env", &err) == 0);
    shell(fixture, "mkdir -p etc/empty app/src && touch etc/any app/.env app/main.c app/src/x");
    const char *log = walk_all(fixture, &rules, (const char *[]){"/app", "/etc"}, 2);
    assert_string_equal(log, "/? /app/ /app/.env /app/src/ /etc/ /etc/any /etc/empty/ ");
    patterns_free(only);
}

static void three_thousand_levels_are_walked(void **state)
{
    struct fixture *fixture = *state;
    struct rules rules = {0};
    enum { LEVELS = 3000 };
    struct walk *walk;
    struct walk_item item = {.event = WALK_END};
    struct err err;
    unsigned entered = 0, left = 0, files = 0;
    const char *paths[] = {fixture->top};
    struct walk_options options = {paths, 1, &rules, trouble, left_out, NULL, fixture};

    int fd = open(fixture->top, O_RDONLY | O_DIRECTORY);
    for (unsigned i = 0; i < LEVELS; i++) {
        assert_true(mkdirat(fd, "level", 0700) == 0);
        int next = openat(fd, "level", O_RDONLY | O_DIRECTORY);
        close(fd);
        fd = next;
    }
    close(openat(fd, "deepest", O_CREAT | O_WRONLY, 0600));
    close(fd);
    assert_true(walk_new(&options, &walk, &err) == 0);
    while (walk_next(walk, &item, &err) == 0 && item.event != WALK_END) {
        entered += item.event == WALK_ENTER;
        left += item.event == WALK_LEAVE;
        files += item.event == WALK_ENTRY;
    }
    walk_free(walk);
    assert_true(fixture->troubles == 0 && entered == left && files == 1 && entered == LEVELS + 3);
}

static void what_scouts_have_seen_before_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct rules rules = {0};
    char want[16384] = "/ ";

    shell(fixture, "mkdir -p $(seq -f %g/sub 100 199) && "
                   "touch $(seq -f %g/f 100 199) $(seq -f %g/sub/g 100 199)");
    for (unsigned i = 100; i < 200; i++)
        (void)snprintf(want + strlen(want), 64, "/%u/ /%u/f /%u/sub/ /%u/sub/g ", i, i, i, i);
    assert_string_equal(walk_all(fixture, &rules, (const char *[]){""}, 1), want);
    assert_true(fixture->troubles == 0);
    assert_true(atomic_load(&sent) == 200);
}

static void scouts_go_on_behind_directories_that_are_left_out(void **state)
{
    struct fixture *fixture = *state;
    struct rules rules = {.default_excludes = true};

    shell(fixture, "mkdir -p $(seq -f %g/node_modules 100 149) a z/node_modules && touch z/f");
    shell(fixture, "mkdir -p n/node_modules n/z");
    walk_all(fixture, &rules, (const char *[]){""}, 1);
    assert_true(atomic_load(&sent) == 50 + 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(names_come_in_the_order_of_their_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_the_paths_asked_for_are_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_missing_path_is_reported_and_the_rest_is_read, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_a_build_makes_and_caches_are_left_out, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(patterns_leave_out_but_never_what_was_named, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_is_named_below_a_path_is_taken_whatever_leaves_it_out,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(configuration_is_what_its_patterns_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_scouts_have_seen_before_changes_nothing, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(scouts_go_on_behind_directories_that_are_left_out, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(three_thousand_levels_are_walked, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
