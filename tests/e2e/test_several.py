"""Several at once: two backups, readers beside writers, two hosts in one repository."""
import os
import shutil

import pytest

from conftest import make_tree, same


@pytest.mark.smoke
def test_two_backups_at_once_both_succeed(yester, work):
    trees = [make_tree(work / f"source{i}") for i in range(2)]
    for tree in trees:
        (tree / "shared").write_bytes(b"in both" * 50_000)
        (tree / "noise").write_bytes(os.urandom(5_000_000))
    for _ in range(3):
        processes = [yester.start("backup", "--type", "files", tree) for tree in trees]
        names = []
        for process in processes:
            out, err = process.communicate()
            assert process.returncode == 0, err
            names.append(out.decode().split()[-1])
        assert len(set(names)) == 2, "each has a name of its own"
    yester.verify()
    for tree, name in zip(trees, names):
        same(tree, yester.restored(tree, name))


def test_many_backups_at_once_with_one_name_wanted_by_all_succeed(yester, work):
    trees = [make_tree(work / f"source{i}") for i in range(6)]
    processes = [yester.start("backup", "--type", "files", tree) for tree in trees]
    names = []
    for process in processes:
        out, err = process.communicate()
        assert process.returncode == 0, err
        names.append(out.decode().split()[-1])
    assert len(set(names)) == 6 and {s["name"] for s in yester.snapshots()} == set(names)
    for tree, name in zip(trees, names):
        same(tree, yester.restored(tree, name))


def test_two_hosts_with_a_catalog_each_see_what_the_other_wrote(yester, tree, work):
    other = yester.fresh("othercache")
    there = {"XDG_CACHE_HOME": str(other)}
    first = yester.backup(tree, "--host", "one")
    (tree / "more").write_bytes(os.urandom(1_000_000))
    second = yester.backup(tree, "--host", "two", env=there)
    third = yester.backup(tree, "--host", "one")
    assert {s["name"] for s in yester.snapshots()} == {first, second, third}
    before = yester.stored()
    yester.backup(tree, "--host", "two", env=there)
    assert yester.stored() - before < 64 << 10
    same(tree, yester.restored(tree, second))


def test_a_verify_and_a_restore_while_a_backup_runs_succeed(yester, tree):
    (tree / "noise").write_bytes(os.urandom(20_000_000))
    name = yester.backup(tree)
    copy = shutil.copytree(tree, tree.parent / "copy", symlinks=True)
    (copy / "noise").write_bytes(os.urandom(20_000_000))
    process = yester.start("backup", "--type", "files", copy)
    try:
        yester.verify()
        yester.restore(name, target=yester.fresh("meanwhile"))
    finally:
        _, err = process.communicate()
    assert process.returncode == 0, err
