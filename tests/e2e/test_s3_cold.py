"""Data in cold storage: looked at without a thaw, told from damage, and brought back by asking for it.

The server knows storage classes; that they are cold is played by the proxy (tests/harness/glacier.py).
"""
import json
import os
import re
import signal
import time

import pytest
import s3server
from chaosproxy import ChaosProxy
from conftest import below, same, same_on_mount, wait_for
from glacier import Glacier
from pgserver import bindir
from postgres import make_server, settings  # noqa: F401
from test_s3_lock import Locked, hide_all, locking  # noqa: F401

pytestmark = pytest.mark.xdist_group("s3, the slow ones")
MiB = 1 << 20
DAY = 86400


@pytest.fixture
def glacier(s3_yester):
    """The way to the bucket leads past a glacier."""
    if s3_yester.s3.kind != "ceph":
        pytest.skip("needs storage classes")
    with ChaosProxy(s3_yester.s3.address) as proxy:
        proxy.glacier = Glacier()
        s3_yester.env["AWS_ENDPOINT_URL"] = proxy.endpoint
        proxy.glacier.proxy = proxy
        yield proxy.glacier


def configure(y, text):
    path = y.fresh("settings") / "yester.conf"
    path.write_text(text)
    y.env["YESTER_CONFIG"] = str(path)


@pytest.fixture
def cold(s3_yester, glacier):
    """All data goes to GLACIER at once."""
    configure(s3_yester, "[s3]\nstorage_class = GLACIER\n")
    return s3_yester


def classes(y):
    """{name: class} as the server itself lists them."""
    text, found, token = "", {}, None
    while True:
        query = {"list-type": "2", "prefix": y.prefix + "/", **({"continuation-token": token} if token else {})}
        text = y.s3.client.call("GET", "/" + getattr(y, "bucket", s3server.BUCKET), query).decode()
        for item in re.findall("<Contents>(.*?)</Contents>", text, re.DOTALL):
            name = re.search("<Key>(.*?)</Key>", item)[1][len(y.prefix) + 1:]
            found[name] = re.search("<StorageClass>(.*?)</StorageClass>", item)[1]
        if "<IsTruncated>true" not in text:
            return found
        token = re.search("<NextContinuationToken>(.*?)</NextContinuationToken>", text)[1]


def data(y):
    return {name: class_ for name, class_ in classes(y).items() if name.startswith("data/")}


def make_source(work, name="source", megabytes=3):
    source = work / name
    source.mkdir()
    (source / "noise").write_bytes(os.urandom(megabytes * MiB))
    (source / "small").write_bytes(os.urandom(12))
    (source / "below").mkdir()
    for i in range(20):
        (source / "below" / f"f{i}").write_bytes(os.urandom(5000))
    return source


def amounts(errors):
    """What a restore says must be thawed: (archives, words)."""
    m = re.search(r"to be thawed first: (\d+) archives? \((.*?)\) in (\S+)", errors)
    return (int(m[1]), m[2], m[3]) if m else None


def test_only_data_goes_into_the_class_and_ls_and_stat_need_no_thaw(cold, glacier, work):
    source = make_source(work, megabytes=100)
    name = cold.backup(source)
    found = classes(cold)
    assert {class_ for n, class_ in found.items() if n.startswith("data/")} == {"GLACIER"}
    assert {class_ for n, class_ in found.items() if not n.startswith("data/")} == {"STANDARD"}
    assert max(size for n, size in cold.keys().items() if n.startswith("data/")) > 32 * MiB  # one in parts
    cold.env["XDG_CACHE_HOME"] = str(cold.fresh("cache"))
    assert "noise" in cold.run("ls", f"{name}:files{source}").text
    with cold.mount() as mount:
        top = mount.tree(name, source)
        assert sorted(os.listdir(top / "below")) == sorted(os.listdir(source / "below"))
        assert (top / "noise").stat().st_size == 100 * MiB
    assert not glacier.refused


