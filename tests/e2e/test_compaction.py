"""Content that prune moved to other archives: who reads, mounts, backs up or starts anew does not notice."""
import os
import random
import shutil
import subprocess
import sys
import time

import pytest

from conftest import ROOT, same, same_on_mount, wait_for

READER = ROOT / "tests" / "harness" / "formatreader.py"


def fill(top, rnd):
    """Files that stay between files that go, so that every archive is sparse afterwards."""
    for i in range(20):
        for kind in ("stays", "goes", "goes later"):
            (top / f"{i:02d}").mkdir(exist_ok=True)
            (top / f"{i:02d}/{kind}").write_bytes(rnd.randbytes(300_000))
            for j in range(40):
                (top / f"{i:02d}/{kind} {j}").write_bytes(b"%d %s %d\n" % (i, kind.encode(), j))
    (top / "big").write_bytes(rnd.randbytes(3_000_000))


def drop(top, kind):
    for path in top.glob(f"*/{kind}"):
        path.unlink()
    for path in top.glob(f"*/{kind} [0-9]*"):
        path.unlink()


def compact(yester, name):
    """Forgets all but that snapshot, and moves what it needs."""
    yester.run("forget", *(s["name"] for s in yester.snapshots() if s["name"] != name))
    remaps, told = inside(yester, "remap"), yester.run("--json", "prune", "--now", "--compact", "95%").json()
    assert told["compacted"] > 0 and inside(yester, "remap") != remaps, told
    time.sleep(1.1)     # so that the name of the one that is gone is not taken once more


def inside(yester, folder):
    top = yester.repo / folder
    return {p.name for p in top.iterdir()} if top.exists() else set()


@pytest.fixture
def compacted(yester, tree, work):
    """A snapshot of which the content was moved; what the source held is still there."""
    fill(tree, random.Random(1))
    yester.backup(tree)
    old = inside(yester, "data")
    drop(tree, "goes")
    name = yester.backup(tree)
    compact(yester, name)
    assert not old & inside(yester, "data")
    return name


@pytest.mark.quick
def test_it_is_restored_verified_and_read_by_another_hand(yester, tree, compacted):
    same(tree, yester.restored(tree, compacted))
    yester.run("verify", "--data")
    yester.run("stats")
    python = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
    subprocess.run([python, READER, yester.repo, yester.key, "check"], check=True)


def test_what_was_moved_is_not_stored_again(yester, tree, work, compacted):
    data = inside(yester, "data")
    other = {"XDG_CACHE_HOME": str(work / "other-cache")}
    for env in (None, other):
        yester.run("backup", "--type", "files", tree, env=env)
        assert inside(yester, "data") == data
    # And not under another name.
    shutil.copy(tree / "big", tree / "big too")
    yester.run("catalog", "rebuild")
    name = yester.backup(tree)
    assert inside(yester, "data") == data
    same(tree, yester.restored(tree, name))


def test_what_was_moved_is_moved_once_more(yester, tree, compacted):
    first, directories = inside(yester, "data"), inside(yester, "meta")
    drop(tree, "goes later")
    name = yester.backup(tree)
    compact(yester, name)
    assert not first & inside(yester, "data") and directories - inside(yester, "meta")
    same(tree, yester.restored(tree, name))
    yester.run("verify", "--data")
    yester.run("prune", "--now")
    same(tree, yester.restored(tree, name))
    assert len(inside(yester, "remap")) == 1


def test_a_mount_stands_while_what_it_shows_is_moved(yester, tree):
    fill(tree, random.Random(2))
    yester.backup(tree)
    drop(tree, "goes")
    name = yester.backup(tree)
    with yester.mount() as mount:
        shown = mount.tree(name, tree)
        assert (shown / "big").read_bytes()[:1000] == (tree / "big").read_bytes()[:1000]
        compact(yester, name)
        same_on_mount(tree, shown)
        drop(tree, "goes later")
        later = yester.backup(tree)
        with open(shown / "07/stays", "rb") as f:
            assert f.read() == (tree / "07/stays").read_bytes()
        wait_for(mount.tree(later, tree).exists, "the new snapshot")
        compact(yester, later)
        same_on_mount(tree, mount.tree(later, tree))
