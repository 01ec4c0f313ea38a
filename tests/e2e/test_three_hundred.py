"""Three hundred snapshots of a hundred thousand files (started with --long): what goes over all of them
reads what differs, forgetting and pruning most of them is bounded in memory, frees what --dry-run said, and
hurts none that is kept."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import pytest

from conftest import Yester, same, same_on_mount, unmount
from test_memory import MIB, high_water, peak

pytestmark = [pytest.mark.long, pytest.mark.disk, pytest.mark.xdist_group("three hundred")]

SHOTS, DIRECTORIES, FILES, CHANGED = 300, 1000, 100, 500
KEPT = range(5, SHOTS, 6)           # fifty of them; the newest is one
COMPARED = [5, 59, 149, 239, 299]   # with copies of the source, made when they were taken


class Many:
    def __init__(self, work):
        self.work, self.source = work, work / "source"
        self.shots, self.copies, self.versions = [], {}, 1
        for d in range(DIRECTORIES):
            self.directory(d).mkdir(parents=True)
            for f in range(FILES):
                self.write(d, f, 0)
        self.yester = Yester(work).init()
        for shot in range(SHOTS):
            self.shot(shot)

    def directory(self, number):
        return self.source / f"d{number // 40:02}" / f"e{number % 40:02}"

    def write(self, d, f, version):
        text = f"file {f} of {d}, version {version}\n" * (1 + (d + f) % 40)
        (self.directory(d) / f"file{f:02}").write_text(text)

    def change(self, shot):
        """CHANGED files in fifty directories: most in the same ones each time, which leaves archives of which a
        little is needed, some in others, which leaves archives of which much is."""
        for i in range(CHANGED):
            same = i < CHANGED * 4 // 5
            self.write(900 + i // 10 if same else (shot * 50 + i // 10) % 900, 10 + i % 10 if same else i % 10, shot)
        if shot % 20 == 0:  # the same one comes along for sure
            self.write(7, 77, shot)
            self.versions += 1

    def shot(self, number):
        if number > 0:
            self.change(number)
        self.shots.append(self.yester.backup(self.source))
        if number in COMPARED:
            self.copies[number] = self.work / f"copy{number}"
            subprocess.run(["cp", "-a", self.source, self.copies[number]], check=True)


@pytest.fixture(scope="module")
def many():
    top = os.environ.get("TMPDIR", "/tmp")
    room = os.statvfs(top)
    if room.f_bavail * room.f_frsize < 10 << 30 or room.f_favail < 2_000_000:
        pytest.skip(f"needs 10 GB and 2 million inodes free in {top}")
    work = pathlib.Path(tempfile.mkdtemp(prefix="yester-many-", dir=top))
    work.chmod(0o755)
    many = Many(work)
    yield many
    for path in many.yester.mounts:
        unmount(path)
    shutil.rmtree(work)


def test_what_goes_over_all_snapshots_reads_what_differs(many):
    yester, path = many.yester, many.directory(7) / "file77"
    assert len(yester.run("--json", "history", path).json()["versions"]) == many.versions
    found = yester.run("-v", "find", "file07")
    assert len(found.lines) == DIRECTORIES
    read = int(re.search(r"(\d+) directories read", found.errors).group(1))
    whole, changed = DIRECTORIES + 60, 60 + len(many.source.parts)
    assert read <= whole + SHOTS * changed, f"{read} directories"
    with yester.mount("--cache", "64M") as mount:
        history = pathlib.Path(f"{mount.path}/history/files{many.directory(7)}")
        assert len(os.listdir(history)) == FILES
        assert len(os.listdir(history / "file77")) == many.versions
        used = high_water(mount.process.pid)
        assert used < (64 + 64) * MIB, f"mount: {used // MIB} MiB"


def test_most_are_forgotten_and_pruned_and_the_rest_is_whole(many):
    yester = many.yester
    gone = [name for i, name in enumerate(many.shots) if i not in KEPT]
    assert len(gone) == 250
    rc, used = peak(yester.start("forget", *gone, stdout=None, stderr=None))
    assert rc == 0 and used < 300 * MIB, f"forget: exit {rc}, {used // MIB} MiB"
    said = json.loads(yester.run("--json", "prune", "--now", "--dry-run").out.splitlines()[-1])
    before = yester.stored()
    rc, used = peak(yester.start("prune", "--now", stdout=None, stderr=None))
    assert rc == 0 and used < 300 * MIB, f"prune: exit {rc}, {used // MIB} MiB"
    freed = before - yester.stored()
    assert freed > 0 and abs(freed - (said["freed"] - said["moved_bytes"])) < freed / 20, f"freed {freed}, announced {said}"
    assert [s["name"] for s in yester.snapshots()] == [n for i, n in enumerate(many.shots) if i in KEPT]
    yester.verify()
    with yester.mount() as mount:
        for number, copy in many.copies.items():
            same_on_mount(copy, mount.tree(many.shots[number], many.source))
    same(many.copies[149], yester.restored(many.source, many.shots[149]))
