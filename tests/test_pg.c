/* Which servers are talked to, and what is said of those that are not.  Real servers are in
 * tests/e2e/test_database.py. */
#include "backup/source/pg.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(servers_from_13_to_18_are_talked_to),
        cmocka_unit_test(an_old_server_is_refused_by_name),
        cmocka_unit_test(a_server_newer_than_what_is_known_is_refused),
        cmocka_unit_test(where_no_server_is_it_is_said),
        cmocka_unit_test(empty_variables_count_as_not_set),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
