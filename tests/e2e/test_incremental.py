"""The second backup: what has not changed costs no read, what has is found however well it hides."""
import os
import re
import shutil
import subprocess
import time

import pytest

from conftest import BIN, same, same_on_mount


def opened(yester, tree, *args):
    """How many times a backup opens a regular file of the tree (they have names like mark.7)."""
    log = yester.work / "strace.log"
    prefix = ["strace", "-f", "-qq", "-o", log, "-e", "trace=open,openat,openat2"]
    yester.backup(tree, *args, prefix=prefix)
    lines = log.read_text(errors="replace").splitlines()
    return sum(1 for line in lines if re.search(r'mark\.\d+"', line) and "= -1" not in line and "O_PATH" not in line)


@pytest.fixture
def marked(work):
    top = work / "source"
    for i in range(20):
        path = top / f"d{i % 4}" / f"mark.{i}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d\n" % i * 100)
    time.sleep(0.05)  # what changed a moment ago is read once more
    return top


def traces():
    found = shutil.which("strace") and "asan" not in BIN and "tsan" not in BIN
    return found and subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not traces(), reason="strace does not work here")
def test_an_unchanged_file_is_not_even_opened(yester, marked):
    assert opened(yester, marked) >= 20
    assert opened(yester, marked) == 0
    (marked / "d1" / "mark.1").write_bytes(b"changed")
    assert opened(yester, marked) == 1
    assert opened(yester, marked, "--force") >= 20


@pytest.mark.smoke
def test_a_backup_without_a_change_stores_next_to_nothing(yester, tree):
    yester.backup(tree)
    before = yester.stored()
    yester.backup(tree)
    assert yester.stored() - before < 64 << 10
    same(tree, yester.restored(tree))


def test_reading_all_again_stores_nothing_again(yester, tree):
    yester.backup(tree)
    before = yester.stored()
    yester.backup(tree, "--force")
    assert yester.stored() - before < 64 << 10
    same(tree, yester.restored(tree))


def restamp(path, times):
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.quick
def test_a_change_that_keeps_size_and_mtime_is_found_by_its_ctime(yester, tree):
    path = tree / "src/main.c"
    first = yester.backup(tree)
    old, times = path.read_bytes(), path.stat()
    path.write_bytes(old[::-1])
    restamp(path, times)
    second = yester.backup(tree)
    assert path.stat().st_size == len(old) and path.stat().st_mtime_ns == times.st_mtime_ns
    with yester.mount() as mount:
        assert (mount.tree(first, tree) / "src/main.c").read_bytes() == old
        assert (mount.tree(second, tree) / "src/main.c").read_bytes() == old[::-1]


def test_a_file_replaced_by_another_with_the_same_size_and_mtime_is_found(yester, tree):
    path = tree / "README"
    yester.backup(tree)
    times, other = path.stat(), tree / "other"
    other.write_bytes(b"a FILE\n")
    os.rename(other, path)
    restamp(path, times)
    yester.backup(tree)
    same(tree, yester.restored(tree))


def test_a_change_of_attributes_alone_is_found(yester, tree):
    yester.backup(tree)
    (tree / "README").chmod(0o600)
    os.setxattr(tree / "data/noise", "user.later", b"1")
    os.utime(tree / "src/lib", ns=(1, 2))
    os.utime(tree / "src/link", ns=(3, 4), follow_symlinks=False)
    before = yester.stored()
    yester.backup(tree)
    assert yester.stored() - before < 64 << 10
    same(tree, yester.restored(tree))


def test_kinds_that_change_into_each_other_are_found(yester, tree):
    first = yester.backup(tree)
    shutil.rmtree(tree / "src/lib")
    (tree / "src/lib").write_bytes(b"a file now")
    (tree / "README").unlink()
    (tree / "README").mkdir()
    (tree / "README" / "inside").write_bytes(b"x")
    (tree / "src/link").unlink()
    os.mkfifo(tree / "src/link")
    second = yester.backup(tree)
    same(tree, yester.restored(tree))
    with yester.mount() as mount:
        assert (mount.tree(first, tree) / "README").read_bytes() == b"a file\n"
        assert (mount.tree(first, tree) / "src/lib/deep/er/file.h").exists()
        same_on_mount(tree, mount.tree(second, tree))


def test_a_file_that_moved_or_was_copied_is_not_stored_again(yester, work):
    source = work / "source"
    source.mkdir()
    data = os.urandom(5_000_000)
    (source / "big").write_bytes(data)
    yester.backup(source)
    before = yester.stored()
    (source / "new dir").mkdir()
    (source / "big").rename(source / "new dir" / "moved")
    (source / "copy").write_bytes(data)
    yester.backup(source)
    assert yester.stored() - before < 300_000
    same(source, yester.restored(source))


def test_bytes_put_in_front_of_a_large_file_do_not_store_it_again(yester, work):
    source = work / "source"
    source.mkdir()
    data = os.urandom(5_000_000)
    (source / "big").write_bytes(data)
    yester.backup(source)
    before = yester.stored()
    (source / "big").write_bytes(b"in front" + data)
    yester.backup(source)
    assert yester.stored() - before < 600_000
    same(source, yester.restored(source))


def test_many_generations_keep_their_own_content(yester, tree):
    names = []
    for i in range(6):
        (tree / "generation").write_bytes(b"%d" % i)
        (tree / f"only {i}").write_bytes(b"x" * i)
        if i:
            (tree / f"only {i - 1}").unlink()
        names.append(yester.backup(tree))
    assert names == sorted(set(names))
    with yester.mount() as mount:
        for i, name in enumerate(names):
            top = mount.tree(name, tree)
            assert (top / "generation").read_bytes() == b"%d" % i
            assert [p.name for p in top.glob("only *")] == [f"only {i}"]


def test_another_host_has_its_own_line_of_snapshots(yester, tree):
    first = yester.backup(tree, "--host", "alpha")
    (tree / "README").write_bytes(b"beta's\n")
    second = yester.backup(tree, "--host", "beta")
    hosts = {s["name"]: s["host"] for s in yester.snapshots()}
    assert hosts == {first: "alpha", second: "beta"}
    with yester.mount() as mount:
        alpha, beta = (mount.path / "hosts" / h / n / "files" for h, n in (("alpha", first), ("beta", second)))
        assert (alpha / str(tree)[1:] / "README").read_bytes() == b"a file\n"
        assert (beta / str(tree)[1:] / "README").read_bytes() == b"beta's\n"