def test_a_read_through_the_mount_is_an_io_error_and_one_line_in_the_log(cold, glacier, work):
    source = make_source(work)
    name = cold.backup(source)
    with cold.mount() as mount:
        top = mount.tree(name, source)
        for path in [top / "noise", *(top / "below").iterdir()]:
            with pytest.raises(OSError) as caught:
                path.read_bytes()
            assert caught.value.errno == 5
        log = (cold.work / (mount.path.name + ".log")).read_text()
        lines = [line for line in log.splitlines() if "cold storage" in line]
        assert 1 <= len(lines) <= len(data(cold))  # one for an archive, not for a file
        assert "GLACIER" in lines[0] and "restore --thaw" in lines[0] and "data/" in lines[0]
        # It is no damage that stays: what is thawed can be read, in the same mount.
        cold.run("restore", name, "--target", cold.fresh("t"), "--thaw", rc=11)
        glacier.thaw()
        same_on_mount(source, top)


def test_what_must_be_thawed_is_said_then_asked_for_then_restored(cold, glacier, work):
    source = make_source(work, megabytes=100)
    name = cold.backup(source)
    target = work / "target"
    sizes = [size for n, size in cold.keys().items() if n.startswith("data/")]

    dry = cold.run("restore", name, "--target", target, "--dry-run")
    archives, words, class_ = amounts(dry.errors)
    assert (archives, class_) == (len(sizes), "GLACIER")
    assert words == f"{round(sum(sizes) / MiB)} MiB"
    assert "standard 3 to 5 hours" in dry.errors and "expedited 1 to 5 minutes" in dry.errors
    report = cold.run("--json", "restore", name, "--target", target, "--dry-run").text
    last = json.loads(report.splitlines()[-1])["cold"]
    assert last["frozen"] == {"archives": len(sizes), "bytes": sum(sizes)}
    assert last["classes"]["GLACIER"]["standard"] == "3 to 5 hours"
    assert not glacier.asked and not target.exists()

    refused = cold.run("restore", name, "--target", target, rc=1)
    assert "must be thawed first" in refused.errors and "--thaw" in refused.errors
    assert not target.exists() and not glacier.asked

    asked = cold.run("restore", name, "--target", target, "--thaw", "--thaw-days", "3", rc=11)
    assert len(glacier.asked) == len(sizes) and {(days, tier) for _, days, tier in glacier.asked} == {(3, "Standard")}
    assert "usually takes 3 to 5 hours" in asked.errors and "not thawed yet" in asked.errors
    assert "same command again" in asked.errors
    again = cold.run("restore", name, "--target", target, "--thaw", "--thaw-days", "3", rc=11)
    assert len(glacier.asked) == len(sizes) and "asked for before" in again.errors
    dry = cold.run("restore", name, "--target", target, "--dry-run")
    assert f"asked for already, of these: {len(sizes)} archive" in dry.errors

    glacier.thaw()
    cold.run("restore", name, "--target", target, "--thaw", "--thaw-days", "3")
    same(source, below(target, source))
    assert not glacier.refused
    # When the days are over it is as before.
    glacier.ahead = 4 * DAY
    assert amounts(cold.run("restore", name, "--target", work / "more", "--dry-run").errors)[0] == len(sizes)


def test_only_what_a_path_needs_is_asked_for_and_only_what_is_not_there_yet(cold, glacier, work):
    first, second = make_source(work, "first"), make_source(work, "second")
    cold.backup(first)
    one = len(data(cold))
    name = cold.backup(first, second)
    assert len(data(cold)) > one
    target = work / "target"
    cold.run("restore", name, str(first), "--target", target, "--thaw", rc=11)
    assert len(glacier.asked) == one
    glacier.thaw()
    cold.run("restore", name, str(first), "--target", target, "--thaw")
    same(first, below(target, first))
    # The rest later, into the same target: what is there is not needed again.
    glacier.ahead = 30 * DAY
    cold.run("restore", name, "--target", target, "--thaw", rc=11)
    assert len(glacier.asked) == len(data(cold))
    glacier.thaw()
    cold.run("restore", name, "--target", target, "--thaw")
    same(second, below(target, second))


