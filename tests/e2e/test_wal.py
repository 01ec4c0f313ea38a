"""PostgreSQL's log: stored by push and by a receiver, given back, judged by the server's own files and programs."""
import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from chaosproxy import ChaosProxy
from conftest import NOBODY, ROOT, wait_for

sys.path.insert(0, str(ROOT / "tests" / "harness"))
import pgserver  # noqa: E402
from ports import free_port  # noqa: E402

pytestmark = [pytest.mark.skipif(pgserver.bindir() is None, reason="needs a PostgreSQL server"),
              pytest.mark.xdist_group("postgres")]

USER = NOBODY if os.geteuid() == 0 else None


@contextlib.contextmanager
def running(y):
    """A running server, which the program knows."""
    with pgserver.Server(y.work / "pg", user=USER) as s:
        s.init().start()
        y.env.update(POSTGRES_HOST=str(s.directory), POSTGRES_PORT=str(s.port), POSTGRES_USER="postgres")
        yield s


@pytest.fixture
def server(user_yester):
    """A running server whose files, and whose commands, are those of the user that has the repository."""
    with running(user_yester) as s:
        yield s


waldump = pytest.mark.skipif(pgserver.bindir() is not None and pgserver.major("pg_waldump") != pgserver.major(),
                             reason="pg_waldump is of another version")


def segments(server):
    return sorted(p for p in (server.data / "pg_wal").iterdir() if re.fullmatch(r"[0-9A-F]{24}", p.name))


def fetch(y, server, name, rc=0, args=()):
    target = y.fresh("fetched") / "segment"
    result = y.run("wal", "fetch", *args, name, target, cwd=server.data, rc=rc)
    assert target.exists() == (result.rc == 0), "what cannot be given leaves nothing behind"
    return target.read_bytes() if result.rc == 0 else result


class Receiver:
    def __init__(self, y, *args, env=None):
        self.y, self.log = y, open(y.work / "receiver.log", "ab")
        self.process = y.start("wal", "receive", *args, env=env, stdout=subprocess.DEVNULL, stderr=self.log)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log.close()

    @property
    def text(self):
        return (self.y.work / "receiver.log").read_text()

    def said(self, words):
        wait_for(lambda: words in self.text or self.process.poll() is not None, f"the receiver to say {words!r}")
        assert words in self.text, self.text

    def listens(self, number):
        """Whether the signal is blocked, to be asked for, or caught; else it would just end the process."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return any(int(mask, 16) >> (number - 1) & 1 for mask in re.findall(r"Sig(?:Blk|Cgt):\s*(\w+)", status))

    def end(self, how=signal.SIGTERM):
        """Not before it has come so far that it ends as it should."""
        wait_for(lambda: how == signal.SIGKILL or self.process.poll() is not None or self.listens(how), "the receiver to listen to signals")
        self.process.send_signal(how)
        return self.process.wait(60)


def number(lsn):
    high, low = lsn.split("/")
    return int(high, 16) << 32 | int(low, 16)


def confirmed(server):
    """What the server was told is durable: the slot's position, and the receiver's own word."""
    rows = server.sql("SELECT coalesce(flush_lsn::text, '0/0') FROM pg_stat_replication"
                      " UNION ALL SELECT coalesce(restart_lsn::text, '0/0') FROM pg_replication_slots").split()
    return max(map(number, rows), default=0)


def assert_stored(y, server, lsn, timeline=1, since=0):
    """Everything from SINCE on before LSN comes back as it is in the server's own files."""
    size = 16 << 20
    for path in segments(server):
        start = int(path.name[8:16], 16) << 32 | int(path.name[16:], 16) * size
        if path.name[:8] != f"{timeline:08X}" or not since <= start < lsn:
            continue
        known = min(size, lsn - start)
        assert fetch(y, server, path.name)[:known] == path.read_bytes()[:known], path.name


# ---- push and fetch ----

@pytest.mark.quick
def test_what_archive_command_stored_comes_back_byte_for_byte(user_yester, server):
    y = user_yester
    program = " ".join(y.command("wal", "push")[-3:])
    server.configure(archive_mode="on", archive_command=f"{program} %p")
    server.stop()
    server.start(env={k: v for k, v in y.env.items() if k not in server.env})
    server.sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS n")
    names = [server.switch() for _ in range(3) if server.sql("INSERT INTO t SELECT 1") == ""]
    wait_for(lambda: server.sql("SELECT last_archived_wal FROM pg_stat_archiver") == names[-1], "the archiver")
    for name in names:
        assert fetch(y, server, name) == (server.data / "pg_wal" / name).read_bytes()
    assert server.sql("SELECT failed_count FROM pg_stat_archiver") == "0"


