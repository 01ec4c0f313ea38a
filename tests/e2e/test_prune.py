"""Prune: what nothing needs goes when its grace is over; what is kept comes back byte for byte."""
import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time

import pytest
import s3server

from conftest import below, make_tree, same, wait_for
from test_disk_full import full, tmpfs  # noqa: F401 (fixtures)

GRACE = 1.0


def prune(yester, *args, grace=f"{GRACE:.0f}s", **kwargs):
    """Prune and return what it told last."""
    if "--now" in args:
        assert yester.repo  # works on a directory only
    result = yester.run("--json", "prune", "--grace", grace, *args, **kwargs)
    return json.loads(result.lines[-1])


def prune_all(yester, *args):
    """As two nights would: mark, wait, delete."""
    prune(yester, *args)
    time.sleep(GRACE + 0.2)
    return prune(yester, *args)


def fill(tree, number):
    """A generation that shares a part with the others."""
    (tree / "changing").mkdir(exist_ok=True)
    (tree / f"changing/{number}").write_bytes(os.urandom(400_000))
    for old in range(number - 1):
        (tree / f"changing/{old}").unlink(missing_ok=True)
    (tree / "README").write_bytes(b"generation %d\n" % number)


@pytest.fixture
def past(yester, tree, work):
    """Six snapshots, and copies of what they hold."""
    kept = {}
    for number in range(6):
        fill(tree, number)
        name = yester.backup(tree)
        kept[name] = work / f"as-in-{name}"
        subprocess.run(["cp", "-a", tree, kept[name]], check=True)
    return kept


def restores(yester, tree, kept):
    for name, copy in kept.items():
        same(copy, yester.restored(tree, name))
    yester.verify()


def forget(yester, kept, names):
    yester.run("forget", *names)
    for name in names:
        del kept[name]


@pytest.mark.quick
def test_what_is_kept_compares_equal_and_the_rest_is_gone(yester, tree, past, work):
    other = {"XDG_CACHE_HOME": str(work / "other-cache")}
    yester.run("list", env=other)
    names = list(past)
    forget(yester, past, names[1:4])
    before = yester.stored()
    told = prune(yester, "--dry-run")
    assert told["dry_run"] and told["deleted"] == 0 and yester.stored() == before
    assert prune(yester)["marked_bytes"] == told["marked_bytes"]
    restores(yester, tree, past)
    time.sleep(GRACE + 0.2)
    foretold = prune(yester, "--dry-run")
    done = prune(yester)
    assert done["snapshots"] == 3 and done["freed"] == foretold["freed"] >= told["marked_bytes"]
    assert not any((yester.repo / "snapshots" / name).exists() for name in names[1:4])
    restores(yester, tree, past)
    yester.run("status")
    # Who saw them before, and who never did, takes nothing for stolen.
    for env in (other, {"XDG_CACHE_HOME": str(work / "third-cache")}):
        yester.run("status", env=env)
        yester.run("verify", env=env)
    name = yester.backup(tree)
    same(tree, yester.restored(tree, name))
    assert prune(yester)["deleted"] == 0


def test_everything_but_the_last(yester, tree, past):
    names = list(past)
    forget(yester, past, names[:-1])
    prune_all(yester)
    restores(yester, tree, past)
    same(tree, yester.restored(tree, yester.backup(tree)))


@pytest.mark.quick
def test_unforget_helps_until_the_grace_is_over(yester, tree, past):
    names = list(past)
    yester.run("forget", names[0], names[1])
    prune(yester, grace="48h")
    yester.run("unforget", names[0])
    prune(yester, grace="48h")
    restores(yester, tree, past)
    config = yester.work / "conf"
    config.write_text("[prune]\ngrace = 1s\n")
    time.sleep(1)
    late = yester.run("--config", config, "unforget", names[1], rc=1)
    assert "too long ago" in late.errors
    del past[names[1]]
    prune(yester, "--now")
    yester.run("unforget", names[1], rc=1)
    restores(yester, tree, past)


def test_what_is_held_is_not_pruned(yester, tree, past):
    names = list(past)
    yester.run("forget", names[2])
    # Between a forget and a hold of another host there is no order.
    held = {"XDG_CACHE_HOME": str(yester.work / "other-cache")}
    yester.run("list", env=held)
    yester.run("unforget", names[2], env=held)
    yester.run("hold", names[2], env=held)
    yester.run("forget", names[2], rc=2)
    prune(yester, "--now")
    restores(yester, tree, past)


def writer(yester, name="stream"):
    """A backup that has begun and waits for more."""
    process = yester.start("backup", "--type", "files", "--stdin", name, stdin=subprocess.PIPE)
    process.stdin.write(os.urandom(3_000_000))
    process.stdin.flush()
    wait_for(lambda: any((yester.repo / "tmp").glob("*-*")), "the backup to write")
    return process


