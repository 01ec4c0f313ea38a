"""A full disk: said, not taken for a source error; older snapshots stay whole."""
import os
import shutil
import subprocess

import pytest

from conftest import below, same

pytestmark = pytest.mark.root


@pytest.fixture
def tmpfs(work):
    made = []

    def make(name, size):
        path = work / name
        path.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", path], check=True)
        made.append(path)
        return path
    yield make
    for path in made:
        subprocess.run(["umount", "-l", path], check=True)


@pytest.fixture
def full(tmpfs, yester):
    """The program with its repository on a file system of 8 MiB."""
    where = tmpfs("disk", "8m")
    shutil.move(yester.repo, where / "repo")
    yester.repo.symlink_to(where / "repo")
    return yester


@pytest.mark.quick
def test_a_backup_onto_a_full_disk_fails_and_hurts_nothing(full, tree):
    first = full.backup(tree)
    (tree / "huge").write_bytes(os.urandom(20_000_000))
    result = full.run("backup", "--type", "files", tree, rc=1)
    assert "full" in result.errors and "cannot read" not in result.errors, result.errors
    assert first in full.run("list").text
    full.verify()
    target = full.fresh("old")
    full.restore(first, target=target)
    assert (below(target, tree) / "README").read_bytes() == b"a file\n"
    with full.mount() as mount:
        assert (mount.tree(first, tree) / "README").read_bytes() == b"a file\n"


def test_when_there_is_room_again_the_next_backup_succeeds(full, tree):
    full.backup(tree)
    (tree / "huge").write_bytes(os.urandom(20_000_000))
    for _ in range(3):
        full.run("backup", "--type", "files", tree, rc=1)
    (tree / "huge").unlink()
    name = full.backup(tree)
    same(tree, full.restored(tree, name))
    full.verify()


def test_a_full_cache_does_not_stop_reading(tmpfs, yester, tree):
    name = yester.backup(tree)
    cache = tmpfs("fullcache", "64k")
    (cache / "filler").write_bytes(bytes(60_000))
    env = {"XDG_CACHE_HOME": str(cache)}
    result = yester.run("cat", f"{name}:files{tree}/README", rc=None, env=env)
    assert (result.rc == 0 and result.out == b"a file\n") or result.rc == 1 and result.err


def test_a_restore_onto_a_full_disk_fails_and_says_so(tmpfs, yester, tree):
    (tree / "huge").write_bytes(os.urandom(5_000_000))
    name = yester.backup(tree)
    target = tmpfs("target", "2m")
    result = yester.run("restore", name, "--target", target, rc=1)
    assert any(word in result.errors.lower() for word in ("space", "room", "full"))
