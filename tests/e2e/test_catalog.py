"""The catalog is a cache: gone, damaged, old or another one's, it is made again unasked."""
import os
import shutil

import pytest

from conftest import same


@pytest.fixture
def history(yester, tree):
    """(the program, the tree, {snapshot: README})."""
    kept = {}
    for i in range(3):
        (tree / "README").write_bytes(b"%d\n" % i)
        (tree / f"noise{i}").write_bytes(os.urandom(300_000))
        kept[yester.backup(tree)] = b"%d\n" % i
    return yester, tree, kept


def cached(yester):
    return [p for p in yester.cache.rglob("*") if p.is_file()]


def all_there(history):
    yester, tree, kept = history
    assert {s["name"] for s in yester.snapshots()} == set(kept)
    for name, readme in kept.items():
        assert yester.run("cat", f"{name}:files{tree}/README").out == readme
    before = yester.stored()
    last = yester.backup(tree)
    assert yester.stored() - before < 100 << 10, "what was there is known again, not stored again"
    same(tree, yester.restored(tree, last))
    yester.verify()


def clear(yester):
    for path in yester.cache.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.quick
def test_a_missing_catalog_is_made_again(history):
    clear(history[0])
    all_there(history)


def test_a_rebuild_by_command_finds_everything(history):
    clear(history[0])
    history[0].run("catalog", "rebuild")
    all_there(history)


@pytest.mark.quick
def test_garbage_in_place_of_the_catalog_is_made_again(history):
    files = cached(history[0])
    assert files
    for path in files:
        path.write_bytes(b"not what was here" * 500)
    all_there(history)


def test_each_file_of_the_catalog_damaged_alone_is_made_again(history):
    yester, tree, kept = history
    for path in cached(yester):
        if not path.exists():
            continue
        data = bytearray(path.read_bytes())
        for offset in range(0, len(data), max(1, len(data) // 40)):
            data[offset] ^= 0x5A
        path.write_bytes(data)
        assert {s["name"] for s in yester.snapshots()} == set(kept), path
        for name, readme in kept.items():
            assert yester.run("cat", f"{name}:files{tree}/README").out == readme, path
    all_there(history)


def test_files_of_the_catalog_cut_short_or_empty_are_made_again(history):
    yester = history[0]
    for size in (0, 100):
        for path in cached(yester):
            os.truncate(path, min(size, path.stat().st_size))
        assert {s["name"] for s in yester.snapshots()} == set(history[2])
    all_there(history)


def test_an_old_catalog_catches_up(yester, tree, work):
    first = yester.backup(tree)
    old = work / "old"
    shutil.copytree(yester.cache, old)
    kept = {first: b"a file\n"}
    for i in range(2):
        (tree / "README").write_bytes(b"%d\n" % i)
        kept[yester.backup(tree)] = b"%d\n" % i
    shutil.rmtree(yester.cache)
    shutil.copytree(old, yester.cache)
    all_there((yester, tree, kept))


def test_the_catalog_of_another_repository_is_not_believed(yester, tree, work):
    yester.backup(tree)
    shutil.move(yester.repo, work / "elsewhere")
    yester.init()
    assert yester.snapshots() == []
    name = yester.backup(tree)
    same(tree, yester.restored(tree, name))
    yester.verify()


def test_a_repository_that_was_moved_or_copied_works(yester, tree, work):
    name = yester.backup(tree)
    shutil.copytree(yester.repo, work / "copy")
    shutil.rmtree(yester.repo)
    yester.env["YESTER_REPO"] = str(work / "copy")
    same(tree, yester.restored(tree, name))


def test_a_repository_that_cannot_be_written_can_be_read(yester, tree):
    """The catalog may have nowhere to go either."""
    name = yester.backup(tree)
    result = yester.run("cat", f"{name}:files{tree}/README", env={"XDG_CACHE_HOME": "/proc/none", "HOME": "/proc/none"},
                        rc=None)
    assert result.out == b"a file\n" or result.rc == 1 and result.err
