"""Killed just before and just after each call that changes something: nothing acknowledged is lost.

A sample of the calls in an ordinary run, every one with --long.  test_kill.py kills at random moments.
"""
import shutil

import pytest

from conftest import below, same
from faults import spread
from world import CHANGES, Trial, World, count

WHEN = pytest.mark.parametrize("when", ["before", "after"])
SAMPLE = pytest.mark.parametrize("most", [6, pytest.param(10 ** 6, marks=pytest.mark.long)], ids=["some", "every"])


@pytest.fixture
def world(work):
    return World(work).start()


def killed(world, watched, when, most, run=Trial.backup):
    """Yield (a trial, which call it was killed at)."""
    hits = 0
    for n in spread(count(world, watched, CHANGES, run), most):
        with world.trial() as trial:
            shim = trial.shim(watched(trial))
            result = run(trial, **shim.env(calls=CHANGES, n=n, kill=when))
            hits += result.rc == -9
            # Threads may make a call fewer than in the run that was counted.
            assert result.rc in (-9, 0), result
            yield trial, f"killed {when} {shim.told()}"
    assert hits > 0


def is_whole(trial, where):
    try:
        trial.is_whole()
    except AssertionError as e:
        raise AssertionError(f"{where}\n{e}") from e


@WHEN
@SAMPLE
@pytest.mark.parametrize("watched", ["repo", "cache"])
def test_a_backup_killed_at_a_call_hurts_nothing(world, watched, when, most):
    for trial, where in killed(world, lambda t: getattr(t.yester, watched), when, most):
        is_whole(trial, where)


@WHEN
@SAMPLE
def test_an_init_killed_at_a_call_can_be_repeated(work, when, most):
    world = World(work)

    def init(trial, **env):
        return trial.yester.run("init", rc=None, env=env)

    for trial, where in killed(world, lambda t: t.work, when, most, init):
        again = init(trial)
        assert again.rc in (0, 1), f"{where}: {again!r}"
        is_whole(trial, f"{where}, then {again!r}")


@WHEN
@SAMPLE
def test_a_restore_killed_at_a_call_goes_on_where_it_stopped(world, when, most):
    name, copy = list(world.kept.items())[-1]

    def target(trial):
        return trial.work / "target"

    def restore(trial, **env):
        return trial.yester.run("restore", name, "--target", target(trial), rc=None, env=env)

    for trial, where in killed(world, target, when, most, restore):
        again = restore(trial)
        assert again.rc == 0, f"{where}: {again!r}"
        same(copy, below(target(trial), world.tree))


def other_key(trial):
    """A second key, the same in every trial."""
    path = trial.work / "other"
    path.write_bytes(b"b" * 42 + b"Y=\n")  # of 32 bytes: a passphrase would take its time
    path.chmod(0o600)
    return path


def add_key(trial, **env):
    return trial.yester.run("key", "add", "--new-key-file", other_key(trial), rc=None, env=env)


def remove_key(trial, **env):
    """The one that was added."""
    other, = [key["id"] for key in trial.yester.run("--json", "key", "list").json() if not key["in_use"]]
    return trial.yester.run("key", "remove", other, rc=None, env=env)


@WHEN
@SAMPLE
def test_adding_a_key_killed_at_a_call_can_be_repeated(world, when, most):
    for trial, where in killed(world, lambda t: t.yester.repo, when, most, add_key):
        again = add_key(trial)
        assert again.rc in (0, 1), f"{where}: {again!r}"
        is_whole(trial, where)
        trial.yester.run("list", env={"YESTER_KEY_FILE": str(other_key(trial))})


@WHEN
@SAMPLE
def test_removing_a_key_killed_at_a_call_leaves_the_other_working(world, when, most):
    with world.trial() as trial:
        world.origin.run("key", "add", "--new-key-file", other_key(trial))
    for trial, where in killed(world, lambda t: t.yester.repo, when, most, remove_key):
        is_whole(trial, where)


def rotate(trial, **env):
    return trial.yester.run("key", "rotate", rc=None, env=env)


@WHEN
@SAMPLE
def test_rotating_killed_at_a_call_leaves_every_key_working(world, when, most):
    with world.trial() as trial:
        world.origin.run("key", "add", "--new-key-file", other_key(trial))
    for trial, where in killed(world, lambda t: t.yester.repo, when, most, rotate):
        trial.yester.run("verify", "--data", env={"YESTER_KEY_FILE": str(other_key(trial))})
        is_whole(trial, where)
        assert rotate(trial).rc == 0, where
        is_whole(trial, f"{where}, then rotated")


def passwd(trial, **env):
    return trial.yester.run("key", "passwd", "--new-key-file", other_key(trial), rc=None, env=env)


@WHEN
@SAMPLE
def test_changing_a_key_killed_at_a_call_leaves_one_of_the_two_opening_everything(world, when, most):
    for trial, where in killed(world, lambda t: t.yester.repo, when, most, passwd):
        old = trial.yester.run("list", rc=(0, 12)).rc == 0
        new = trial.yester.run("list", rc=(0, 12), env={"YESTER_KEY_FILE": str(other_key(trial))}).rc == 0
        assert old or new, where
        if old:
            assert passwd(trial).rc == 0, where
            trial.yester.run("list", rc=12)
        assert len(trial.yester.run("--json", "key", "list", env={"YESTER_KEY_FILE": str(other_key(trial))}).json()) == 1
        shutil.copy(other_key(trial), trial.yester.key)
        is_whole(trial, where)


@WHEN
@SAMPLE
def test_forgetting_killed_at_a_call_loses_nothing_else(world, when, most):
    first = list(world.kept)[0]

    def forget(trial, **env):
        return trial.yester.run("forget", first, rc=None, env=env)

    for trial, where in killed(world, lambda t: t.yester.repo, when, most, forget):
        trial.yester.run("unforget", first, rc=(0, 1))
        is_whole(trial, where)
