"""Logical backups of databases that others change, and of servers that go away."""
import json
import signal
import subprocess
import threading
import time

import pytest

from conftest import suspended, wait_for
from postgres import LOGICAL, big_table, cat, copying, keeper, make_server, server  # noqa: F401 (fixtures)

pytestmark = LOGICAL


def only_copying(server):
    """pg_dump has read the schema, and the leader has asked its last question before it waits for the workers."""
    return server.sql("SELECT count(*) FROM pg_stat_activity leader JOIN pg_stat_activity worker USING (datname)"
                      " WHERE leader.query LIKE '%FROM pg_largeobject_metadata%' AND leader.pid <> pg_backend_pid()"
                      " AND worker.query LIKE 'COPY%' AND worker.state = 'active'") != "0"


def test_a_server_that_restarts_in_the_middle_is_told(keeper, server):
    server.sql("CREATE DATABASE shop")
    server.sql("CREATE TABLE small AS SELECT 1 AS i", "shop")
    before = keeper.backup(type="database")
    for i in range(6):
        big_table(server, f"t{i}", 100_000)
    process = keeper.start("backup", "--type", "database", "--bwlimit", "500K")
    wait_for(lambda: copying(server), "the first COPY")
    server.stop("immediate")
    server.start()
    out, err = process.communicate(timeout=120)
    assert process.returncode in (1, 3), err
    assert b"connection" in err or b"server" in err
    assert cat(keeper, "database/shop/public/small.copy", before) == b"1\n"
    keeper.verify()
    keeper.backup(type="database")
    assert cat(keeper, "database/shop/public/t5.copy").count(b"\n") == 100_000


ANEW = ["DROP TABLE {0}; CREATE TABLE {0} AS SELECT i FROM generate_series(1, 2000) i",
        "TRUNCATE {0}; INSERT INTO {0} SELECT i FROM generate_series(1, 2000) i",
        "ALTER TABLE {0} ALTER i TYPE bigint; ALTER TABLE {0} ALTER i TYPE int"]


@pytest.mark.parametrize("pause, times", [(0.3, 2), (0.05, 0.5)])
def test_a_table_that_is_made_anew_meanwhile_is_there_or_was_not(keeper, server, pause, times):
    """Tables come and go, are emptied and rewritten: what the snapshot has is whole, and nothing fails.
    In a snapshot older than what was done to them they show no rows."""
    server.sql("CREATE DATABASE shop")
    for i in range(40):
        server.sql(f"CREATE TABLE t{i} AS SELECT i FROM generate_series(1, 2000) i", "shop")
    over = threading.Event()
    # Who changes more often than pg_dump can read the schema lets no backup begin: on a slow machine that is less often.
    began = time.monotonic()
    server.run("pg_dump", "-s", "shop")
    pause = max(pause, times * (time.monotonic() - began))

    def come_and_go():
        i = 0
        while not over.is_set():
            server.sql(ANEW[i % 3].format(f"t{i % 40}"), "shop")
            i += 1
            over.wait(pause)

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(3):
            name = keeper.backup(type="database")
            manifest = json.loads(cat(keeper, "database/shop/manifest.json", name))
            assert len(manifest["tables"]) == 40
            for table in manifest["tables"]:
                assert table["rows"] == 2000 and table["complete"], table
    finally:
        over.set()
        thread.join()


@pytest.fixture
def one_by_one(keeper):
    """Tables are copied one at a time."""
    config = keeper.work / "one.conf"
    config.write_text("[database]\njobs = 1\n")
    keeper.env["YESTER_CONFIG"] = str(config)
    return keeper


def kept(keeper, path, name):
    return keeper.run("cat", f"{name}:{path}", rc=None).rc == 0


