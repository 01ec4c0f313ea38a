"""The tools of failure injection themselves: a careful writer passes, a careless one is found out."""
import os
import subprocess
import sys

import pytest

import conftest  # noqa: F401 — finds tests/harness
import faults
import powercut

PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
# Stores DATA as disk/made/object the way a store does; STEPS that it is told to leave out are missing.
WRITER = """
import os, sys
top, without = sys.argv[1], sys.argv[2:]
def sync(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
def step(name, path):
    if name not in without:
        sync(path)
os.mkdir(top + "/made")
step("parent", top)
fd = os.open(top + "/new", os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)
for i in range(3):
    os.pwrite(fd, bytes([65 + i]) * 5000, i * 5000)
if "data" not in without:
    os.fsync(fd)
os.rename(top + "/new", top + "/made/object")
step("name", top + "/made")
print("done")
"""
DATA = b"A" * 5000 + b"B" * 5000 + b"C" * 5000


@pytest.fixture
def disk(work):
    (work / "disk").mkdir()
    return work / "disk"


@pytest.fixture
def shim(work, disk):
    return faults.Shim(work / "shim", disk)


def store(shim, *without, program=WRITER, **plan):
    return subprocess.run([PYTHON, "-c", program, shim.dir, *without], capture_output=True,
                          env={**os.environ, **shim.env(**plan)})


def broken_states(shim, disk, *without, **plan):
    """The states after the writer has said "done" in which the object is not there as it was."""
    assert store(shim, *without, log=shim.log, **plan).returncode == 0
    powercut.acknowledge(shim.log, "object")
    found = powercut.cuts(shim.log.read_bytes(), os.stat(disk).st_ino)
    states = [s for cut in found if cut.acknowledged for s in cut.states]
    assert states
    return [what for what, state in states if state.get("made/object") != DATA]


def test_a_writer_that_syncs_everything_survives_every_power_cut(shim, disk):
    assert broken_states(shim, disk) == []


@pytest.mark.parametrize("step", ["data", "name", "parent"])
def test_a_writer_that_forgets_one_sync_is_caught(shim, disk, step):
    assert broken_states(shim, disk, step)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_sync_that_the_shim_drops_is_caught(shim, disk, number):
    assert broken_states(shim, disk, drop_sync=number)
    assert "sync" in shim.told()


def test_names_without_data_torn_writes_and_lost_names_are_among_the_states(shim, disk):
    assert store(shim, "data", "name", "parent", log=shim.log).returncode == 0
    cut, = powercut.cuts(shim.log.read_bytes(), os.stat(disk).st_ino, only_end=True)
    found = [state.get("made/object") for _, state in cut.states]
    torn = DATA[:5000] + b"B" * 120
    assert DATA in found and None in found and b"" in found and bytes(15000) in found
    assert any(f and f.startswith(torn + b"\0") for f in found), "torn at 512 bytes"
    assert any(f and f[5000:8193] == b"B" * 3192 + b"\0" for f in found), "torn at 4096 bytes"
    assert any(f and f[5000:10000] == bytes(5000) and f[10000:] == DATA[10000:] for f in found)


def test_states_can_be_written_out(shim, disk, work):
    assert store(shim, log=shim.log).returncode == 0
    *_, last = powercut.cuts(shim.log.read_bytes(), os.stat(disk).st_ino)
    powercut.write_out(dict(last.states)[last.states[1][0]], work / "again")
    assert (work / "again/made/object").read_bytes() == DATA


def test_each_call_is_counted_and_the_chosen_one_fails(shim):
    assert store(shim).returncode == 0
    assert shim.count() >= 10
    result = store(shim, n=1, errno="ENOSPC", calls="write")
    assert result.returncode == 1 and b"No such" not in result.stderr


def test_a_call_that_fails_once_fails_once_and_a_sticky_one_fails_on(shim, disk):
    program = "import os\nfor i in range(4):\n    try:\n        os.mkdir(f'{__import__(\"sys\").argv[1]}/{i}')\n" \
              "    except OSError as e:\n        print(i, e.errno)"
    assert store(shim, program=program, n=2, errno="EIO", calls="name").stdout == b"1 5\n"
    assert shim.count() == 4 and shim.told().startswith("2 mkdir ")
    for i in (0, 2, 3):
        (disk / str(i)).rmdir()
    assert store(shim, program=program, n=2, errno="EIO", calls="name", sticky=1).stdout == b"1 5\n2 5\n3 5\n"


@pytest.mark.parametrize("when, is_there", [("before", False), ("after", True)])
def test_it_kills_before_or_after_the_call(shim, disk, when, is_there):
    assert store(shim, n=1, kill=when, calls="name").returncode == -9
    assert (disk / "made").exists() == is_there


def test_a_short_write_writes_half(shim, disk):
    assert store(shim, n=2, errno="short", calls="write").returncode == 0
    assert (disk / "made/object").read_bytes() == DATA[:5000] + b"B" * 2500 + bytes(2500) + b"C" * 5000


@pytest.mark.skipif(faults.sanitizers() != [], reason="a sanitizer has a malloc of its own")
def test_memory_runs_out_at_the_chosen_call(shim):
    result = store(shim, n=300, errno="ENOMEM", calls="memory", sticky=1)
    assert result.returncode != 0 and shim.count() >= 300


def test_a_plan_that_makes_no_sense_is_refused(shim):
    assert store(shim, n=1, errno="ESOMETHING").returncode == 99


def test_files_elsewhere_are_left_alone(shim, work):
    program = "import os, sys\nos.mkdir(sys.argv[1] + '2')\nprint(os.listdir(sys.argv[1] + '2'))"
    assert store(shim, program=program, n=1, errno="EIO", sticky=1).stdout == b"[]\n"
    assert shim.count() == 0