@pytest.mark.parametrize("what", ["file", "directory", "fifo", "top"])
def test_large_attributes_are_thawed_as_well(cold, glacier, work, what):
    """A set of more than 4 KiB is stored as content is."""
    source = work / "source"
    (source / "directory").mkdir(parents=True)
    (source / "file").touch()
    os.mkfifo(source / "fifo")
    try:
        os.setxattr(source if what == "top" else source / what, "trusted.big" if what == "fifo" else "user.big", os.urandom(20000))
    except OSError:
        pytest.skip("no room for such attributes here")
    name, target = cold.backup(source), cold.fresh("target")
    assert len(data(cold)) == 1
    words = ["restore", f"{name}:files{source}" if what == "top" else name, "--target", target / "made"]
    assert amounts(cold.run(*words, "--dry-run").errors)[0] == 1
    cold.run(*words, "--thaw", rc=11)
    glacier.thaw()
    cold.run(*words, "--thaw")
    same(source, target / "made" if what == "top" else below(target / "made", source))


def test_a_restore_that_was_killed_goes_on_and_one_that_waits_finishes(cold, glacier, work):
    glacier.takes = 3
    source = make_source(work)
    name = cold.backup(source)
    target = work / "target"
    process = cold.start("restore", name, "--target", target, "--thaw=expedited", "--wait", "1h")
    wait_for(lambda: glacier.asked, "the thaw to be asked for")
    process.kill()
    process.wait()
    asked = len(glacier.asked)
    cold.run("restore", name, "--target", target, "--thaw=expedited", "--wait", "10m")
    same(source, below(target, source))
    assert {tier for _, _, tier in glacier.asked} == {"Expedited"} and len(glacier.asked) >= asked


def test_what_is_frozen_again_before_the_last_has_come_is_asked_for_once_more(cold, glacier, work):
    first, second = make_source(work, "first"), make_source(work, "second")
    cold.backup(first)
    name = cold.backup(first, second)
    target = work / "target"
    process = cold.start("restore", name, "--target", target, "--thaw", "--wait", "5m")
    wait_for(lambda: len(glacier.asked) == len(data(cold)), "the thaw to be asked for")
    early = glacier.asked[0][0]
    with glacier.lock:
        glacier.ready[early] = 0
    time.sleep(4)  # it has been seen
    glacier.thaw()
    with glacier.lock:
        glacier.until[early] = 0
    wait_for(lambda: [key for key, _, _ in glacier.asked].count(early) == 2, "another thaw")
    glacier.thaw()
    assert process.wait(60) == 0
    same(first, below(target, first))
    same(second, below(target, second))


def test_an_interrupted_wait_ends_at_once(cold, glacier, work):
    name = cold.backup(make_source(work))
    process = cold.start("restore", name, "--target", work / "target", "--thaw", "--wait", "1d")
    wait_for(lambda: glacier.asked, "the thaw to be asked for")
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert b"the same command goes on from here" in process.stderr.read()


@pytest.mark.parametrize("class_, thaw, text, rc", [
    ("DEEP_ARCHIVE", "--thaw=expedited", "DEEP_ARCHIVE does not come back by --thaw=expedited", 2),
    ("DEEP_ARCHIVE", "--thaw=bulk", "usually takes up to 48 hours", 11),
    ("GLACIER", "--thaw=fast", "neither standard, expedited nor bulk", 2),
])
def test_haste_that_a_class_does_not_know_is_refused(s3_yester, glacier, work, class_, thaw, text, rc):
    configure(s3_yester, f"[s3]\nstorage_class = {class_}\n")
    name = s3_yester.backup(make_source(work))
    result = s3_yester.run("restore", name, "--target", work / "target", thaw, rc=rc)
    assert text in result.errors
    assert bool(glacier.asked) == (rc == 11)