@pytest.mark.quick
def test_now_waits_until_nobody_writes(yester, tree, past):
    forget(yester, past, list(past)[:3])
    process = writer(yester)
    try:
        busy = yester.run("prune", "--now", "--wait", "1s", rc=11)
        assert "writing" in busy.errors
        prune(yester)  # beside it
        waiting = yester.start("prune", "--now")
        out, err = process.communicate(b"the end", timeout=60)
        assert process.returncode == 0, err
        assert waiting.wait(60) == 0
    finally:
        process.kill()
    restores(yester, tree, past)
    assert yester.run("cat", out.decode().split()[-1] + ":files/stream").out.endswith(b"the end")


def test_who_writes_waits_for_now(yester, tree, past):
    forget(yester, past, list(past)[:3])
    with open(yester.repo / "repository") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)
        with open(yester.work / "said", "wb") as said:
            process = yester.start("backup", "--type", "files", tree, stderr=said)
        wait_for(lambda: b"pruned" in (yester.work / "said").read_bytes(), "the backup to find the lock")
        assert process.poll() is None
        yester.run("list")  # who reads does not
        fcntl.flock(alone, fcntl.LOCK_UN)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    past[out.decode().split()[-1]] = tree
    restores(yester, tree, past)


def test_a_kept_snapshot_that_is_damaged_lets_nothing_go(yester, past):
    forget(yester, past, list(past)[:3])
    largest = max((yester.repo / "meta").iterdir(), key=lambda p: p.stat().st_size)
    largest.chmod(0o600)
    with open(largest, "r+b") as f:
        f.seek(300)
        f.write(b"\0\0\0\0")
    before = [p for p in yester.objects() if "marks" not in p.parts]
    for args in ([], ["--now"], ["--now", "--dry-run"]):
        assert "damaged" in yester.run("prune", "--grace", "0s", *args, rc=4).errors
    assert [p for p in yester.objects() if "marks" not in p.parts] == before


def test_nothing_goes_while_a_snapshot_is_missing(yester, past):
    names = list(past)
    yester.run("forget", names[0])
    shutil.rmtree(yester.repo / "snapshots" / names[3])
    assert names[3] in yester.run("prune", "--now", rc=4).errors
    yester.run("forget", names[3])
    yester.run("prune", "--now")


@pytest.mark.root
def test_a_full_disk_is_pruned(full, tree):  # noqa: F811
    yester = full
    first = yester.backup(tree)
    (tree / "huge").write_bytes(os.urandom(4_000_000))
    second = yester.backup(tree)
    (tree / "huge").unlink()
    last = yester.backup(tree)
    yester.run("forget", first, second)
    # The rest of the disk, to the last byte.
    try:
        with open(yester.repo.resolve().parent / "filler", "wb", buffering=0) as f:
            while True:
                f.write(bytes(4096))
    except OSError:
        pass
    marks = yester.run("prune", rc=1)
    assert "full" in marks.errors and "--now" in marks.errors
    told = prune(yester, "--now")
    assert told["freed"] > 4_000_000 and told["snapshots"] == 2
    same(tree, yester.restored(tree, last))
    same(tree, yester.restored(tree, yester.backup(tree)))


# ---- beside others ------------------------------------------------------------------------


class Writer(threading.Thread):
    """Backs its own tree up again and again; now and then it is suspended for longer than the grace."""

    def __init__(self, yester, tree, host, seed, runs, copies):
        super().__init__()
        self.yester, self.tree, self.host = yester, tree, host
        self.seeded, self.runs, self.copies = random.Random(seed), runs, copies
        self.kept, self.failures = {}, []

    def one(self, number):
        fill(self.tree, number)
        if number % 3 == 2:  # what was there before comes back: its chunks may be dying
            (self.tree / "again").write_bytes(self.copies[0])
        elif number % 3 == 0:
            (self.tree / "again").unlink(missing_ok=True)
        process = self.yester.start("--host", self.host, "backup", "--type", "files", self.tree)
        if self.seeded.random() < 0.5:
            time.sleep(self.seeded.uniform(0.0, 0.15))
            process.send_signal(signal.SIGSTOP)
            time.sleep(GRACE * self.seeded.uniform(1.0, 2.5))
            process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=120)
        if process.returncode != 0:
            self.failures.append(err.decode())
            return
        name = out.decode().split()[-1]
        copy = self.yester.work / f"{self.host}-{number}"  # a pruned snapshot's name may come again
        subprocess.run(["cp", "-a", self.tree, copy], check=True)
        self.kept[name] = copy

    def run(self):
        for number in range(self.runs):
            self.one(number)


