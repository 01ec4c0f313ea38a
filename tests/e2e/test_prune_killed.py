"""Prune, killed at each of its calls and at random moments: what is kept comes back byte for byte."""
import os
import random
import time

import pytest

from test_kill_calls import SAMPLE, WHEN, killed
from test_prune import prune
from world import World


class Pruned(World):
    """Snapshots that are forgotten; what they alone need is most of what they wrote, but not all."""

    def change(self, number):
        super().change(number)
        (self.tree / "data/turns").write_bytes(os.urandom(400_000))

    def start(self):
        super().start()
        for number in range(2, 5):
            self.keep(self.origin.backup(self.tree))
            self.change(number)
        names = list(self.kept)
        for name in names[:3]:
            del self.kept[name]
        self.origin.run("forget", *names[:3])
        return self


@pytest.fixture
def world(work):
    return Pruned(work).start()


def is_whole(trial, where):
    try:
        trial.is_whole()
        prune(trial.yester, "--now")
        for name, copy in trial.world.kept.items():
            trial.holds(name, copy)
    except AssertionError as e:
        raise AssertionError(f"{where}\n{e}") from e


@WHEN
@SAMPLE
@pytest.mark.parametrize("args", [["--grace", "48h"], ["--grace", "0s"], ["--now"]], ids=["mark", "delete", "now"])
def test_a_prune_killed_at_a_call_is_merely_unfinished(world, args, when, most):
    def run(trial, **env):
        return trial.yester.run("prune", *args, rc=None, env=env)

    if "48h" not in args:
        prune(world.origin, grace="0s")  # marks, which are old enough at once
    for trial, where in killed(world, lambda t: t.yester.repo, when, most, run):
        is_whole(trial, where)


@pytest.mark.parametrize("times", [5, pytest.param(100, marks=pytest.mark.long)], ids=["some", "many"])
def test_a_prune_killed_at_random_moments(world, times):
    seeded = random.Random(times)
    prune(world.origin, grace="0s")
    for n in range(times):
        with world.trial() as trial:
            process = trial.yester.start("prune", "--grace", "0s")
            time.sleep(seeded.uniform(0.01, 0.2))
            process.kill()
            process.communicate()
            is_whole(trial, f"moment {n}")
