#include "backup/base/log.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/harness/cmocka.h"

struct capture {
    int kept_stderr;
    FILE *file;
};

static struct capture start_capture(void)
{
    struct capture capture = {.kept_stderr = dup(STDERR_FILENO), .file = tmpfile()};

    assert_true(capture.file && capture.kept_stderr >= 0);
    assert_true(dup2(fileno(capture.file), STDERR_FILENO) == STDERR_FILENO);
    return capture;
}

static size_t end_capture(struct capture *capture, char *out, size_t size)
{
    dup2(capture->kept_stderr, STDERR_FILENO);
    close(capture->kept_stderr);
    rewind(capture->file);
    size_t got = fread(out, 1, size - 1, capture->file);
    out[got] = '\0';
    fclose(capture->file);
    return got;
}

static void a_line_starts_with_its_level(void **state)
{
    (void)state;
    struct capture capture = start_capture();
    char text[4096];

    log_set_level(LEVEL_INFO);
    log_error("no %s", "space");
    log_warn("w");
    log_info("i");
    log_debug("d");
    log_set_level(LEVEL_DEBUG);
    log_debug("d2");
    log_set_level(LEVEL_ERROR);
    log_warn("w2");
    end_capture(&capture, text, sizeof(text));
    assert_string_equal(text, "error: no space\nwarning: w\ni\ndebug: d2\n");
}

static void the_journal_gets_a_priority_and_nobody_else(void **state)
{
    (void)state;
    struct capture capture = start_capture();
    char text[4096];
    char stream[64];
    struct stat st;

    fstat(STDERR_FILENO, &st);
    snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino);
    log_set_level(LEVEL_INFO);
    setenv("JOURNAL_STREAM", stream, 1);
    log_error("a");
    log_info("b");
    setenv("JOURNAL_STREAM", "1:1", 1);
    log_error("c");
    unsetenv("JOURNAL_STREAM");
    end_capture(&capture, text, sizeof(text));
    assert_string_equal(text, "<3>a\n<6>b\nerror: c\n");
}

static void a_name_cannot_forge_a_line(void **state)
{
    (void)state;
    struct capture capture = start_capture();
    char text[4096];

    log_set_level(LEVEL_INFO);
    log_warn("skipped %s", "a\nerror: b\x1b[31m\x7f\xff\xc2\x9b-\xc3\xa4");
    end_capture(&capture, text, sizeof(text));
    assert_string_equal(text,
                        "warning: skipped a\\012error: b\\033[31m\\177\\377\\302\\233-\xc3\xa4\n");
}

static void a_long_message_is_cut_and_still_one_line(void **state)
{
    (void)state;
    struct capture capture = start_capture();
    static char text[20000];
    char name[5000];

    memset(name, '\x01', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    log_set_level(LEVEL_INFO);
    log_error("%s", name);
    size_t size = end_capture(&capture, text, sizeof(text));
    assert_true(size > 8000 && size < 8300 && strchr(text, '\n') == text + size - 1);
}

static void *chatter(void *unused)
{
    for (int i = 0; i < 200; i++)
        log_info("%s", "0123456789012345678901234567890123456789");
    return unused;
}

static void lines_of_several_threads_stay_whole(void **state)
{
    (void)state;
    struct capture capture = start_capture();
    static char text[100000];
    pthread_t threads[3];

    log_set_level(LEVEL_INFO);
    for (size_t i = 0; i < 3; i++)
        assert_true(pthread_create(&threads[i], NULL, chatter, NULL) == 0);
    for (size_t i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    size_t size = end_capture(&capture, text, sizeof(text));
    assert_true(size == 3 * 200 * 41);
    for (size_t i = 0; i < size; i += 41)
        assert_true(memcmp(text + i, "0123456789012345678901234567890123456789\n", 41) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_starts_with_its_level),
        cmocka_unit_test(the_journal_gets_a_priority_and_nobody_else),
        cmocka_unit_test(a_name_cannot_forge_a_line),
        cmocka_unit_test(a_long_message_is_cut_and_still_one_line),
        cmocka_unit_test(lines_of_several_threads_stay_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