def test_pushing_again_is_fine_but_not_another_content(user_yester, server):
    y = user_yester
    server.sql("CREATE TABLE t (n int)")
    name = server.switch()
    path = server.data / "pg_wal" / name
    first = y.run("--json", "wal", "push", path, cwd=server.data).json()
    assert not first["already"] and first["bytes"] == 16 << 20
    before = y.objects()
    assert y.run("--json", "wal", "push", path, cwd=server.data).json()["already"]
    assert y.objects() == before
    other = y.fresh("other") / name
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    other.write_bytes(content)
    os.chmod(other, 0o644)
    assert "another content" in y.run("wal", "push", other, cwd=server.data, rc=1).errors
    assert fetch(y, server, name) == path.read_bytes()


def test_a_segment_that_is_cut_off_or_damaged_is_not_taken(user_yester, server):
    y = user_yester
    server.sql("CREATE TABLE t AS SELECT generate_series(1, 100000) AS n")
    name = server.switch()
    content = (server.data / "pg_wal" / name).read_bytes()
    middle = 3 << 20  # the server wrote on from its bootstrap, so there are records here
    half = bytearray(content)
    half[middle:] = bytes(len(content) - middle)
    bad = {
        "short": content[:1 << 20], "odd": content + b"x", "empty": b"", "elsewhere": content[8192:] + content[:8192],
        "page": content[:8192] + content[:8192] + content[16384:],
    }
    for what, data in bad.items():
        path = y.fresh(what) / name
        path.write_bytes(data)
        os.chmod(path, 0o644)
        assert y.run("wal", "push", path, cwd=server.data, rc=4), what
    assert not (y.repo / "wal").exists() or not list((y.repo / "wal").iterdir())
    y.run("wal", "push", y.fresh("x") / "postgresql.conf", cwd=server.data, rc=2)


@waldump
def test_the_index_of_commits_is_what_pg_waldump_finds(user_yester, server):
    y = user_yester
    server.sql("CREATE TABLE t (n int)")
    for i in range(60):
        server.sql(f"INSERT INTO t VALUES ({i})")
    server.sql("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'p'")
    server.sql("COMMIT PREPARED 'p'")
    server.sql("SELECT pg_create_restore_point('before the release')")
    names = [p.name for p in segments(server)]
    server.switch()
    names = [n for n in names if (server.data / "pg_wal" / n).exists()]
    for name in names[:-1] + [names[-1]]:
        said = y.run("--json", "wal", "push", server.data / "pg_wal" / name, cwd=server.data).json()
        dump = server.run("pg_waldump", "-p", server.data / "pg_wal", name, check=False).stdout.splitlines()
        commits = [line for line in dump if re.search(r"desc: COMMIT(_PREPARED)?\b", line)]
        points = [line for line in dump if "RESTORE_POINT" in line]
        assert (said["commits"], said["restore_points"]) == (len(commits), len(points))
    assert len(commits) > 60 and len(points) == 1


def test_what_is_not_there_exits_1_and_every_failure_126(user_yester, server):
    y = user_yester
    server.sql("CREATE TABLE t (n int)")
    name = server.switch()
    y.run("wal", "push", server.data / "pg_wal" / name, cwd=server.data)
    fetch(y, server, "0000000100000000000000EE", rc=1)
    fetch(y, server, "00000002.history", rc=1)
    fetch(y, server, "backup_label", rc=1)
    y.run("wal", "fetch", name, "/nonexistent/directory/x", cwd=server.data, rc=255)
    y.run("--repo", y.work / "nowhere", "wal", "fetch", name, y.fresh() / "x", cwd=server.data, rc=255)
    [stored] = (y.repo / "wal").iterdir()
    content = bytearray(stored.read_bytes())
    content[300] ^= 1
    stored.unlink()
    stored.write_bytes(content)
    if USER:
        os.chown(stored, USER, USER)
    fetch(y, server, name, rc=255)
    # The server still has it, and its archiver comes again: the damaged one is replaced.
    assert not y.run("--json", "wal", "push", server.data / "pg_wal" / name, cwd=server.data).json()["already"]
    assert fetch(y, server, name) == (server.data / "pg_wal" / name).read_bytes()


