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
    """By way of a proxy that can be taken down, with little patience."""
    settings = work / "impatient.conf"
    settings.write_text("[s3]\npatience = 2\n")
    with ChaosProxy(s3_yester.s3.address) as proxy:
        s3_yester.env.update(AWS_ENDPOINT_URL=proxy.endpoint, YESTER_CONFIG=str(settings))
        yield s3_yester, proxy


def down_after(proxy, count):
    """The server answers so many more requests, and then no more."""
    last = len(proxy.requests) + count

    def look(number):
        proxy.down = proxy.down or number >= last

    proxy.before = look


def up(proxy):
    proxy.before, proxy.down = None, False


@pytest.mark.parametrize("count", [3, 6, 9, 10, 11, 12])
def test_a_server_that_dies_during_a_backup_is_told_and_it_goes_on_later(proxied, tree, count):
    y, proxy = proxied
    before = y.backup(tree)
    (tree / "more").write_bytes(os.urandom(3 << 20))
    down_after(proxy, count)
    result = y.run("backup", "--type", "files", tree, rc=(0, 1))
    if result.rc:
        assert "s3://" in result.errors
        assert proxy.down
    up(proxy)
    after = y.backup(tree)
    same(tree, y.restored(tree, after))
    assert before in {s["name"] for s in y.snapshots()}
    y.verify()


@pytest.mark.parametrize("method, count", [("PUT", 1), ("DELETE", 1), ("DELETE", 3)])
def test_a_server_that_dies_during_a_prune_is_told_and_the_next_one_goes_on(proxied, work, method, count):
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
    result = y.run("prune", "--grace", "1s", rc=(0, 1))
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


def test_a_server_that_dies_under_a_mount_is_an_error_and_no_zeros(proxied, work):
    y, proxy = proxied
    source = work / "source"
    source.mkdir()
    (source / "noise").write_bytes(os.urandom(24 << 20))
    y.backup(source)
    with y.mount("--cache", "16M") as mount:
        path = mount.tree("latest", source) / "noise"
        with open(path, "rb") as f:
            assert len(f.read(1 << 20)) == 1 << 20
            proxy.down = True
            f.seek(20 << 20)
            with pytest.raises(OSError):
                f.read(4 << 20)
        up(proxy)
        same(source, mount.tree("latest", source), holes=False)


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
