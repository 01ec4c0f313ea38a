"""Restore over what is there: its policies, and that nothing leads it out of its target."""
import os
import signal
import subprocess
import time

import pytest

from conftest import below, make_tree, same


# A pipe that nobody reads would stop a process that has much to say.
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


@pytest.fixture
def saved(yester, tree):
    """(the program, the source, the name of its snapshot, an empty target)."""
    return yester, tree, yester.backup(tree), yester.fresh("target")


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.mark.quick
def test_by_default_what_differs_is_overwritten_and_what_is_extra_stays(saved):
    yester, tree, name, target = saved
    top = below(target, tree)
    put(top / "README", b"something else")
    put(top / "src/extra", b"extra")
    yester.restore(name, target=target)
    assert (top / "README").read_bytes() == b"a file\n" and (top / "src/extra").read_bytes() == b"extra"
    (top / "src/extra").unlink()
    yester.restore(name, target=target)
    same(tree, top)


def test_overwrite_never_leaves_what_is_there(saved):
    yester, tree, name, target = saved
    top = below(target, tree)
    put(top / "README", b"mine")
    yester.restore(name, "--overwrite", "never", target=target)
    assert (top / "README").read_bytes() == b"mine"
    assert (top / "src/main.c").read_bytes() == (tree / "src/main.c").read_bytes()


def test_if_changed_leaves_alone_what_is_the_same_and_always_does_not_trust_it(saved):
    yester, tree, name, target = saved
    yester.restore(name, target=target)
    top = below(target, tree)
    inode = (top / "data/noise").stat().st_ino
    yester.restore(name, target=target)
    assert (top / "data/noise").stat().st_ino == inode
    same(tree, top)
    times = (top / "src/main.c").stat()
    (top / "src/main.c").write_bytes(b"!" * times.st_size)
    os.utime(top / "src/main.c", ns=(times.st_atime_ns, times.st_mtime_ns))
    yester.restore(name, "--overwrite", "always", target=target)
    same(tree, top)


def test_delete_removes_only_below_the_source_paths(saved):
    yester, tree, name, target = saved
    top = below(target, tree)
    put(top / "extra/deep/file", b"x")
    put(top.parent / "beside", b"keep")
    put(target / "elsewhere", b"keep")
    yester.restore(name, "--delete", target=target)
    same(tree, top)
    assert (top.parent / "beside").read_bytes() == b"keep" and (target / "elsewhere").read_bytes() == b"keep"


def test_delete_never_removes_what_excludes_left_out(yester, tree):
    name = yester.backup(tree, "--exclude", "*.env", "--exclude", "private/")
    target = yester.fresh("target")
    top = below(target, tree)
    put(top / "app/.env", b"left out, so not ours to delete")
    put(top / "private/notes", b"the same")
    put(top / "app/extra", b"x")
    yester.restore(name, "--delete", target=target)
    assert (top / "app/.env").exists() and (top / "private/notes").exists() and not (top / "app/extra").exists()


def test_only_what_is_included_is_written(saved):
    yester, tree, name, target = saved
    yester.restore(name, "--include", "*.c", target=target)
    top = below(target, tree)
    assert {p.name for p in top.rglob("*") if p.is_file()} == {"main.c"}


def test_what_is_excluded_is_not_written(saved):
    yester, tree, name, target = saved
    yester.restore(name, "--exclude", "*.c", "--exclude", "data/", target=target)
    top = below(target, tree)
    assert not (top / "src/main.c").exists() and not (top / "data").exists() and (top / "README").exists()


@pytest.mark.quick
def test_one_path_and_the_content_of_one(saved):
    yester, tree, name, target = saved
    yester.restore(name, f"files{tree}/src", target=target)
    same(tree / "src", below(target, tree / "src"))
    assert not below(target, tree / "README").exists()
    other = yester.fresh("content")
    yester.restore(f"{name}:files{tree}/src", target=other)
    same(tree / "src", other, root=False)
    third = yester.fresh("path")
    yester.restore(name, str(tree / "README"), target=third)
    assert below(third, tree / "README").read_bytes() == b"a file\n"


def test_a_dry_run_writes_nothing_and_says_what_it_would(saved):
    yester, tree, name, target = saved
    result = yester.restore(name, "--dry-run", target=target)
    assert list(target.iterdir()) == [] and b"README" in result.out + result.err


def test_a_unique_prefix_and_an_older_one_are_found(yester, tree):
    first = yester.backup(tree)
    (tree / "README").write_bytes(b"newer\n")
    second = yester.backup(tree)
    read = lambda snapshot: yester.run("cat", f"{snapshot}:files{tree}/README").out
    assert read("latest") == b"newer\n" and read("latest~1") == b"a file\n" and read(first) == b"a file\n"
    assert read(second[:14]) in (b"newer\n", b"a file\n") if second[:14] != first[:14] else True
    yester.run("cat", f"2:files{tree}/README", rc=(1, 2))


