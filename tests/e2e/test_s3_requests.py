"""How many requests commands make of a bucket, and which of them wait for which: seen at a proxy."""
import collections
import os
import re
import threading
import time

import pytest
from chaosproxy import ChaosProxy
from conftest import same

pytestmark = pytest.mark.xdist_group("s3")

ARCHIVES = ["LIST data", "LIST meta", "LIST index"]
LOOK = ["LIST remap", "LIST marks"]
# All of a round are asked for before the first one is answered.
OPENING = [["GET repository", "LIST keys"], ["GET keys", "GET keys"]]  # an epoch, a slot
SYNC = ["LIST forgets", "LIST holds", "LIST releases"]
BACKUP = OPENING + [SYNC + ARCHIVES + ["LIST marks"], LOOK, ["PUT index", "PUT tmp"], LOOK, ARCHIVES]


@pytest.fixture
def proxy(s3_yester):
    with ChaosProxy(s3_yester.s3.address) as proxy:
        s3_yester.env = {**s3_yester.env, "AWS_ENDPOINT_URL": proxy.endpoint}
        yield proxy


def short(method, path, *_):
    """LIST marks, GET repository, PUT snapshots …"""
    listed = re.search(r"[?&]prefix=([^&]*)", path)
    if listed:
        return "LIST " + "/".join(listed[1].split("%2F")[1:]).rstrip("/")
    parts = path.split("/")
    return method + " " + (parts[3] if len(parts) > 3 else "bucket")


class Rounds:
    """Answers none of a round before all of it have been asked for."""

    def __init__(self, proxy, rounds):
        self.proxy, self.seen, self.alone, self.asked = proxy, collections.Counter(), [], []
        self.barriers, nth = {}, collections.Counter()
        for names in rounds:
            barrier = threading.Barrier(len(names))
            for name in names:
                nth[name] += 1
                self.barriers[name, nth[name]] = barrier
        self.left = set(self.barriers)

    def __enter__(self):
        self.proxy.before = self.wait
        return self

    def __exit__(self, *_):
        self.proxy.before = None

    def wait(self, number):
        name = short(*self.proxy.requests[number])
        with self.proxy.lock:
            self.asked.append(name)
            self.seen[name] += 1
            key = name, self.seen[name]
            self.left.discard(key)
        try:
            if key in self.barriers:
                self.barriers[key].wait(28)
        except threading.BrokenBarrierError:
            self.alone.append(key)


def without_claims(y, asked):
    """Without what a server that overwrites is asked for besides, for each name of a snapshot."""
    return [name for name in asked if y.s3.kind != "swift" or ("claims" not in name and name != "HEAD snapshots")]


def test_listings_that_need_not_wait_for_each_other_do_not(s3_yester, proxy, tree):
    s3_yester.backup(tree)
    (tree / "more").write_text("so that there is an index to store\n")
    # A server that does not know the condition says so when it gets the first archive, and is not tried with "PUT tmp".
    overwrites = s3_yester.s3.kind == "swift"
    with Rounds(proxy, [r for r in BACKUP if not overwrites or "PUT tmp" not in r]) as rounds:
        s3_yester.backup(tree)
    assert not rounds.alone and not rounds.left
    # The last one: that of this second may be taken.
    asked = without_claims(s3_yester, rounds.asked)
    behind = asked[len(asked) - asked[::-1].index("PUT snapshots"):]
    assert set(behind[:2]) == set(LOOK) and sorted(behind[2:]) == sorted(ARCHIVES)
    with Rounds(proxy, OPENING + [SYNC]) as rounds:
        s3_yester.run("list")
    assert not rounds.alone and not rounds.left


def test_what_a_backup_in_which_nothing_is_new_asks_for(s3_yester, proxy, tree):
    s3_yester.backup(tree)
    s3_yester.backup(tree)
    first = len(proxy.requests)
    with Rounds(proxy, []) as rounds:
        s3_yester.backup(tree)
    names = rounds.seen["PUT snapshots"]  # that of this second may be taken
    written = {path.split("?")[0] for method, path, _ in proxy.requests[first:] if method == "PUT" and "/meta/" in path}
    assert rounds.seen["GET repository"] == 1 and len(written) <= 1 and names >= 1, rounds.asked
    assert rounds.seen["GET data"] == 0 and rounds.seen["PUT data"] == 0
    asked = without_claims(s3_yester, rounds.asked)
    assert sum(name.startswith("LIST") for name in asked) <= 16
    assert len(asked) - names <= 27
    with Rounds(proxy, []) as rounds:
        s3_yester.run("list")
    assert len(rounds.asked) <= 8


