/*
 * restoring — a source, its snapshot and a target directory for tests of extract; what it says is
 * kept, and an independent judge compares.
 */
#pragma once

#include <pthread.h>
#include <stdarg.h>
#include <sys/random.h>

#include "backup/base/progress.h"
#include "fs/extract.h"
#include "tests/harness/minisnap.h"

/* What a CACHEDIR.TAG begins with. */
#define CACHE_SIGNATURE "Signature: 8a477f597d28d172789f06886806bc55"

struct restoring {
    char top[32]; /* source and target are in it */
    struct minisnap *snap;
    struct extract_options options;
    struct extract_result result;
    struct progress progress;
    char said[65536]; /* notes and troubles, one a line */
    struct err err;
};

/* Runs a command line below the test's directory. */
__attribute__((format(printf, 2, 3))) static inline int shell(const struct restoring *test,
                                                              const char *format, ...)
{
    char command[4096];
    va_list args;

    int used = snprintf(command, sizeof(command), "cd %s && ", test->top);
    va_start(args, format);
    vsnprintf(command + used, sizeof(command) - (size_t)used, format, args);
    va_end(args);
    return system(command);
}

static inline void restoring_say(struct restoring *test, const char *what, const char *text)
{
    size_t used = strlen(test->said);

    snprintf(test->said + used, sizeof(test->said) - used, "%s%s\n", what, text);
}

static inline void restoring_trouble(void *context, const char *path, const struct err *err)
{
    struct restoring *test = context;
    char line[700];

    snprintf(line, sizeof(line), "%.300s: %s", path, err->text);
    restoring_say(test, "trouble ", line);
}

static inline void restoring_note(void *context, const char *text)
{
    restoring_say(context, "", text);
}

static inline struct restoring *restoring_make(void)
{
    struct restoring *test = calloc(1, sizeof(*test));

    assert_non_null(test);
    strcpy(test->top, "/tmp/test_extract_XXXXXX");
    assert_non_null(mkdtemp(test->top));
    test->snap = minisnap_make();
    test->options.trouble = restoring_trouble;
    test->options.note = restoring_note;
    test->options.context = test;
    test->options.progress = &test->progress;
    assert_int_equal(shell(test, "mkdir source"), 0);
    return test;
}

static inline void restoring_clear(struct restoring **test)
{
    assert_int_equal(shell(*test,
                           "python3 $YESTER_SOURCE_ROOT/tests/harness/awkward.py --remove %s",
                           (*test)->top),
                     0);
    minisnap_clear(&(*test)->snap);
    free(*test);
}

/* skip() never comes back, so nothing would be released. */
static inline void restoring_skip(struct restoring **test)
{
    restoring_clear(test);
    skip();
}

static inline const char *in_top(const struct restoring *test, const char *name)
{
    static _Thread_local char paths[4][512];
    static _Thread_local unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, 512, "%s/%s", test->top, name);
    return path;
}

/* A file of random bytes; thousands of them by a shell would take most of a test's time. */
static inline void make_noise(const struct restoring *test, const char *name, size_t size)
{
    uint8_t noise[8192];
    FILE *file = fopen(in_top(test, name), "w");

    assert_true(file && size <= sizeof(noise));
    assert_int_equal(getrandom(noise, size, 0), (ssize_t)size);
    assert_int_equal(fwrite(noise, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* The snapshot of source/ as /src. */
static inline void take(struct restoring *test)
{
    minisnap_take(test->snap, in_top(test, "source"), "/src", TYPE_FILES);
}

static inline int restore_to(struct restoring *test, const char *target)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/%s", test->top, target);
    test->options.target = path;
    test->said[0] = 0;
    minisnap_forget(test->snap);
    int r = extract_run(test->snap->blocks, &test->snap->selection, &test->options, &test->result,
                        &test->err);
    test->options.target = NULL;
    return r;
}

static inline void restore_well(struct restoring *test, const char *target)
{
    int r = restore_to(test, target);

    if (r != 0)
        print_message("%s\n%s", test->err.text, test->said);
    assert_int_equal(r, 0);
    assert_string_equal(test->said, "");
}

/* Compares two directories in everything but the roots' own attributes with `options`. */
static inline bool alike(struct restoring *test, const char *a, const char *b, const char *options)
{
    return shell(test,
                 "python3 $YESTER_SOURCE_ROOT/tests/harness/treecmp.py %s '%s' '%s' > judged 2>&1 "
                 "|| { cat judged; false; }",
                 options, a, b) == 0;
}

static inline bool there(const struct restoring *test, const char *name)
{
    struct stat st;

    return lstat(in_top(test, name), &st) == 0;
}