# ---- the receiver ----

@pytest.mark.quick
def test_the_receiver_stores_what_it_confirms_and_ends_with_all_of_it(user_yester, server):
    y = user_yester
    with Receiver(y) as receiver:
        receiver.said("receiving timeline 1")
        server.sql("CREATE TABLE t AS SELECT generate_series(1, 100000) AS n")
        server.switch()
        server.sql("INSERT INTO t SELECT 1")
        end = number(server.lsn())
        wait_for(lambda: confirmed(server) >= end, "the last commit to be durable")
        assert_stored(y, server, end)
        server.sql("INSERT INTO t SELECT 2")
        end = number(server.lsn())
        assert receiver.end() == 0
    assert "all before" in receiver.text
    assert_stored(y, server, end)
    tails = list((y.repo / "tails").iterdir())
    assert 0 < len(tails) < 70


def test_a_receiver_whose_stream_an_administrator_cancels_goes_on(user_yester, server):
    with Receiver(user_yester) as receiver:
        receiver.said("receiving timeline 1")
        server.sql("SELECT pg_cancel_backend(pid) FROM pg_stat_replication")
        receiver.said("again in 1 s")
        wait_for(lambda: receiver.text.count("receiving timeline 1") == 2, "the receiver to go on")
        assert receiver.end() == 0


@pytest.mark.parametrize("how", ["down", "silent"])
def test_the_receiver_ends_at_once_while_its_bucket_is_away_and_loses_nothing(s3_yester, how):
    y = s3_yester
    if USER:
        os.chown(y.work, USER, USER)
    with ChaosProxy(y.s3.address) as proxy, running(y) as server:
        y.env["AWS_ENDPOINT_URL"] = proxy.endpoint
        with Receiver(y) as receiver:
            receiver.said("receiving timeline 1")
            server.sql("CREATE TABLE t AS SELECT 1 AS n")
            durable = number(server.lsn())
            wait_for(lambda: confirmed(server) >= durable, "the first commit to be durable")
            asked = len(proxy.requests)
            setattr(proxy, how, True)
            server.sql("INSERT INTO t SELECT 2")
            wait_for(lambda: len(proxy.requests) > asked, "the receiver to store it")
            began = time.monotonic()
            assert receiver.end() == 130, receiver.text
            assert time.monotonic() - began < 20, receiver.text
            assert "all before" in receiver.text
        setattr(proxy, how, False)
        assert confirmed(server) >= durable
        assert_stored(y, server, durable)
        with Receiver(y) as receiver:
            end = number(server.lsn())
            wait_for(lambda: confirmed(server) >= end, "the receiver to catch up")
            assert receiver.end() == 0
        assert_stored(y, server, end)


def kill_at_random_moments(y, server, kills):
    import random
    moments = random.Random(5)
    server.sql("CREATE TABLE t (n int, filler text)")
    load = subprocess.Popen(server.command(server.bin / "psql", "-XqAt"), env=server.env, stdin=subprocess.PIPE,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)
    told = 0
    try:
        for i in range(kills):
            with Receiver(y) as receiver:
                wait_for(lambda: server.sql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == "1"
                         or receiver.process.poll() is not None, "the stream")
                assert receiver.process.poll() is None, receiver.text
                for _ in range(20):
                    load.stdin.write(f"INSERT INTO t SELECT {i}, repeat('x', 500) FROM generate_series(1, 300);\n")
                if i % 3 == 2:
                    load.stdin.write("SELECT pg_switch_wal();\n")
                load.stdin.flush()
                time.sleep(moments.uniform(0.1, 2.5))
                receiver.end(signal.SIGKILL)
            told = max(told, confirmed(server))
            assert_stored(y, server, told)
    finally:
        load.stdin.close()
        load.wait(60)
    with Receiver(y) as receiver:
        end = number(server.lsn())
        wait_for(lambda: confirmed(server) >= end, "the receiver to catch up")
        assert receiver.end() == 0
    assert_stored(y, server, end)
    left = server.sql("SELECT count(*) FROM t")
    assert int(left) == kills * 20 * 300
    # Every whole segment as a whole; pieces only of the one that is open.
    assert len(list((y.repo / "tails").iterdir())) < 70


def test_a_receiver_that_is_killed_loses_nothing_that_it_confirmed(user_yester, server):
    kill_at_random_moments(user_yester, server, 4)


