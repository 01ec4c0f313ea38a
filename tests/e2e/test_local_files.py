"""A data directory that is read here beside the same one as the server sends it, and when it may not be read here."""
import contextlib
import os
import re
import stat
import subprocess
import sys

import pytest

from conftest import suspended, wait_for
from pgserver import Server, bindir, major
from postgres import make_server, settings  # noqa: F401
from test_physical import add_tablespace, choose, has_begun, make_long, read_from, some_rows, take, verify_backup

pytestmark = [pytest.mark.skipif(bindir() is None, reason="no PostgreSQL server here"),
              pytest.mark.xdist_group("postgres")]


@pytest.fixture
def server(make_server):  # noqa: F811
    return make_server("pg", "--data-checksums")


@pytest.fixture
def keeper(yester, server):
    yester.env.update(settings(server))
    return yester


def own(server, path):
    if server.user:
        os.chown(path, server.user, server.user, follow_symlinks=False)


def litter(server):
    """Whatever a base backup leaves out, or must not trip over."""
    server.sql("CREATE UNLOGGED TABLE scratch AS SELECT i FROM generate_series(1, 1000) i")
    server.sql("CREATE INDEX ON scratch (i)")
    base = server.data / "base" / server.sql("SELECT oid FROM pg_database WHERE datname = 'postgres'")
    for name in ("base/pgsql_tmp", "pg_stat_tmp/x", "log", "pg_notify/0000"):
        (server.data / name).parent.mkdir(exist_ok=True)
    (server.data / "base" / "pgsql_tmp").mkdir(exist_ok=True)
    (server.data / "log").mkdir()
    own(server, server.data / "log")
    for path in (base / "t99_424242", base / "t99_424242_fsm.1", base / "pgsql_tmp77.0", base / "pg_internal.init.9",
                 server.data / "log" / "notes with ü \"quotes\".txt", server.data / "postmaster.opts",
                 server.data / "current_logfiles.tmp", server.data / "pg_stat_tmp" / "x", server.data / "log" / "a.log",
                 server.data / "base" / "pgsql_tmp" / "y"):
        path.write_text("something")
        own(server, path)
    os.mkfifo(server.data / "fifo")
    own(server, server.data / "fifo")
    (server.data / "link").symlink_to("postgresql.conf")
    space = add_tablespace(server)
    (space / "PG_9.6_201608131").mkdir()
    (space / "stray").write_text("x")
    own(server, space / "PG_9.6_201608131")


def listing(root):
    """Everything below: type, mode, owner, and of files time and content."""
    out = {}
    for directory, names, files in os.walk(root):
        for name in names + files:
            path = os.path.join(directory, name)
            st = os.lstat(path)
            entry = [stat.filemode(st.st_mode), st.st_uid, st.st_gid]
            if stat.S_ISREG(st.st_mode):
                entry += [int(st.st_mtime), open(path, "rb").read()]
            out[os.path.relpath(path, root)] = entry
    return out


def clean(entries):
    """Without what differs from backup to backup."""
    out = {}
    for name, entry in entries.items():
        if re.fullmatch(r"pg_wal/[0-9A-F]{24}|pg_wal/archive_status/[0-9A-F]{24}\.done", name):
            continue
        if name in ("backup_label", "backup_manifest", "global/pg_control", "tablespace_map") or name.startswith("pg_logical/"):
            entry = entry[:3]
        elif name.startswith("pg_wal/archive_status/"):
            entry = entry[:3] + entry[4:]
        out[name] = entry
    return out


