#include "backup/net/http.h"

#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/progress.h"
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

/* Several requests of one client, each of which says "later" but for the answers that are OK. */
static unsigned asked_by(const char *const *answers, size_t requests, int64_t pause_s)
{
    struct test_clock clock = clock_at(1);
    const struct http_options options = {
        .connections = 1, .patience_ns = 30 * NS_PER_SECOND, .clock = &clock.clock};
    struct server server;
    struct http *http;
    struct err err;

    server_start(&server, answers);
    assert_int_equal(http_new(&options, &http, &err), 0);
    const struct http_request request = {.method = "GET", .url = server.url, .direct = true};
    for (size_t i = 0; i < requests; i++) {
        CLEANUP(http_response_clear) struct http_response response = {.body = {.limit = 16}};

        assert_int_equal(http_send(http, &request, &response, &err), 0);
        clock.now += pause_s * NS_PER_SECOND;
    }
    http_free(http);
    server_stop(&server);
    return server.asked;
}

#define LATER "HTTP/1.1 503 Later\r\nRetry-After: 20\r\nContent-Length: 0\r\n\r\n"
#define HERE "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

static void patience_with_a_server_that_is_away_is_not_had_anew_with_each_request(void **state)
{
    static const char *const answers[] = {LATER, LATER, LATER, LATER, LATER, LATER, NULL};

    (void)state;
    assert_int_equal(asked_by(answers, 3, 0), 4);
}

static void patience_begins_anew_behind_an_answer(void **state)
{
    static const char *const answers[] = {LATER, LATER, HERE, LATER, LATER, LATER, NULL};

    (void)state;
    assert_int_equal(asked_by(answers, 3, 0), 5);
}

static void patience_begins_anew_when_nobody_has_asked_for_long(void **state)
{
    static const char *const answers[] = {LATER, LATER, LATER, LATER, LATER, LATER, NULL};

    (void)state;
    assert_int_equal(asked_by(answers, 3, 31), 6);
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

/* ---- answers in two parts ---- */

enum { TWICE = 20 };

/* One connection, kept; each answer in two writes, the second of which the kernel holds back until
 * the first is acknowledged. */
static void *serve_in_parts(void *argument)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
    int client = accept(*(int *)argument, NULL, NULL);
    char request[4096];

    for (int i = 0; i < TWICE && read(client, request, sizeof(request)) > 0; i++) {
        (void)!write(client, head, sizeof(head) - 1);
        (void)!write(client, "hi", 2);
    }
    close(client);
    return NULL;
}

static int by_length(const void *a, const void *b)
{
    const int64_t *one = a, *other = b;

    return (*one > *other) - (*one < *other);
}

/* Each that waits for its acknowledgment takes 40 ms: of the later ones all or none (the first few
 * never do).  On a busy machine any may take long for other reasons. */
static void an_answer_in_two_parts_is_acknowledged_at_once(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct http_options options = {.connections = 1, .patience_ns = NS_PER_SECOND};
    struct http_response response = {.body = {.limit = 16}};
    struct http *http;
    pthread_t thread;
    struct err err;
    char url[64];

    (void)state;
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/x", ntohs(address.sin_port));
    assert_int_equal(pthread_create(&thread, NULL, serve_in_parts, &fd), 0);
    assert_int_equal(http_new(&options, &http, &err), 0);
    const struct http_request request = {.method = "GET", .url = url, .direct = true};
    int64_t took[TWICE];
    for (int i = 0; i < TWICE; i++) {
        int64_t began = clock_monotonic_ns();
        assert_int_equal(http_send(http, &request, &response, &err), 0);
        took[i] = clock_monotonic_ns() - began;
    }
    qsort(took + TWICE / 2, TWICE / 2, sizeof(took[0]), by_length);
    assert_true(took[TWICE / 2] < NS_PER_SECOND / 50);
    http_free(http);
    http_response_clear(&response);
    pthread_join(thread, NULL);
    close(fd);
}

/* ---- cancelled ---- */

struct cancelling {
    struct progress progress;
    struct server *asked; /* first this is; NULL: nobody waits for it */
    int64_t after_ns;
};

static void *cancel(void *argument)
{
    struct cancelling *cancelling = argument;
    struct clock *clock = clock_system();

    while (cancelling->asked && cancelling->asked->asked == 0)
        clock->sleep_ns(clock, NS_PER_SECOND / 100);
    clock->sleep_ns(clock, cancelling->after_ns);
    atomic_store(&cancelling->progress.cancelled, 1);
    return NULL;
}

