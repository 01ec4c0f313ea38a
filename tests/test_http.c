#include "backup/net/http.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "tests/harness/cmocka.h"

enum { ANSWERS_MAX = 16 };

/* Gives its answers one after the other, each on a connection of its own. */
struct server {
    int fd;
    char url[64];
    pthread_t thread;
    const char *const *answers;
    _Atomic unsigned asked;
};

static void *serve(void *argument)
{
    struct server *server = argument;
    char request[4096];

    for (size_t i = 0; server->answers[i]; i++) {
        int client = accept(server->fd, NULL, NULL);
        if (client < 0)
            break;
        (void)!read(client, request, sizeof(request));
        server->asked++;
        (void)!write(client, server->answers[i], strlen(server->answers[i]));
        shutdown(client, SHUT_WR);
        while (read(client, request, sizeof(request)) > 0)
            continue;
        close(client);
    }
    return NULL;
}

static void server_start(struct server *server, const char *const *answers)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);

    *server = (struct server){.answers = answers};
    server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server->fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(server->fd, 8), 0);
    assert_int_equal(getsockname(server->fd, (struct sockaddr *)&address, &size), 0);
    (void)snprintf(server->url, sizeof(server->url), "http://127.0.0.1:%u/x",
                   ntohs(address.sin_port));
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void server_stop(struct server *server)
{
    shutdown(server->fd, SHUT_RDWR);
    pthread_join(server->thread, NULL);
    close(server->fd);
}

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