def test_no_room_for_haste_is_told_and_not_waited_for(cold, glacier, work):
    name = cold.backup(make_source(work))
    glacier.no_capacity = True
    began = time.monotonic()
    result = cold.run("restore", name, "--target", work / "target", "--thaw=expedited", rc=1)
    assert time.monotonic() - began < 30
    assert "GlacierExpeditedRetrievalNotAvailable" in result.errors and "--thaw=standard" in result.errors
    cold.run("restore", name, "--target", work / "target", "--thaw", rc=11)


def test_without_settings_what_is_cold_is_met_when_it_is_read(cold, glacier, work):
    """On a bare machine nothing says that there is cold storage: the first read does."""
    name = cold.backup(make_source(work))
    cold.env["YESTER_CONFIG"] = "/dev/null"
    result = cold.run("restore", name, "--target", work / "target", rc=1)
    assert "in cold storage (GLACIER)" in result.errors and "--dry-run" in result.errors
    assert len([line for line in result.errors.splitlines() if "cannot restore" in line]) <= 8
    assert amounts(cold.run("restore", name, "--target", work / "target", "--dry-run").errors)
    result = cold.run("cat", f"{name}:files{work}/source/small", rc=1)
    assert "in cold storage (GLACIER)" in result.errors


def test_backups_go_on_and_store_nothing_twice(cold, glacier, work):
    source = make_source(work)
    cold.backup(source)
    before = data(cold)
    cold.backup(source)
    assert data(cold) == before
    (source / "copy").write_bytes((source / "noise").read_bytes())
    (source / "new").write_bytes(os.urandom(MiB))
    cold.env["XDG_CACHE_HOME"] = str(cold.fresh("cache"))  # and a catalog made anew is as good
    stored = cold.stored()
    name = cold.backup(source)
    assert cold.stored() - stored < 2 * MiB
    assert not glacier.refused
    cold.run("restore", name, "--target", work / "target", "--thaw", rc=11)
    glacier.thaw()
    same(source, cold.restored(source, name))


def test_verify_says_what_it_could_not_read_and_finds_what_is_gone(cold, glacier, work):
    cold.backup(make_source(work))
    count = len(data(cold))
    for words in ([], ["--data"]):
        result = cold.run("verify", *words)
        assert re.search(rf"{count} archives? in cold storage: there, and not read", result.errors)
        assert "no damage found in what could be read" in result.errors
        assert cold.run("--json", "verify", *words).json()["cold_archives"] == count
    key = f"/{s3server.BUCKET}/{cold.prefix}/{next(iter(data(cold)))}"
    cold.s3.client.call("DELETE", key)
    glacier.classes.pop(key)
    assert "damaged" in cold.run("verify", rc=4).errors


def test_prune_deletes_what_is_cold_and_compacts_none_of_it(cold, glacier, work):
    source = make_source(work)
    first = cold.backup(source)
    os.remove(source / "noise")  # most of that archive is dead with the first snapshot
    second = cold.backup(source)
    (work / "other").mkdir()
    (work / "other" / "gone").write_bytes(os.urandom(MiB))
    third = cold.backup(work / "other")
    cold.run("forget", first, third)
    dry = cold.run("prune", "--grace", "0", "--dry-run")
    assert "in cold storage, and not compacted: 1 archive" in dry.errors
    assert "compact" not in dry.text
    before = set(data(cold))
    for _ in range(3):
        cold.run("prune", "--grace", "0")
    assert len(before) - len(set(data(cold))) == 1  # that of the third
    cold.run("restore", second, "--target", work / "target", "--thaw", rc=11)
    glacier.thaw()
    same(source, cold.restored(source, second))