@pytest.mark.long
def test_a_receiver_that_is_killed_20_times_loses_nothing_that_it_confirmed(user_yester, server):
    kill_at_random_moments(user_yester, server, 20)


def test_the_receiver_outlives_a_restart_of_the_server(user_yester, server):
    y = user_yester
    with Receiver(y) as receiver:
        receiver.said("receiving timeline 1")
        server.sql("CREATE TABLE t (n int)")
        server.stop()
        receiver.said("again in")
        server.start()
        server.sql("INSERT INTO t VALUES (1)")
        end = number(server.lsn())
        wait_for(lambda: confirmed(server) >= end, "the receiver to come back", 60)
        assert receiver.process.poll() is None
        assert_stored(y, server, end)


def test_a_slot_is_only_made_where_the_server_limits_it(user_yester, server):
    y = user_yester
    server.sql("ALTER SYSTEM SET max_slot_wal_keep_size = -1")
    server.sql("SELECT pg_reload_conf()")
    refused = y.run("wal", "receive", rc=2)
    assert "max_slot_wal_keep_size" in refused.errors
    assert server.sql("SELECT count(*) FROM pg_replication_slots") == "0"
    with Receiver(y, "--unlimited-slot") as receiver:
        receiver.said("receiving")
        assert receiver.end() == 0
    if pgserver.major() >= 15:
        with Receiver(y) as receiver:
            receiver.said("warning: max_slot_wal_keep_size is not set")
    else:  # these do not tell a receiver whether its slot is there
        assert "--unlimited-slot" in y.run("wal", "receive", rc=2).errors
    y.run("wal", "receive", "--slot", "No Slot", rc=2)


def test_a_dry_run_makes_no_slot(user_yester, server):
    before = user_yester.objects()
    assert "receiving timeline 1 from" in user_yester.run("wal", "receive", "--dry-run").errors
    assert server.sql("SELECT count(*) FROM pg_replication_slots") == "0"
    assert user_yester.objects() == before


def test_a_server_that_is_not_there_or_refuses_is_told_at_once(user_yester, server):
    y = user_yester
    y.run("wal", "receive", env={"POSTGRES_PORT": str(free_port())}, rc=1)
    server.sql("CREATE ROLE plain LOGIN")
    assert "REPLICATION" in y.run("wal", "receive", env={"POSTGRES_USER": "plain"}, rc=1).errors


def test_a_gap_is_told_and_the_receiver_goes_on_behind_it(user_yester, server):
    y = user_yester
    server.sql("ALTER SYSTEM SET wal_keep_size = 0")
    server.sql("ALTER SYSTEM SET max_wal_size = '32MB'")
    server.sql("ALTER SYSTEM SET min_wal_size = '32MB'")
    server.sql("SELECT pg_reload_conf()")
    with Receiver(y) as receiver:
        receiver.said("receiving timeline 1")
        server.sql("CREATE TABLE t (n int)")
        receiver.end()
    wait_for(lambda: server.sql("SELECT count(*) FROM pg_replication_slots WHERE active") == "0", "its end in the server")
    server.sql("SELECT pg_drop_replication_slot('yester')")
    for _ in range(4):
        server.sql("INSERT INTO t VALUES (1)")
        server.switch()
    server.sql("CHECKPOINT")
    with Receiver(y) as receiver:
        receiver.said("GAP")
        server.sql("INSERT INTO t VALUES (2)")
        end = number(server.lsn())
        wait_for(lambda: confirmed(server) >= end, "the receiver behind the gap")
        assert receiver.end() == 0
    assert fetch(y, server, segments(server)[0].name)  # what there is again is there
    status = y.run("--json", "wal", "status").json()
    [gap] = status["gaps"]
    missing = server.run("psql", "-Atc", f"SELECT pg_walfile_name('{gap['start']}')").stdout.strip()
    assert number(gap["start"]) < number(gap["end"])
    fetch(y, server, missing[:-8] + f"{int(missing[-8:], 16) + 1:08X}", rc=1)
    # A server of some age logs what runs, every 15 seconds.
    assert number(status["ranges"][-1]["end"]) >= end and status["server"]["behind"] < 65536
    assert status["server"]["slots"][0]["name"] == "yester"
    assert "GAP" in y.run("wal", "status").text and "GAP" in y.run("points").text
    # Another host, or this one without its catalog, finds the same.
    shutil.rmtree(y.cache)
    y.cache.mkdir(mode=0o777)
    y.cache.chmod(0o777)
    again = y.run("--json", "wal", "status", "--no-server").json()
    assert again["ranges"] == status["ranges"] and again["gaps"] == status["gaps"] and again["server"] is None
    y.run("catalog", "rebuild")
    assert y.run("--json", "wal", "status").json()["ranges"] == status["ranges"]


