"""The main job: back up, mount, restore; each compared with the source by treecmp."""
import os
import pathlib
import shutil
import subprocess

import pytest

import awkward
from conftest import below, same, same_on_mount, wait_for


@pytest.mark.smoke
@pytest.mark.disk
def test_a_small_tree_comes_back_from_the_mount_and_from_restore(yester, tree):
    name = yester.backup(tree)
    with yester.mount() as mount:
        same_on_mount(tree, mount.tree(name, tree))
        same_on_mount(tree, mount.tree("latest", tree))
    same(tree, yester.restored(tree))


@pytest.mark.quick
def test_a_small_awkward_tree_comes_back(yester, work):
    source = work / "source"
    awkward.make(os.fsencode(source), small=True)
    name = yester.backup(source)
    with yester.mount() as mount:
        same_on_mount(source, mount.tree(name, source))
    same(source, yester.restored(source, "--verify", "latest"))
    yester.verify()


@pytest.mark.disk
def test_the_awkward_tree_comes_back_and_a_change_in_it_costs_little(yester, work):
    source = work / "source"
    awkward.make(os.fsencode(source))
    first = yester.backup(source)
    with yester.mount() as mount:
        same_on_mount(source, mount.tree(first, source))
        same(source, yester.restored(source), limit=20)
        before = yester.stored()
        with open(source / "sizes/repeats", "r+b") as f:
            f.seek(20 << 20)
            f.write(b"one change in the middle")
        second = yester.backup(source)
        assert yester.stored() - before < 2 << 20
        wait_for(mount.tree(second, source).exists, "the new snapshot", yester.notice)
        same_on_mount(source, mount.tree(second, source))
    changed = yester.run("diff", first, second, rc=1).text
    assert "sizes/repeats" in changed and "sizes/zeros" not in changed and "many" not in changed


def test_a_normal_user_gets_an_awkward_tree_back(user_yester, work):
    source = work / "source"
    made = user_yester.harness("awkward.py", "--small", source)
    assert made.rc == 0, made
    name = user_yester.backup(source)
    with user_yester.mount() as mount:
        judged = user_yester.harness("treecmp.py", "--no-holes", source, mount.tree(name, source))
        assert judged.rc == 0, judged
    target = user_yester.fresh("restored")
    user_yester.restore("latest", target=target)
    judged = user_yester.harness("treecmp.py", source, below(target, source))
    assert judged.rc == 0, judged


@pytest.fixture
def real(work):
    """A copy of real data: headers, configuration, a part of the documentation."""
    top = work / "real"
    top.mkdir()
    docs = sorted(pathlib.Path("/usr/share/doc").glob("[a-l]*"))[:400]
    subprocess.run(["cp", "-a", "/usr/include", "/etc", top], check=True)
    (top / "doc").mkdir()
    subprocess.run(["cp", "-a", *docs, top / "doc"], check=True)
    return top


@pytest.mark.root
def test_the_systems_own_directories_come_back(yester):
    sources = [pathlib.Path(p) for p in ("/usr/include", "/etc")]
    name = yester.backup(*sources)
    target = yester.fresh("restored")
    with yester.mount() as mount:
        for source in sources:
            same_on_mount(source, mount.tree(name, source))
    yester.restore(name, target=target)
    for source in sources:
        same(source, below(target, source))


def test_between_two_dates_of_real_data_diff_shows_exactly_the_change(yester, real):
    first = yester.backup(real)
    before = yester.stored()
    changed = sorted(p for p in (real / "include").rglob("*.h") if p.is_file() and not p.is_symlink())[7]
    changed.write_bytes(changed.read_bytes() + b"/* a change */\n")
    removed = sorted(p for p in (real / "doc").rglob("*") if p.is_file() and not p.is_symlink())[3]
    removed.unlink()
    added = real / "etc" / "an added file"
    added.write_bytes(b"new\n")
    second = yester.backup(real)
    assert yester.stored() - before < 1 << 20, "little more than the change"
    with yester.mount() as mount:
        a, b = mount.tree(first, real), mount.tree(second, real)
        found = subprocess.run(["diff", "-rq", "--no-dereference", a, b], capture_output=True, text=True)
        same_on_mount(real, b)
    lines = sorted(found.stdout.splitlines())
    rel = lambda p: p.relative_to(real)
    assert lines == sorted([
        f"Files {a / rel(changed)} and {b / rel(changed)} differ",
        f"Only in {a / rel(removed).parent}: {removed.name}",
        f"Only in {b / 'etc'}: {added.name}",
    ]) and found.stderr == "" and found.returncode == 1
    own = yester.run("diff", first, second, rc=1).text
    assert all(str(rel(p)) in own for p in (changed, removed, added))
    files = [line for line in own.splitlines() if ".h" in line]
    assert len(files) == 1, own
    yester.run("diff", first, first, rc=0)
    shutil.rmtree(real)
    target = yester.fresh("restored")
    yester.restore(first, target=target)
    assert below(target, removed).exists() and not below(target, added).exists()


@pytest.mark.quick
def test_what_is_looked_at_without_mounting_is_what_was_backed_up(yester, tree):
    name = yester.backup(tree)
    listed = yester.run("ls", f"{name}:files{tree}").text
    assert "README" in listed and "src" in listed and "empty dir" in listed
    for path in ("README", "src/main.c", "data/noise", "data/empty"):
        assert yester.run("cat", f"{name}:files{tree}/{path}").out == (tree / path).read_bytes()
    assert yester.run("cat", f"{name}:{tree}/README").out == b"a file\n", "a source path is sought in files"
    assert name in yester.run("list").text
    (only,) = yester.snapshots()
    assert only["name"] == name and only["type"] == "files" and only["complete"] is True
    assert only["files"] >= 11 and only["bytes"] >= 500_000 and only["new_bytes"] > 300_000
    tar = yester.run("cat", f"{name}:files{tree}/src").out
    names = subprocess.run(["tar", "-tf", "-"], input=tar, capture_output=True, check=True).stdout.decode()
    assert "main.c" in names and "lib/deep/er/file.h" in names


def test_a_large_directory_of_small_files_comes_back(yester, work):
    source = work / "source"
    for i in range(50):
        (source / f"d{i}").mkdir(parents=True)
        for j in range(100):
            (source / f"d{i}" / f"f{j}").write_bytes(b"%d/%d\n" % (i, j) * (j + 1))
    yester.backup(source)
    same(source, yester.restored(source))
    assert yester.stored() < 3 << 20