@pytest.mark.quick
def test_both_ways_give_the_same_tree(keeper, server):
    some_rows(server)
    litter(server)
    with open(server.data / "pg_wal" / "00000002.history", "w") as f:
        f.write("1\t0/1\tno recovery target specified\n")
    own(server, server.data / "pg_wal" / "00000002.history")
    server.sql("CHECKPOINT")
    choose(keeper, "no")
    sent = take(keeper)
    choose(keeper, "yes")
    result = keeper.run("backup", "--verbose", "--type", "database", "--physical")
    here = result.lines[-1]
    assert (read_from(keeper, sent), read_from(keeper, here)) == ("base_backup", "data_directory")
    assert "fifo" in result.errors and "link" in result.errors
    with keeper.mount() as mount:
        trees = [clean(listing(mount.path / name / "database" / "cluster")) for name in (sent, here)]
        assert sorted(trees[0].keys() ^ trees[1].keys()) == []
        assert trees[0] == trees[1]
        cluster = mount.path / here / "database" / "cluster"
        verify_backup(server, cluster)
        kept = {str(path.relative_to(cluster)) for path in cluster.rglob("*")}
        assert any(name.endswith("_init") for name in kept) and "log/a.log" in kept
        assert not [n for n in kept if re.search(r"pgsql_tmp|t99_|internal\.init|postmaster|fifo|stray|PG_9|pg_stat_tmp/|\.tmp$", n)]
        assert "pg_wal/archive_status/00000002.history.done" in kept
    keeper.verify()


def restore_and_start(keeper, server, name, work, *options):
    target = work / "restored"
    keeper.run("restore", name, "--type", "database", "--data-directory", target, "--to", "immediate", *options)
    verify_backup(server, target, *(["--ignore", "tablespace_map"] if options else []))
    restored = Server(work / "second", user=server.user, data=target)
    restored.configure(archive_mode="off")
    restored.start()
    wait_for(lambda: restored.sql("SELECT pg_is_in_recovery()") == "f", "the end of recovery")
    return restored


def test_a_backup_read_while_all_changes_recovers(user_yester, server, work):
    """As the server's user.  pgbench writes, tables come, go, shrink and are rewritten; sums of balances agree in every transaction."""
    keeper = user_yester
    keeper.env.update(settings(server))
    server.sql("ALTER SYSTEM SET max_slot_wal_keep_size = -1")
    server.sql("SELECT pg_reload_conf()")
    server.run("pgbench", "-iq", "-s", "8", "postgres")
    churn = ("DO $$ BEGIN FOR i IN 1..100000 LOOP CREATE TABLE churn AS SELECT g, repeat('z', 200) z FROM generate_series(1, 3000) g;"
             " CREATE INDEX ON churn (g); DELETE FROM churn WHERE g > 100; COMMIT; TRUNCATE churn; COMMIT;"
             " DROP TABLE churn; COMMIT; END LOOP; END $$")
    load = [subprocess.Popen(server.command(server.bin / "pgbench", "-n", "-T", "3600", "-c", "4", "postgres"), env=server.env,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=server.directory),
            subprocess.Popen(server.command(server.bin / "psql", "-Xqc", churn), env=server.env, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, cwd=server.directory)]
    try:
        names = [take(keeper) for _ in range(3)]
        assert all(p.poll() is None for p in load)
    finally:
        for p in load:
            p.kill()
            p.wait()
        server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'DO %'")
    assert read_from(keeper) == "data_directory"
    for name in names[1:]:
        with restore_and_start(keeper, server, name, work) as restored:
            sums = restored.sql("SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(bbalance) FROM pgbench_branches),"
                                " (SELECT sum(tbalance) FROM pgbench_tellers), (SELECT sum(delta) FROM pgbench_history)")
            assert len(set(sums.split("|"))) == 1 and sums.split("|")[0], sums
            if major() >= 14:  # 13 has no amcheck for tables
                restored.run("pg_amcheck", "--install-missing", "--heapallindexed", "postgres")
        subprocess.run(["rm", "-rf", work / "restored", work / "second"], check=True)