def test_a_restore_where_nothing_is_known_reads_each_snapshot_once_and_all_of_them_together(s3_yester, proxy, tree):
    names = [s3_yester.backup(tree) for _ in range(3)]
    with Rounds(proxy, OPENING + [["GET snapshots"] * 3, SYNC]) as rounds:
        target = s3_yester.restored(tree, names[-1], env={"XDG_CACHE_HOME": str(s3_yester.fresh("cache"))})
    assert not rounds.alone and not rounds.left
    assert rounds.seen["GET snapshots"] == 3
    same(tree, target)


def test_a_prune_and_a_verify_ask_at_once_for_what_need_not_wait(s3_yester, proxy, tree):
    for _ in range(3):
        s3_yester.backup(tree)
    looks = [SYNC, ["GET snapshots"] * 3]
    with Rounds(proxy, [SYNC] + looks + looks) as rounds:  # the catalog's, and both of the pruner
        s3_yester.run("prune")
    assert not rounds.alone and not rounds.left
    with Rounds(proxy, [SYNC + ARCHIVES + ["LIST marks"], ARCHIVES + ["LIST remap"]]) as rounds:
        s3_yester.verify()
    assert not rounds.alone and not rounds.left


def test_a_prune_marks_and_deletes_many_objects_at_once_and_roots_before_what_they_need(s3_yester, proxy, work):
    y, gone = s3_yester, []
    for number in range(3):
        source = work / f"source{number}"
        source.mkdir()
        (source / "noise").write_bytes(os.urandom(300_000))
        gone.append(y.backup(source))
    y.run("forget", *gone[:2])
    with Rounds(proxy, [["PUT marks"] * 4]) as rounds:  # of each of both its root, data and directories
        y.run("prune", "--grace", "1s")
    assert not rounds.alone and not rounds.left
    time.sleep(1.5)
    with Rounds(proxy, [["GET marks"] * 4, ["DELETE snapshots"] * 2, ["DELETE data"] * 2]) as rounds:
        y.run("prune", "--grace", "1s")
    assert not rounds.alone and not rounds.left
    changes = [name for name in rounds.asked if name.startswith("DELETE")]
    assert changes[:2] == ["DELETE snapshots"] * 2 and "DELETE snapshots" not in changes[2:]
    same(work / "source2", y.restored(work / "source2"))
    y.verify()


@pytest.mark.parametrize("what, grace", [("PUT marks", "1s"), ("DELETE data", "1s")])
def test_one_of_many_that_a_prune_is_refused_is_told(s3_yester, proxy, work, what, grace):
    y, gone = s3_yester, []
    for number in range(4):
        source = work / f"source{number}"
        source.mkdir()
        (source / "noise").write_bytes(os.urandom(300_000))
        gone.append(y.backup(source))
    y.run("forget", *gone[:3])
    if what.startswith("DELETE"):
        y.run("prune", "--grace", grace)
        time.sleep(1.5)
    refused = []

    def deny(method, path):
        if short(method, path) == what and (not refused or path in refused):
            refused.append(path)
        return path in refused

    proxy.deny = deny
    result = y.run("prune", "--grace", grace, rc=1)
    assert refused[0].split("/")[-1][:40] in result.errors and "AccessDenied" in result.errors
    proxy.deny = None
    for _ in range(2):
        time.sleep(1.5)
        y.run("prune", "--grace", grace)
    assert len([name for name in y.keys() if name.startswith("data/")]) == 1
    y.verify()


def test_status_and_a_prune_list_at_once(s3_yester, proxy, tree):
    s3_yester.backup(tree)
    # The catalog lists the snapshots first.
    with Rounds(proxy, [["LIST snapshots"], ["LIST data", "LIST meta", "LIST index", "LIST snapshots"]]) as rounds:
        s3_yester.run("status")
    assert not rounds.alone and not rounds.left
    with Rounds(proxy, [ARCHIVES]) as rounds:
        s3_yester.run("prune")
    assert not rounds.alone and not rounds.left


def test_a_large_file_is_restored_by_few_large_requests(s3_yester, proxy, work):
    source = work / "source"
    source.mkdir()
    (source / "noise").write_bytes(os.urandom(48 << 20))
    s3_yester.backup(source)
    with Rounds(proxy, []) as rounds:
        same(source, s3_yester.restored(source))
    # 8 MiB each, the archive's end, and what is at the edges of the workers' parts: with pieces of 2 MiB it would be 24.
    assert rounds.seen["GET data"] <= 48 // 8 + 8, rounds.seen


def test_small_files_are_restored_by_few_large_requests(s3_yester, proxy, work):
    source = work / "source"
    for directory in range(10):
        (source / f"d{directory}").mkdir(parents=True)
        for number in range(200):
            (source / f"d{directory}" / f"f{number}").write_bytes(os.urandom(4000))
    s3_yester.backup(source)
    with Rounds(proxy, []) as rounds:
        same(source, s3_yester.restored(source))
    assert rounds.seen["GET data"] <= 4  # of 8 MB: a request for 64 files each would be 31
    assert rounds.seen["GET meta"] <= 2