def forget_some(yester, writers, seeded):
    """What was acknowledged and goes on being kept is decided here alone."""
    for w in writers:
        names = sorted(w.kept)[:-1]
        for name in seeded.sample(names, len(names) // 2):
            result = yester.run("--host", w.host, "forget", name)
            assert name in result.text, result
            del w.kept[name]


@pytest.mark.parametrize("seed, runs", [(1, 6), *(pytest.param(s, 25, marks=pytest.mark.long) for s in range(2, 6))])
def test_two_writers_a_reader_and_a_pruner(yester, work, seed, runs):
    """Whatever was acknowledged and not forgotten comes back, however the four are interleaved."""
    seeded = random.Random(seed)
    copies = [os.urandom(600_000)]
    writers = []
    for host in ("one", "two"):
        tree = make_tree(work / f"tree-{host}")
        writers.append(Writer(yester, tree, host, seeded.random(), runs, copies))
    (writers[0].tree / "again").write_bytes(copies[0])
    first = yester.run("--host", "one", "backup", "--type", "files", writers[0].tree).lines[-1]
    reference = work / "reference"
    subprocess.run(["cp", "-a", writers[0].tree, reference], check=True)
    yester.run("hold", first)
    with yester.mount() as mount:
        for w in writers:
            w.start()
        while any(w.is_alive() for w in writers):
            result = yester.run("prune", "--grace", f"{GRACE:.0f}s", rc=None)
            assert result.rc == 0, result
            forget_some(yester, writers, seeded)
            same(reference / "src", below(mount.path / "hosts/one" / first / "files", writers[0].tree / "src"),
                 holes=False)
            time.sleep(seeded.uniform(0.1, 0.6))
        for w in writers:
            w.join()
            assert not w.failures, w.failures
    prune_all(yester)
    kept = {name: (w.tree, copy) for w in writers for name, copy in w.kept.items()}
    assert len(kept) > 2
    for name, (tree, copy) in kept.items():
        same(copy, yester.restored(tree, name))
    same(reference, yester.restored(writers[0].tree, first))
    yester.verify()


# ---- room ---------------------------------------------------------------------------------


def room(yester):
    """What archives and roots take."""
    return sum(p.stat().st_size for p in yester.objects() if p.relative_to(yester.repo).parts[0]
               in ("data", "meta", "index", "remap", "snapshots"))


def test_the_room_that_is_freed_is_what_a_dry_run_said(yester, tree, work):
    """Every second file of each generation goes with its snapshot: archives get sparse."""
    kept, all_of_it = {}, ("--compact", "100%")
    (tree / "many").mkdir()
    for number in range(6):
        for i in range(40):
            (tree / f"many/{number}.{i}").write_bytes(os.urandom(30_000))
        for i in range(30):
            (tree / f"many/{number - 1}.{i}").unlink(missing_ok=True)
        name = yester.backup(tree)
        kept[name] = work / f"as-in-{number}"
        subprocess.run(["cp", "-a", tree, kept[name]], check=True)
    names = list(kept)
    frees = {row["name"]: row["frees"] for row in yester.run("--json", "stats").json()["snapshots"]}
    forget(yester, kept, names[:4])
    before = room(yester)
    told = prune(yester, "--now", "--dry-run", *all_of_it)
    assert told["compacted"] >= 3 and room(yester) == before
    foretold = told["freed"] - told["moved_bytes"]
    # stats counts chunks; what shares a block with something that is needed stays.
    assert foretold > sum(frees[name] for name in names[:4]) * 0.85
    shutil.copytree(yester.repo, work / "copy")
    prune(yester, "--now", *all_of_it)
    freed = before - room(yester)
    assert abs(freed - foretold) < 0.05 * freed
    restores(yester, tree, kept)

    # With a grace, and marks, it comes to the same.
    shutil.rmtree(yester.repo)
    shutil.copytree(work / "copy", yester.repo)
    prune_all(yester, *all_of_it)
    prune_all(yester, *all_of_it)
    assert abs(before - room(yester) - foretold) < 0.05 * freed
    restores(yester, tree, kept)
    same(tree, yester.restored(tree, yester.backup(tree)))


def test_what_stats_calls_free_is_what_a_prune_frees(yester, tree, work):
    for number in range(4):
        (tree / "alone").write_bytes(os.urandom(2_000_000 + 500_000 * number))
        (tree / f"stays.{number}").write_bytes(os.urandom(300_000))
        yester.backup(tree)
    rows = yester.run("--json", "stats").json()["snapshots"]
    for row in rows[:-1]:
        yester.run("forget", row["name"])
        before = room(yester)
        prune(yester, "--now", "--compact", "100%")
        assert abs(before - room(yester) - row["frees"]) < 0.05 * row["frees"]
    same(tree, yester.restored(tree))
    yester.verify()


# ---- in a bucket --------------------------------------------------------------------------


@pytest.mark.xdist_group("s3")
def test_a_bucket_is_pruned_by_its_server_s_word(s3_yester, tree, work):
    yester, kept = s3_yester, {}
    for number in range(4):
        fill(tree, number)
        name = yester.backup(tree)
        kept[name] = work / f"as-in-{number}"
        subprocess.run(["cp", "-a", tree, kept[name]], check=True)
    forget(yester, kept, list(kept)[:2])
    assert "only a local directory" in yester.run("prune", "--now", rc=2).errors
    prune(yester)
    time.sleep(GRACE + 0.2)
    orphan = "data/" + "0123456789abcdef" * 4
    yester.s3.client.put(s3server.BUCKET, f"{yester.prefix}/{orphan}", b"what a dead writer left")
    prune(yester)
    assert orphan in yester.keys()  # it may be a running writer's
    time.sleep(6 * GRACE)
    prune_all(yester)
    assert orphan not in yester.keys()
    assert {name.split("/")[1] for name in yester.keys() if name.startswith("snapshots/")} == set(kept)
    restores(yester, tree, kept)
