"""`yester stats`: judged by content that cannot be compressed, and by the sizes of objects."""
import os
import shutil

import pytest

KILO = 1000


def stats(yester, *args):
    found = yester.run("--json", "stats", *args).json()
    return found, {s["name"]: s for s in found["snapshots"]}


def near(got, wanted, slack=2000):
    return abs(got - wanted) <= wanted / 50 + slack


def noise(path, size):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))


def data_bytes(yester):
    return sum(p.stat().st_size for p in (yester.repo / "data").iterdir())


@pytest.mark.quick
def test_each_snapshot_is_told_what_it_brought_and_what_it_alone_has(yester, work):
    top = work / "src"
    noise(top / "a/keeps", 700 * KILO)
    noise(top / "a/first only", 300 * KILO)
    before = 0
    names, sizes = [], []

    def take():
        nonlocal before
        names.append(yester.backup(top))
        sizes.append(data_bytes(yester) - before)
        before = data_bytes(yester)

    take()
    (top / "a/first only").unlink()
    noise(top / "b/second on", 500 * KILO)
    noise(top / "b/second only", 200 * KILO)
    take()
    (top / "b/second only").unlink()
    shutil.copy(top / "a/keeps", top / "b/copy")
    take()
    found, shots = stats(yester, "--depth", str(len(top.parts)))
    assert [near(shots[n]["brought"], w) for n, w in zip(names, (1000 * KILO, 700 * KILO, 0))] == [True] * 3
    assert [near(shots[n]["frees"], w) for n, w in zip(names, (300 * KILO, 200 * KILO, 0))] == [True] * 3
    for name, size in zip(names, sizes):
        assert near(shots[name]["brought"], size, 70 * KILO), "as the objects grew"
    assert near(found["stored"], 1700 * KILO) and near(found["types"]["files"], 1700 * KILO)
    groups = {g["path"]: g["stored"] for g in found["directories"]}
    assert near(groups[f"{top}/a"], 1000 * KILO) and near(groups[f"{top}/b"], 700 * KILO)
    assert sum(s["brought"] for s in shots.values()) == pytest.approx(found["stored"], abs=3)


def test_directories_are_told_as_deep_as_asked(yester, work):
    top = work / "src"
    noise(top / "a/b/c/file", 100 * KILO)
    noise(top / "a/b/d/file", 50 * KILO)
    yester.backup(top)
    depth = len(top.parts) - 1
    for more, paths in ((0, [""]), (1, ["/a"]), (3, ["/a/b/c", "/a/b/d"]), (9, ["/a/b/c", "/a/b/d"])):
        found, _ = stats(yester, "--depth", str(depth + more))
        assert [g["path"] for g in found["directories"]] == [str(top) + p for p in paths], more
    assert [g["path"] for g in stats(yester, "--depth", "0")[0]["directories"]] == ["/"]
    assert "in all" in yester.run("stats").text
    yester.run("stats", "--depth", "x", rc=2)


def test_a_part_of_a_file_that_both_have_is_not_freed(yester, work):
    top = work / "src"
    noise(top / "big", 2000 * KILO)
    a = yester.backup(top)
    with open(top / "big", "r+b") as f:
        f.write(os.urandom(10))
    b = yester.backup(top)
    _, shots = stats(yester)
    assert 10 < shots[a]["frees"] < 140 * KILO and 10 < shots[b]["frees"] < 140 * KILO
    assert near(shots[a]["brought"], 2000 * KILO)


def test_what_another_host_has_too_is_not_freed(yester, work):
    top = work / "src"
    noise(top / "file", 400 * KILO)
    a = yester.run("--host", "alpha", "backup", "--type", "files", top).lines[-1]
    _, shots = stats(yester)
    assert near(shots[a]["frees"], 400 * KILO)
    b = yester.run("--host", "beta", "backup", "--type", "files", top).lines[-1]
    _, shots = stats(yester)
    assert shots[a]["frees"] == shots[b]["frees"] == 0
    found = yester.run("--host", "beta", "--json", "stats").json()
    assert [s["name"] for s in found["snapshots"]] == [b]


def test_holes_links_and_empty_files_take_nothing(yester, work):
    top = work / "src"
    noise(top / "file", 100 * KILO)
    os.link(top / "file", top / "link")
    with open(top / "sparse", "wb") as f:
        f.truncate(50_000_000)
    (top / "empty").write_bytes(b"")
    yester.backup(top)
    assert near(stats(yester)[0]["stored"], 100 * KILO)


def test_a_repository_without_snapshots_has_no_room_taken(yester):
    found, shots = stats(yester)
    assert found["stored"] == 0 and not shots and not found["directories"]