def without_tails(y):
    """Pieces of the open segment are stored whenever the server writes."""
    return [p for p in y.objects() if p.relative_to(y.repo).parts[0] not in ("tails", "tmp")]


def test_a_slot_that_the_server_gave_up_is_made_again_behind_the_gap(user_yester, server):
    y = user_yester
    for setting in ("max_slot_wal_keep_size = '32MB'", "wal_keep_size = 0", "max_wal_size = '32MB'", "min_wal_size = '32MB'"):
        server.sql(f"ALTER SYSTEM SET {setting}")
    server.sql("SELECT pg_reload_conf()")
    with Receiver(y) as receiver:
        receiver.said("receiving timeline 1")
        server.sql("CREATE TABLE t (n int)")
        assert receiver.end() == 0
    for _ in range(6):
        server.sql("INSERT INTO t VALUES (1)")
        server.switch()
    wait_for(lambda: server.sql("SELECT wal_status FROM pg_replication_slots") == "lost", "the server to give the slot up")
    with Receiver(y) as receiver:
        receiver.said("GAP")
        server.sql("INSERT INTO t VALUES (2)")
        end = number(server.lsn())
        wait_for(lambda: confirmed(server) >= end, "the receiver behind the gap")
        assert receiver.end() == 0
    assert server.sql("SELECT wal_status FROM pg_replication_slots") == "reserved"
    assert len(y.run("--json", "wal", "status").json()["gaps"]) == 1


@pytest.mark.root
def test_a_full_repository_is_told_and_nothing_is_confirmed_until_there_is_room(user_yester, server):
    y = user_yester
    small = y.fresh("small")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=777", "none", small], check=True)
    try:
        y.env["YESTER_REPO"] = str(small / "repo")
        y.init()
        with Receiver(y) as receiver:
            receiver.said("receiving timeline 1")
            server.sql("CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 150000) AS n")
            end = number(server.lsn())
            receiver.said("again in")
            assert "is full" in receiver.text
            told = confirmed(server)
            assert told < end
            assert receiver.process.poll() is None
            subprocess.run(["mount", "-o", "remount,size=200m", small], check=True)
            wait_for(lambda: confirmed(server) >= end, "the receiver to catch up", 60)
            assert_stored(y, server, end)
            assert receiver.end() == 0
    finally:
        subprocess.run(["umount", "-l", small], check=True)


def test_points_and_prune_go_by_the_physical_backups(user_yester, server):
    y = user_yester
    with Receiver(y) as receiver:
        receiver.said("receiving timeline 1")
        server.sql("CREATE TABLE t (n int)")
        assert y.repo, "prune --now is for directories: in a bucket the test ends here"
        y.run("prune", "--now")
        for _ in range(3):
            server.sql("INSERT INTO t VALUES (1)")
            server.switch()
        first = y.run("backup", "--type", "database", "--physical").lines[-1]
        server.sql("INSERT INTO t VALUES (2)")
        server.switch()
        second = y.run("backup", "--type", "database", "--physical").lines[-1]
        server.sql("SELECT pg_create_restore_point('after the second')")
        server.sql("INSERT INTO t VALUES (3)")
        end = number(server.lsn())
        wait_for(lambda: confirmed(server) >= end, "the receiver")

        def recoveries():
            [known] = y.run("--json", "points").json()["servers"]
            assert [p["name"] for p in known["restore_points"]] == ["after the second"]
            assert all(r["possible"] and not r["gap"] for r in known["recoveries"])
            return [(r["snapshot"], number(r["start"]), number(r["end"])) for r in known["recoveries"]]

        (one, start, until), (two, later, _) = recoveries()
        assert (one, two) == (first, second) and start < later < until
        all_segments = [p.name for p in segments(server)]
        needed = [n for n in all_segments if int(n[16:], 16) >= start >> 24]
        before = without_tails(y)
        y.run("prune", "--dry-run")
        assert without_tails(y) == before
        y.run("prune", "--now")
        kept = [n for n in all_segments if fetch(y, server, n, rc=(0, 1)).__class__ is bytes]
        assert kept == needed and len(kept) < len(all_segments)
        # A forgotten backup keeps its log as long as it can be taken back.
        y.run("forget", first)
        y.run("prune")
        assert [n for n in all_segments if fetch(y, server, n, rc=(0, 1)).__class__ is bytes] == needed
        y.run("prune", "--now")
        assert [n for n in all_segments if fetch(y, server, n, rc=(0, 1)).__class__ is bytes] == [
            n for n in all_segments if int(n[16:], 16) >= later >> 24]
        [(two, _, _)] = recoveries()
        assert two == second
        assert receiver.end() == 0


