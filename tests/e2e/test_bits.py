"""Every single-bit change of a repository is found, or changes nothing: with the program itself.

tests/test_bits.c does the same with the libraries, a thousand times faster: as a unit test a sample,
here with --long all of it.
"""
import os
import pathlib
import random
import shutil
import subprocess

import pytest
from conftest import BIN, ROOT, Yester, same

GOLDEN = ROOT / "tests" / "golden" / "v1" / "epoch"
# Damage; no repository (its header is not one); a wrong key (no slot of the kind opens).
FOUND = (4, 10, 12)


@pytest.fixture
def copy(work):
    """A small repository with two epochs, and what it restores to."""
    y = Yester(work)
    shutil.copytree(GOLDEN / "repo", y.repo)
    y.key.write_bytes((GOLDEN / "key").read_bytes())
    y.names = sorted(p.name for p in (y.repo / "snapshots").iterdir())
    y.whole = {name: y.restored("/", name) for name in y.names}
    return y


def judge(y, what):
    """With the repository as it is now, and without a catalog that remembers how it was."""
    shutil.rmtree(y.cache)
    y.cache.mkdir()
    verify = y.run("verify", "--data", rc=None)
    assert verify.rc in (0, *FOUND), f"{what}: {verify!r}"
    for name, whole in y.whole.items():
        target = y.fresh("damaged")
        restore = y.restore(name, target=target, rc=None)
        if restore.rc == 0:
            same(whole, target, root=False)
        else:
            assert verify.rc != 0, f"{what}: verify finds nothing, but {restore!r}"
            assert restore.rc in (1, 3, *FOUND), f"{what}: {restore!r}"
    return verify.rc


def test_a_flipped_bit_is_found_or_harmless(copy):
    rnd = random.Random(20260204)
    found = 0
    for path in copy.objects():
        data = path.read_bytes()
        path.chmod(0o600)
        for at in rnd.sample(range(len(data)), 2):
            bit = 1 << rnd.randrange(8)
            path.write_bytes(data[:at] + bytes([data[at] ^ bit]) + data[at + 1:])
            found += judge(copy, f"{path}: byte {at}, bit {bit:#x}") != 0
        path.write_bytes(data)
    assert found > len(copy.objects())


def is_needed(path):
    """One of the two generations of an epoch is enough."""
    return path.parent.name != "epoch"


def is_root(path):
    return path.parent.parent.name == "snapshots"


def test_an_object_cut_short_or_gone_is_found(copy):
    rnd = random.Random(4)
    for path in copy.objects():
        data = path.read_bytes()
        path.write_bytes(data[:rnd.randrange(len(data))])
        cut = judge(copy, f"{path} cut short")
        assert cut in FOUND or not is_needed(path), path
        path.unlink()
        # Who lost a snapshot has to remember that it was.
        assert is_root(path) or judge(copy, f"{path} gone") in FOUND or not is_needed(path), path
        path.write_bytes(data)


@pytest.mark.long
def test_every_bit_and_every_length():
    program = pathlib.Path(BIN).resolve().parents[1] / "tests" / "test_bits"
    if not program.exists():
        pytest.skip("the unit tests have not been built")
    runs = [subprocess.Popen([program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             env=os.environ | {"YESTER_BITS": "all", "YESTER_BITS_PART": f"{i}/2"}) for i in range(2)]
    for run in runs:
        out = run.communicate(timeout=3600)[0].decode(errors="replace")
        assert run.returncode == 0, out
