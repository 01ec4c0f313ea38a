"""`yester history`: judged by the restores of all snapshots."""
import pytest

from history_world import World


def shown(version):
    return version["kind"], version["mode"], version["uid"], version["gid"], \
        version["mtime"] * 10**9 + version["mtime_ns"]


def check(world, path):
    found = world.yester.run("--json", "history", path).json()
    expected = world.versions(path)
    assert [(v["first"], v["last"]) for v in found["versions"]] == [v[:2] for v in expected], path
    for got, (_, _, state) in zip(found["versions"], expected):
        assert shown(got) == (state[0], *state[2:]), path
        if state[0] == "file":
            assert got["size"] == len(state[1]), path
    newest = [s for s in world.shots if not s[1]][-1]
    assert found["present"] == (path in newest[2] or expected[-1][1] > newest[0]), path
    return found["versions"]


@pytest.mark.quick
def test_every_path_has_exactly_the_versions_that_its_restores_show(yester, work):
    world = World(yester, work)
    world.take()
    for round in range(5):
        world.change()
        if round in (1, 3):
            world.flip()
        world.take()
        if round == 2:
            world.change()
            world.take(world.top / "d1")
    world.take()
    for path in world.paths():
        check(world, path)


def test_what_changed_is_named(yester, work):
    world = World(yester, work, files=8)
    path = world.top / "d0/flip"
    world.take()
    path.write_text("other content\n")
    world.take()
    path.chmod(0o600)
    world.take()
    path.unlink()
    world.take()
    path.write_text("other content\n")
    world.take()
    world.flip()
    world.take()
    changes = [set(v["changes"]) for v in check(world, str(path))]
    assert changes[0] == {"new"}
    assert changes[1] == {"content", "mtime"}
    assert changes[2] == {"mode"}
    assert changes[3] == {"again"}
    assert "type" in changes[4]


def test_a_path_that_never_was_is_an_error_with_the_next_step(yester, work):
    world = World(yester, work, files=6)
    world.take()
    result = yester.run("history", world.top / "never", rc=1)
    assert "in no snapshot" in result.errors and "find" in result.errors
    yester.run("history", "never", rc=2)
    yester.run("history", "files", rc=2)


def test_a_path_with_its_type_in_front_is_sought_there_only(yester, work):
    world = World(yester, work, files=6)
    (world.top / "d0/.env").write_text("A=1\n")
    world.take()
    yester.backup(world.top / "d0", type="config")
    path = f"{world.top}/d0/.env"
    assert yester.run("--json", "history", path).json()["type"] == "files"
    assert yester.run("--json", "history", "config" + path).json()["type"] == "config"
    assert yester.run("--json", "history", "--type", "config", path).json()["type"] == "config"
