"""PostgreSQL, logical: every database as a tree of files.  A real server; judged by its own tools."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from conftest import BIN, NOBODY, ROOT, same, wait_for
from pgserver import Server, bindir, dumps, major

AWKWARD = ROOT / "tests" / "harness" / "awkward_schema.sql"

pytestmark = [pytest.mark.skipif(bindir() is None, reason="no PostgreSQL server here"),
              pytest.mark.skipif(not dumps(), reason="pg_dump is older than the server"),
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


# What pg_read_all_data is from 14 on.
READS_ALL = """DO $$ DECLARE s text; BEGIN FOR s IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' LOOP
EXECUTE format('GRANT USAGE ON SCHEMA %1$I TO reader; GRANT SELECT ON ALL TABLES IN SCHEMA %1$I TO reader;
GRANT SELECT ON ALL SEQUENCES IN SCHEMA %1$I TO reader', s); END LOOP; END $$"""


@pytest.mark.quick
def test_a_missing_right_is_named_with_the_table(keeper, server):
    fill(server)
    server.sql("CREATE ROLE reader LOGIN")
    server.sql("GRANT pg_read_all_data TO reader" if major() >= 14 else READS_ALL, "shop")
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
    assert "permission denied for" in result.errors and ("pg_read_all_data" in result.errors) == (major() >= 14)
    assert "SELECT on it" in result.errors


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
    # Whoever looks is told what is not kept.
    assert "left out    database three" in keeper.run("status").text
    assert keeper.run("--json", "status").json()["databases_left_out"] == ["postgres", "three"]


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


def only_copying(server):
    """pg_dump has read the schema, and the leader has asked its last question before it waits for the workers."""
    waiting = server.sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%FROM pg_largeobject_metadata%'"
                         " AND pid <> pg_backend_pid()") != "0"
    return waiting and copying(server)


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


ANEW = ["DROP TABLE {0}; CREATE TABLE {0} AS SELECT i FROM generate_series(1, 2000) i",
        "TRUNCATE {0}; INSERT INTO {0} SELECT i FROM generate_series(1, 2000) i",
        "ALTER TABLE {0} ALTER i TYPE bigint; ALTER TABLE {0} ALTER i TYPE int"]


@pytest.mark.parametrize("pause", [0.3, 0.05])
def test_a_table_that_is_made_anew_meanwhile_is_there_or_was_not(keeper, server, pause):
    """Tables come and go, are emptied and rewritten: what the snapshot has is whole, and nothing fails.
    In a snapshot older than what was done to them they show no rows."""
    server.sql("CREATE DATABASE shop")
    for i in range(40):
        server.sql(f"CREATE TABLE t{i} AS SELECT i FROM generate_series(1, 2000) i", "shop")
    over = threading.Event()

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