/* Asks with much patience, and somebody cancels meanwhile; how long it took in all. */
static int64_t ask_and_cancel(const char *url, struct server *asked, struct exchange *out)
{
    struct cancelling cancelling = {.asked = asked, .after_ns = NS_PER_SECOND / 5};
    int64_t began = clock_monotonic_ns();
    const struct http_options options = {.connections = 1, .patience_ns = 300 * NS_PER_SECOND};
    const struct http_request request = {.method = "GET", .url = url, .direct = true};
    struct http *http;
    pthread_t thread;

    *out = (struct exchange){.response = {.body = {.limit = 16}}};
    assert_int_equal(http_new(&options, &http, &out->err), 0);
    http_follow(http, &cancelling.progress);
    assert_int_equal(pthread_create(&thread, NULL, cancel, &cancelling), 0);
    out->r = http_send(http, &request, &out->response, &out->err);
    pthread_join(thread, NULL);
    assert_true(http_is_cancelled(http));
    http_free(http);
    http_response_clear(&out->response);
    return clock_monotonic_ns() - began;
}

static void who_is_cancelled_does_not_wait_for_the_next_attempt(void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 503 Later\r\nRetry-After: 100\r\nContent-Length: 0\r\n\r\n", NULL};
    struct exchange exchange;
    struct server server;

    (void)state;
    server_start(&server, answers);
    int64_t took = ask_and_cancel(server.url, &server, &exchange);
    server_stop(&server);
    assert_int_equal(exchange.r, -ERR_CANCELLED);
    assert_int_equal(server.asked, 1);
    assert_true(took < 30 * NS_PER_SECOND);
}

static void who_is_cancelled_does_not_wait_for_a_server_that_is_silent(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct exchange exchange;
    char url[64];

    (void)state;
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(fd, 8), 0); /* nobody accepts */
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/x", ntohs(address.sin_port));
    int64_t took = ask_and_cancel(url, NULL, &exchange);
    close(fd);
    assert_int_equal(exchange.r, -ERR_CANCELLED);
    assert_true(took < 30 * NS_PER_SECOND);
}

/* It is waited for half a second; on a busy machine that may be too short. */
static int ask_when_cancelled(void)
{
    static const char *const answers[] = {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", NULL};
    struct progress progress = {.cancelled = 1};
    const struct http_options options = {.connections = 1, .patience_ns = NS_PER_SECOND};
    struct http_response response = {.body = {.limit = 16}};
    struct server server;
    struct http *http;
    struct err err;

    server_start(&server, answers);
    const struct http_request request = {.method = "DELETE", .url = server.url, .direct = true};
    assert_int_equal(http_new(&options, &http, &err), 0);
    http_follow(http, &progress);
    int r = http_send(http, &request, &response, &err);
    assert_true(r < 0 || response.status == 200);
    http_free(http);
    http_response_clear(&response);
    server_stop(&server);
    return r;
}

static void what_is_under_way_when_all_is_cancelled_is_still_waited_for_a_moment(void **state)
{
    int r = -ERR_CANCELLED;

    (void)state;
    for (int i = 0; i < 5 && r == -ERR_CANCELLED; i++)
        r = ask_when_cancelled();
    assert_int_equal(r, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_that_says_later_is_asked_for_again),
        cmocka_unit_test(a_server_that_names_a_time_is_not_asked_before),
        cmocka_unit_test(patience_ends),
        cmocka_unit_test(patience_with_a_server_that_is_away_is_not_had_anew_with_each_request),
        cmocka_unit_test(patience_begins_anew_behind_an_answer),
        cmocka_unit_test(patience_begins_anew_when_nobody_has_asked_for_long),
        cmocka_unit_test(what_is_refused_is_not_asked_for_again),
        cmocka_unit_test(an_answer_that_is_cut_off_is_none),
        cmocka_unit_test(a_body_beyond_its_limit_is_refused_at_once),
        cmocka_unit_test(an_answer_in_two_parts_is_acknowledged_at_once),
        cmocka_unit_test(who_is_cancelled_does_not_wait_for_the_next_attempt),
        cmocka_unit_test(who_is_cancelled_does_not_wait_for_a_server_that_is_silent),
        cmocka_unit_test(what_is_under_way_when_all_is_cancelled_is_still_waited_for_a_moment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
