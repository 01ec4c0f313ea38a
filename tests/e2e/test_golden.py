"""Golden repositories: what a format's version looked like once, every later yester reads.

tests/golden/v1 was written by tests/golden/make.py.  Each manifest says what the source held; the
program and tests/harness/formatreader.py, which was written from docs/format.md, must both say the same.
"""
import json
import os
import pathlib
import subprocess
import sys

import pytest
from conftest import ROOT, Yester, below, same

sys.path.insert(0, str(ROOT / "tests" / "golden"))
import make as golden  # noqa: E402

TOP = ROOT / "tests" / "golden"
NAMES = sorted(str(p.parent.relative_to(TOP)) for p in TOP.glob("v*/*/manifest.json"))
READER = ROOT / "tests" / "harness" / "formatreader.py"
# What a normal user cannot give back.
ROOTS_OWN = ("uid", "gid")


class Golden:
    def __init__(self, name, work):
        self.path = TOP / name
        self.manifest = golden.load(self.path / "manifest.json")
        self.yester = Yester(work)
        self.yester.env["YESTER_REPO"] = str(self.path / "repo")
        self.use(self.manifest["keys"][0])

    def use(self, key):
        """The key files are checked in, so that others can read them: not what yester likes."""
        self.key = key
        self.yester.key.write_bytes((self.path / key).read_bytes())

    def reader(self, *args, rc=0):
        p = subprocess.run([sys.executable, READER, self.path / "repo", self.path / self.key, *args], capture_output=True)
        assert p.returncode == rc, p.stdout.decode() + p.stderr.decode()
        return p.stdout.decode()


@pytest.fixture(params=NAMES)
def stored(request, work):
    return Golden(request.param, work)


def relative(entry, source):
    """The entry with its path below the source, or None."""
    top = source.lstrip("/")
    if entry["path"] != top and not entry["path"].startswith(top + "/"):
        return None
    below_top = lambda path: os.path.relpath(path, top)
    entry = entry | {"path": below_top(entry["path"])}
    return entry | {"link": below_top(entry["link"])} if "link" in entry else entry


def from_reader(stored, name):
    """{type: {path: entry}} as formatreader.py has it."""
    found = {}
    for line in stored.reader("tree", name).splitlines():
        entry = json.loads(line)
        kind = entry.pop("snapshot_type")
        part = entry.pop("part", False)
        entry = relative(entry, stored.manifest["snapshots"][name]["source"])
        if entry and not (kind == "config" and part):
            found.setdefault(kind, {})[entry["path"]] = entry
    return found


def as_this_user(entries):
    """What can be told of a restored tree by who runs the tests; holes are for the file system to make."""
    left_out = ("holes",) + (ROOTS_OWN if os.geteuid() else ())
    return {p: {k: v for k, v in e.items() if k not in left_out} for p, e in entries.items()}


def needs_root(snapshot):
    return any(e["type"] in ("character", "block") for e in snapshot["entries"].values())


def test_there_are_golden_repositories():
    assert {"v1/plain", "v1/shared", "v1/types", "v1/slots", "v1/epoch", "v1/extents", "v1/moved"} <= set(NAMES)
    for name in NAMES:
        sizes = [p.stat().st_size for p in (TOP / name / "repo").rglob("*") if p.is_file()]
        assert 0 < sum(sizes) < 200 * 1024


def test_another_hand_reads_what_the_format_says(stored):
    for key in stored.manifest["keys"]:
        stored.use(key)
        stored.reader("check")
    names = {json.loads(line)["name"] for line in stored.reader("list").splitlines()}
    assert names == set(stored.manifest["snapshots"])
    for name, snapshot in stored.manifest["snapshots"].items():
        found = from_reader(stored, name)
        assert found["files"] == snapshot["entries"]
        if "config" in snapshot:
            config = {p: snapshot["entries"][p] for p in snapshot["config"]}
            assert {p: e for p, e in found["config"].items() if e["type"] == "file"} == config


@pytest.mark.quick
def test_it_is_listed_and_verified(stored):
    for key in stored.manifest["keys"]:
        stored.use(key)
        assert {s["name"] for s in stored.yester.snapshots()} == set(stored.manifest["snapshots"])
        stored.yester.run("verify", "--data")


@pytest.mark.disk
def test_it_is_restored_as_its_source_was(stored):
    for name, snapshot in stored.manifest["snapshots"].items():
        if needs_root(snapshot) and os.geteuid() != 0:
            pytest.skip("only root can make devices")
        target = stored.yester.restored(snapshot["source"], name, "--type", "files")
        entries = {e["path"]: e for e in golden.manifest_of(target)}
        assert as_this_user(entries) == as_this_user(snapshot["entries"])


def test_its_configuration_is_restored_alone(work):
    stored = Golden("v1/types", work)
    (name, snapshot), = stored.manifest["snapshots"].items()
    target = stored.yester.restored(snapshot["source"], name, "--type", "config")
    files = {os.fspath(p.relative_to(target)): p for p in pathlib.Path(target).rglob("*") if p.is_file()}
    assert sorted(files) == snapshot["config"]


def test_the_other_hand_extracts_the_same_bytes(work):
    stored = Golden("v1/shared", work)
    for name, snapshot in stored.manifest["snapshots"].items():
        out = work / ("extracted " + name)
        stored.reader("extract", name, out)
        restored = stored.yester.restored(snapshot["source"], name)
        same(below(out, snapshot["source"]), restored)
        whole = (restored / "big").read_bytes()
        assert stored.yester.run("cat", f"{name}:files{snapshot['source']}/big").out == whole


@pytest.mark.quick
def test_a_wrong_key_opens_nothing(stored):
    for key in stored.manifest["wrong_keys"]:
        stored.use(key)
        stored.yester.run("list", rc=12)
        stored.reader("check", rc=12)
