"""What a mount asks a bucket for: counted at a proxy, on a real server."""
import os
import re
import time

import pytest
from chaosproxy import ChaosProxy
from conftest import same, wait_for

pytestmark = pytest.mark.xdist_group("s3")


def gets(proxy, since):
    """Ranges that objects were read by; that new snapshots are looked for meanwhile is not counted."""
    return [what for method, path, what in proxy.requests[since:] if method == "GET" and "?" not in path]


def asked(ranges):
    """Bytes, where a range says it."""
    found = [re.fullmatch(r"bytes=(\d+)-(\d+)", what) for what in ranges]
    return sum(int(m[2]) - int(m[1]) + 1 for m in found if m)


@pytest.fixture
def slow(s3_yester):
    with ChaosProxy(s3_yester.s3.address, delay=0.03) as proxy:
        yield proxy


def through(y, proxy):
    """From here on by way of the proxy, with no catalog."""
    y.env = {**y.env, "AWS_ENDPOINT_URL": proxy.endpoint, "XDG_CACHE_HOME": str(y.fresh("cache"))}
    return y


def test_a_small_file_takes_three_requests_once_its_directory_is_known(s3_yester, slow, work):
    source = work / "source"
    for directory in range(20):
        (source / f"d{directory}").mkdir(parents=True)
        for number in range(50):
            (source / f"d{directory}" / f"f{number}").write_bytes(os.urandom(3000))
    s3_yester.backup(source)
    y = through(s3_yester, slow)
    with y.mount() as mount:
        top = mount.tree("latest", source)
        assert len(list((top / "d7").iterdir())) == 50
        before = len(slow.requests)
        assert (top / "d7" / "f31").read_bytes() == (source / "d7" / "f31").read_bytes()
        assert 1 <= len(gets(slow, before)) <= 3


def test_a_large_file_is_read_in_large_pieces_and_each_about_once(s3_yester, slow, work):
    source = work / "source"
    source.mkdir()
    (source / "noise").write_bytes(os.urandom(64 << 20))
    s3_yester.backup(source)
    y = through(s3_yester, slow)
    with y.mount() as mount:
        before = len(slow.requests)
        same(source, mount.tree("latest", source), holes=False)
        ranges = gets(slow, before)
    assert asked(ranges) < 96 << 20
    assert len(ranges) < 200  # in blocks of 128 KiB it would be 512 and more


def test_a_new_snapshot_appears_and_the_bucket_is_not_listed_all_the_time(s3_yester, slow, tree):
    s3_yester.backup(tree)
    direct = dict(s3_yester.env)
    y = through(s3_yester, slow)
    with y.mount("--refresh", "3") as mount:
        before = len(slow.requests)
        name = y.backup(tree, env=direct)
        wait_for(lambda: name in os.listdir(mount.path), "the new snapshot")
        rounds = len([path for _, path, _ in slow.requests[before:] if "snapshots%2F" in path])
        time.sleep(2)
        after = len([path for _, path, _ in slow.requests[before:] if "snapshots%2F" in path])
    assert after - rounds <= 1


def test_ranges_tell_nothing_of_where_chunks_begin(s3_yester, slow, work):
    source = work / "source"
    source.mkdir()
    for number in range(200):
        (source / f"f{number}").write_bytes(os.urandom(5000 + 37 * number))
    s3_yester.backup(source)
    y = through(s3_yester, slow)
    before = len(slow.requests)
    same(source, y.restored(source))
    for what in gets(slow, before):
        m = re.fullmatch(r"bytes=(\d+)-(\d+)", what)
        assert what == "bytes=-65536" or int(m[1]) % 65536 == 0, what
