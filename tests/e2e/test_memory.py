"""Memory is bounded whatever the number of files (started with --long)."""
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest

from conftest import same, same_on_mount

pytestmark = [pytest.mark.long, pytest.mark.disk, pytest.mark.xdist_group("million")]
MIB = 1 << 20


def peak(process):
    """Wait for a process; return (its exit status, its peak resident memory in bytes)."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_maxrss * 1024


def high_water(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM"))


@pytest.fixture(scope="module")
def million():
    """A million small files; made once."""
    top = os.environ.get("TMPDIR", "/tmp")
    room = os.statvfs(top)
    if room.f_bavail * room.f_frsize < 15 << 30 or room.f_favail < 3_000_000:
        pytest.skip(f"needs 15 GB and 3 million inodes free in {top}")
    source = pathlib.Path(tempfile.mkdtemp(prefix="yester-million-", dir=top))
    for i in range(1000):
        directory = source / f"{i // 40:02}" / f"{i:03}"
        directory.mkdir(parents=True)
        fd = os.open(directory, os.O_RDONLY)
        for j in range(1000):
            file = os.open(f"file {j:03}", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd)
            os.write(file, b"%d of %d\n" % (j, i) * (1 + j % 20))
            os.close(file)
        os.close(fd)
    yield source
    shutil.rmtree(source)


def test_a_million_small_files_stay_below_the_stated_memory(yester, million):
    rc, used = peak(yester.start("backup", "--type", "files", million, stdout=None, stderr=None))
    assert rc == 0 and used < 300 * MIB, f"backup: exit {rc}, {used // MIB} MiB"
    rc, used = peak(yester.start("backup", "--type", "files", million, stdout=None, stderr=None))
    assert rc == 0 and used < 300 * MIB, f"unchanged backup: exit {rc}, {used // MIB} MiB"
    with yester.mount("--cache", "64M", patience=1800) as mount:
        top = mount.tree("latest", million)
        found = subprocess.run(["find", top, "-type", "f", "-size", "+0"], capture_output=True).stdout
        assert found.count(b"\n") == 1_000_000
        subprocess.run(f"tar -C '{top}' -cf - . | tail -c 1 >/dev/null", shell=True, check=True)
        used = high_water(mount.process.pid)
        assert used < (64 + 64) * MIB, f"mount: {used // MIB} MiB"
        same_on_mount(million / "00", top / "00")
    target = yester.fresh("restored")
    rc, used = peak(yester.start("restore", "latest", "--target", target, stdout=None, stderr=None))
    assert rc == 0 and used < 300 * MIB, f"restore: exit {rc}, {used // MIB} MiB"
    same(million, str(target) + str(million))


def test_a_file_of_many_gigabytes_needs_no_more_memory_than_a_small_one(yester, work):
    source = work / "source"
    source.mkdir()
    with open(source / "big", "wb") as f:
        for i in range(40):
            f.write(os.urandom(1 << 20) * 50)
    rc, used = peak(yester.start("backup", "--type", "files", source, stdout=None, stderr=None))
    assert rc == 0 and used < 300 * MIB, f"backup: exit {rc}, {used // MIB} MiB"
    target = yester.fresh("restored")
    rc, used = peak(yester.start("restore", "latest", "--target", target, stdout=None, stderr=None))
    assert rc == 0 and used < 300 * MIB, f"restore: exit {rc}, {used // MIB} MiB"
    same(source, str(target) + str(source))
