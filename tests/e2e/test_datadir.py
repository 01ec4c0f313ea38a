"""A physical backup becomes a data directory again: started, recovered, compared with what was known."""
import os
import re
import shlex
import shutil
import time

import pytest

from conftest import NOBODY, wait_for
from pgserver import Server, bindir, dumps, major
from postgres import settings
from test_physical import add_tablespace, damage, some_rows, take, verify_backup

pytestmark = [pytest.mark.skipif(bindir() is None, reason="no PostgreSQL server here"),
              pytest.mark.xdist_group("postgres")]

CHECK = "SELECT count(*), sum(i), md5(string_agg(m, ',' ORDER BY i)) FROM t"


@pytest.fixture
def keeper(user_yester):
    """A normal user's repository: its server's restore_command reads it."""
    return user_yester


@pytest.fixture
def servers(work, keeper):
    made = []
    keys = {name: value for name, value in keeper.env.items() if name.startswith("AWS_")}  # for a repository in a bucket

    def make(name, data=None):
        made.append(Server(work / name, user=NOBODY if os.geteuid() == 0 else None, data=data))
        made[-1].env.update(keys)
        return made[-1]

    yield make
    for server in made:
        server.stop("immediate")


@pytest.fixture
def server(servers, keeper):
    server = servers("pg").init("--data-checksums").start()
    keeper.env.update(settings(server))
    return server


def archive(keeper, server):
    """From now on the server's log goes to the repository."""
    env = " ".join(f"{k}={shlex.quote(keeper.env[k])}" for k in ("YESTER_REPO", "YESTER_KEY_FILE", "YESTER_CONFIG", "XDG_CACHE_HOME"))
    server.configure(archive_mode="on", archive_command=f"env {env} {keeper.program} wal push %p")
    server.stop()
    server.start()


def archived(server):
    name = server.switch()
    wait_for(lambda: server.sql("SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver") >= name, "the archive")


def restore(keeper, *args, directory, snapshot="latest", rc=0, **kwargs):
    return keeper.run("restore", snapshot, "--type", "database", "--data-directory", directory, *args, rc=rc, **kwargs)


def target(keeper, name="new"):
    return keeper.fresh(name) / "data"


def start(servers, data, name="restored"):
    """The restored server, when it has recovered."""
    server = servers(name, data)
    server.directory.chmod(0o700)
    with open(data / "postgresql.auto.conf", "a") as f:
        f.write(f"port = {server.port}\nunix_socket_directories = '{server.directory}'\narchive_mode = off\n")
    server.start()
    wait_for(lambda: server.sql("SELECT pg_is_in_recovery()") == "f", "the end of recovery")
    return server


def test_what_is_restored_starts_and_is_what_was_there(keeper, server, servers):
    some_rows(server)
    space = add_tablespace(server)
    name = take(keeper)
    want = server.sql(CHECK), server.sql("SELECT count(*), sum(i) FROM in_space")
    data, moved = target(keeper), keeper.fresh("moved") / "space"
    result = restore(keeper, "--to", "immediate", "--tablespace-map", f"{space}={moved}", directory=data)
    assert name in result.errors
    verify_backup(server, data, "--ignore", "tablespace_map")
    assert data.stat().st_mode & 0o777 == 0o700 and (data / "recovery.signal").exists()
    assert "BEGIN" not in (data / "postgresql.auto.conf").read_text()
    key = keeper.key.read_text().strip()
    assert key not in (data / "postgresql.auto.conf").read_text()
    copy = start(servers, data)
    assert (copy.sql(CHECK), copy.sql("SELECT count(*), sum(i) FROM in_space")) == want
    assert copy.sql("SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'space'") == str(moved)
    assert not (data / "recovery.signal").exists()
    assert moved.stat().st_uid == server.data.stat().st_uid
    copy.run("pg_amcheck", "--all", "--install-missing")


def test_verify_starts_the_server_recovers_and_has_postgresql_look_at_every_page(keeper, server, servers):
    some_rows(server)
    space = add_tablespace(server)
    take(keeper)
    want = server.sql(CHECK)
    data = target(keeper)
    result = restore(keeper, "--verify", "--tablespace-map", f"{space}={keeper.fresh('moved')}", directory=data)
    assert "recovered to its target" in result.errors and "finds nothing wrong" in result.errors
    assert not (data / "recovery.signal").exists() and not (data / "postmaster.pid").exists()
    copy = start(servers, data)
    assert copy.sql(CHECK) == want
    assert copy.sql("SELECT count(*) FROM pg_namespace WHERE nspname ~ 'yester'") == "0"


