"""After a power cut at any moment, whatever was acknowledged is there, whole, and the next backup succeeds.

The shim records what is written and synced; powercut.py makes from that the states that a cut could leave.
That these tests can fail is shown by leaving out one sync of the program at a time.
"""
import os
import shutil

import pytest

from world import Trial, World
import powercut

# Files that were not finished: what they hold makes no difference, so it does not make a new state.
UNFINISHED = "tmp"


class Recorded(World):
    """A world on a disk of which all is recorded from the beginning on."""

    def __init__(self, work):
        super().__init__(work)
        self.disk = self.fresh("disk")
        self.origin.repo = self.disk / "repo"
        self.origin.env["YESTER_REPO"] = str(self.origin.repo)
        self.shim = Trial(self, self.fresh("recording")).shim(self.disk)
        self.caches = {}

    def run(self, *args, **plan):
        return self.origin.run(*args, env=self.shim.env(log=self.shim.log, **plan))

    def backup(self, **plan):
        """A snapshot, acknowledged in the log; the catalog as it was before is kept."""
        self.caches[len(self.kept)] = shutil.copytree(self.origin.cache, self.fresh(f"cache{len(self.kept)}") / "c")
        name = self.run("backup", "--type", "files", self.tree, **plan).lines[-1]
        powercut.acknowledge(self.shim.log, name)
        self.keep(name)

    def cuts(self, **options):
        return powercut.cuts(self.shim.log.read_bytes(), os.stat(self.disk).st_ino, **options)

    def after(self, state, acknowledged, lost_catalog):
        """A trial with the disk as in STATE; the catalog is that of before the run, or gone."""
        work = self.fresh(f"trial{next(self.numbers)}")
        trial = Trial(self, work)
        shutil.rmtree(trial.yester.repo, ignore_errors=True)
        shutil.rmtree(trial.yester.cache)
        powercut.write_out(state, work / "disk")
        trial.yester.repo = work / "disk" / "repo"
        trial.yester.env["YESTER_REPO"] = str(trial.yester.repo)
        old = self.caches.get(min(len(acknowledged), max(self.caches)))
        if lost_catalog or not acknowledged:
            trial.yester.cache.mkdir()
        else:
            shutil.copytree(old, trial.yester.cache)
        return trial


def survive(world, state, acknowledged, is_made, lost_catalog):
    """What was acknowledged by then comes back; the next backup needs no help."""
    with world.after(state, acknowledged, lost_catalog) as trial:
        if not is_made:
            trial.yester.run("init", rc=(0, 1))
        listed = {s["name"] for s in trial.yester.snapshots()}
        assert listed >= set(acknowledged), f"not listed: {set(acknowledged) - listed}"
        trial.yester.run("verify", "--data")
        for name in acknowledged:
            trial.holds(name, world.kept[name])
        trial.holds(trial.yester.backup(world.tree), world.tree)


def broken(world, found, ignored=UNFINISHED, most=10 ** 9):
    """The states in which something is wrong, MOST of them, each tried once: (tried, {what it is: how})."""
    seen, wrong = set(), {}
    for cut in found:
        names = [n for n in cut.acknowledged if n != "init"]
        for what, state in cut.states:
            key = powercut.digest(state, ignored), tuple(names)
            if key in seen or len(wrong) >= most:
                continue
            seen.add(key)
            try:
                survive(world, state, names, "init" in cut.acknowledged, len(seen) % 2)
            except AssertionError as e:
                wrong[what] = str(e)
    return len(seen), wrong


def recorded(work):
    world = Recorded(work)
    world.run("init")
    powercut.acknowledge(world.shim.log, "init")
    return world


def some(cuts, step):
    """Every STEPth, and the last."""
    cuts = list(cuts)
    return [c for i, c in enumerate(cuts) if i % step == 0 or i == len(cuts) - 1]


@pytest.mark.parametrize("step, ignored", [
    pytest.param(4, UNFINISHED, id="some"), pytest.param(1, "", id="every", marks=pytest.mark.long)])
def test_what_was_acknowledged_survives_every_power_cut(work, step, ignored):
    world = recorded(work)
    for number in range(2):
        world.backup()
        world.change(number + 1)
    tried, wrong = broken(world, some(world.cuts(), step), ignored)
    assert tried > 10, "too few states to mean anything"
    assert not wrong, "\n".join(f"{what}: {how}" for what, how in wrong.items())


def test_without_one_of_its_syncs_a_power_cut_would_lose_what_was_acknowledged(work):
    """Only those of the repository's own directory are made more often than needed: by each who needs them."""
    needed, spare, n = [], [], 1
    while True:
        (work / str(n)).mkdir()
        world = recorded(work / str(n))
        world.backup(drop_sync=n)
        dropped = world.shim.told()
        _, wrong = broken(world, world.cuts(only_end=True), most=1)
        if not dropped:
            break
        (needed if wrong else spare).append(dropped)
        n += 1
    assert not wrong, wrong
    assert len(needed) >= 8, f"missed: {needed}, not missed: {spare}"
    assert all(call.endswith("/repo") for call in spare), f"not missed: {spare}"
