"""The server goes away in the middle of something, and comes back; hosts that share a bucket while one prunes."""
import os
import threading
import time

import pytest
from chaosproxy import ChaosProxy
from conftest import same

pytestmark = pytest.mark.xdist_group("s3")


@pytest.fixture
def proxied(s3_yester, work):
    """By way of a proxy that can be taken down."""
    with ChaosProxy(s3_yester.s3.address) as proxy:
        s3_yester.env.update(AWS_ENDPOINT_URL=proxy.endpoint)
        yield s3_yester, proxy


@pytest.fixture
def impatient(work):
    """The environment of what is to give up soon.  What is to succeed has all the time there is: the server may be slow."""
    settings = work / "impatient.conf"
    settings.write_text("[s3]\npatience = 3\n")
    return {"YESTER_CONFIG": str(settings)}


def down_after(proxy, count):
    """The server answers so many more requests, and then no more."""
    last = len(proxy.requests) + count

    def look(number):
        proxy.down = proxy.down or number >= last

    proxy.before = look


def up(proxy):
    proxy.before, proxy.down = None, False


@pytest.mark.parametrize("count", [3, 6, 9, 10, 11, 12])
def test_a_server_that_dies_during_a_backup_is_told_and_it_goes_on_later(proxied, impatient, tree, count):
    y, proxy = proxied
    before = y.backup(tree)
    (tree / "more").write_bytes(os.urandom(3 << 20))
    down_after(proxy, count)
    result = y.run("backup", "--type", "files", tree, rc=(0, 1), env=impatient)
    if result.rc:
        assert "s3://" in result.errors
        assert proxy.down
    up(proxy)
    after = y.backup(tree)
    same(tree, y.restored(tree, after))
    assert before in {s["name"] for s in y.snapshots()}
    y.verify()


@pytest.mark.parametrize("method, count", [("PUT", 1), ("DELETE", 1), ("DELETE", 3)])
def test_a_server_that_dies_during_a_prune_is_told_and_the_next_one_goes_on(proxied, impatient, work, method, count):
    """At the COUNT-th request that changes something in this way."""
    y, proxy = proxied
    kept, gone = [], []
    for i in range(4):
        source = work / f"source{i}"
        source.mkdir()
        (source / "noise").write_bytes(os.urandom(300_000))
        (kept if i % 2 else gone).append((source, y.backup(source)))
    y.run("forget", *(name for _, name in gone))
    if method == "DELETE":  # the marks are there, and their grace is over
        y.run("prune", "--grace", "1s")
        time.sleep(1.5)
    first = len(proxy.requests)

    def look(_):
        asked = [m for m, path, _ in proxy.requests[first:] if m == method and "/tmp/" not in path]
        proxy.down = proxy.down or len(asked) >= count

    proxy.before = look
    result = y.run("prune", "--grace", "1s", rc=(0, 1), env=impatient)
    assert result.rc == 1 and "s3://" in result.errors, repr(result)
    up(proxy)
    for source, name in kept:
        same(source, y.restored(source, name))
    y.run("prune", "--grace", "1s")
    time.sleep(1.5)
    y.run("prune", "--grace", "1s")
    y.verify()
    assert y.stored() < 1_000_000
    for source, name in kept:
        same(source, y.restored(source, name))


def test_a_server_that_dies_under_a_mount_is_an_error_and_no_zeros(proxied, impatient, work):
    y, proxy = proxied
    source = work / "source"
    source.mkdir()
    (source / "noise").write_bytes(os.urandom(24 << 20))
    y.backup(source)
    with y.mount("--cache", "16M", env=impatient) as mount:
        path = mount.tree("latest", source) / "noise"
        with open(path, "rb") as f:
            assert len(f.read(1 << 20)) == 1 << 20
            proxy.down = True
            f.seek(20 << 20)
            with pytest.raises(OSError):
                f.read(4 << 20)
        up(proxy)
        same(source, mount.tree("latest", source), holes=False)


def test_a_server_that_dies_under_a_mount_is_not_told_as_damage(proxied, impatient, work):
    y, proxy = proxied
    source = work / "source"
    source.mkdir()
    (source / "noise").write_bytes(os.urandom(24 << 20))
    y.backup(source)
    with y.mount("--cache", "16M", env=impatient) as mount:
        with open(mount.tree("latest", source) / "noise", "rb") as f:
            assert len(f.read(4096)) == 4096
            proxy.down = True
            f.seek(20 << 20)
            with pytest.raises(OSError):
                f.read(4096)
        up(proxy)
    log = (y.work / (mount.path.name + ".log")).read_text()
    assert "could not be reached" in log and "noise" in log and "damage" not in log, log