@pytest.mark.parametrize("local_files", ["yes", pytest.param("no", marks=pytest.mark.long)])
def test_a_tablespace_that_is_dropped_meanwhile_comes_back_dropped(user_yester, server, work, local_files):
    """It is in tablespace_map, and the log drops it; its directory may or may not have been there to be read."""
    keeper = user_yester
    keeper.env.update(settings(server))
    choose(keeper, local_files)
    some_rows(server)
    space = add_tablespace(server)
    stay = add_tablespace(server, "stay")
    make_long(server, 1 << 32 if local_files == "yes" else 1 << 33)
    process = keeper.start("backup", "--type", "database", "--physical")
    wait_for(lambda: has_begun(server), "the base backup")
    # Who drops a tablespace waits for all of the server's processes, and one that sends would wait for who is suspended.
    with suspended(process) if local_files == "yes" else contextlib.nullcontext():
        server.sql("DROP TABLE in_space; CHECKPOINT")
        server.sql("DROP TABLESPACE space")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    name = out.decode().split()[-1]
    maps = [f"--tablespace-map={old}={work / new}" for old, new in ((space, "a"), (stay, "b"))]
    with restore_and_start(keeper, server, name, work, *maps) as restored:
        assert restored.sql("SELECT count(*) FROM in_stay") == "20000"
        assert restored.sql("SELECT string_agg(spcname, ' ') FROM pg_tablespace WHERE oid > 16000") == "stay"


def test_a_tablespace_whose_disk_is_not_there_ends_it(keeper, server):
    space = add_tablespace(server)
    server.sql("CHECKPOINT")
    space.rename(space.with_name("gone"))
    space.mkdir()
    result = keeper.run("backup", "--type", "database", "--physical", rc=1)
    assert str(space) in result.errors and "is its disk there" in result.errors
    assert not keeper.snapshots()


@pytest.mark.parametrize("local_files", ["yes", "no"])
def test_a_link_that_no_tablespace_has_any_more_does_no_harm(keeper, server, local_files):
    """As a crash leaves it in the middle of CREATE TABLESPACE; the server lists it as one, and has nothing of it."""
    choose(keeper, local_files)
    some_rows(server)
    add_tablespace(server)
    (server.data / "pg_tblspc" / "99999").symlink_to(server.directory / "nowhere")
    name = take(keeper)
    with keeper.mount() as mount:
        cluster = mount.path / name / "database" / "cluster"
        verify_backup(server, cluster)
        assert list((cluster / "pg_tblspc" / "99999").iterdir()) == []
        assert (cluster / "pg_tblspc" / "99999").stat().st_uid == (cluster / "base").stat().st_uid == server.data.stat().st_uid


def test_a_directory_that_was_moved_away_behind_a_link_ends_it(keeper, server):
    """The server's own backup would leave it out, and the copy would not start."""
    server.stop()
    (server.data / "pg_xact").rename(server.directory / "xact")
    (server.data / "pg_xact").symlink_to(server.directory / "xact")
    server.start()
    result = keeper.run("backup", "--type", "database", "--physical", rc=1)
    assert "pg_xact is no file and no directory" in result.errors


def test_log_that_is_gone_ends_it(keeper, server):
    """Without a slot, and with a server that keeps as little as it may."""
    server.configure(max_replication_slots="0", wal_keep_size="0", min_wal_size="32MB", max_wal_size="32MB", max_slot_wal_keep_size="-1")
    server.stop()
    server.start()
    some_rows(server)
    make_long(server, 1 << 32)
    process = keeper.start("backup", "--verbose", "--type", "database", "--physical")
    wait_for(lambda: has_begun(server), "the base backup")
    with suspended(process):
        for _ in range(4):
            server.sql("CREATE TABLE w AS SELECT repeat('w', 1000) FROM generate_series(1, 20000); DROP TABLE w; SELECT pg_switch_wal()")
            server.sql("CHECKPOINT")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1 and b"the server has removed the log that the backup needs" in err, err
    assert not keeper.snapshots()


@pytest.mark.parametrize("why", ["over TCP", "by a role for replication", "from a standby"])
def test_where_it_cannot_be_read_here_the_server_sends_it(keeper, server, make_server, why, work):
    some_rows(server)
    choose(keeper, "yes")
    if why == "over TCP":
        server.configure(listen_addresses="127.0.0.1")
        server.stop()
        server.start()
        keeper.env["POSTGRES_HOST"] = "127.0.0.1"
    elif why == "by a role for replication":
        server.sql("CREATE ROLE copier LOGIN REPLICATION")
        keeper.env["POSTGRES_USER"] = "copier"
    else:
        server.basebackup(server.directory / "standby", standby=True)
        standby = Server(work / "standby", user=server.user, data=server.directory / "standby")
        standby.configure(primary_conninfo=f"host={server.directory} port={server.port} user=postgres")
        standby.start()
        keeper.env.update(settings(standby))
    name = take(keeper)
    assert read_from(keeper, name) == "base_backup"
    with keeper.mount() as mount:
        verify_backup(server, mount.path / name / "database" / "cluster")
    if why == "from a standby":
        standby.stop("immediate")


