"""PostgreSQL, physical: a base backup as files.  A real server; judged by pg_verifybackup and by what it holds."""
import json
import os
import re
import subprocess

import pytest

from conftest import NOBODY, wait_for
import pgmanifest
from pgserver import Server, bindir, major
from postgres import interrupt, make_server, sessions, settings  # noqa: F401

pytestmark = [pytest.mark.skipif(bindir() is None, reason="no PostgreSQL server here"),
              pytest.mark.xdist_group("postgres")]


@pytest.fixture
def server(make_server):  # noqa: F811
    return make_server("pg", "--data-checksums")


@pytest.fixture(params=["yes", "no"], ids=["read here", "sent"])
def keeper(yester, server, request):
    """By both ways in which a data directory comes into the repository."""
    yester.env.update(settings(server))
    choose(yester, request.param)
    return yester


def choose(yester, local_files):
    config = yester.work / "yester.conf"
    config.write_text(f"[database]\nlocal_files = {local_files}\n")
    yester.env["YESTER_CONFIG"] = str(config)
    yester.local_files = local_files


def read_from(keeper, name="latest"):
    return json.loads(keeper.run("cat", f"{name}:database/manifest.json").out)["read_from"]


def take(keeper, **kwargs):
    return keeper.backup("--physical", type="database", **kwargs)


def row(keeper, name):
    return next(s for s in keeper.snapshots() if s["name"] == name)


def verify_backup(server, where, *options):
    """PostgreSQL's own word on a backup: every file's size and checksum, and the log that it needs."""
    if major("pg_verifybackup") < major():
        found = list(pgmanifest.problems(where, [o for o in options if not o.startswith("-")]))
        assert not found, found
        return
    if major("pg_waldump") != major():
        options += ("--no-parse-wal",)
    p = subprocess.run([server.bin / "pg_verifybackup", *options, where], capture_output=True, text=True)
    assert p.returncode == 0, p.stdout + p.stderr


def add_tablespace(server, name="space"):
    where = server.directory / name
    where.mkdir()
    if server.user:
        os.chown(where, server.user, server.user)
    server.sql(f"CREATE TABLESPACE {name} LOCATION '{where}'")
    server.sql(f"CREATE TABLE in_{name} TABLESPACE {name} AS SELECT i, repeat('y', 100) t FROM generate_series(1, 20000) i")
    return where


def some_rows(server):
    server.sql("CREATE TABLE t AS SELECT i, md5(i::text) m FROM generate_series(1, 200000) i")
    server.sql("CREATE INDEX ON t (m)")


@pytest.mark.quick
def test_the_backup_on_the_mount_is_one_to_postgresql(keeper, server):
    some_rows(server)
    space = add_tablespace(server)
    name = take(keeper)
    manifest = json.loads(keeper.run("cat", f"{name}:database/manifest.json").out)
    assert manifest["read_from"] == {"yes": "data_directory", "no": "base_backup"}[keeper.local_files]
    assert manifest["method"] == "physical" and manifest["data_checksums"] is True and manifest["damaged"] == []
    assert manifest["system_identifier"] == server.sql("SELECT system_identifier FROM pg_control_system()")
    assert [t["location"] for t in manifest["tablespaces"]] == [str(space)]
    with keeper.mount() as mount:
        cluster = mount.path / name / "database" / "cluster"
        verify_backup(server, cluster)
        assert (cluster / "tablespace_map").read_text().split()[1] == str(space)
        file = server.sql("SELECT pg_relation_filepath('in_space')")
        assert (cluster / file).read_bytes() == (server.data / file).read_bytes()
    keeper.verify()


def test_of_a_changed_server_only_what_changed_is_stored(keeper, server):
    server.run("pgbench", "-iq", "-s", "5", "postgres")
    first = row(keeper, take(keeper))
    server.sql("CHECKPOINT")
    server.sql("UPDATE pgbench_accounts SET abalance = 1 WHERE aid BETWEEN 1000 AND 1500")
    changed = row(keeper, take(keeper))
    assert first["bytes"] > 80_000_000
    # 500 rows on some ten pages, the end of the table, their log: much less than a segment, or the table.
    assert changed["new_bytes"] < 2_000_000 < first["new_bytes"], (first, changed)
    with keeper.mount() as mount:
        verify_backup(server, mount.path / changed["name"] / "database" / "cluster")


