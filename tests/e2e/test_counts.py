"""What speed depends on, by count and never by the clock: requests of the kernel, of the store, blocks decoded."""
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from conftest import BIN, ROOT, wait_for

sys.path.insert(0, str(ROOT / "tests/harness"))
from formatrepo import Repository  # noqa: E402

FILES = 600
LARGE = 12  # of them larger than what grep reads at first, so that it asks for holes


@pytest.fixture
def many(work):
    """600 files of up to 300 KiB in 20 directories, none with holes."""
    top = work / "source"
    for i in range(FILES):
        path = top / f"d{i % 20:02}" / f"file{i}"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = 300_000 if i % (FILES // LARGE) == 0 else 100 + i * 37 % 20_000
        path.write_bytes((b"%d needle\n" % i + os.urandom(32).hex().encode() + b"\n") * (size // 75 + 1))
    return top


class Counted:
    """A mount that says how many requests of each kind it had, as SIGUSR2 asks."""

    def __init__(self, mount, log):
        self.mount, self.log = mount, log

    def counts(self):
        said = len(self.log.read_bytes())
        self.mount.process.send_signal(signal.SIGUSR2)
        wait_for(lambda: b"directories:" in self.log.read_bytes()[said:], "the counters")
        text = self.log.read_bytes()[said:].decode()
        found = {name: int(n) for name, n in re.findall(r"(lookup|getattr|readdir|read|open|xattr|seek|other) (\d+)", text)}
        for name in ("loads", "pushed"):
            found[name] = int(re.search(rf"(\d+) {name}", text).group(1))
        return found

    def settled(self):
        """When what is pushed ahead of its reader has come to an end."""
        seen = [self.counts()]
        while len(seen) < 3 or seen[-3:] != [seen[-1]] * 3:
            time.sleep(0.2)
            seen.append(self.counts())
        return seen[-1]


@contextlib.contextmanager
def counted(yester, *args):
    with yester.mount("--verbose", *args) as mount:
        yield Counted(mount, yester.work / (mount.path.name + ".log")), mount


def differences(before, after):
    return {k: after[k] - before[k] for k in after if after[k] != before[k]}


def grep(top):
    found = subprocess.run(["grep", "-rc", "needle", top], capture_output=True)
    assert found.returncode == 0 and found.stdout.count(b"\n") == FILES
    return found.stdout


def drop(top):
    """Let go of what the kernel has of the files below: whoever reads again asks again."""
    for folder, _, names in os.walk(top):
        for name in names:
            fd = os.open(os.path.join(folder, name), os.O_RDONLY)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)


def test_a_second_grep_asks_nothing_but_where_holes_are_and_not_even_that_if_told_so(yester, many):
    name = yester.backup(many)
    with counted(yester) as (count, mount):
        first = grep(mount.tree(name, many))
        before = count.settled()
        assert grep(mount.tree(name, many)) == first
        assert set(differences(before, count.counts())) <= {"seek"}
        assert differences(before, count.counts()).get("seek", 0) <= LARGE * 2
    with counted(yester, "--no-holes") as (count, mount):
        first = grep(mount.tree(name, many))
        before = count.settled()
        assert grep(mount.tree(name, many)) == first
        assert differences(before, count.counts()) == {}


def test_find_asks_once_for_each_directory_and_never_again(yester, many):
    name = yester.backup(many)
    with counted(yester) as (count, mount):
        top = mount.tree(name, many)
        os.stat(top)
        before = count.counts()
        subprocess.run(["find", top, "-size", "+0"], check=True, stdout=subprocess.DEVNULL)
        asked = differences(before, count.counts())
        # A directory is read until the kernel is told that there is no more.
        assert asked.get("lookup", 0) == 0 and asked.get("getattr", 0) <= 1 and asked["readdir"] <= 21 * 3, asked
        subprocess.run(["find", top, "-size", "+0"], check=True, stdout=subprocess.DEVNULL)
        again = differences(before, count.counts())
        assert again.get("lookup", 0) == 0 and again.get("getattr", 0) <= 1, again


def test_no_block_is_decoded_twice_by_several_readers_or_by_who_comes_later(yester, many):
    name = yester.backup(many)
    with counted(yester) as (count, mount):
        top = mount.tree(name, many)
        for folder in sorted(top.iterdir()):
            for path in sorted(folder.iterdir()):
                path.read_bytes()
        once = count.counts()["loads"]
        for path in sorted(top.iterdir()):
            drop(path)
        before = count.counts()
        grep(top)
        asked = differences(before, count.counts())
        assert asked["read"] + asked.get("pushed", 0) >= FILES and "loads" not in asked, asked
    with counted(yester) as (count, mount):
        readers = [threading.Thread(target=grep, args=(mount.tree(name, many),)) for _ in range(6)]
        for r in readers:
            r.start()
        for r in readers:
            r.join()
        assert count.counts()["loads"] <= once


def row_of_files(top, count):
    """Small files, and among them what is not pushed: empty ones, holes, larger ones."""
    top.mkdir(parents=True)
    for i in range(count):
        (top / f"{i:05}").write_bytes(os.urandom(16) * (1 + i * 101 % 4096))
    (top / "00007").write_bytes(b"")
    (top / "00009").write_bytes(os.urandom(200_000))
    with open(top / "00011", "wb") as f:
        f.truncate(50_000)
    os.link(top / "00013", top / "00014b")
    return top


def read_all(seen, source):
    for path in sorted(source.iterdir()):
        assert (seen / path.name).read_bytes() == path.read_bytes(), path


def test_small_files_are_in_the_page_cache_before_they_are_asked_for(yester, work):
    source = row_of_files(work / "source", 200)
    name = yester.backup(source)
    assert yester.repo.is_dir(), "of a bucket only what was fetched is given"
    with counted(yester) as (count, mount):
        seen = mount.tree(name, source)
        names = sorted(os.listdir(seen))
        for first in names[:2]:
            (seen / first).read_bytes()
        # All but those two, two that the reader asks for himself meanwhile, the empty one and the large one.
        wait_for(lambda: count.counts()["pushed"] >= len(names) - 6, "the rest of the directory")
        before = count.counts()
        read_all(seen, source)
        assert differences(before, count.counts()).get("read", 0) <= 6


def test_who_reads_one_file_of_each_directory_is_given_no_others(yester, many):
    name = yester.backup(many)
    with counted(yester) as (count, mount):
        for folder in sorted(mount.tree(name, many).iterdir()):
            (folder / sorted(os.listdir(folder))[3]).read_bytes()
        assert count.counts()["pushed"] == 0


def test_in_a_row_of_directories_files_are_given_at_once_and_all_are_right(yester, many):
    name = yester.backup(many)
    with counted(yester) as (count, mount):
        for folder in sorted(many.iterdir()):
            seen = mount.tree(name, many) / folder.name
            os.listdir(seen)
            read_all(seen, folder)
        assert count.counts()["pushed"] > 0


def test_a_directory_of_more_files_than_are_kept_in_mind_is_read_to_its_end(yester, work):
    source = row_of_files(work / "source", 9000)
    name = yester.backup(source)
    with yester.mount() as mount:
        read_all(mount.tree(name, source), source)


def test_many_who_read_one_directory_up_and_down_while_it_is_pushed_get_what_is_in_it(yester, work):
    source = row_of_files(work / "source", 400)
    name = yester.backup(source)
    with yester.mount() as mount:
        seen = mount.tree(name, source)
        wrong = []

        def read(order):
            for path in order:
                if (seen / path.name).read_bytes() != path.read_bytes():
                    wrong.append(path)

        for _ in range(5):
            os.listdir(seen)
            paths = sorted(source.iterdir())
            orders = [paths, paths[::-1], paths[1::2] + paths[::2], paths]
            readers = [threading.Thread(target=read, args=(o,)) for o in orders]
            for r in readers:
                r.start()
            for r in readers:
                r.join()
            drop(seen)
        assert not wrong


def reading(process):
    with open(f"/proc/{process.pid}/io", encoding="ascii") as f:
        io = dict(line.split(": ") for line in f.read().splitlines())
    return int(io["rchar"]), int(io["syscr"])


def one_lookup(yester, source, path):
    """(bytes read, calls) of a mount made anew for one file far down."""
    with yester.mount() as mount:
        os.listdir(mount.path / "latest")
        bytes0, calls0 = reading(mount.process)
        assert (mount.tree("latest", source) / path).read_bytes() == (source / path).read_bytes()
        bytes1, calls1 = reading(mount.process)
        return bytes1 - bytes0, calls1 - calls0


def grow(source, directories, files):
    for d in range(directories):
        folder = source / f"part{d:03}"
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(files):
            (folder / f"small file {i}").write_bytes(b"%d of %d\n" % (i, d) * (1 + i % 9))


def test_one_lookup_reads_as_much_whatever_lies_beside_it(yester, work):
    source = work / "source"
    grow(source, 2, 50)
    yester.backup(source)
    few, few_calls = one_lookup(yester, source, "part001/small file 7")
    grow(source, 60, 200)
    yester.backup(source)
    many, many_calls = one_lookup(yester, source, "part001/small file 7")
    # Two archives' tails, and one block for each level of directories and for the file.
    assert few <= 512 << 10 and many <= 768 << 10, (few, many)
    assert many_calls <= few_calls + (24 if yester.s3 else 12), (few_calls, many_calls)


def traces():
    found = shutil.which("strace") and "asan" not in BIN and "tsan" not in BIN
    return found and subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode == 0


def stored_calls(yester, *args):
    """{call: how often} on the repository's files, of one command."""
    log = yester.work / "strace.log"
    calls = "pread64,pwrite64,write,openat,renameat2,linkat,unlinkat,fsync,fdatasync"
    yester.run(*args, prefix=["strace", "-f", "-y", "-qq", "-o", log, "-e", "trace=" + calls])
    found = {}
    for line in log.read_text(errors="replace").splitlines():
        call = re.match(r"\d+ +([a-z0-9]+)\(", line)
        if call and str(yester.repo) in line:
            found[call.group(1)] = found.get(call.group(1), 0) + 1
    return found


@pytest.mark.skipif(not traces(), reason="strace does not work here")
def test_a_backup_without_a_change_asks_the_store_as_little_whatever_there_is(yester, work):
    source = work / "source"
    grow(source, 2, 50)
    yester.backup(source)
    few = stored_calls(yester, "backup", "--type", "files", source)
    grow(source, 60, 200)
    yester.backup(source)
    before = yester.stored()
    many = stored_calls(yester, "backup", "--type", "files", source)
    assert yester.stored() - before < 64 << 10
    # 12,000 files are some hundred KiB of directories to compare with, in blocks of 128 KiB; whether an archive of
    # directories is written besides hangs on how new they are.
    assert sum(few.values()) <= 200 and sum(many.values()) - sum(few.values()) <= 80, (few, many)


@pytest.mark.skipif(not traces(), reason="strace does not work here")
def test_a_restore_reads_each_part_of_the_store_once(yester, many):
    yester.backup(many)
    log = yester.work / "strace.log"
    yester.run("restore", "latest", "--target", yester.fresh("target"),
               prefix=["strace", "-f", "-y", "-qq", "-o", log, "-e", "trace=pread64"])
    seen, twice = set(), []
    for line in log.read_text(errors="replace").splitlines():
        call = re.search(rf"pread64\(\d+<({re.escape(str(yester.repo))}/data/[^>]*)>.*, (\d+), (\d+)\)? ", line)
        if call:
            (twice.append if call.groups() in seen else seen.add)(call.groups())
    assert seen and not twice, twice


def test_what_is_done_with_a_local_repository_loads_no_library_of_the_network_or_of_postgresql(yester, many):
    yester.backup(many)
    assert yester.repo.is_dir()
    for args in ("list",), ("status",), ("backup", "--type", "files", many), ("ls", "latest"):
        log = yester.work / "loaded"
        yester.run(*args, env={"LD_DEBUG": "files", "LD_DEBUG_OUTPUT": str(log)})
        found = {m.group(1) for path in yester.work.glob("loaded.*")
                 for m in re.finditer(r"calling init: .*/(lib[a-z]+)", path.read_text())}
        assert "libcrypto" in found and not found & {"libcurl", "libpq", "libssl", "libldap"}, found


def spread(repo, entry):
    """How many bytes of its archives a file's content reaches over."""
    ranges = {}
    for extent in repo.tree.extents(entry.content):
        first, end = ranges.get(extent.archive, (extent.offset, 0))
        ranges[extent.archive] = min(first, extent.offset), max(end, extent.offset + extent.length)
    return sum(end - first for first, end in ranges.values())


def test_large_files_stored_at_the_same_time_lie_in_one_piece_each(yester):
    top = yester.fresh("source")
    for i in range(3):
        (top / f"large{i}").write_bytes(os.urandom(32 << 20))
    yester.backup(top)
    repo = Repository(yester.repo, yester.key.read_bytes())
    large = [entry for _, _, entry in repo.entries(repo.root("latest")) if entry.content and entry.content.size == 32 << 20]
    assert len(large) == 3
    # Two workers store the same file, so that one of them is a MiB ahead; the other files were elsewhere meanwhile.
    for entry in large:
        assert spread(repo, entry) <= entry.content.size + (4 << 20), [spread(repo, e) for e in large]


def test_what_a_restore_writes_out_touches_no_new_memory(yester, work):
    source = work / "source"
    source.mkdir()
    with open(source / "noise", "wb") as f:
        for _ in range(160):
            f.write(os.urandom(1 << 20))
    yester.backup(source)
    process = yester.start("restore", "latest", "--target", yester.fresh("restored"), stdout=None, stderr=None)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    # Pages touched for the first time: 3,400; through the cache it was 43,000, more than the file has.
    assert usage.ru_minflt < 20_000