def test_verify_tells_a_damaged_index(keeper, server):
    some_rows(server)
    damage(server, "t_m_idx", 1)
    hurt = keeper.run("backup", "--type", "database", "--physical", rc=3).lines[-1]
    result = restore(keeper, "--verify", snapshot=hurt, directory=target(keeper), rc=4)
    assert "amcheck finds damage" in result.errors and "t_m_idx" in result.errors


@pytest.mark.root
def test_root_is_told_when_the_servers_user_cannot_fetch_its_log(keeper, server):
    """What root backs up and restores, the server's user may not be able to read."""
    take(keeper)
    secret, theirs = keeper.key, keeper.user
    keeper.user = None
    os.chown(secret, 0, 0)
    for more in (["--dry-run"], []):
        data = target(keeper)
        result = restore(keeper, *more, directory=data)
        assert "cannot fetch the server's log" in result.errors and "Permission denied" in result.errors
    data = target(keeper)
    result = restore(keeper, "--verify", directory=data, rc=1)
    assert "cannot fetch the server's log" in result.errors and "hint: the server runs as" in result.errors
    assert not data.exists()
    os.chown(secret, theirs, theirs)
    result = restore(keeper, "--verify", directory=data)
    assert "cannot fetch" not in result.errors and "recovered to its target" in result.errors


def test_a_key_from_the_environment_is_not_written_down(keeper, server):
    take(keeper)
    moved = keeper.key.rename(keeper.key.with_name("elsewhere"))
    env = {"YESTER_KEY_FILE": "", "BACKUP_ENCRYPTION_KEY": moved.read_text().strip()}
    data = target(keeper)
    restore(keeper, directory=data, env=env)
    assert "wal fetch" in (data / "postgresql.auto.conf").read_text()
    assert moved.read_text().strip() not in (data / "postgresql.auto.conf").read_text()


def test_without_a_map_the_manifest_holds_to_the_last_file(keeper, server):
    some_rows(server)
    take(keeper)
    data = target(keeper)
    restore(keeper, directory=data)
    verify_backup(server, data)


def test_what_is_there_is_refused_and_a_running_server_all_the_more(keeper, server):
    take(keeper)
    full = keeper.fresh("full")
    (full / "precious").write_text("x")
    assert "not empty" in restore(keeper, directory=full, rc=1).errors
    assert "no data directory" in restore(keeper, "--delta", directory=full, rc=1).errors
    assert [p.name for p in full.iterdir()] == ["precious"]
    before = sorted(p.name for p in server.data.iterdir())
    assert "server runs" in restore(keeper, "--delta", directory=server.data, rc=11).errors
    assert sorted(p.name for p in server.data.iterdir()) == before and server.sql("SELECT 1") == "1"


def test_delta_writes_only_the_pages_that_differ(keeper, server, servers):
    some_rows(server)
    take(keeper)
    want = server.sql(CHECK)
    table = server.sql("SELECT pg_relation_filepath('t')")
    data = target(keeper)
    restore(keeper, "--to", "immediate", directory=data)
    inode = (data / table).stat().st_ino
    with open(data / table, "r+b") as f:  # two pages of another state, and a file that grew
        f.seek(5 * 8192 + 100)
        f.write(b"other")
        f.seek(90 * 8192 + 100)
        f.write(b"other")
        f.seek(0, os.SEEK_END)
        f.write(bytes(8192))
    (data / "base" / "99999").write_bytes(bytes(8192))
    (data / "global" / "1262").unlink()
    result = restore(keeper, "--to", "immediate", "--delta", "--json", directory=data).json()
    verify_backup(server, data)
    assert (data / table).stat().st_ino == inode and not (data / "base" / "99999").exists()
    # Two pages, the lost file, the settings of the first restore, pg_control: not 40 MB.
    assert 2 * 8192 <= result["bytes"] < 200_000, result
    assert start(servers, data).sql(CHECK) == want


