/* Which servers are talked to, and what is said of those that are not.  Real servers are in
 * tests/e2e/test_database.py. */
#include "backup/source/pg.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/progress.h"
#include "tests/harness/cmocka.h"

static int server_version; /* 0: nothing is pretended */

ConnStatusType __wrap_PQstatus(const PGconn *conn);
ConnStatusType __real_PQstatus(const PGconn *conn);
int __wrap_PQserverVersion(const PGconn *conn);
int __real_PQserverVersion(const PGconn *conn);

ConnStatusType __wrap_PQstatus(const PGconn *conn)
{
    return server_version ? CONNECTION_OK : __real_PQstatus(conn);
}

int __wrap_PQserverVersion(const PGconn *conn)
{
    return server_version ? server_version : __real_PQserverVersion(conn);
}

static const struct pg_server nowhere = {.host = "/nonexistent", .port = "1", .user = "nobody"};

static int connect_to(int version, struct err *err)
{
    CLEANUP(pg_closep) struct pg_conn *conn = NULL;

    server_version = version;
    /* Replication: no statement follows. */
    int r = pg_connect(&nowhere, NULL, PG_REPLICATION, &conn, err);
    server_version = 0;
    return r;
}

static void servers_from_13_to_18_are_talked_to(void **state)
{
    struct err err;

    (void)state;
    assert_int_equal(connect_to(130000, &err), 0);
    assert_int_equal(connect_to(180099, &err), 0);
}

static void an_old_server_is_refused_by_name(void **state)
{
    struct err err;

    (void)state;
    assert_int_equal(connect_to(120022, &err), -ERR_USAGE);
    assert_non_null(strstr(err.text, "PostgreSQL 12"));
}

static void a_server_newer_than_what_is_known_is_refused(void **state)
{
    struct err err;

    (void)state;
    assert_int_equal(connect_to(190001, &err), -ERR_USAGE);
    assert_non_null(strstr(err.text, "PostgreSQL 19"));
}

static void where_no_server_is_it_is_said(void **state)
{
    struct err err;

    (void)state;
    assert_int_equal(connect_to(0, &err), -ERR_REMOTE);
    assert_non_null(strstr(err.text, "POSTGRES_HOST"));
}

static void empty_variables_count_as_not_set(void **state)
{
    (void)state;
    setenv("POSTGRES_HOST", "", 1);
    setenv("POSTGRES_USER", "shopkeeper", 1);
    struct pg_server server = pg_server_of_environment();
    assert_null(server.host);
    assert_string_equal(server.user, "shopkeeper");
}

/* Takes in the connection that comes first, and says nothing more to anybody. */
static void *take_in_one(void *argument)
{
    static const uint8_t welcome[] = "R\0\0\0\x08\0\0\0\0"             /* authenticated */
                                     "K\0\0\0\x0C\0\0\0\x01\0\0\0\x02" /* its number and key */
                                     "Z\0\0\0\x05I";                   /* ready */
    int *listener = argument;
    uint8_t request[1000];
    int fd = accept4(*listener, NULL, NULL, SOCK_CLOEXEC);

    assert_true(fd >= 0 && read(fd, request, sizeof(request)) > 0);
    assert_int_equal(write(fd, welcome, sizeof(welcome) - 1), (ssize_t)sizeof(welcome) - 1);
    *listener = fd;
    return NULL;
}

static int listen_somewhere(char port[8])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&at, size), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
    (void)snprintf(port, 8, "%u", ntohs(at.sin_port));
    return fd;
}

static void a_server_that_does_not_answer_is_told_to_stop_once_and_not_waited_for(void **state)
{
    (void)state;
    static const uint8_t wanted[] = "\0\0\0\x10\x04\xD2\x16\x2E\0\0\0\x01\0\0\0\x02";
    char port[8];
    int listener = listen_somewhere(port), taken = listener;
    const struct pg_server server = {.host = "127.0.0.1", .port = port, .user = "nobody"};
    CLEANUP(pg_closep) struct pg_conn *conn = NULL;
    uint8_t got[16];
    pthread_t thread;
    struct err err;

    setenv("PGSSLMODE", "disable", 1);
    setenv("PGGSSENCMODE", "disable", 1);
    assert_int_equal(pthread_create(&thread, NULL, take_in_one, &taken), 0);
    server_version = 160000;
    int r = pg_connect(&server, NULL, PG_REPLICATION, &conn, &err);
    server_version = 0;
    assert_int_equal(r, 0);
    pthread_join(thread, NULL);

    int64_t begun = clock_monotonic_ns();
    pg_stop(conn);
    pg_stop(conn);
    assert_true(clock_monotonic_ns() - begun < 30 * NS_PER_SECOND);
    int told = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_int_equal(recv(told, got, sizeof(got), MSG_WAITALL), (ssize_t)sizeof(got));
    assert_memory_equal(got, wanted, sizeof(got));
    assert_int_equal(fcntl(listener, F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(accept4(listener, NULL, NULL, SOCK_CLOEXEC), -1);
    close(told);
    close(taken);
    close(listener);
}

/* Takes in the connection that comes first, is interrupted, and never says anything. */
struct silent {
    struct progress progress;
    int listener, taken;
};

static void *take_in_and_interrupt(void *argument)
{
    struct silent *silent = argument;

    silent->taken = accept4(silent->listener, NULL, NULL, SOCK_CLOEXEC);
    atomic_store(&silent->progress.cancelled, 1);
    return NULL;
}

static void
an_interrupt_ends_the_waiting_for_a_server_that_takes_connections_and_says_nothing(void **state)
{
    char port[8];
    struct silent silent = {.listener = listen_somewhere(port)};
    const struct pg_server server = {
        .host = "127.0.0.1", .port = port, .user = "nobody", .progress = &silent.progress};
    struct pg_conn *conn = NULL;
    pthread_t thread;
    struct err err;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, take_in_and_interrupt, &silent), 0);
    assert_int_equal(pg_connect(&server, NULL, PG_PLAIN, &conn, &err), -ERR_CANCELLED);
    assert_null(conn);
    pthread_join(thread, NULL);
    close(silent.taken);
    close(silent.listener);
}

static void who_is_interrupted_already_connects_to_nobody(void **state)
{
    struct progress progress = {.cancelled = 1};
    const struct pg_server server = {
        .host = "/nonexistent", .port = "1", .user = "nobody", .progress = &progress};
    struct pg_conn *conn = NULL;
    struct err err;

    (void)state;
    assert_int_equal(pg_connect(&server, NULL, PG_PLAIN, &conn, &err), -ERR_CANCELLED);
    assert_null(conn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(servers_from_13_to_18_are_talked_to),
        cmocka_unit_test(an_old_server_is_refused_by_name),
        cmocka_unit_test(a_server_newer_than_what_is_known_is_refused),
        cmocka_unit_test(where_no_server_is_it_is_said),
        cmocka_unit_test(empty_variables_count_as_not_set),
        cmocka_unit_test(a_server_that_does_not_answer_is_told_to_stop_once_and_not_waited_for),
        cmocka_unit_test(
            an_interrupt_ends_the_waiting_for_a_server_that_takes_connections_and_says_nothing),
        cmocka_unit_test(who_is_interrupted_already_connects_to_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
