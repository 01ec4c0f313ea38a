"""Several hosts in one repository: each with its own catalog, one set of stored content."""
import os

import pytest

from conftest import same, wait_for


class Host:
    """The same repository, as another machine has it."""

    def __init__(self, yester, work, name):
        self.yester, self.name = yester, name
        self.cache = work / f"cache-{name}"
        self.cache.mkdir()
        self.env = {"XDG_CACHE_HOME": str(self.cache)}

    def run(self, *args, **kwargs):
        return self.yester.run("--host", self.name, *args, env=self.env, **kwargs)

    def backup(self, *paths):
        return self.run("backup", "--type", "files", *paths).lines[-1]

    def names(self):
        return [s["name"] for s in self.run("--json", "list").json()]


@pytest.fixture
def hosts(yester, work):
    return Host(yester, work, "alpha"), Host(yester, work, "beta")


@pytest.fixture
def shared(work):
    top = work / "shared"
    (top / "dir").mkdir(parents=True)
    for i in range(20):
        (top / f"dir/file{i}").write_bytes(os.urandom(50_000))
    return top


@pytest.mark.quick
def test_what_one_host_stored_the_other_does_not_store_again(yester, hosts, shared):
    alpha, beta = hosts
    alpha.backup(shared)
    before = yester.stored()
    beta.backup(shared)
    assert yester.stored() - before < 100_000, "a million bytes were there already"


def test_catalogs_catch_up_with_each_other_s_runs(yester, work, hosts, shared):
    alpha, beta = hosts
    a = [alpha.backup(shared)]
    b = [beta.backup(shared)]
    (shared / "dir/file1").write_text("changed\n")
    a.append(alpha.backup(shared))
    b.append(beta.backup(shared))
    assert alpha.names() == a and beta.names() == b
    assert {s["name"] for s in yester.run("--json", "list").json()} == {*a, *b}
    # each restores the other's
    for who, name in ((alpha, b[1]), (beta, a[1])):
        target = yester.fresh("restored")
        yester.run("restore", name, "--target", target, env=who.env)
        same(shared, type(target)(str(target) + str(shared)))
    # a catalog that is new knows all
    fresh = Host(yester, work, "gamma")
    result = yester.run("--json", "list", env=fresh.env).json()
    assert len(result) == 4 and {s["host"] for s in result} == {"alpha", "beta"}


def test_each_host_sees_its_own_history_and_finds_its_own_names(yester, hosts, shared):
    alpha, beta = hosts
    alpha.backup(shared)
    (shared / "only-beta").write_text("x")
    beta.backup(shared)
    (shared / "dir/file1").write_text("changed\n")
    alpha.backup(shared)
    path = shared / "dir/file1"
    assert len(alpha.run("--json", "history", path).json()["versions"]) == 2
    assert len(beta.run("--json", "history", path).json()["versions"]) == 1
    assert beta.run("--json", "find", "only-beta").json()["host"] == "beta"
    assert alpha.run("--json", "find", "only-beta").json()["host"] == "alpha"
    (shared / "only-beta").unlink()
    name = beta.backup(shared)
    found = beta.run("--json", "find", "only-beta", "--deleted").json()
    assert found["last"] < name
    assert alpha.run("find", "only-beta", "--deleted").out == b""


def test_a_host_without_snapshots_is_told_of_the_others(yester, work, hosts, shared):
    alpha, beta = hosts
    alpha.backup(shared)
    third = Host(yester, work, "third")
    assert "alpha" in yester.run("find", "file1", env=third.env).errors
    beta.backup(shared)
    for args in (("ls", "latest"), ("history", shared), ("find", "file1"), ("restore", "latest", "--target", work / "t")):
        result = yester.run(*args, env=third.env, rc=2)
        assert "alpha" in result.errors and "beta" in result.errors
    result = third.run("find", "file1", rc=1)
    assert "alpha" in result.errors and "beta" in result.errors


def test_the_mount_shows_one_host_at_the_top_and_all_below_hosts(yester, hosts, shared):
    alpha, beta = hosts
    a = alpha.backup(shared)
    (shared / "dir/file1").write_text("changed\n")
    b = beta.backup(shared)
    with yester.mount("--host", "alpha") as mount:
        top = set(os.listdir(mount.path))
        assert a in top and b not in top
        assert sorted(os.listdir(mount.path / "hosts")) == ["alpha", "beta"]
        for name, snapshot in (("alpha", a), ("beta", b)):
            below = mount.path / "hosts" / name
            assert set(os.listdir(below)) == {snapshot, "latest", "history"}
            assert os.readlink(below / "latest/files") == f"../{snapshot}/files"
            assert os.listdir(f"{below}/history/files{shared}/dir/file1") == [snapshot]
        assert (mount.path / f"hosts/beta/latest/files{shared}/dir/file1").read_text() == "changed\n"
        c = beta.backup(shared)
        wait_for(lambda: (mount.path / "hosts/beta" / c).is_dir(), "the other host's new snapshot")
        assert not (mount.path / c).exists()
        os.stat(mount.path / "hosts/alpha/history")
