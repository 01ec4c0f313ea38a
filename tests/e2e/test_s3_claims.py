"""Names that several hosts give: one of them wins, also where the server would overwrite; and ends of uploads in parts."""
import os
import struct
import threading

import pytest
import s3server
from chaosproxy import ChaosProxy
from conftest import same, wait_for
from test_s3_lock import Locked, locking, y  # noqa: F401

pytestmark = pytest.mark.xdist_group("s3")
MiB = 1 << 20


def make_segment(work, size, seed):
    """A segment of a log, of a server of whose version nothing is known."""
    (work / seed).mkdir()
    path = work / seed / "000000010000000000000001"
    page = struct.pack("<HHIQII", 0xFFFF, 2, 1, size, 0, 0) + struct.pack("<QII", 7711137783309444479, size, 8192)
    path.write_bytes(page + os.urandom(size - len(page)))
    return path


def is_content(path):
    return "/wal/" in path and "/claims/" not in path


@pytest.fixture(params=["that refuses to overwrite", "that would overwrite"])
def host(request):
    """Ceph passes over If-None-Match in a bucket with versions."""
    return request.getfixturevalue("s3_yester" if "refuses" in request.param else "y")


@pytest.mark.parametrize("megabytes", [1, 16])
def test_of_two_that_store_a_segment_of_the_log_at_once_one_wins_and_nothing_is_overwritten(host, work, megabytes):
    bucket = getattr(host, "bucket", s3server.BUCKET)
    if bucket != s3server.BUCKET:
        host.init()
    slow, fast = (make_segment(work, megabytes * MiB, seed) for seed in ("slow", "fast"))
    waits, over = threading.Event(), threading.Event()

    def hold(number):
        method, path, _ = proxy.requests[number]
        if method == "PUT" and is_content(path):
            waits.set()
            over.wait(60)

    with ChaosProxy(host.s3.address) as proxy:
        proxy.before = hold
        process = host.start("wal", "push", slow, env={"AWS_ENDPOINT_URL": proxy.endpoint})
        wait_for(waits.is_set, "the first one to store it")
        second = host.run("wal", "push", fast, rc=None)
        over.set()
        errors = process.communicate(timeout=60)[1]
    winners = [path for path, rc in ((slow, process.returncode), (fast, second.rc)) if rc == 0]
    assert len(winners) == 1, (errors, second)
    stored = [version for version in host.s3.client.versions(bucket, host.prefix + "/wal/")]
    assert len(stored) == 1, stored
    target = host.fresh("fetched") / "segment"
    host.run("wal", "fetch", "--system", "7711137783309444479", winners[0].name, target)
    assert target.read_bytes() == winners[0].read_bytes()
    for path in (slow, fast):
        host.run("wal", "push", path, rc=0 if path in winners else 1)
    assert not [name for name in host.keys() if name.startswith("claims/")]


@pytest.fixture
def parts(s3_yester, work):
    """By way of a proxy; a source whose archive goes up in parts."""
    source = work / "source"
    source.mkdir()
    (source / "noise").write_bytes(os.urandom(20 * MiB))
    with ChaosProxy(s3_yester.s3.address) as proxy:
        s3_yester.env["AWS_ENDPOINT_URL"] = proxy.endpoint
        yield s3_yester, proxy, source


def ends(requests):
    return [(method, path) for method, path, *_ in requests if method == "POST" and "uploadId=" in path]


def test_the_end_of_an_upload_in_parts_overwrites_nothing_either(parts):
    y, proxy, source = parts
    y.backup(source)
    assert ends(proxy.requests) and set(ends(proxy.requests)) <= set(proxy.guarded)


def test_a_server_that_does_not_know_this_of_uploads_is_asked_once(parts):
    y, proxy, source = parts
    (source / "more").write_bytes(os.urandom(90 * MiB))  # more than one archive
    refused = []

    def deny(method, path):
        if (method, path) not in ends(proxy.guarded) or path in refused:
            return None
        refused.append(path)
        return "501 Not Implemented", "NotImplemented"

    proxy.deny = deny
    y.backup(source)
    proxy.deny = None
    archives = {path for _, path in ends(proxy.requests)}
    assert refused and len(refused) < len(archives) and len(ends(proxy.requests)) == len(archives) + len(refused)
    same(source, y.restored(source))


@pytest.mark.parametrize("then", [("412 Precondition Failed", "PreconditionFailed"), ("404 Not Found", "NoSuchUpload")])
def test_the_end_of_an_upload_whose_answer_is_lost_is_looked_at(parts, then):
    """It was done; asked again, the server says that there is such an object, or no such upload."""
    y, proxy, source = parts
    lost = set()

    def lose(method, path):
        new = bool(ends([(method, path)])) and path not in lost
        if new:
            lost.add(path)
        return new

    proxy.lose = lose
    proxy.deny = lambda method, path: ends([(method, path)]) and path in lost and then
    y.backup(source)
    assert lost and len(ends(proxy.requests)) == 2 * len(lost)
    proxy.deny = None
    same(source, y.restored(source))
    y.verify()


def test_what_another_host_has_only_claimed_in_a_replica_is_not_there(s3_yester, work):
    """Where the server would overwrite.  A copy that was killed leaves such claims: they count for an hour."""
    y, source = s3_yester, work / "source"
    y.env["YESTER_REPO"] = str(work / "near")
    y.init()
    source.mkdir()
    (source / "file").write_text("content")
    name = y.backup(source)
    y.run("hold", name)
    hold, root = (str(path.relative_to(work / "near")) for folder in ("holds", f"snapshots/{name}")
                  for path in (work / "near" / folder).iterdir())
    replica = y.prefix + "/replica"
    words = "copy", "--to", f"s3://{s3server.BUCKET}/{replica}"
    with ChaosProxy(y.s3.address) as proxy:
        proxy.deny = lambda method, path: (method, path) in proxy.guarded and ("501 Not Implemented", "NotImplemented")
        y.env["AWS_ENDPOINT_URL"] = proxy.endpoint
        for claimed in (hold, root):
            claim = f"{replica}/claims/{claimed}/{'0' * 32}"
            y.s3.client.put(s3server.BUCKET, claim, b"somebody's")
            assert f"{claimed}: another host is about to store it in the replica" in y.run(*words, rc=11).errors
            there = [key[len("replica/"):] for key in y.keys() if key.startswith("replica/")]
            assert claimed not in there and root not in there
            assert claimed == hold or hold in there
            y.s3.client.delete(s3server.BUCKET, claim)
        y.run(*words)
        assert f"replica/{root}" in y.keys()
