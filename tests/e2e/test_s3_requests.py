"""How many requests commands make of a bucket, and which of them wait for which: seen at a proxy."""
import collections
import os
import re
import threading

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
    return method + " " + path.split("/")[3]


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
                self.barriers[key].wait(20)
        except threading.BrokenBarrierError:
            self.alone.append(key)


def test_listings_that_need_not_wait_for_each_other_do_not(s3_yester, proxy, tree):
    s3_yester.backup(tree)
    (tree / "more").write_text("so that there is an index to store\n")
    with Rounds(proxy, BACKUP) as rounds:
        s3_yester.backup(tree)
    assert not rounds.alone and not rounds.left
    # The last one: that of this second may be taken.
    behind = rounds.asked[len(rounds.asked) - rounds.asked[::-1].index("PUT snapshots"):]
    assert set(behind[:2]) == set(LOOK) and sorted(behind[2:]) == sorted(ARCHIVES)
    with Rounds(proxy, OPENING + [SYNC]) as rounds:
        s3_yester.run("list")
    assert not rounds.alone and not rounds.left


def test_what_a_backup_in_which_nothing_is_new_asks_for(s3_yester, proxy, tree):
    s3_yester.backup(tree)
    s3_yester.backup(tree)
    with Rounds(proxy, []) as rounds:
        s3_yester.backup(tree)
    names = rounds.seen["PUT snapshots"]  # that of this second may be taken
    assert rounds.seen["GET repository"] == 1 and rounds.seen["PUT meta"] <= 1 and names >= 1
    assert rounds.seen["GET data"] == 0 and rounds.seen["PUT data"] == 0
    assert sum(name.startswith("LIST") for name in rounds.asked) <= 16
    assert len(rounds.asked) - names <= 27
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