def test_what_is_compacted_stays_warm_and_what_is_thawed_is_not_compacted(s3_yester, glacier, work):
    y = s3_yester
    configure(y, "")
    source = make_source(work, megabytes=30)  # in parts
    (source / "stays").write_bytes(os.urandom(12 * MiB))
    first = y.backup(source)
    os.remove(source / "noise")
    second = y.backup(source)
    y.run("forget", first)
    warm = set(data(y))
    configure(y, "[s3]\nstorage_class = GLACIER\n")
    for _ in range(3):
        y.run("prune", "--grace", "0")
    new = {name: class_ for name, class_ in data(y).items() if name not in warm}
    assert new and set(new.values()) == {"STANDARD"}
    same(source, y.restored(source, second))

    other = make_source(work, "other")
    third = y.backup(other)
    os.remove(other / "noise")
    fourth = y.backup(other)
    y.run("restore", fourth, "--target", work / "target", "--thaw", rc=11)
    glacier.thaw()
    y.run("forget", third)
    before = {name for name, class_ in data(y).items() if class_ == "GLACIER"}
    assert "compact" not in y.run("prune", "--grace", "0", "--dry-run").text
    for _ in range(3):
        y.run("prune", "--grace", "0")
    assert before and before <= set(data(y))
    same(other, y.restored(other, fourth))


def test_what_is_old_enough_is_moved_and_only_that(s3_yester, glacier, work):
    y = s3_yester
    configure(y, "[s3]\nstorage_class = GLACIER\ncold_after = 30d\n")
    first, second = make_source(work, "first"), make_source(work, "second")
    y.backup(first)
    old = set(data(y))
    assert set(data(y).values()) == {"STANDARD"}
    same(first, y.restored(first))
    glacier.ahead = 29 * DAY
    assert "moved" not in y.run("prune").errors
    glacier.ahead = 31 * DAY
    assert f"would move {len(old)} archive" in y.run("prune", "--dry-run").errors
    assert set(data(y).values()) == {"STANDARD"}
    said = y.run("backup", "--type", "files", second).errors
    assert f"moved {len(old)} archive" in said and "to GLACIER" in said
    assert {name for name, class_ in data(y).items() if class_ == "GLACIER"} == old
    y.verify()
    assert "moved" not in y.run("prune").errors


def test_the_age_is_the_servers_and_not_this_machines(s3_yester, glacier, work):
    """The archives of the very run that moves are as new as they are."""
    y = s3_yester
    configure(y, "[s3]\nstorage_class = GLACIER\ncold_after = 1h\n")
    y.backup(make_source(work))
    assert set(data(y).values()) == {"STANDARD"}
    assert "moved" not in y.run("prune", "--dry-run").errors


def test_a_move_that_fails_is_told_and_the_snapshot_is_safe(s3_yester, glacier, work):
    y = s3_yester
    source = make_source(work)
    configure(y, "[s3]\nstorage_class = GLACIER\ncold_after = 30d\npatience = 1\n")
    y.backup(source)
    glacier.ahead = 31 * DAY
    moves = []

    def fail(method, path, head, body):
        if b"x-amz-copy-source" in head.lower():
            moves.append(path)
            return "403 Forbidden", "<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
        return answer(method, path, head, body)

    answer, glacier.answer = glacier.answer, fail
    result = y.run("backup", "--type", "files", source, rc=5)
    assert moves and "storage class GLACIER" in result.errors and "AccessDenied" in result.errors
    glacier.answer = answer
    same(source, y.restored(source))
    y.run("prune")
    assert set(data(y).values()) == {"GLACIER"}