def test_a_copy_brings_the_log_along_and_verify_reads_it(user_yester, server):
    y = user_yester
    with Receiver(y) as receiver:
        receiver.said("receiving timeline 1")
        server.sql("CREATE TABLE t AS SELECT generate_series(1, 50000) AS n")
        server.switch()
        server.sql("INSERT INTO t VALUES (1)")
        end = number(server.lsn())
        wait_for(lambda: confirmed(server) >= end, "the receiver")
        y.run("copy", "--to", y.work / "replica")  # while it is written
        assert receiver.end() == 0
    y.run("copy", "--to", y.work / "replica")
    y.run("verify")
    y.run("verify", "--data")
    replica = {"YESTER_REPO": str(y.work / "replica")}
    original, y.env = y.env, {**y.env, **replica}
    assert_stored(y, server, end)
    y.env = original
    stored = max((y.repo / "wal").iterdir(), key=lambda p: p.stat().st_size)
    content = bytearray(stored.read_bytes())
    content[1000] ^= 4
    stored.chmod(0o600)
    stored.write_bytes(content)
    assert stored.name in y.run("verify", "--data", rc=4).errors


# ---- timelines and recovery ----

def promote_a_copy(y, server, name, port=None):
    """A standby of SERVER by pg_basebackup, promoted: timeline 2."""
    copy = pgserver.Server(y.work / name, user=USER)
    server.basebackup(copy.data, standby=True)
    copy.configure(**{"primary_conninfo": f"host={server.directory} port={server.port} user=postgres"})
    copy.start()
    return copy


def test_the_receiver_follows_a_promotion_and_the_old_future_is_not_served(user_yester, server):
    y = user_yester
    server.sql("CREATE TABLE t (n int)")
    with promote_a_copy(y, server, "standby") as standby, Receiver(y) as receiver:
        receiver.said("receiving timeline 1")
        server.sql("INSERT INTO t VALUES (1)")
        end = number(server.lsn())
        wait_for(lambda: number(standby.sql("SELECT pg_last_wal_replay_lsn()")) >= end, "the standby")
        standby.sql("SELECT pg_promote()")
        fork = number(re.search(r"1\t([0-9A-F/]+)", (standby.data / "pg_wal/00000002.history").read_text()).group(1))
        # The old server goes on for a while, and the receiver with it: a future that will be abandoned.
        server.sql("INSERT INTO t SELECT generate_series(1, 1000)")
        server.switch()
        server.sql("INSERT INTO t VALUES (666)")
        beyond = number(server.lsn())
        wait_for(lambda: confirmed(server) >= beyond, "the receiver on the old server")
        receiver.end()
        since = number(re.search(r"receiving timeline 1 from ([0-9A-F/]+)", receiver.text).group(1))
        assert_stored(y, server, beyond, since=since)
        server.stop()
        env = {"POSTGRES_HOST": str(standby.directory), "POSTGRES_PORT": str(standby.port)}
        with Receiver(y, "--slot", "second", env=env) as follower:
            follower.said("receiving timeline 2")
            standby.sql("INSERT INTO t VALUES (2)")
            standby.switch()
            last = number(standby.lsn())
            wait_for(lambda: confirmed(standby) >= last, "the receiver on the new server")
            assert follower.end() == 0
        assert fetch(y, standby, "00000002.history") == (standby.data / "pg_wal/00000002.history").read_bytes()
        assert_stored(y, standby, last, timeline=2)
        size = 16 << 20
        at_fork = f"00000001{0:08X}{fork // size:08X}"
        old = fetch(y, standby, at_fork)
        assert old[:fork % size] == (server.data / "pg_wal" / at_fork).read_bytes()[:fork % size]
        assert not any(old[fork % size:]), "the abandoned future"
        fetch(y, standby, f"00000001{0:08X}{fork // size + 1:08X}", rc=1)
        # What recovery would replay: the old timeline up to the fork, then the new one.
        commits = y.run("--json", "points", "--commits").json()
        assert {c["timeline"] for c in commits if number(c["lsn"]) < fork} == {1}
        assert {c["timeline"] for c in commits if number(c["lsn"]) >= fork} == {2}
        if pgserver.major("pg_waldump") == pgserver.major():
            at = {"since": f"{since >> 32:X}/{since:X}", "fork": f"{fork >> 32:X}/{fork:X}"}
            dump = server.run("pg_waldump", "-p", server.data / "pg_wal", "-t", "1", "-s", at["since"], "-e", at["fork"]).stdout
            dump += standby.run("pg_waldump", "-p", standby.data / "pg_wal", "-t", "2", "-s", at["fork"], check=False).stdout
            assert [number(c["lsn"]) for c in commits] == [number(m) for m in re.findall(r"lsn: (\S+),.*desc: COMMIT", dump)]
        # Who wants the old timeline says so.
        whole = fetch(y, standby, at_fork, args=("--timeline", "1"))
        assert whole == (server.data / "pg_wal" / at_fork).read_bytes()
        fetch(y, standby, "00000002.history", rc=1, args=("--timeline", "1"))