@pytest.mark.quick
def test_a_planted_symlink_does_not_lead_a_restore_out_of_its_target(saved):
    yester, tree, name, target = saved
    outside = yester.fresh("outside")
    put(outside / "main.c", b"not to be touched")
    top = below(target, tree)
    top.mkdir(parents=True)
    (top / "src").symlink_to(outside)
    (top / "README").symlink_to(outside / "main.c")
    (top / "data").symlink_to("../../../../../../../../../.." + str(outside))
    yester.restore(name, target=target, rc=None)
    assert [p.name for p in outside.iterdir()] == ["main.c"]
    assert (outside / "main.c").read_bytes() == b"not to be touched"
    if not (top / "src").is_symlink():
        same(tree / "src", top / "src")


def test_directories_swapped_for_symlinks_meanwhile_do_not_either(yester, work):
    source, outside = work / "source", work / "outside"
    outside.mkdir()
    for i in range(40):
        for j in range(50):
            put(source / f"d{i:02}" / f"f{j}", b"%d %d" % (i, j))
    name = yester.backup(source)
    target = yester.fresh("target")
    top = below(target, source)
    process = yester.start("restore", name, "--target", target, **QUIET)
    end = time.monotonic() + 60
    while process.poll() is None:
        assert time.monotonic() < end
        for i in range(0, 40, 3):
            try:
                os.rename(top / f"d{i:02}", top / f"away{i}")
                os.symlink(outside, top / f"d{i:02}")
            except OSError:
                pass
        time.sleep(0.001)
    assert list(outside.iterdir()) == []


def test_an_interrupted_restore_goes_on_where_it_stopped(yester, work):
    source = work / "source"
    for i in range(30):
        put(source / f"big{i}", os.urandom(2_000_000))
    name = yester.backup(source)
    target = yester.fresh("target")
    top = below(target, source)
    process = yester.start("restore", name, "--target", target, **QUIET)
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        if top.is_dir() and len(list(top.iterdir())) > 10:
            process.send_signal(signal.SIGKILL)
        time.sleep(0.002)
    yester.restore(name, target=target)
    same(source, top)
    assert not [p for p in top.iterdir() if not p.name.startswith("big")]


def test_kinds_in_the_way_are_replaced(saved):
    yester, tree, name, target = saved
    top = below(target, tree)
    put(top / "src", b"a file where a directory belongs")
    (top / "README").mkdir()
    os.mkfifo(top / ".hidden")
    yester.restore(name, target=target)
    same(tree, top)


def test_a_file_of_several_names_in_the_target_is_not_written_through(saved):
    """The other name of an existing file is not part of the restore: it keeps its content."""
    yester, tree, name, target = saved
    top = below(target, tree)
    put(top / "src/main.c", b"the old content")
    os.link(top / "src/main.c", target / "other name")
    yester.restore(name, target=target)
    assert (target / "other name").read_bytes() == b"the old content"
    same(tree, top)


def test_verify_reads_back(saved):
    yester, tree, name, target = saved
    yester.restore(name, "--verify", target=target)
    same(tree, below(target, tree))


@pytest.mark.root
def test_setuid_and_special_files_are_a_policy(yester, work):
    source = work / "source"
    source.mkdir()
    put(source / "setuid", b"x")
    (source / "setuid").chmod(0o4755)
    os.mkfifo(source / "fifo")
    os.mknod(source / "null", 0o020666, os.makedev(1, 3))
    name = yester.backup(source)
    same(source, yester.restored(source, name))
    top = yester.restored(source, name, "--no-setuid", "--no-special")
    assert (top / "setuid").stat().st_mode & 0o7777 == 0o755
    assert not (top / "null").exists()


@pytest.mark.root
def test_a_normal_user_restores_what_root_saved(yester, tree):
    os.chown(tree / "README", 12345, 12345)
    name = yester.backup(tree)
    target = yester.fresh("target")
    target.chmod(0o777)
    for path in [yester.repo, yester.key, *yester.repo.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o755 if path.is_dir() else 0o644)
    cache = yester.fresh("cache")
    cache.chmod(0o777)
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
    yester.run("restore", name, "--target", target, prefix=user, env={"XDG_CACHE_HOME": str(cache)}, rc=(0, 3))
    assert below(target, tree / "README").read_bytes() == b"a file\n"
    assert subprocess.run(["find", target, "-uid", "12345"], capture_output=True).stdout == b""


def test_restoring_an_empty_tree_makes_it(yester, work):
    source = work / "source"
    source.mkdir(mode=0o750)
    name = yester.backup(source)
    same(source, yester.restored(source, name))


def test_two_sources_of_one_name_do_not_meet(yester, work):
    one, two = make_tree(work / "one"), make_tree(work / "two")
    (two / "README").write_bytes(b"the other\n")
    name = yester.backup(one, two)
    target = yester.fresh("target")
    yester.restore(name, target=target)
    same(one, below(target, one))
    same(two, below(target, two))


def test_a_file_that_ends_in_a_hole_after_much_data_comes_back_as_long_as_it_was(yester, work):
    """Its data is several pieces before the first hole is met: a disk image's shape."""
    source = work / "source"
    source.mkdir()
    with open(source / "image", "wb") as f:
        f.write(os.urandom(5 << 20))
        f.truncate(64 << 20)
    target = yester.fresh("target")
    yester.restore(yester.backup(source), target=target)
    restored = below(target, source) / "image"
    same(source, below(target, source))
    assert restored.stat().st_blocks * 512 < 8 << 20