def test_replicas_are_fed_before_anything_is_cold(cold, glacier, work):
    """The repository's class comes by a move, when all replicas have what they are to have; a replica's by the PUT."""
    source = make_source(work)
    other = f"{cold.prefix}-replica"
    configure(cold, f"[s3]\nstorage_class = GLACIER\n[replica second]\nlocation = s3://{s3server.BUCKET}/{other}\n"
                    f"storage_class = DEEP_ARCHIVE\n[replica third]\nlocation = {work}/third\n")
    name = cold.backup(source)
    # What another host may have stored meanwhile, and a replica not got, is no older than this run.
    assert set(data(cold).values()) == {"STANDARD"}
    glacier.ahead = 3 * 3600
    cold.run("copy")
    assert set(data(cold).values()) == {"GLACIER"}
    prefix, cold.prefix = cold.prefix, other
    assert set(data(cold).values()) == {"DEEP_ARCHIVE"}
    cold.prefix = prefix
    env = {"YESTER_CONFIG": "/dev/null", "YESTER_REPO": f"{work}/third"}
    same(source, cold.restored(source, name, env=env))
    # One that comes later cannot be fed from what is cold; it says so, and gets no snapshot.
    result = cold.run("copy", "--to", work / "late", rc=1)
    assert "in cold storage here" in result.errors
    assert not (work / "late" / "snapshots").exists() or not list((work / "late" / "snapshots").rglob("0*"))
    glacier.ahead = 0
    cold.run("restore", name, "--target", work / "target", "--thaw", rc=11)
    glacier.thaw()
    cold.run("copy", "--to", work / "late")
    same(source, cold.restored(source, name, env={**env, "YESTER_REPO": f"{work}/late"}))


def test_stats_leave_out_what_is_cold_and_say_so(cold, glacier, work):
    cold.backup(make_source(work))
    result = cold.run("stats")
    assert "in cold storage" in result.errors
    assert cold.run("--json", "stats").json()["cold_archives"] == len(data(cold))


@pytest.mark.parametrize("settings, text", [
    ("storage_class = ICE", 'there is no "ICE"'),
    ("storage_class = GLACIER\ncold_after = soon", "is no time"),
])
def test_wrong_settings_are_told_before_anything_else(s3_yester, settings, text):
    configure(s3_yester, f"[s3]\n{settings}\n")
    assert text in s3_yester.run("list", rc=2).errors


def test_chaos_around_a_thaw_is_survived(cold, glacier, work):
    glacier.takes = 1
    source = make_source(work)
    name = cold.backup(source)
    proxy = glacier.proxy
    proxy.faults = ("500", "503", "reset-request", "reset-answer", "applied-reset", "delay")
    for seed in range(3):
        proxy.random.seed(seed)
        proxy.rate = 0.15
        glacier.ready.clear()
        target = work / f"target{seed}"
        cold.run("restore", name, "--target", target, "--thaw", "--wait", "5m")
        proxy.rate = 0
        same(source, below(target, source))


@pytest.fixture
def shop(cold, make_server):  # noqa: F811
    """The program with a server that has two tables; the snapshot is a dump, each table in an archive of its own."""
    server = make_server()
    cold.env.update(settings(server))
    server.sql('CREATE DATABASE "shop"')
    for table in ("orders", "people"):
        server.sql(f"CREATE TABLE {table} AS SELECT i, md5(i::text || '{table}') m FROM generate_series(1, 1000) i", database="shop")
    return cold, server


def count(server, table, database="shop"):
    return server.sql(f"SELECT count(*) FROM {table}", database=database).strip()


@pytest.mark.skipif(bindir() is None, reason="no PostgreSQL server here")
def test_databases_are_thawed_and_loaded(shop, glacier):
    y, server = shop
    name = y.backup(type="database")
    dry = y.run("restore", name, "--type", "database", "--into", "again", "database/shop", "--dry-run")
    assert amounts(dry.errors)[0] == len(data(y)) and not glacier.asked
    y.run("restore", name, "database/shop/public/orders", "--into", "rescued", rc=1)
    y.run("restore", name, "database/shop/public/orders", "--into", "rescued", "--thaw", rc=11)
    assert glacier.asked
    glacier.thaw()
    y.run("restore", name, "database/shop/public/orders", "--into", "rescued", "--thaw")
    assert count(server, "rescued.orders") == "1000"
    y.run("restore", name, "database/shop", "--into", "again")
    assert count(server, "people", "again") == "1000"