def test_schemas_that_get_other_names_meanwhile_are_what_they_were(one_by_one, server):
    """Renaming a schema waits for no table's lock."""
    server.sql("CREATE DATABASE shop")
    big_table(server, "big", 400_000)
    for schema in ("app", "staging", "gone"):
        server.sql(f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.orders AS SELECT '{schema}' AS who", "shop")
    process = one_by_one.start("backup", "--type", "database", "--bwlimit", "4M")
    wait_for(lambda: only_copying(server), "the first COPY")
    with suspended(process):
        server.sql("ALTER SCHEMA app RENAME TO old; ALTER SCHEMA staging RENAME TO app; ALTER SCHEMA gone RENAME TO \"Was \"\"it\"\"\"",
                   "shop")
    out, err = process.communicate(timeout=120)
    name = out.decode().split()[-1]
    assert process.returncode == 0, err
    manifest = json.loads(cat(one_by_one, "database/shop/manifest.json", name))
    assert [t["complete"] for t in manifest["tables"]] == [True] * 4
    for schema in ("app", "staging", "gone"):
        assert cat(one_by_one, f"database/shop/{schema}/orders.copy", name) == f"{schema}\n".encode()
    name = one_by_one.backup(type="database")
    assert cat(one_by_one, "database/shop/app/orders.copy", name) == b"staging\n"


def test_schemas_that_change_names_and_have_other_columns_are_what_they_were(one_by_one, server):
    """Blue and green: what has the name by now has not the columns."""
    server.sql("CREATE DATABASE shop")
    big_table(server, "big", 400_000)
    server.sql("CREATE SCHEMA blue; CREATE TABLE blue.orders AS SELECT 'blue' AS who;"
               "CREATE SCHEMA green; CREATE TABLE green.orders AS SELECT 'green' AS who, 1 AS more", "shop")
    process = one_by_one.start("backup", "--type", "database", "--bwlimit", "4M")
    wait_for(lambda: only_copying(server), "the first COPY")
    with suspended(process):
        server.sql("ALTER SCHEMA blue RENAME TO old; ALTER SCHEMA green RENAME TO blue; ALTER SCHEMA old RENAME TO green", "shop")
    out, err = process.communicate(timeout=120)
    name = out.decode().split()[-1]
    assert process.returncode == 0, err
    assert cat(one_by_one, "database/shop/blue/orders.copy", name) == b"blue\n"
    assert cat(one_by_one, "database/shop/green/orders.copy", name) == b"green\t1\n"


def test_locks_that_are_lost_meanwhile_leave_no_table_that_only_looks_whole(one_by_one, server):
    """The session that holds the locks is ended, and tables are made anew while another one is copied."""
    server.sql("CREATE DATABASE shop")
    big_table(server, "big", 400_000)
    for i in range(3):
        server.sql(f"CREATE TABLE t{i} AS SELECT i FROM generate_series(1, 2000) i", "shop")
    process = one_by_one.start("backup", "--type", "database", "--bwlimit", "4M")
    wait_for(lambda: only_copying(server), "the first COPY")
    with suspended(process):
        assert server.sql("SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE relation = 't0'::regclass"
                          " AND mode = 'AccessShareLock' AND granted AND pid <> pg_backend_pid()", "shop") == "1"
        for i in range(3):
            server.sql(ANEW[i].format(f"t{i}"), "shop")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 3 and b"shop/public/t0: it was made anew while it was read" in err.replace(b"cannot read ", b""), err
    name = out.decode().split()[-1]
    assert kept(one_by_one, "database/shop/public/big.copy", name)
    assert not any(kept(one_by_one, f"database/shop/public/t{i}.copy", name) for i in range(3))


def test_what_is_read_while_others_write_is_of_one_moment(keeper, server):
    """Money moves between accounts in different tables; each snapshot has all of it."""
    server.sql("CREATE DATABASE shop")
    server.run("pgbench", "-i", "-s", "2", "-q", "shop")
    load = subprocess.Popen(server.command(server.bin / "pgbench", "-T", "600", "-c", "2", "shop"), env=server.env,
                            cwd=server.directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(3):
            name = keeper.backup(type="database")
            sums = {}
            for table, column in (("accounts", 2), ("tellers", 2), ("branches", 1), ("history", 3)):
                lines = cat(keeper, f"database/shop/public/pgbench_{table}.copy", name).splitlines()
                sums[table] = sum(int(line.split(b"\t")[column]) for line in lines)
            assert len(set(sums.values())) == 1, sums
        assert load.poll() is None
    finally:
        load.send_signal(signal.SIGTERM)  # who started the tests may have SIGINT ignored
        load.wait(30)
