#include "backup/net/http.h"

#include <string.h>

#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "tests/harness/answers.h"
#include "tests/harness/cmocka.h"

/* A clock that only sleeping moves. */
struct test_clock {
    struct clock clock;
    int64_t now, longest;
};

static int64_t test_now(struct clock *clock)
{
    return ((struct test_clock *)clock)->now;
}

static void test_sleep(struct clock *clock, int64_t duration_ns)
{
    struct test_clock *test = (struct test_clock *)clock;

    test->now += duration_ns;
    test->longest = duration_ns > test->longest ? duration_ns : test->longest;
}

static struct test_clock clock_at(int64_t now)
{
    return (struct test_clock){.clock = {test_now, test_sleep}, .now = now};
}

struct exchange {
    struct http_response response;
    struct test_clock clock;
    struct err err;
    unsigned asked;
    int r;
};

static void ask(const char *const *answers, int64_t patience_s, size_t limit, struct exchange *out)
{
    struct server server;
    struct http *http;

    *out = (struct exchange){.clock = clock_at(1), .response = {.body = {.limit = limit}}};
    const struct http_options options = {
        .connections = 1, .patience_ns = patience_s * NS_PER_SECOND, .clock = &out->clock.clock};
    server_start(&server, answers);
    assert_int_equal(http_new(&options, &http, &out->err), 0);
    const struct http_request request = {.method = "GET", .url = server.url, .direct = true};
    out->r = http_send(http, &request, &out->response, &out->err);
    http_free(http);
    server_stop(&server);
    out->asked = server.asked;
}

static void an_answer_that_says_later_is_asked_for_again(void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", "",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: \"e\"\r\n\r\nhi", NULL};
    struct exchange exchange;
    char etag[8];

    (void)state;
    ask(answers, 300, 16, &exchange);
    assert_int_equal(exchange.r, 0);
    assert_int_equal(exchange.response.status, 200);
    assert_memory_equal(exchange.response.body.data, "hi", 2);
    assert_true(http_header(&exchange.response, "etag", etag, sizeof(etag)));
    assert_string_equal(etag, "\"e\"");
    http_response_clear(&exchange.response);
}

static void a_server_that_names_a_time_is_not_asked_before(void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", NULL};
    struct exchange exchange;

    (void)state;
    ask(answers, 300, 16, &exchange);
    assert_int_equal(exchange.response.status, 200);
    assert_true(exchange.clock.longest >= 7 * NS_PER_SECOND);
    http_response_clear(&exchange.response);
}

static void patience_ends(void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 503 Later\r\nRetry-After: 20\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 503 Later\r\nRetry-After: 20\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 503 Later\r\nRetry-After: 20\r\nContent-Length: 0\r\n\r\n", NULL};
    struct exchange exchange;

    (void)state;
    ask(answers, 30, 16, &exchange);
    assert_int_equal(exchange.r, 0);
    assert_int_equal(exchange.response.status, 503);
    assert_int_equal(exchange.asked, 2);
    http_response_clear(&exchange.response);
}

static void what_is_refused_is_not_asked_for_again(void **state)
{
    static const char *const answers[] = {"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n",
                                          "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", NULL};
    struct exchange exchange;

    (void)state;
    ask(answers, 300, 16, &exchange);
    assert_int_equal(exchange.response.status, 403);
    assert_int_equal(exchange.asked, 1);
    http_response_clear(&exchange.response);
}

static void an_answer_that_is_cut_off_is_none(void **state)
{
    static const char *const answers[] = {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
                                          "HTTP/1.1 200 OK\r\nContent-Le",
                                          "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlong", NULL};
    struct exchange exchange;

    (void)state;
    ask(answers, 300, 16, &exchange);
    assert_int_equal(exchange.r, 0);
    assert_int_equal(exchange.asked, 3);
    assert_int_equal(exchange.response.body.size, 4);
    http_response_clear(&exchange.response);
}

static void a_body_beyond_its_limit_is_refused_at_once(void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n01234567890123456789",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", NULL};
    struct exchange exchange;

    (void)state;
    ask(answers, 300, 16, &exchange);
    assert_int_equal(exchange.r, -ERR_TOO_LARGE);
    assert_int_equal(exchange.asked, 1);
    http_response_clear(&exchange.response);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_that_says_later_is_asked_for_again),
        cmocka_unit_test(a_server_that_names_a_time_is_not_asked_before),
        cmocka_unit_test(patience_ends),
        cmocka_unit_test(what_is_refused_is_not_asked_for_again),
        cmocka_unit_test(an_answer_that_is_cut_off_is_none),
        cmocka_unit_test(a_body_beyond_its_limit_is_refused_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