def recover(y, backup, name, **target):
    """A server on a copy of BACKUP, recovered along the repository's log."""
    copy = pgserver.Server(y.work / name, user=USER)
    subprocess.run(copy.command("cp", "-a", backup, copy.data), check=True)
    program = " ".join(y.command("wal", "fetch")[-3:])
    copy.configure(restore_command=f"{program} %f %p", recovery_target_action="promote", **target)
    subprocess.run(copy.command("touch", copy.data / "recovery.signal"), check=True)
    copy.start(env={k: v for k, v in y.env.items() if k not in copy.env})
    wait_for(lambda: copy.sql("SELECT pg_is_in_recovery()") == "f", "the end of recovery", 300)
    return copy


@pytest.mark.long
def test_recovery_to_each_of_20_moments_gives_exactly_the_known_state(user_yester, server):
    recover_to_moments(user_yester, server, 20)


def test_recovery_to_a_restore_point_and_to_times_gives_exactly_the_known_state(user_yester, server):
    recover_to_moments(user_yester, server, 6)


def recover_to_moments(y, server, count):
    backup = y.work / "base"
    moments = []
    with Receiver(y) as receiver:
        receiver.said("receiving timeline 1")
        server.sql("CREATE TABLE t (n int)")
        server.basebackup(backup)
        for i in range(count):
            server.sql(f"INSERT INTO t VALUES ({i})")
            moments.append((server.sql("SELECT clock_timestamp()"), server.sql("SELECT sum(n), count(*) FROM t")))
            if i == 2:
                server.sql("SELECT pg_create_restore_point('third')")
            if i == 3:
                server.switch()
            time.sleep(0.05)
        end = number(server.lsn())
        wait_for(lambda: confirmed(server) >= end, "the receiver")
        # The receiver runs on: the open segment comes out of its pieces.
        with recover(y, backup, "point", recovery_target_name="third") as copy:
            assert copy.sql("SELECT sum(n), count(*) FROM t") == moments[2][1]
        # The same moments as positions; the server itself fails at a time behind its last commit.
        for i in (1, count - 1):
            commit = y.run("--json", "points", "--at", moments[i][0].replace(" ", "T").replace("+00", "Z")).json()
            with recover(y, backup, f"lsn{i}", recovery_target_lsn=commit["lsn"]) as copy:
                assert copy.sql("SELECT sum(n), count(*) FROM t") == moments[i][1]
        [known] = y.run("--json", "points").json()["servers"]
        assert [p["name"] for p in known["restore_points"]] == ["third"]
        assert "no physical backup" in y.run("points").text
        for i in [n for n in range(count - 1) if n != 2]:
            with recover(y, backup, f"time{i}", recovery_target_time=moments[i][0]) as copy:
                assert copy.sql("SELECT sum(n), count(*) FROM t") == moments[i][1]
        with recover(y, backup, "newest") as copy:
            assert copy.sql("SELECT sum(n), count(*) FROM t") == moments[-1][1]
        assert receiver.end() == 0