def make_long(server, size=1 << 35):
    """A file of holes, so that a backup takes some time: two seconds for 2^33 bytes.  A server that sends it notices at its
    end that nobody is there any more."""
    with open(server.data / "long", "wb") as f:
        f.truncate(size)
    if server.user:
        os.chown(server.data / "long", server.user, server.user)


def has_begun(server):
    """Files are being read, or sent."""
    return server.sql("SELECT (SELECT count(*) FROM pg_stat_progress_basebackup WHERE phase LIKE 'streaming%')"
                      " + (SELECT count(*) FROM pg_stat_activity WHERE application_name = 'yester' AND state = 'idle'"
                      "    AND query ~ 'pg_(backup_start|start_backup)')") != "0"


def slots(server):
    return int(server.sql("SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'yester_base_%'"))


def damage(server, table, block):
    """A byte of a page changes below the server."""
    path = server.data / server.sql(f"SELECT pg_relation_filepath('{table}')")
    server.stop()
    with open(path, "r+b") as f:
        f.seek(block * 8192 + 4000)
        byte = f.read(1)
        f.seek(-1, os.SEEK_CUR)
        f.write(bytes([byte[0] ^ 255]))
    server.start()
    return path.relative_to(server.data)


def test_a_damaged_page_is_told_by_its_file_and_the_backup_is_kept(keeper, server):
    some_rows(server)
    clean = take(keeper)
    file = damage(server, "t", 3)
    result = keeper.run("backup", "--type", "database", "--physical", rc=3)
    hurt = result.lines[-1]
    assert f"cluster/{file}" in result.errors and "block 3" in result.errors
    manifest = json.loads(keeper.run("cat", f"{hurt}:database/manifest.json").out)
    assert [d["file"] for d in manifest["damaged"]] == [str(file)]
    assert row(keeper, clean)["complete"] and not row(keeper, hurt)["complete"]
    with keeper.mount() as mount:
        assert (mount.path / "latest" / "database").resolve().parent.name == clean
        stored = (mount.path / hurt / "database" / "cluster" / file).read_bytes()
        assert stored == (server.data / file).read_bytes()
    # Retention never takes the last clean one for it.
    keeper.run("forget", "--keep-last", "1", "--type", "database")
    assert clean in [s["name"] for s in keeper.snapshots()]


def test_a_backup_that_is_killed_leaves_nothing_in_the_server(keeper, server):
    make_long(server)
    process = keeper.start("backup", "--type", "database", "--physical")
    wait_for(lambda: slots(server) == 1, "the base backup")
    process.kill()
    process.wait()
    wait_for(lambda: slots(server) == 0 and sessions(server) == 0, "its end in the server", 300)
    (server.data / "long").unlink()
    take(keeper)


def test_a_server_that_stops_meanwhile_ends_the_backup(keeper, server):
    make_long(server)
    process = keeper.start("backup", "--type", "database", "--physical")
    wait_for(lambda: has_begun(server), "the base backup")
    server.stop("immediate")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1 and b"base backup" in err, err
    server.start()
    (server.data / "long").unlink()
    assert not keeper.snapshots()
    take(keeper)
    keeper.verify()


def test_an_interrupt_ends_it_at_once(keeper, server):
    make_long(server, 1 << 38 if keeper.local_files == "yes" else 1 << 36)  # would take a minute, or 15 seconds
    process = keeper.start("backup", "--type", "database", "--physical")
    wait_for(lambda: slots(server) == 1, "the base backup")
    interrupt(process, within=12)
    wait_for(lambda: slots(server) == 0, "its end in the server", 300)
    assert not keeper.snapshots()


def test_a_role_that_may_not_is_told_which_right_it_needs(keeper, server):
    server.sql("CREATE ROLE poor LOGIN")
    result = keeper.run("backup", "--type", "database", "--physical", rc=1, env={"POSTGRES_USER": "poor"})
    assert re.search(r"replication", result.errors, re.IGNORECASE), result
    assert not keeper.snapshots()


def test_no_server_is_told_and_changes_nothing(keeper, server):
    take(keeper)
    server.stop()
    result = keeper.run("backup", "--type", "database", "--physical", rc=1)
    assert str(server.directory) in result.errors
    assert len(keeper.snapshots()) == 1
    keeper.verify()