@pytest.mark.skipif(bindir() is None, reason="no PostgreSQL server here")
def test_a_table_needs_no_archives_of_other_databases(shop, glacier):
    y, server = shop
    y.backup(type="database")
    before = set(data(y))
    server.sql("CREATE DATABASE extra")
    server.sql("CREATE TABLE large AS SELECT i, md5(random()::text) FROM generate_series(1, 20000) i", database="extra")
    y.backup(type="database")
    of_extra = set(data(y)) - before
    server.sql("INSERT INTO people SELECT i, md5(i::text) FROM generate_series(1001, 2000) i", database="shop")
    name = y.backup(type="database")
    y.run("restore", name, "database/shop/public/people", "--into", "rescued", "--thaw", rc=11)
    asked = {key.split(y.prefix + "/")[1] for key, _, _ in glacier.asked}
    assert asked and of_extra and not asked & of_extra
    glacier.thaw()
    y.run("restore", name, "database/shop/public/people", "--into", "rescued")
    assert count(server, "rescued.people") == "2000"


@pytest.mark.skipif(bindir() is None, reason="no PostgreSQL server here")
def test_a_data_directory_is_thawed_as_a_whole(shop, glacier, work):
    y, server = shop
    name = y.backup("--physical", type="database")
    where = work / "data"
    words = ("restore", name, "--type", "database", "--data-directory", where, "--to", "immediate")
    dry = y.run(*words, "--dry-run")
    assert amounts(dry.errors)[0] == len(data(y))
    assert "must be thawed first" in y.run(*words, rc=1).errors
    y.run(*words, "--thaw", rc=11)
    assert not where.exists() or not list(where.iterdir())
    glacier.thaw()
    y.run(*words, "--thaw")
    assert (where / "PG_VERSION").read_text() == (server.data / "PG_VERSION").read_text()


@pytest.mark.parametrize("more", ["cold_after = 1s\n", "[replica second]\nlocation = /nowhere\n"])
def test_what_is_locked_is_not_moved_and_settings_that_say_so_are_refused(work, locking, more):  # noqa: F811
    """The first version of an object counts, and a move would make a second one."""
    y = Locked(work, locking)
    y.init()
    y.backup(make_source(work))
    y.lock("1d governance", f"storage_class = GLACIER\n{more}")
    for words in (["prune"], ["list"], ["backup", "--type", "files", work / "source"]):
        errors = y.run(*words, rc=2).errors
        assert "s3 lock and storage_class" in errors and "leave out" in errors
    assert ("cold_after" in errors) == ("cold_after" in more)
    assert len(y.versions("data/")) == len({name for name, *_ in y.versions("data/")})


def test_what_is_locked_may_be_put_into_a_class_at_once(work, locking):  # noqa: F811
    y = Locked(work, locking)
    y.init()
    y.lock("1d governance", "storage_class = GLACIER\n")
    source = make_source(work)
    name = y.backup(source)
    y.run("prune")
    assert set(data(y).values()) == {"GLACIER"}
    versions = y.versions("data/")
    assert len(versions) == len({n for n, *_ in versions})
    same(source, y.restored(source, name))


def test_what_is_locked_frozen_and_then_hidden_by_an_attacker_is_thawed_and_restored(work, locking):  # noqa: F811
    y = Locked(work, locking)
    y.lock("1d governance", "storage_class = GLACIER\n")
    with ChaosProxy(y.s3.address) as proxy:
        proxy.glacier = glacier = Glacier()
        y.env["AWS_ENDPOINT_URL"] = proxy.endpoint
        y.init()
        source = make_source(work)
        name = y.backup(source)
        hide_all(y)
        y.env["XDG_CACHE_HOME"] = str(y.fresh("cache"))
        target = y.fresh("target")
        words = ["restore", name, "--target", target]
        assert amounts(y.run(*words, "--dry-run").errors)[2] == "GLACIER"
        y.run(*words, rc=1)
        y.run(*words, "--thaw", rc=11)
        assert len(glacier.asked) == len({n for n, _, kind in y.versions("data/") if kind == "Version"})
        assert not list(target.iterdir())
        glacier.thaw()
        y.run(*words, "--thaw")
        same(source, below(target, source))
        y.run("prune")


