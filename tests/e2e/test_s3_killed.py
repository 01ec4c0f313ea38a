"""The server itself is killed in the middle of a backup, a prune, a mount, and comes back: clear errors, nothing lost, going on."""
import os
import re
import threading
import time

import pytest
import s3server
from chaosproxy import ChaosProxy
from conftest import Yester, same, unmount, wait_for

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("s3, the slow ones")]


@pytest.fixture(scope="module")
def own_server():
    """A gateway that nobody else uses."""
    if "ceph" not in s3server.available():
        pytest.skip("Ceph is not installed (tests/harness/s3-ceph.sh install)")
    server = s3server.launch("ceph", {})
    yield server
    server.stop()


@pytest.fixture
def mortal(work, own_server):
    """The program by way of a proxy that sees what is asked, and with some patience."""
    y = Yester(work, s3=own_server)
    settings = work / "patience.conf"
    settings.write_text("[s3]\npatience = 3\n")
    with ChaosProxy(own_server.address) as proxy:
        y.env.update(AWS_ENDPOINT_URL=proxy.endpoint, YESTER_CONFIG=str(settings))
        yield y.init(), proxy
    for path in y.mounts:
        unmount(path)


def kill_at(y, proxy, where, back=None):
    """Kills the server at the first request that WHERE matches, and starts it BACK seconds later."""
    dead = threading.Event()

    def revive():
        time.sleep(back)
        y.s3.start()

    def look(number):
        method, path, _ = proxy.requests[number]
        if not dead.is_set() and re.search(where, f"{method} {path}"):
            dead.set()
            y.s3.kill()
            if back is not None:
                dead.reviver = threading.Thread(target=revive)
                dead.reviver.start()

    proxy.before = look
    return dead


def alive(y, proxy):
    proxy.before = None
    y.s3.start()


def make_noise(work, name, size=20 << 20):
    source = work / name
    source.mkdir()
    (source / "noise").write_bytes(os.urandom(size))
    return source


@pytest.mark.parametrize("where", ["P.*/data/", "PUT.*/meta/", "PUT.*/index/", "PUT.*/snapshots/"])
def test_killed_during_a_backup(mortal, tree, work, where):
    y, proxy = mortal
    before = y.backup(tree)
    source = make_noise(work, "noise")
    dead = kill_at(y, proxy, where)
    result = y.run("backup", "--type", "files", source, rc=1)
    assert dead.is_set() and "s3://" in result.errors
    alive(y, proxy)
    same(tree, y.restored(tree, before))
    same(source, y.restored(source, y.backup(source)))
    y.verify()


def test_a_backup_outlives_a_server_that_comes_back(mortal, work):
    y, proxy = mortal
    source = make_noise(work, "noise")
    (work / "patience.conf").write_text("[s3]\npatience = 120\n")
    dead = kill_at(y, proxy, "P.*/data/", back=2)
    name = y.backup(source)
    assert dead.is_set()
    dead.reviver.join()
    same(source, y.restored(source, name))
    y.verify()


@pytest.mark.parametrize("where", ["PUT.*/marks/", "DELETE.*/data/"])
def test_killed_during_a_prune(mortal, work, where):
    y, proxy = mortal
    kept, gone = make_noise(work, "kept"), make_noise(work, "gone")
    name = y.backup(kept)
    y.run("forget", y.backup(gone))
    if "DELETE" in where:
        y.run("prune", "--grace", "1s")
        time.sleep(1.5)
    dead = kill_at(y, proxy, where)
    result = y.run("prune", "--grace", "1s", rc=1)
    assert dead.is_set() and "s3://" in result.errors
    alive(y, proxy)
    same(kept, y.restored(kept, name))
    y.run("prune", "--grace", "1s")
    time.sleep(1.5)
    y.run("prune", "--grace", "1s")
    same(kept, y.restored(kept, name))
    y.verify()
    assert y.stored() < 22 << 20


def test_killed_under_a_mount(mortal, work):
    y, proxy = mortal
    source = make_noise(work, "source", 40 << 20)
    y.backup(source)
    with y.mount("--cache", "16M") as mount:
        path = mount.tree("latest", source) / "noise"
        with open(path, "rb") as f:
            first = f.read(1 << 20)
            y.s3.kill()
            f.seek(35 << 20)
            with pytest.raises(OSError):
                f.read(4 << 20)
            y.s3.start()
            f.seek(0)
            assert f.read(1 << 20) == first
        wait_for(lambda: readable(path), "the mount to read again")
        same(source, mount.tree("latest", source), holes=False)


def readable(path):
    try:
        path.read_bytes()
    except OSError:
        return False
    return True
