"""PostgreSQL, logical: every database as a tree of files.  A real server; judged by its own tools."""
import json
import os
import re
import signal
import subprocess
import threading
import time

import pytest

from conftest import NOBODY, ROOT, wait_for
from pgserver import Server, bindir

AWKWARD = ROOT / "tests" / "harness" / "awkward_schema.sql"

pytestmark = [pytest.mark.skipif(bindir() is None, reason="no PostgreSQL server here"),
              pytest.mark.xdist_group("postgres")]


def settings(server, **more):
    """What the program is told of a server."""
    return {"PATH": f"{server.bin}:{os.environ['PATH']}", "POSTGRES_HOST": str(server.directory),
            "POSTGRES_PORT": str(server.port), "POSTGRES_USER": "postgres", **more}


@pytest.fixture
def make_server(work):
    servers = []

    def make(name="pg", *options):
        server = Server(work / name, user=NOBODY if os.geteuid() == 0 else None)
        servers.append(server)
        server.init(*options)
        return server.start()

    yield make
    for server in servers:
        server.stop("immediate")


@pytest.fixture
def server(make_server):
    return make_server()


@pytest.fixture
def keeper(yester, server):
    """The program with the server's settings."""
    yester.env.update(settings(server))
    return yester


def fill(server, database="shop"):
    server.sql(f'CREATE DATABASE "{database}"')
    server.run("psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, "-f", AWKWARD)


def cat(yester, path, snapshot="latest"):
    return yester.run("cat", f"{snapshot}:{path}").out


def rows(data):
    return sorted(data.splitlines())


@pytest.mark.quick
def test_each_table_is_a_file_of_its_rows(keeper, server):
    fill(server)
    keeper.backup(type="database")
    for table, file in (("users", "public/users"), ("empty_table", "public/empty_table"),
                        ("no_columns", "public/no_columns"), ("events_2024", "public/events_2024"),
                        ('"we/ird ""Schema%"."Tab/le ""é%.x"', 'we%2Fird "Schema%25/Tab%2Fle "é%25.x')):
        want = server.run("psql", "-Xqd", "shop", "-c", f"COPY {table} TO STDOUT",
                          env={"PGOPTIONS": "-c timezone=UTC"}).stdout.encode()
        assert rows(cat(keeper, f"database/shop/{file}.copy")) == rows(want), table
    manifest = json.loads(cat(keeper, "database/shop/manifest.json"))
    counts = {table["name"]: table["rows"] for table in manifest["tables"]}
    assert counts["users"] == 1000 and counts["empty_table"] == 0 and counts["no_columns"] == 2
    assert counts["events_2024"] == 366 and "events" not in counts
    assert manifest["complete"]
    assert re.fullmatch(r"[0-9A-F]+/[0-9A-F]+", manifest["lsn"])
    assert cat(keeper, "database/shop/large_objects/4713") == b"\x00\xff" * 5000
    assert cat(keeper, "database/shop/large_objects/4712") == b""
    assert b"CREATE ROLE keeper" in cat(keeper, "database/globals.sql")
    keeper.verify()


@pytest.mark.quick
def test_a_sql_file_loads_into_the_schema_by_psql(keeper, server, work):
    fill(server)
    keeper.backup(type="database")
    out = keeper.fresh("out")
    keeper.restore("latest", target=out)
    top = out / "database" / "shop"
    server.sql('CREATE DATABASE "again"')
    subprocess.run(["chmod", "-R", "a+rX", out], check=True)
    server.run("pg_restore", "--section=pre-data", "-d", "again", top / "schema.dump")
    for file in sorted(top.glob("*/*.sql")):
        if file.name != "objects.sql":
            server.run("psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-d", "again", "-f", file)
    for table in ("users", "guarded", "events", "no_columns", '"we/ird ""Schema%"."Tab/le ""é%.x"'):
        query = f"SELECT count(*), md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} t"
        assert server.sql(query, "again") == server.sql(query, "shop"), table


@pytest.mark.quick
def test_an_unchanged_database_costs_next_to_nothing_again(keeper, server):
    server.sql("CREATE DATABASE shop")
    server.sql("CREATE TABLE t AS SELECT i, md5(i::text) AS x, md5((i + 1)::text) AS y FROM generate_series(1, 100000) i", "shop")
    keeper.backup(type="database")
    first = keeper.stored()
    keeper.backup(type="database")
    assert keeper.stored() - first < 30_000 < first / 20
    server.sql("UPDATE t SET x = 'changed' WHERE i = 50000", "shop")
    keeper.backup(type="database")
    assert keeper.stored() - first < first / 4


@pytest.mark.quick
def test_without_a_server_there_is_no_snapshot(keeper, server):
    server.stop()
    result = keeper.run("backup", "--type", "database", rc=1)
    assert "is the server running" in result.errors and "POSTGRES_HOST" in result.errors
    assert keeper.snapshots() == []


@pytest.mark.quick
def test_a_wrong_password_is_told_and_never_shown(yester, make_server):
    server = make_server("pg", "--auth-host=scram-sha-256")
    server.configure(listen_addresses="'127.0.0.1'")
    server.stop()
    server.start()
    server.sql("ALTER ROLE postgres PASSWORD 'right-one'")
    yester.env.update(settings(server, POSTGRES_HOST="127.0.0.1", POSTGRES_PASSWORD="wrong-one"))
    result = yester.run("backup", "--type", "database", rc=1)
    assert "password authentication failed" in result.errors and "wrong-one" not in result.errors
    yester.env["POSTGRES_PASSWORD"] = ""
    assert "none was given" in yester.run("backup", "--type", "database", rc=1).errors
    yester.env["POSTGRES_PASSWORD"] = "right-one"
    yester.backup(type="database")


@pytest.mark.quick
def test_a_missing_right_is_named_with_the_table(keeper, server):
    fill(server)
    server.sql("CREATE ROLE reader LOGIN; GRANT pg_read_all_data TO reader")
    keeper.env["POSTGRES_USER"] = "reader"
    result = keeper.run("backup", "--type", "database", rc=3)
    # Row-level security hides rows from whoever may not look past it.
    assert "guarded" in result.errors and "BYPASSRLS" in result.errors
    name = result.lines[-1]
    assert b"name 1" in cat(keeper, "database/shop/public/users.copy", name)
    assert keeper.run("cat", f"{name}:database/shop/public/guarded.copy", rc=None).rc != 0
    server.sql("CREATE ROLE nobody_much LOGIN")
    keeper.env["POSTGRES_USER"] = "nobody_much"
    result = keeper.run("backup", "--type", "database", rc=3)
    assert "permission denied for table" in result.errors and "pg_read_all_data" in result.errors


@pytest.mark.quick
def test_databases_that_are_not_named_are_left_out(keeper, server):
    for name in ("one", "two", "three"):
        server.sql(f"CREATE DATABASE {name}")
    keeper.env["POSTGRES_DB"] = "one,two"
    keeper.backup(type="database")
    listed = keeper.run("ls", "latest:database").text
    assert "one" in listed and "two" in listed and "three" not in listed and "postgres" not in listed
    keeper.env["POSTGRES_DB"] = "one,nowhere"
    result = keeper.run("backup", "--type", "database", rc=3)
    assert '"nowhere" does not exist' in result.errors


@pytest.mark.quick
def test_all_is_files_config_and_database_in_one_snapshot(keeper, server, tree):
    server.sql("CREATE DATABASE shop")
    config = keeper.work / "yester.conf"
    config.write_text(f"[files]\npaths = {tree}\n[config]\npaths = {tree}/app\n")
    keeper.env["YESTER_CONFIG"] = str(config)
    name = keeper.run("backup", "--type", "all").lines[-1]
    assert keeper.snapshots()[-1]["name"] == name
    listed = keeper.run("ls", name).text
    assert "files" in listed and "config" in listed and "database" in listed
    manifest = json.loads(cat(keeper, "database/manifest.json", name))
    assert {d["name"] for d in manifest["databases"]} >= {"shop"}
    assert all(re.fullmatch(r"[0-9A-F]+/[0-9A-F]+", d["lsn"]) for d in manifest["databases"])


def big_table(server, name, rows=300_000):
    server.sql(f"CREATE TABLE {name} AS SELECT i, repeat(md5(i::text), 8) AS x FROM generate_series(1, {rows}) i", "shop")


def copying(server):
    return server.sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%'") != "0"


def test_a_server_that_restarts_in_the_middle_is_told(keeper, server):
    server.sql("CREATE DATABASE shop")
    server.sql("CREATE TABLE small AS SELECT 1 AS i", "shop")
    before = keeper.backup(type="database")
    for i in range(6):
        big_table(server, f"t{i}")
    process = keeper.start("backup", "--type", "database")
    wait_for(lambda: copying(server), "the first COPY")
    server.stop("immediate")
    server.start()
    out, err = process.communicate(timeout=120)
    assert process.returncode in (1, 3), err
    assert b"connection" in err or b"server" in err
    assert cat(keeper, "database/shop/public/small.copy", before) == b"1\n"
    keeper.verify()
    keeper.backup(type="database")
    assert cat(keeper, "database/shop/public/t5.copy").count(b"\n") == 300_000


def test_a_table_that_is_dropped_meanwhile_is_there_or_was_not(keeper, server):
    """Tables come and go: what the snapshot has is whole, and nothing fails."""
    server.sql("CREATE DATABASE shop")
    for i in range(40):
        server.sql(f"CREATE TABLE t{i} AS SELECT i FROM generate_series(1, 2000) i", "shop")
    over = threading.Event()

    def come_and_go():
        i = 0
        while not over.is_set():
            server.sql(f"DROP TABLE t{i % 40}; CREATE TABLE t{i % 40} AS SELECT i FROM generate_series(1, 2000) i", "shop")
            i += 1
            over.wait(0.3)

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(3):
            name = keeper.backup(type="database")
            manifest = json.loads(cat(keeper, "database/shop/manifest.json", name))
            for table in manifest["tables"]:
                assert table["rows"] == 2000 and table["complete"], table
    finally:
        over.set()
        thread.join()


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
        load.send_signal(signal.SIGINT)
        load.wait(30)


def test_an_interrupt_publishes_nothing(keeper, server):
    server.sql("CREATE DATABASE shop")
    for i in range(4):
        big_table(server, f"t{i}", 1_000_000)
    process = keeper.start("backup", "--type", "database")
    wait_for(lambda: copying(server), "the first COPY")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    assert keeper.snapshots() == []
    wait_for(lambda: not copying(server), "the end of every COPY")
