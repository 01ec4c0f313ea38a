"""What stays on the disk of what was fetched from a bucket: counted at a proxy, and damaged."""
import os
import re
import stat
import subprocess

import pytest
import s3server
from chaosproxy import ChaosProxy
from conftest import same, wait_for

pytestmark = pytest.mark.xdist_group("s3")


@pytest.fixture
def seen(s3_yester):
    """The requests that are made from here on."""
    with ChaosProxy(s3_yester.s3.address) as proxy:
        s3_yester.env = {**s3_yester.env, "AWS_ENDPOINT_URL": proxy.endpoint}
        yield proxy.requests


@pytest.fixture
def source(work):
    top = work / "source"
    for directory in range(40):
        (top / f"d{directory}").mkdir(parents=True)
        for number in range(25):
            (top / f"d{directory}" / f"f{number}").write_bytes(os.urandom(4000))
    (top / "noise").write_bytes(os.urandom(9 << 20))
    return top


def archives(requests, since=0, folder="(data|meta)"):
    return [path for method, path, _ in requests[since:] if method == "GET" and re.search(f"/{folder}/", path)]


def cache_file(y):
    found = list(y.cache.rglob("sealed*"))
    assert len(found) == 1 and found[0].name == "sealed"
    return found[0]


def setting(y, work, value):
    settings = work / f"settings-{value}"
    settings.write_text(f"[s3]\ndisk_cache = {value}\n")
    y.env = {**y.env, "YESTER_CONFIG": str(settings)}


def test_a_second_mount_asks_for_nothing_that_the_first_one_read(s3_yester, seen, source):
    y = s3_yester
    y.backup(source)
    with y.mount() as mount:
        same(source, mount.tree("latest", source), holes=False)
    file = cache_file(y)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and file.stat().st_size <= 1 << 30
    assert file.stat().st_blocks * 512 < 64 << 20  # as much as was read, and not its length
    before = len(seen)
    with y.mount() as mount:
        same(source, mount.tree("latest", source), holes=False)
    assert not archives(seen, before)
    before = len(seen)
    same(source, y.restored(source))
    assert not archives(seen, before)


def test_commands_keep_directories_and_no_contents(s3_yester, seen, source):
    y = s3_yester
    y.backup(source)
    before = len(seen)
    y.run("find", "*f7*")
    first = archives(seen, before)
    assert first
    same(source, y.restored(source))
    before = len(seen)
    y.run("find", "*f7*")
    y.run("ls", "-R", "latest")
    assert not archives(seen, before)
    before = len(seen)
    same(source, y.restored(source))
    assert archives(seen, before, "data") and not archives(seen, before, "meta")


def test_whatever_happens_to_the_file_what_is_read_is_right(s3_yester, seen, source):
    y = s3_yester
    y.backup(source)
    for damage in range(4):
        with y.mount() as mount:
            same(source, mount.tree("latest", source), holes=False)
        file = cache_file(y)
        size = file.stat().st_size
        with open(file, "r+b") as f:
            if damage == 0:  # table and pages, here and there
                for at in range(5000, 64 << 20, 997):
                    f.seek(at)
                    byte = f.read(1)
                    f.seek(at)
                    f.write(bytes([byte[0] ^ 1 << at % 8]))
            elif damage == 1:  # a power cut: pages that never reached the disk
                subprocess.run(["fallocate", "-p", "-o", str(2 << 20), "-l", str(size - (2 << 20)), file], check=True)
            elif damage == 2:
                f.truncate(size // 3)
            else:
                f.write(b"\0" * 4096)
        with y.mount() as mount:
            same(source, mount.tree("latest", source), holes=False)
        same(source, y.restored(source))


def test_verify_looks_at_the_bucket_and_not_at_the_cache(s3_yester, seen, source):
    y = s3_yester
    y.backup(source)
    with y.mount() as mount:
        same(source, mount.tree("latest", source), holes=False)
    key = max((size, name) for name, size in y.keys().items() if name.startswith("data/"))[1]
    path = f"/{s3server.BUCKET}/{y.prefix}/{key}"
    whole = y.s3.client.call("GET", path)
    at = len(whole) // 2
    y.s3.client.call("PUT", path, body=whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1:])
    same(source, y.restored(source))  # what was fetched before is what was written
    assert key in y.run("verify", "--data", rc=4).errors
    y.s3.client.call("DELETE", path)
    assert key in y.run("verify", rc=4).errors


def test_a_backup_reads_what_it_refers_to_in_the_bucket(s3_yester, seen, source):
    y = s3_yester
    y.backup(source)
    with y.mount() as mount:
        same(source, mount.tree("latest", source), holes=False)
    before = len(seen)
    y.backup(source)
    assert archives(seen, before, "meta")


def test_nothing_is_kept_when_nothing_may_be(s3_yester, seen, source, work):
    y = s3_yester
    y.backup(source)
    y.run("find", "f7")
    assert cache_file(y)
    setting(y, work, "0")
    y.run("find", "f7")
    assert not list(y.cache.rglob("sealed*"))
    setting(y, work, "3M")
    with y.mount() as mount:
        same(source, mount.tree("latest", source), holes=False)
    assert cache_file(y).stat().st_size <= 3 << 20


def test_a_whole_tree_of_directories_takes_few_requests(s3_yester, seen, work):
    y, top = s3_yester, work / "many"
    for directory in range(200):
        (top / f"a{directory // 20}" / f"b{directory}").mkdir(parents=True)
        for number in range(100):
            (top / f"a{directory // 20}" / f"b{directory}" / f"f{number}").write_bytes(b"%d" % number * 9)
    y.backup(top)
    before = len(seen)
    with y.mount() as mount:
        found = sum(len(files) for _, _, files in os.walk(mount.tree("latest", top)))
    assert found == 20000
    assert 1 <= len(archives(seen, before)) <= 8


def test_the_first_look_finds_the_top_fetched(s3_yester, seen, source):
    y = s3_yester
    y.backup(source)
    where = y.fresh("mnt")
    y.run("mount", where)
    try:
        answered = len(seen)
        assert len(os.listdir(f"{where}/latest/files{source}")) == 41
        asked = [path for _, path, _ in seen[answered:] if "?" not in path]
        assert len(asked) <= 5, asked
    finally:
        y.run("umount", where)


def test_a_mount_in_the_background_shares_no_connection_and_keeps_its_catalog(s3_yester, seen, source):
    y = s3_yester
    y.backup(source)
    catalog = next(y.cache.rglob("catalog.sqlite"))
    before, where = catalog.stat().st_ino, y.fresh("mnt")
    y.run("mount", "--refresh", "1", where)
    try:
        looks = [len(seen)]
        wait_for(lambda: len([p for _, p, _ in seen[looks[0]:] if "prefix=" in p and "snapshots" in p]) >= 2, "two looks")
        same(source, f"{where}/latest/files{source}", holes=False)
    finally:
        y.run("umount", where)
    assert catalog.stat().st_ino == before
