#include "backup/source/pgtree.h"

#include <stddef.h>

#include "tests/harness/cmocka.h"

#define VERSION "PG_15_202209061"

static enum pgtree_kind file(const char *directory, const char *name)
{
    return pgtree_judge(directory, name, false, VERSION);
}

static enum pgtree_kind directory(const char *above, const char *name)
{
    return pgtree_judge(above, name, true, VERSION);
}

static void what_the_running_server_has_for_itself_is_left_out(void **state)
{
    (void)state;
    static const char *const left_out[] = {
        "postmaster.pid",  "postmaster.opts",          "backup_label",         "tablespace_map",
        "backup_manifest", "postgresql.auto.conf.tmp", "current_logfiles.tmp", "pg_internal.init",
    };
    static const char *const kept[] = {
        "postgresql.auto.conf", "current_logfiles", "PG_VERSION",          "pg_hba.conf",
        "backup_label.old",     "standby.signal",   "logical_replication", "postmaster.pid.old",
    };

    for (size_t i = 0; i < sizeof(left_out) / sizeof(left_out[0]); i++)
        assert_true(file("", left_out[i]) == PGTREE_NONE);
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
        assert_true(file("", kept[i]) == PGTREE_FILE);
    assert_true(file("base/5", "pg_internal.init.4711") == PGTREE_NONE);
    assert_true(file("base/5", "pg_filenode.map") == PGTREE_FILE);
    assert_true(file("global", "pg_control") == PGTREE_CONTROL);
    assert_true(file("base/5", "pg_control") == PGTREE_FILE);
}

static void temporary_files_are_left_out_wherever_they_are(void **state)
{
    (void)state;

    assert_true(directory("base", "pgsql_tmp") == PGTREE_NONE);
    assert_true(file("base/5", "pgsql_tmp12.0") == PGTREE_NONE);
    assert_true(file("base/5", "t3_16384") == PGTREE_NONE);
    assert_true(file("base/5", "t3_16384_fsm") == PGTREE_NONE);
    assert_true(file("base/5", "t3_16384.2") == PGTREE_NONE);
    assert_true(file("pg_tblspc/16400/" VERSION "/5", "t3_16384") == PGTREE_NONE);
    assert_true(file("log", "t3_16384") == PGTREE_FILE);
    assert_true(file("base/5", "t3_x") == PGTREE_FILE);
    assert_true(file("base/5", "t_1") == PGTREE_FILE);
}

static void some_directories_come_empty(void **state)
{
    (void)state;
    static const char *const empty[] = {"pg_dynshmem",  "pg_notify",   "pg_replslot", "pg_serial",
                                        "pg_snapshots", "pg_stat_tmp", "pg_subtrans"};

    for (size_t i = 0; i < sizeof(empty) / sizeof(empty[0]); i++) {
        assert_true(directory("", empty[i]) == PGTREE_EMPTY);
        assert_true(directory("mine", empty[i]) == PGTREE_DIRECTORY);
    }
    assert_true(directory("", "pg_stat") == PGTREE_DIRECTORY);
    assert_true(directory("", "pg_wal") == PGTREE_DIRECTORY);
    assert_true(directory("pg_wal", "archive_status") == PGTREE_EMPTY);
    assert_true(directory("pg_wal", "summaries") == PGTREE_EMPTY);
    assert_true(directory("pg_wal", "lost+found") == PGTREE_NONE);
    assert_true(file("pg_wal", "000000010000000000000001") == PGTREE_NONE);
}

static void of_a_tablespace_its_own_directory_is_taken(void **state)
{
    (void)state;

    assert_true(directory("pg_tblspc", "16400") == PGTREE_DIRECTORY);
    assert_true(directory("pg_tblspc", "16400x") == PGTREE_NONE);
    assert_true(directory("pg_tblspc/16400", VERSION) == PGTREE_DIRECTORY);
    assert_true(directory("pg_tblspc/16400", "PG_14_202107181") == PGTREE_NONE);
    assert_true(file("pg_tblspc/16400", "stray") == PGTREE_NONE);
    assert_true(file("pg_tblspc", "16400") == PGTREE_NONE);
    assert_true(directory("pg_tblspc/16400/" VERSION, "5") == PGTREE_DIRECTORY);
    assert_true(file("pg_tblspc/16400/" VERSION "/5", "16384") == PGTREE_FILE);
}

static void directories_of_relations_are_known(void **state)
{
    (void)state;

    assert_true(pgtree_is_database("base/5"));
    assert_true(pgtree_is_database("pg_tblspc/16400/" VERSION "/5"));
    assert_false(pgtree_is_database("base"));
    assert_false(pgtree_is_database("base/5/6"));
    assert_false(pgtree_is_database("base/x5"));
    assert_false(pgtree_is_database("global"));
    assert_false(pgtree_is_database("pg_tblspc/16400"));
    assert_false(pgtree_is_database("pg_tblspc/16400/" VERSION));
    assert_false(pgtree_is_database("pg_tblspc/x/" VERSION "/5"));
    assert_true(pgtree_has_pages("global"));
    assert_true(pgtree_has_pages("base/5"));
    assert_false(pgtree_has_pages("pg_xact"));
}

static void names_of_relations_are_taken_apart(void **state)
{
    (void)state;
    struct pgtree_relation relation;

    assert_true(pgtree_relation("16384", &relation));
    assert_string_equal(relation.number, "16384");
    assert_false(relation.temporary || relation.init);
    assert_true(relation.segment == 0);
    assert_true(pgtree_relation("16384_vm.31", &relation) && relation.segment == 31);
    assert_true(pgtree_relation("4294967295_init", &relation) && relation.init);
    assert_true(pgtree_relation("t10_16384", &relation) && relation.temporary);
    assert_string_equal(relation.number, "16384");
    assert_false(pgtree_relation("16384_x", &relation));
    assert_false(pgtree_relation("16384.", &relation));
    assert_false(pgtree_relation("16384.x", &relation));
    assert_false(pgtree_relation("16384.1.2", &relation));
    assert_false(pgtree_relation("16384_fsm_init", &relation));
    assert_false(pgtree_relation("12345678901", &relation));
    assert_false(pgtree_relation("PG_VERSION", &relation));
    assert_false(pgtree_relation("", &relation));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_running_server_has_for_itself_is_left_out),
        cmocka_unit_test(temporary_files_are_left_out_wherever_they_are),
        cmocka_unit_test(some_directories_come_empty),
        cmocka_unit_test(of_a_tablespace_its_own_directory_is_taken),
        cmocka_unit_test(directories_of_relations_are_known),
        cmocka_unit_test(names_of_relations_are_taken_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
