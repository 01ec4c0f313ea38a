"""history/ in the mount: judged by the restores of all snapshots."""
import os
import shutil

import pytest

from conftest import wait_for
from history_world import World, state


def names_below(world, directory):
    """What a directory of history has to list."""
    out = set()
    for _, _, found in world.shots:
        out |= {os.path.basename(p) for p in found if os.path.dirname(p) == directory}
    return out


def kinds(world, path):
    return {found[path][0] == "directory" for _, _, found in world.shots if path in found}


def check_versions(world, where, path):
    expected = world.versions(path, directories=False)
    assert sorted(os.listdir(where)) == [v[0] for v in expected], path
    for first, _, wanted in expected:
        assert state(where / first) == wanted, (path, first)


def check_all(world, top):
    """TOP is history/files."""
    for path in [str(world.top), *world.paths()]:
        where = type(top)(str(top) + path)
        was = kinds(world, path)
        if True in was:
            names = names_below(world, path)
            double = {n + "@file" for n in names if len(kinds(world, f"{path}/{n}")) == 2}
            assert set(os.listdir(where)) == names | double, path
        if was == {False}:
            check_versions(world, where, path)
        if len(was) == 2:
            check_versions(world, where.with_name(where.name + "@file"), path)


@pytest.fixture
def world(yester, work):
    world = World(yester, work, seed=5)
    world.take()
    for round in range(4):
        world.change()
        if round in (1, 3):
            world.flip()
        world.take()
    world.change()
    world.take(world.top / "d1")
    return world


@pytest.mark.quick
def test_every_path_shows_its_versions_and_every_directory_all_its_names(world):
    y = world.yester
    with y.mount() as mount:
        check_all(world, mount.path / "history/files")
        host = os.listdir(mount.path / "hosts")[0]
        check_all(world, mount.path / "hosts" / host / "history/files")
        assert os.listdir(mount.path / "history") == ["files"]
        with pytest.raises(FileNotFoundError):
            os.stat(mount.path / f"history/files{world.top}/never")
        with pytest.raises(FileNotFoundError):
            os.stat(mount.path / f"history/files{world.top}/never@file")
        with pytest.raises(FileNotFoundError):
            os.stat(mount.path / f"history/files{world.top}/d0/link/20000101_000000")


def test_names_come_in_order_and_once_however_small_the_pieces(world):
    with world.yester.mount() as mount:
        where = f"{mount.path}/history/files{world.top}/d0"
        names = [e.name for e in os.scandir(where)]
        assert names == sorted(names) and len(names) == len(set(names))
        assert all(e.is_dir() for e in os.scandir(where))
        assert [os.stat(f"{where}/{n}").st_ino for n in names] == [e.inode() for e in os.scandir(where)]


def test_a_snapshot_that_comes_or_goes_shows_in_directories_that_are_open(world):
    y = world.yester
    with y.mount() as mount:
        top = mount.path / "history/files"
        check_all(world, top)
        path = world.top / "d2/late.txt"
        where = type(top)(str(top) + str(path))
        assert not where.exists()
        fd = os.open(where.parent, os.O_RDONLY)
        path.write_text("late\n")
        world.change()
        name = world.take()
        wait_for(lambda: where.is_dir(), "the new snapshot in history")
        wait_for(lambda: "late.txt" in os.listdir(fd), "it in a directory that is open")
        check_all(world, top)
        shutil.rmtree(y.repo / "snapshots" / name)
        world.shots.pop()
        wait_for(lambda: not where.exists(), "the snapshot that is gone")
        wait_for(lambda: "late.txt" not in os.listdir(fd), "its going from a directory that is open")
        os.close(fd)
        check_all(world, top)


@pytest.mark.root
def test_a_directory_allows_what_each_of_its_versions_allowed(yester, work):
    world = World(yester, work, files=10)
    (world.top / "d0").chmod(0o755)
    world.take()
    (world.top / "d0").chmod(0o710)
    world.take()
    os.chown(world.top / "d0", 65534, 65534)
    (world.top / "d0").chmod(0o777)
    world.take()
    with yester.mount() as mount:
        st = os.stat(f"{mount.path}/history/files{world.top}/d0")
        assert st.st_mode & 0o7777 == 0o710 and (st.st_uid, st.st_gid) == (0, 0)
        entries = {e.name: e.stat() for e in os.scandir(f"{mount.path}/history/files{world.top}")}
        assert entries["d0"].st_mode == st.st_mode


@pytest.mark.long
def test_a_directory_of_many_names_is_listed_whole(yester, work):
    top = work / "wide"
    top.mkdir()
    for i in range(20_000):
        (top / f"name{i:06}").write_bytes(b"")
    yester.backup(top)
    (top / "name000000").unlink()
    (top / "other").write_bytes(b"")
    yester.backup(top)
    with yester.mount() as mount:
        assert len(os.listdir(f"{mount.path}/history/files{top}")) == 20_001