@pytest.fixture
def two_archives(proxied, work):
    """A snapshot that lies in two archives of data; the program, the proxy, the source, the names of both archives."""
    y, proxy = proxied
    source = work / "source"
    source.mkdir()
    archives = []
    for name in ("first", "second"):
        for i in range(3):
            (source / f"{name}{i}").write_bytes(os.urandom(1 << 20))
        seen = len(proxy.requests)
        y.backup(source)
        archives += {path.split("?")[0] for method, path, _ in proxy.requests[seen:]
                     if method == "PUT" and "/data/" in path}
    assert len(archives) == 2
    return y, proxy, source, archives


def test_a_server_that_dies_during_a_restore_is_not_told_as_damage_and_it_goes_on_later(two_archives, impatient):
    y, proxy, source, archives = two_archives

    def look(number):
        method, path, _ = proxy.requests[number]
        proxy.down = proxy.down or path.startswith(archives[1])

    proxy.before = look
    target = y.fresh("target")
    result = y.run("restore", "latest", "--target", target, rc=1, env=impatient)
    assert "could not be reached" in result.errors and "goes on where it stopped" in result.errors, repr(result)
    assert "damage" not in result.errors, repr(result)
    up(proxy)
    same(source, y.restored(source, "latest", target=target))


@pytest.mark.parametrize("answer", ["403 Forbidden", "500 Internal Server Error"])
def test_an_archive_that_the_server_does_not_give_is_no_damage_and_the_rest_is_restored(two_archives, impatient, answer):
    y, proxy, source, archives = two_archives
    code = "AccessDenied" if "403" in answer else "InternalError"
    proxy.deny = lambda method, path: method == "GET" and path.startswith(archives[0]) and (answer, code)
    target = y.fresh("target")
    result = y.run("restore", "latest", "--target", target, rc=1, env=impatient)
    assert "damage" not in result.errors and code in result.errors, repr(result)
    there = {path.name for path in target.rglob("*[0-9]") if path.is_file()}
    assert {f"second{i}" for i in range(3)} <= there and not any(name.startswith("first") for name in there), there
    result = y.run("verify", "--data", rc=1, env=impatient)
    assert "damage" not in result.errors, repr(result)
    proxy.deny = None
    same(source, y.restored(source, "latest", target=target))


def test_damage_that_was_found_is_told_though_not_all_was_looked_at(two_archives, impatient):
    """One archive is gone, and of the other one the server gives no content."""
    y, proxy, _, archives = two_archives
    silent = set()

    def look(number):  # the tables, at its end, are read, and now the content
        _, path, asked = proxy.requests[number]
        if path.startswith(archives[1]) and asked.startswith("bytes=0-"):
            silent.add(path)

    def deny(method, path):
        if method == "GET" and path.startswith(archives[0]):
            return "404 Not Found", "NoSuchKey"
        return path in silent and ("500 Internal Server Error", "InternalError")

    proxy.before, proxy.deny = look, deny
    result = y.run("verify", "--data", rc=4, env=impatient)
    assert "damage found" in result.errors and "not all was looked at" in result.errors, repr(result)
    proxy.before = proxy.deny = None
    y.verify()


def test_hosts_share_a_bucket_while_one_prunes(s3_yester, work):
    """Two hosts back up, each by its own catalog, and a third one forgets and prunes."""
    def back_up(host):
        source = work / host
        source.mkdir()
        env = {"XDG_CACHE_HOME": str(s3_yester.fresh("cache"))}
        for i in range(4):
            (source / f"f{i}").write_bytes(os.urandom(200_000))
            names[host].append(s3_yester.run("--host", host, "backup", "--type", "files", source, env=env).lines[-1])

    def prune():
        env = {"XDG_CACHE_HOME": str(s3_yester.fresh("cache"))}
        while not over.is_set():
            for host in list(names):
                for name in names[host][:-2]:
                    s3_yester.run("forget", name, env=env, rc=None)
            s3_yester.run("prune", "--grace", "1s", env=env, rc=None)

    names, over = {"one": [], "two": []}, threading.Event()
    pruner = threading.Thread(target=prune)
    writers = [threading.Thread(target=back_up, args=(host,)) for host in names]
    for thread in [pruner, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    over.set()
    pruner.join()
    assert all(len(found) == 4 for found in names.values())
    s3_yester.verify()
    for host, found in names.items():
        same(work / host, s3_yester.restored(work / host, found[-1]))
