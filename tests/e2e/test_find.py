"""`yester find`: judged by the restores of all snapshots."""
import fnmatch
import json
import re

import pytest

from history_world import World


def expected(world, wants, deleted=False):
    """{path: (first, last)} of all paths with a state that is wanted."""
    out = {}
    for name, _, found in world.shots:
        for path, state in found.items():
            if wants(path, state):
                out[path] = (out.get(path, (name,))[0], name)
    newest = [s for s in world.shots if not s[1]][-1]
    return {p: r for p, r in out.items() if not deleted or (p not in newest[2] and r[1] < newest[0])}


def found(world, *args):
    result = world.yester.run("--json", "find", *args)
    matches = [m for m in map(json.loads, result.lines) if m["path"].startswith(str(world.top))]
    paths = [m["path"] for m in matches]
    assert len(paths) == len(set(paths)), "a match came twice"
    return {m["path"]: (m["first"], m["last"]) for m in matches}


@pytest.fixture
def world(yester, work):
    world = World(yester, work, seed=3)
    world.take()
    for round in range(5):
        world.change()
        if round in (1, 3):
            world.flip()
        world.take()
        if round == 2:
            world.change()
            world.take(world.top / "d1")
    return world


def name_of(path):
    return path.rsplit("/", 1)[1]


@pytest.mark.quick
def test_each_match_comes_once_with_its_range_of_snapshots(world):
    assert found(world, "*") == expected(world, lambda p, s: True)
    for pattern in ("*.txt", "file1*", "flip", "inside", "e[12]", "nothing*"):
        assert found(world, pattern) == expected(world, lambda p, s: fnmatch.fnmatchcase(name_of(p), pattern)), pattern


def test_a_pattern_with_a_slash_is_of_the_whole_path(world):
    wanted = expected(world, lambda p, s: "/e1/" in p and p.endswith(".txt"))
    assert wanted and found(world, "**/e1/*.txt") == wanted
    assert found(world, f"{world.top}/d0/flip") == expected(world, lambda p, s: p == f"{world.top}/d0/flip")
    assert found(world, f"files{world.top}/d0/flip") == found(world, f"{world.top}/d0/flip")


def test_expressions_kinds_sizes_and_times(world):
    assert found(world, "--regex", r"e[01]/file[0-9]\.txt$") == \
        expected(world, lambda p, s: re.search(r"e[01]/file[0-9]\.txt$", p))
    assert found(world, "*", "--type", "d,l") == expected(world, lambda p, s: s[0] in ("directory", "symlink"))
    assert found(world, "*", "--type", "f") == expected(world, lambda p, s: s[0] == "file")
    assert found(world, "*", "--size", "+1K") == expected(world, lambda p, s: s[0] == "file" and len(s[1]) > 1024)
    assert found(world, "*", "--size", "-100") == expected(world, lambda p, s: s[0] == "file" and len(s[1]) < 100)
    for option, before in (("--older", True), ("--newer", False)):
        wanted = expected(world, lambda p, s: (s[5] < 978307200 * 10**9) == before)
        assert found(world, "*", option, "2001-01-01T00:00:00Z") == wanted


def test_deleted_is_what_the_newest_snapshot_has_no_more(world):
    wanted = expected(world, lambda p, s: s[0] == "file", deleted=True)
    assert wanted and found(world, "*", "--type", "f", "--deleted") == wanted


def test_bad_patterns_are_refused_and_nothing_found_is_told(world):
    y = world.yester
    assert "Unmatched" in y.run("find", "--regex", "(", rc=2).errors
    y.run("find", "--regex", r"(a)\1", rc=2)
    y.run("find", "x" * 2000, rc=2)
    y.run("find", "*", "--size", "big", rc=2)
    y.run("find", "*", "--type", "z", rc=2)
    assert "nothing" in y.run("find", "nowhere-at-all").errors