def test_a_restore_that_is_killed_is_no_server_and_goes_on(keeper, server, servers):
    some_rows(server)
    server.run("pgbench", "-iq", "-s", "5", "postgres")
    take(keeper)
    want = server.sql(CHECK)
    for _ in range(5):  # until one is killed before it is done
        data = target(keeper)
        process = keeper.start("restore", "latest", "--type", "database", "--data-directory", data)
        wait_for(lambda: (data / "base").exists() or process.poll() is not None, "its first files")
        process.kill()
        if process.wait() != 0:
            break
    assert process.returncode < 0 and not (data / "global" / "pg_control").exists()
    restore(keeper, directory=data)
    verify_backup(server, data)
    assert start(servers, data).sql(CHECK) == want


def test_recovery_to_a_moment_a_position_a_name_and_to_the_end(keeper, server, servers):
    archive(keeper, server)
    server.sql("CREATE TABLE t (i int, m text)")
    take(keeper)
    known = {}
    for step in range(4):
        server.sql(f"INSERT INTO t SELECT i, md5(i::text) FROM generate_series({step * 100}, {step * 100 + 99}) i")
        if step == 2:
            server.sql("SELECT pg_create_restore_point('before the accident')")
        known[step] = (server.sql("SELECT clock_timestamp()"), server.lsn(), server.sql(CHECK),
                       server.sql("SELECT max(xmin::text::bigint) FROM t"))
        time.sleep(0.05)
        archived(server)
    targets = {f"time:{known[0][0].replace(' ', 'T').replace('+00', 'Z')}": 0, f"lsn:{known[1][1]}": 1,
               f"xid:{known[1][3]}": 1, f"xid:{(7 << 32) + int(known[0][3])}": 0,
               "name:before the accident": 2, "latest": 3,
               f"time:{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(time.time() + 3600))}": 3}
    for number, (to, step) in enumerate(targets.items()):
        data = target(keeper, f"to{number}")
        result = restore(keeper, "--to", to, directory=data)
        copy = start(servers, data, f"restored{number}")
        assert copy.sql(CHECK) == known[step][2], (to, result.errors)
        copy.stop("immediate")
        shutil.rmtree(data)


def test_a_target_that_the_log_does_not_reach_is_told_before_anything_is_written(keeper, server):
    archive(keeper, server)
    some_rows(server)
    take(keeper)
    data = target(keeper)
    for to, words in (("lsn:FF/0", "stored only up to"), ("lsn:0/1", "no physical backup that ended before"),
                      ("time:2001-01-01T00:00:00Z", "no physical backup that ended before"),
                      ("name:nowhere", "no restore point"), ("xid:12345678", "no commit of the transaction 12345678")):
        for options in (("--dry-run",), ()):
            result = restore(keeper, "--to", to, *options, directory=data, rc=None)
            assert result.rc == 1 and words in result.errors, result
            assert not data.exists()
    for to in ("someday", "xid:", "xid:-1", "xid:1x", "xid:99999999999999999999"):
        restore(keeper, "--to", to, directory=data, rc=2)


def test_a_dry_run_says_what_would_be_and_writes_nothing(keeper, server):
    some_rows(server)
    add_tablespace(server)
    name = take(keeper)
    data = target(keeper)
    result = restore(keeper, "--dry-run", "--tablespace-map", f"{server.directory}/space=/nowhere/space", directory=data)
    assert name in result.errors and f"PostgreSQL {major()}" in result.errors
    assert "/nowhere/space" in result.errors and "not in it" in result.errors and re.search(r"room needed: \d", result.errors)
    assert not data.exists()
    wrong = restore(keeper, "--dry-run", "--tablespace-map", "/no/such=/x", directory=data, rc=2)
    assert "/no/such" in wrong.errors


@pytest.mark.skipif(not dumps(), reason="pg_dump is older than the server")
def test_the_newest_physical_backup_is_taken_where_a_logical_one_is_newer(keeper, server):
    some_rows(server)
    physical = take(keeper)
    keeper.backup(type="database")
    assert physical in restore(keeper, directory=target(keeper)).errors


@pytest.mark.skipif(dumps() or bindir() is None, reason="pg_dump is as new as the server")
def test_a_pg_dump_that_is_older_than_the_server_is_told_with_what_to_install(keeper, server):
    result = keeper.run("backup", "--type", "database", rc=1)
    assert f"the server is PostgreSQL {major()}" in result.errors and f"postgresql-client-{major()}" in result.errors
    assert keeper.snapshots() == []
