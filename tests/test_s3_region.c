#include <stdlib.h>
#include <string.h>

#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/store/s3.h"
#include "backup/store/store.h"
#include "tests/harness/answers.h"
#include "tests/harness/cmocka.h"

static struct err err;

static int set_up(void **state)
{
    (void)state;
    setenv("AWS_ACCESS_KEY_ID", "id", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
    setenv("no_proxy", "*", 1);
    return 0;
}

/* Opens s3://bucket/x of a server that gives these answers; how many it gave. */
static int open_with(const char *region, const char *const *answers, unsigned *out_asked)
{
    static const char *const allowed[] = {"eu-west-1", "eu-central-1"};
    struct store *store = NULL;
    struct server server;

    server_start(&server, answers);
    const struct s3_options options = {.endpoint = server.url,
                                       .region = region,
                                       .connections = 1,
                                       .patience_ns = NS_PER_SECOND,
                                       .allowed = allowed,
                                       .allowed_count = 2};
    int r = s3_store_open("s3://bucket/x", &options, &store, &err);
    store_close(store);
    server_stop(&server);
    *out_asked = server.asked;
    return r;
}

static void assert_said(const char *text)
{
    if (!strstr(err.text, text))
        fail_msg("\"%s\" is not in: %s", text, err.text);
}

static void
a_region_of_the_settings_that_is_not_allowed_is_refused_before_anything_is_asked(void **state)
{
    static const char *const answers[] = {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", NULL};
    unsigned asked;

    (void)state;
    assert_int_equal(open_with("us-east-1", answers, &asked), -ERR_USAGE);
    assert_int_equal(asked, 0);
    assert_said("s3://bucket/x");
    assert_said("us-east-1");
    assert_said("regions");
    assert_int_equal(open_with("eu-west", answers, &asked), -ERR_USAGE);
}

static void what_the_server_says_counts_even_where_it_refuses(void **state)
{
    static const char *const elsewhere[] = {
        "HTTP/1.1 403 No\r\nx-amz-bucket-region: us-west-2\r\nContent-Length: 0\r\n\r\n", NULL};
    static const char *const here[] = {
        "HTTP/1.1 403 No\r\nx-amz-bucket-region: eu-central-1\r\nContent-Length: 0\r\n\r\n", NULL};
    unsigned asked;

    (void)state;
    assert_int_equal(open_with("eu-west-1", elsewhere, &asked), -ERR_USAGE);
    assert_int_equal(asked, 1);
    assert_said("us-west-2");
    assert_int_equal(open_with("eu-west-1", here, &asked), 0);
}

static void a_server_whose_head_says_nothing_is_asked_for_the_location(void **state)
{
    static const char *const answers[] = {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                                          "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n"
                                          "<LocationConstraint>us-west-2</LocationConstraint>",
                                          NULL};
    unsigned asked;

    (void)state;
    assert_int_equal(open_with("eu-west-1", answers, &asked), -ERR_USAGE);
    assert_int_equal(asked, 2);
    assert_said("us-west-2");
}

static void a_refusal_that_names_the_region_is_an_answer(void **state)
{
    static const char *const answers[] = {"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n",
                                          "HTTP/1.1 400 No\r\nContent-Length: 82\r\n\r\n"
                                          "<Error><Code>AuthorizationHeaderMalformed</Code>"
                                          "<Region>us-west-2</Region></Error>",
                                          NULL};
    unsigned asked;

    (void)state;
    assert_int_equal(open_with("eu-west-1", answers, &asked), -ERR_USAGE);
    assert_int_equal(asked, 2);
    assert_said("us-west-2 by the server");
}

static void a_server_that_does_not_say_is_taken_at_the_settings_word(void **state)
{
    static const char *const answers[] = {"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n",
                                          "HTTP/1.1 501 No\r\nContent-Length: 0\r\n\r\n", NULL};
    unsigned asked;

    (void)state;
    assert_int_equal(open_with("eu-west-1", answers, &asked), 0);
    assert_int_equal(asked, 2);
}

static void a_server_that_fails_is_not_taken_for_silent(void **state)
{
    static const char *const answers[] = {"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",
                                          "HTTP/1.1 404 No\r\nContent-Length: 40\r\n\r\n"
                                          "<Error><Code>NoSuchBucket</Code></Error>",
                                          NULL};
    unsigned asked;

    (void)state;
    assert_int_equal(open_with("eu-west-1", answers, &asked), -ERR_NO_REPOSITORY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            a_region_of_the_settings_that_is_not_allowed_is_refused_before_anything_is_asked),
        cmocka_unit_test(what_the_server_says_counts_even_where_it_refuses),
        cmocka_unit_test(a_server_whose_head_says_nothing_is_asked_for_the_location),
        cmocka_unit_test(a_refusal_that_names_the_region_is_an_answer),
        cmocka_unit_test(a_server_that_does_not_say_is_taken_at_the_settings_word),
        cmocka_unit_test(a_server_that_fails_is_not_taken_for_silent),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