def test_what_was_sealed_anew_stays_where_it_can_be_read_and_that_is_said(s3_yester, glacier, work):
    """An epoch can only be ended in a directory; its replica then has all of it once more."""
    y = s3_yester
    replica = f"s3://{s3server.BUCKET}/{y.prefix}/replica"
    configure(y, f"[replica far]\nlocation = {replica}\nstorage_class = GLACIER\ncold_after = 30d\n")
    y.env["YESTER_REPO"] = str(work / "near")
    y.init()
    y.backup(make_source(work))
    old = set(data_of_replica(y))
    y.run("key", "rotate", "--reencrypt")
    y.run("copy")
    new = set(data_of_replica(y)) - old
    glacier.ahead = 31 * DAY
    told = y.run("copy").errors
    assert old and f"moved {len(old)} archive" in told and f"{len(new)} archive" in told and "key rotate --reencrypt" in told
    assert {name for name, class_ in data_of_replica(y).items() if class_ == "GLACIER"} == old


def data_of_replica(y):
    return {name: class_ for name, class_ in classes(y).items() if name.startswith("replica/data/")}


def test_a_replica_that_comes_late_is_fed_by_a_thaw_of_what_it_lacks(cold, glacier, work):
    source = make_source(work)
    cold.backup(source)
    near, late = work / "near", work / "late"
    first = data(cold)
    cold.run("copy", "--to", near, "--thaw", "--wait", "2s", rc=11)  # nobody thaws
    assert not list(near.rglob("*/*")) and len(glacier.asked) == len(first)
    glacier.thaw()
    cold.run("copy", "--to", near, "--thaw")
    assert len(glacier.asked) == len(first)
    (source / "more").write_bytes(os.urandom(3 * MiB))
    name = cold.backup(source)
    # Of what is there already, and of what can be read for some days, nothing is asked for again.
    result = cold.run("copy", "--to", near, "--dry-run")
    assert "to be thawed first: 1 archive " in result.errors and len(glacier.asked) == len(first)
    assert "`yester copy --thaw` asks for them" in cold.run("copy", "--to", near, rc=1).errors
    result = cold.run("copy", "--to", near, "--thaw=bulk", "--thaw-days", "2", rc=11)
    assert [(days, tier) for _, days, tier in glacier.asked[len(first):]] == [(2, "Bulk")]
    assert "same command again later" in result.errors
    glacier.thaw()
    cold.run("copy", "--to", near, "--thaw")
    same(source, cold.restored(source, name, env={"YESTER_CONFIG": "/dev/null", "YESTER_REPO": str(near)}))
    # Of the settings, too; a backup asks for nothing.
    glacier.ahead = 30 * DAY
    asked = len(glacier.asked)
    text = f"[s3]\nstorage_class = GLACIER\ncold_after = 90d\n[replica late]\nlocation = {late}\n"
    configure(cold, text)
    cold.run("copy", rc=5)
    assert len(glacier.asked) == asked
    cold.run("copy", "--thaw", rc=11)
    assert len(glacier.asked) > asked
    glacier.thaw()
    cold.run("copy", "--thaw")
    same(source, cold.restored(source, name, env={"YESTER_CONFIG": "/dev/null", "YESTER_REPO": str(late)}))


def test_waiting_for_a_thaw_goes_with_asking_for_it(cold):
    for option in (["--wait", "1h"], ["--thaw-days", "3"], ["--thaw=now"], ["--thaw", "--thaw-days", "0"]):
        cold.run("copy", "--to", "/nowhere", *option, rc=2)