def sessions(server):
    return int(server.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name IN ('yester', 'pg_dump')"))


def interrupt(process, within=3):
    """SIGINT, and how it ended; the machine may be busy."""
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert time.monotonic() - started < within
    return err


def test_an_interrupt_publishes_nothing(keeper, server):
    server.sql("CREATE DATABASE shop")
    for i in range(4):
        big_table(server, f"t{i}", 1_000_000)
    process = keeper.start("backup", "--type", "database")
    wait_for(lambda: copying(server), "the first COPY")
    interrupt(process)
    assert keeper.snapshots() == []
    wait_for(lambda: sessions(server) == 0, "the end of every session")


def test_an_interrupt_does_not_wait_for_a_server_that_says_nothing(keeper, server):
    """The server's side of a COPY stands still."""
    server.sql("CREATE DATABASE shop")
    big_table(server, "t", 1_000_000)
    process = keeper.start("backup", "--type", "database")
    wait_for(lambda: copying(server), "the first COPY")
    pids = [int(pid) for pid in server.sql("SELECT pid FROM pg_stat_activity WHERE query LIKE 'COPY%'").split()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        interrupt(process)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    assert keeper.snapshots() == []
    wait_for(lambda: sessions(server) == 0, "the end of every session")


def test_an_interrupt_ends_waiting_for_a_lock(keeper, server):
    server.sql("CREATE DATABASE shop")
    server.sql("CREATE TABLE t AS SELECT 1 AS i", "shop")
    holder = subprocess.Popen(server.command(server.bin / "psql", "-Xq", "-d", "shop"), env=server.env,
                              cwd=server.directory, stdin=subprocess.PIPE)
    try:
        holder.stdin.write(b"BEGIN; LOCK TABLE t;\n")
        holder.stdin.flush()
        wait_for(lambda: server.sql("SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock'") != "0", "the lock")
        process = keeper.start("backup", "--type", "database")
        wait_for(lambda: server.sql("SELECT count(*) FROM pg_locks WHERE NOT granted") != "0", "somebody who waits")
        interrupt(process)
        wait_for(lambda: sessions(server) == 0, "the end of every session")
    finally:
        holder.communicate(b"ROLLBACK;\n", timeout=30)
    assert keeper.snapshots() == []
    keeper.backup(type="database")


@pytest.fixture
def silent():
    """A server that takes connections in and says nothing; how many it has taken."""
    listener = socket.create_server(("127.0.0.1", 0))
    taken = []

    def take():
        try:
            while True:
                taken.append(listener.accept()[0])
        except OSError:
            pass  # it was closed

    threading.Thread(target=take, daemon=True).start()
    yield {"POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": str(listener.getsockname()[1])}, taken
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for connection in taken:
        connection.close()


@pytest.mark.parametrize("how", [(), ("--physical",)])
def test_an_interrupt_does_not_wait_for_a_server_that_takes_connections_and_says_nothing(yester, silent, how):
    env, taken = silent
    process = yester.start("backup", "--type", "database", *how, env=env)
    wait_for(lambda: taken, "the connection")
    interrupt(process)
    assert yester.snapshots() == []


def test_an_interrupted_restore_does_not_wait_for_a_server_that_says_nothing(keeper, server, silent):
    server.sql("CREATE DATABASE shop")
    keeper.backup(type="database")
    env, taken = silent
    process = keeper.start("restore", "latest", "--type", "database", env=env)
    wait_for(lambda: taken, "the connection")
    interrupt(process)


def test_a_receiver_that_is_told_to_end_does_not_wait_for_a_server_that_says_nothing(yester, silent):
    env, taken = silent
    process = yester.start("wal", "receive", env=env)
    wait_for(lambda: taken, "the connection")
    process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and b"stored" not in err, err
    assert time.monotonic() - started < 3


# ---- restore -------------------------------------------------------------------------------------

def dump(server, database, *more):
    """What pg_dump says of it, each table's rows sorted."""
    text = server.run("pg_dump", "--restrict-key=yester", "-d", database, *more).stdout
    out, rows = [], None
    for line in text.splitlines():
        if rows is None:
            out.append(line)
            rows = [] if re.match(r"COPY .* FROM stdin;$", line) else None
        elif line == r"\.":
            out += [*sorted(rows), line]
            rows = None
        else:
            rows.append(line)
    return out


def databases(server):
    return set(server.sql("SELECT datname FROM pg_database WHERE NOT datistemplate").splitlines())


def roles(server):
    """All of them with their passwords."""
    text = server.run("pg_dumpall", "--globals-only", "--restrict-key=yester").stdout
    return [line for line in text.splitlines() if not line.startswith("--")]


def pointed_at(yester, server):
    yester.env.update(settings(server))
    return yester


@pytest.mark.quick
def test_a_fresh_server_gets_all_back_as_it_was(keeper, server, make_server):
    fill(server)
    server.sql('CREATE DATABASE "odd/Näme \'x"')
    server.sql("CREATE TABLE t AS SELECT 1 AS i", "odd/Näme 'x")
    keeper.backup(type="database")
    fresh = make_server("fresh")
    result = pointed_at(keeper, fresh).run("restore", "latest", "--type", "database")
    assert "role postgres exists and stays as it is" in result.errors
    assert databases(fresh) == databases(server)
    for database in ("shop", "odd/Näme 'x"):
        options = ("--create", "--large-objects" if major("pg_dump") > 15 else "--blobs")
        assert dump(fresh, database, *options) == dump(server, database, *options)
    assert roles(fresh) == roles(server)
    assert fresh.sql("SELECT n FROM totals2", "shop") == "1000"
    assert fresh.sql("SHOW work_mem", "shop") == "5MB"
    # Row-level security keeps others out again.
    assert fresh.sql("SET ROLE keeper; SELECT count(*) FROM guarded", "shop") == "1"


def test_a_database_that_is_not_empty_is_refused_or_renamed(keeper, server):
    server.sql("CREATE DATABASE shop")
    server.sql("CREATE TABLE t AS SELECT 1 AS i", "shop")
    keeper.backup(type="database")
    server.sql("UPDATE t SET i = 2", "shop")
    result = keeper.run("restore", "latest", "--type", "database", rc=1)
    assert "exists and is not empty" in result.errors and "--overwrite always" in result.errors
    assert server.sql("SELECT i FROM t", "shop") == "2"
    keeper.run("restore", "latest", "--type", "database", "--overwrite", "always")
    assert server.sql("SELECT i FROM t", "shop") == "1"
    old = [name for name in databases(server) if re.fullmatch(r"shop_before_\d{8}_\d{6}", name)]
    assert len(old) == 1 and server.sql("SELECT i FROM t", old[0]) == "2"
    assert databases(server) == {"postgres", "shop", old[0]}
    keeper.run("restore", "latest", "database/shop", "--into", "shop_copy")
    assert server.sql("SELECT i FROM t", "shop_copy") == "1"


def test_a_database_somebody_is_connected_to_stays_in_its_place(keeper, server):
    server.sql("CREATE DATABASE shop")
    server.sql("CREATE TABLE t AS SELECT 1 AS i", "shop")
    keeper.backup(type="database")
    session = subprocess.Popen(server.command(server.bin / "psql", "-Xq", "-d", "shop"), env=server.env,
                               cwd=server.directory, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: server.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop'") != "0", "psql")
        result = keeper.run("restore", "latest", "--type", "database", "--overwrite", "always", rc=11)
        assert "connected" in result.errors
        assert databases(server) == {"postgres", "shop"}
    finally:
        session.communicate(b"\\q\n")


def test_a_dry_run_loads_nothing(keeper, server, make_server):
    fill(server)
    keeper.backup(type="database")
    fresh = make_server("fresh")
    before = roles(fresh), databases(fresh)
    result = pointed_at(keeper, fresh).run("restore", "latest", "--type", "database", "--dry-run")
    assert "would load database shop" in result.text
    assert (roles(fresh), databases(fresh)) == before


@pytest.mark.quick
def test_one_table_and_one_schema_come_into_a_new_schema(keeper, server):
    fill(server)
    keeper.backup(type="database")
    server.sql("DELETE FROM users WHERE id > 10", "shop")
    keeper.run("restore", "latest", "database/shop/public/users", "--into", "rescued")
    assert server.sql("SELECT count(*), max(upper_name) FROM rescued.users", "shop").startswith("1000|NAME 999")
    assert server.sql("SELECT count(*) FROM public.users", "shop") == "10"
    assert "PRIMARY KEY" in server.sql(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'rescued.users'::regclass", "shop")
    # Once more into the same: nothing that is there is touched.
    result = keeper.run("restore", "latest", "database/shop/public/users", "--into", "rescued", rc=1)
    assert "is there already" in result.errors and "--into" in result.errors
    name = keeper.snapshots()[-1]["name"]
    keeper.run("restore", "latest:database/shop/public")
    assert server.sql(f"SELECT count(*) FROM public_{name}.events_2024", "shop") == "366"
    result = keeper.run("restore", "latest", "database/shop/public/nothing", "--into", "x", rc=1)
    assert "no table" in result.errors


def test_a_load_that_fails_leaves_nothing_behind(keeper, server):
    server.sql("CREATE DATABASE shop")
    # Rows are refused while the view is empty, and the view is filled when all rows are there.
    server.sql("CREATE TABLE a (i int); CREATE TABLE b (i int); INSERT INTO a VALUES (1); INSERT INTO b VALUES (1);"
               "CREATE MATERIALIZED VIEW v AS SELECT i FROM a;"
               "CREATE FUNCTION filled() RETURNS bool LANGUAGE sql AS 'SELECT EXISTS (SELECT FROM public.v)';"
               "ALTER TABLE b ADD CHECK (filled())", "shop")
    keeper.backup(type="database")
    result = keeper.run("restore", "latest", "database/shop", "--into", "again", rc=1)
    assert "has not been populated" in result.errors
    assert databases(server) == {"postgres", "shop"}


def test_an_interrupted_load_is_taken_away_again(keeper, server):
    server.sql("CREATE DATABASE shop")
    big_table(server, "t", 1_000_000)
    keeper.backup(type="database")
    process = keeper.start("restore", "latest", "database/shop", "--into", "copy")
    wait_for(lambda: copying(server), "the COPY")
    interrupt(process, within=6)  # DROP DATABASE checkpoints
    assert databases(server) == {"postgres", "shop"}
    wait_for(lambda: sessions(server) == 0, "the end of every session")


def test_what_the_snapshot_has_not_whole_is_not_loaded_as_if_it_were(keeper, server):
    fill(server)
    server.sql("CREATE ROLE reader LOGIN; GRANT pg_read_all_data TO reader")
    name = keeper.run("backup", "--type", "database", rc=3, env={"POSTGRES_USER": "reader"}).lines[-1]
    result = keeper.run("restore", name, "database/shop", "--into", "again", rc=1)
    assert "not all of the database shop" in result.errors
    assert "again" not in databases(server)
    keeper.run("restore", name, "database/shop/public/users", "--into", "rescued")
    assert server.sql("SELECT count(*) FROM rescued.users", "shop") == "1000"


def test_two_thousand_tables_come_back(keeper, server, make_server):
    server.sql("CREATE DATABASE many")
    for at in range(0, 2000, 250):
        server.sql(";".join(f"CREATE TABLE t{i} (id int PRIMARY KEY, x text); INSERT INTO t{i} VALUES (1, 'row {i}')"
                            for i in range(at, at + 250)), "many")
    keeper.backup(type="database")
    fresh = make_server("fresh")
    pointed_at(keeper, fresh).run("restore", "latest", "--type", "database")
    assert dump(fresh, "many") == dump(server, "many")


@pytest.mark.long
def test_pgbench_at_scale_50_comes_back_while_it_was_written(keeper, server, make_server):
    server.configure(shared_buffers="256MB", max_wal_size="4GB")
    server.stop()
    server.start()
    server.sql("CREATE DATABASE shop")
    server.run("pgbench", "-i", "-s", "50", "-q", "shop")
    load = subprocess.Popen(server.command(server.bin / "pgbench", "-T", "3600", "-c", "4", "shop"), env=server.env,
                            cwd=server.directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        keeper.backup(type="database")
        assert load.poll() is None
    finally:
        load.send_signal(signal.SIGTERM)  # who started the tests may have SIGINT ignored
        load.wait(60)
    fresh = make_server("fresh")
    pointed_at(keeper, fresh).run("restore", "latest", "--type", "database", timeout=1800)
    sums = fresh.sql("SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(bbalance) FROM pgbench_branches),"
                     " (SELECT sum(tbalance) FROM pgbench_tellers), (SELECT sum(delta) FROM pgbench_history)", "shop")
    assert len(set(sums.split("|"))) == 1, sums
    assert fresh.sql("SELECT count(*) FROM pgbench_accounts", "shop") == "5000000"


def test_who_may_not_make_databases_is_told_before_anything_is_done(keeper, server):
    server.sql("CREATE DATABASE shop")
    server.sql("CREATE TABLE t AS SELECT 1 AS i", "shop")
    keeper.backup(type="database")
    server.sql("CREATE ROLE poor LOGIN")
    before = roles(server), databases(server)
    result = keeper.run("restore", "latest", "database/shop", "--into", "again", rc=1, env={"POSTGRES_USER": "poor"})
    assert "CREATEDB" in result.errors
    assert (roles(server), databases(server)) == before


def onto_root(yester, tmp, *args, rc=0, env=None):
    """restore --target / where / is a file system of its own, with the test's directory at its place."""
    root = yester.fresh("root")
    script = ('mount -t tmpfs none "$0" && for d in /usr /bin /sbin /lib /lib64 /etc /proc /dev "$1" "$2"; do '
              '[ ! -e "$d" ] || { mkdir -p "$0$d" && mount --rbind "$d" "$0$d"; } || exit 99; done; '
              'mkdir -p "$0/var/tmp" "$0/tmp" && exec chroot "$0" "$2/${BIN##*/}" "${@:3}"')
    prefix = ["unshare", "--mount", "--propagation", "private", "bash", "-c", script, str(root), str(tmp), os.path.dirname(BIN)]
    result = subprocess.run([*prefix, "restore", "latest", "--target", "/", *args], capture_output=True, text=True,
                            env={**yester.env, "BIN": BIN, **(env or {})}, timeout=120)
    assert result.returncode == rc, result
    return result


@pytest.mark.root
def test_onto_the_root_come_config_then_the_database_then_files(keeper, server, make_server, tree, work):
    server.sql("CREATE DATABASE shop")
    server.sql("CREATE TABLE t AS SELECT 7 AS i", "shop")
    config = keeper.work / "yester.conf"
    config.write_text(f"[files]\npaths = {tree}\n[config]\npaths = {tree}/src\n")
    keeper.env["YESTER_CONFIG"] = str(config)
    keeper.run("backup", "--type", "all")
    kept = keeper.fresh("kept")
    subprocess.run(["cp", "-a", f"{tree}/.", kept], check=True)
    other = make_server("other")
    keeper.env.update(settings(other))
    shutil.rmtree(tree)
    # It may make databases, which is asked first, and yet writes nothing, which only the load finds out.
    other.sql("CREATE ROLE small LOGIN CREATEDB")
    other.sql("CREATE DATABASE shop OWNER small")
    other.sql("ALTER ROLE small SET default_transaction_read_only = on")
    failed = onto_root(keeper, work, rc=1, env={"POSTGRES_USER": "small"})
    assert "database shop" in failed.stderr and "files are not" in failed.stderr
    assert (tree / "src" / "main.c").exists() and not (tree / "README").exists()
    onto_root(keeper, work)
    assert other.sql("SELECT i FROM t", "shop") == "7"
    same(kept, tree)


@pytest.mark.root
def test_onto_the_root_nothing_is_written_when_the_database_refuses(keeper, server, tree, work):
    server.sql("CREATE DATABASE shop")
    server.sql("CREATE TABLE t AS SELECT 7 AS i", "shop")
    config = keeper.work / "yester.conf"
    config.write_text(f"[files]\npaths = {tree}\n[config]\npaths = {tree}/src\n")
    keeper.env["YESTER_CONFIG"] = str(config)
    keeper.run("backup", "--type", "all")
    shutil.rmtree(tree)
    assert "exists and is not empty" in onto_root(keeper, work, rc=1).stderr
    assert not tree.exists()
