"""Databases back into a server, judged by what pg_dump says of both."""
import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess

import pytest

from conftest import BIN, ROOT, same, wait_for
from pgserver import major
from postgres import (  # noqa: F401 (fixtures)
    LOGICAL, big_table, copying, databases, fill, interrupt, keeper, make_server, roles, server, sessions, settings)

pytestmark = LOGICAL


def dump(server, database, *more, of_rows=sorted):
    """What pg_dump says of it; of each table's rows, which have no order, what OF_ROWS makes."""
    process = subprocess.Popen(server.command(server.bin / "pg_dump", "--restrict-key=yester", "-d", database, *more),
                               env=server.env, cwd=server.directory, stdout=subprocess.PIPE)
    out = []
    for line in process.stdout:
        out.append(line)
        if re.match(rb"COPY .* FROM stdin;$", line):
            out += of_rows(itertools.takewhile(lambda row: row != b"\\.\n", process.stdout))
    assert process.wait() == 0
    return out


def number_and_sum(rows):
    """Of more rows than memory would hold."""
    count = total = 0
    for row in rows:
        count += 1
        total += int.from_bytes(hashlib.blake2b(row, digest_size=16).digest(), "little")
    return [(count, total)]


def pointed_at(yester, server):
    yester.env.update(settings(server))
    return yester


def load_by_hand(server, top):
    """As docs/postgres.md says."""
    manual = (ROOT / "docs" / "postgres.md").read_text()
    script = re.search(r"### By hand\n.*?\n```\n(.*?)```\n", manual, re.S)[1]
    views = json.loads((top / "manifest.json").read_text())["materialized_views"]
    script += "".join(f"load -c 'REFRESH MATERIALIZED VIEW {view}'\n" for view in views) + "load -f database.sql\n"
    p = subprocess.run(["bash", "-c", script], cwd=top, env={**os.environ, **server.env}, capture_output=True, text=True)
    told = [line for line in p.stderr.splitlines() if not re.search(r'ERROR:  role ".+" already exists$', line)]
    assert p.returncode == 0 and not told, p.stderr


def test_what_is_in_the_mount_loads_by_hand(keeper, server, make_server):
    fill(server)
    name = keeper.backup(type="database")
    fresh = make_server("fresh")
    with keeper.mount() as mount:
        load_by_hand(fresh, mount.path / name / "database" / "shop")
    options = ("--create", "--large-objects" if major("pg_dump") > 15 else "--blobs")
    assert dump(fresh, "shop", *options) == dump(server, "shop", *options)
    assert roles(fresh) == roles(server)


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
    interrupt(process)
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


@pytest.mark.long
def test_pgbench_at_scale_50_and_everything_awkward_come_back_the_same(keeper, server, make_server):
    """Once by a restore, once by hand from the mount."""
    server.configure(shared_buffers="256MB", max_wal_size="4GB")
    server.stop()
    server.start()
    fill(server)
    server.run("pgbench", "-i", "-s", "50", "-q", "shop")
    server.run("pgbench", "-n", "-t", "2000", "-c", "4", "shop")
    for at in range(0, 2000, 250):
        server.sql(";".join(f"CREATE TABLE t{i} (id int PRIMARY KEY, x text); INSERT INTO t{i} VALUES (1, 'row {i}')"
                            for i in range(at, at + 250)), "shop")
    name = keeper.backup(type="database")
    before = dump(server, "shop", of_rows=number_and_sum)
    assert [entry for entry in before if entry[0] == 5_000_000]

    fresh = make_server("fresh")
    fresh.configure(fsync="off", max_wal_size="4GB")
    pointed_at(keeper, fresh).run("restore", "latest", "--type", "database", timeout=1800)
    assert dump(fresh, "shop", of_rows=number_and_sum) == before
    fresh.run("dropdb", "shop")
    with keeper.mount() as mount:
        load_by_hand(fresh, mount.path / name / "database" / "shop")
    assert dump(fresh, "shop", of_rows=number_and_sum) == before


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