FORWARDER = """
import os, socket, sys, threading
os.chdir(sys.argv[1])
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[2] + ".new")
os.chmod(sys.argv[2] + ".new", 0o777)
listener.listen()
os.rename(sys.argv[2] + ".new", sys.argv[2])
def pump(a, b):
    while data := a.recv(65536):
        b.sendall(data)
    b.shutdown(socket.SHUT_WR)
while True:
    here, there = listener.accept()[0], socket.socket(socket.AF_UNIX)
    there.connect(sys.argv[3])
    for pair in (here, there), (there, here):
        threading.Thread(target=pump, args=pair, daemon=True).start()
"""


def test_who_passes_on_to_a_server_is_not_the_server(keeper, server, work):
    """It sits in the data directory, and may pass on to whatever: a server of another machine that has the same paths."""
    some_rows(server)
    choose(keeper, "yes")
    name = f".s.PGSQL.{server.port}"
    between = work / "between"
    between.mkdir()
    process = subprocess.Popen([sys.executable, "-c", FORWARDER, server.data, between / name, server.directory / name])
    try:
        wait_for(lambda: (between / name).exists(), "the one between")
        keeper.env["POSTGRES_HOST"] = str(between)
        assert read_from(keeper, take(keeper)) == "base_backup"
    finally:
        process.kill()
        process.wait()
    keeper.env.update(settings(server))
    assert read_from(keeper, take(keeper)) == "data_directory"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_another_directory_of_the_same_name_is_not_the_servers(keeper, server, work):
    """As in a container that has a copy where the server has its data directory."""
    some_rows(server)
    choose(keeper, "yes")
    copy = work / "copy"
    subprocess.run(["cp", "-a", server.data, copy], check=True)
    script = f'mount --bind {copy} {server.data} && exec "$@"'
    p = subprocess.run(["unshare", "--mount", "sh", "-c", script, "sh", *map(str, keeper.command("backup", "--type", "database", "--physical"))],
                       env={**os.environ, **keeper.env}, capture_output=True, text=True)
    assert p.returncode == 0, p.stderr
    assert read_from(keeper) == "base_backup"


@pytest.mark.skipif(os.geteuid() != 0, reason="the file has to be another user's")
def test_a_file_that_cannot_be_read_ends_it_and_is_named(user_yester, server):
    user_yester.env.update(settings(server))
    choose(user_yester, "yes")
    assert read_from(user_yester, take(user_yester)) == "data_directory"
    secret = server.data / "not yours"
    secret.write_text("x")
    secret.chmod(0o600)
    result = user_yester.run("backup", "--type", "database", "--physical", rc=1)
    assert "not yours: cannot read" in result.errors
    choose(user_yester, "no")
    result = user_yester.run("backup", "--type", "database", "--physical", rc=1)
    assert "not yours" in result.errors and "refuses it to the user that the server runs as" in result.errors
    assert len(user_yester.snapshots()) == 1


@pytest.mark.skipif(bindir() is None or major() < 18, reason="servers give up slots since 18")
@pytest.mark.parametrize("local_files", ["yes", "no"])
@pytest.mark.parametrize("timeout, noted", [("1min", True), ("25h", False), ("0", False)])
def test_a_slot_that_would_be_given_up_is_done_without(keeper, server, local_files, timeout, noted):
    choose(keeper, local_files)
    server.sql(f"ALTER SYSTEM SET idle_replication_slot_timeout = '{timeout}'")
    server.sql("SELECT pg_reload_conf()")
    result = keeper.run("backup", "--verbose", "--type", "database", "--physical")
    assert ("no slot keeps the log" in result.errors) == noted
