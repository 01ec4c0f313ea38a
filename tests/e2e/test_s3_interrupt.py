"""Who is interrupted does not wait for a server: not until its answer comes, nor until the next attempt."""
import os
import re
import signal
import threading
import time

import pytest
from chaosproxy import ChaosProxy
from conftest import same, wait_for

pytestmark = pytest.mark.xdist_group("s3")

SOON = 60  # seconds: two or three when nothing else runs; the default patience is 300


@pytest.fixture
def proxied(s3_yester):
    with ChaosProxy(s3_yester.s3.address) as proxy:
        s3_yester.env["AWS_ENDPOINT_URL"] = proxy.endpoint
        yield s3_yester, proxy


def make_noise(work, name="source", size=24 << 20):
    source = work / name
    source.mkdir()
    for i in range(3):
        (source / f"noise{i}").write_bytes(os.urandom(size // 3))
    return source


def away(proxy, how):
    """From now on the server refuses, resets or is silent."""
    if how == "silent":
        proxy.silent = True
    elif how == "down":
        proxy.down = True
    else:
        proxy.faults, proxy.rate = (how,), 1.0


def back(proxy):
    proxy.silent = proxy.down = False
    proxy.rate = 0.0


def interrupted(y, proxy, how, where, *args):
    """Runs it until it asks for what WHERE says, lets the server go away, interrupts; what it said."""
    there = threading.Event()

    def look(number):
        method, path, _ = proxy.requests[number]
        if not there.is_set() and re.search(where, f"{method} {path}"):
            away(proxy, how)
            there.set()

    proxy.before = look
    process = y.start(*args)
    wait_for(lambda: there.is_set() or process.poll() is not None, "the request", 60)
    time.sleep(1)
    assert process.poll() is None, process.communicate()
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=2 * SOON)
    took = time.monotonic() - began
    proxy.before = None
    back(proxy)
    assert process.returncode == 130, errors
    assert took < SOON, f"{took:.1f} s: {errors}"
    return errors.decode()


@pytest.mark.parametrize("how", ["down", "slowdown", "503", "silent"])
def test_a_backup_ends_at_once_and_the_next_one_succeeds(proxied, tree, work, how):
    y, proxy = proxied
    before = y.backup(tree)
    source = make_noise(work, "noise")
    errors = interrupted(y, proxy, how, "P.*/data/", "backup", "--type", "files", source)
    assert "interrupted" in errors
    assert [s["name"] for s in y.snapshots()] == [before]
    after = y.backup(source)
    same(source, y.restored(source, after))
    same(tree, y.restored(tree, before))
    y.verify()


@pytest.mark.parametrize("how", ["down", "silent"])
def test_a_restore_ends_at_once_and_goes_on_later(proxied, work, how):
    y, proxy = proxied
    source = make_noise(work)
    name = y.backup(source)
    target = y.fresh("target")
    errors = interrupted(y, proxy, how, "GET.*/data/", "restore", name, "--target", target)
    assert "damage" not in errors
    same(source, y.restored(source, name, target=target))


@pytest.mark.parametrize("how", ["down", "silent"])
def test_a_verify_ends_at_once_and_calls_nothing_damaged(proxied, work, how):
    y, proxy = proxied
    y.backup(make_noise(work))
    errors = interrupted(y, proxy, how, "GET.*/data/", "verify", "--data")
    assert "damage" not in errors
    y.verify()


def test_a_prune_ends_at_once_and_the_next_one_goes_on(proxied, work):
    y, proxy = proxied
    kept = make_noise(work)
    gone = y.backup(make_noise(work, "gone"))
    name = y.backup(kept)
    y.run("forget", gone)
    interrupted(y, proxy, "down", "PUT.*/marks/", "prune", "--grace", "1s")
    y.run("prune", "--grace", "1s")
    same(kept, y.restored(kept, name))
    y.verify()


def test_a_copy_ends_at_once_and_the_next_one_goes_on(proxied, work):
    y, proxy = proxied
    source = make_noise(work)
    y.backup(source)
    to = y.location + "-copy"
    interrupted(y, proxy, "down", "P.*-copy/data/", "copy", "--to", to)
    y.run("copy", "--to", to)
    same(source, y.restored(source, "latest", env={"YESTER_REPO": to}))


@pytest.mark.parametrize("how", ["down", "silent"])
def test_a_mount_ends_at_once(proxied, work, how):
    y, proxy = proxied
    source = make_noise(work)
    y.backup(source)
    with y.mount("--cache", "16M") as mount:
        path = mount.tree("latest", source) / "noise0"
        fd = os.open(path, os.O_RDONLY)
        assert len(os.pread(fd, 4096, 0)) == 4096
        away(proxy, how)
        pid = os.fork()
        if pid == 0:
            try:
                os.pread(fd, 1 << 20, 6 << 20)
            except OSError:
                pass
            os._exit(0)
        os.close(fd)
        time.sleep(1)
        began = time.monotonic()
        mount.process.send_signal(signal.SIGTERM)
        mount.process.wait(2 * SOON)
        took = time.monotonic() - began
        os.waitpid(pid, 0)
        back(proxy)
    assert took < SOON + 2, took
