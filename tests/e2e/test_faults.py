"""Each call that can fail does: the exit status is truthful, and nothing older is hurt.

The Nth call on the repository, the catalog, the source or the target fails, once or from then on; a sample of
N in an ordinary run, every one with --long.  What is restored is compared with copies of the sources.
"""
import contextlib

import pytest

from conftest import below, same
from faults import sanitizers, spread
from world import Trial, World, count
import treecmp

# What each error can come from; None: any call.
KINDS = {
    "EIO": None, "ENOMEM": None, "ENOSPC": "create,write,size,sync,name", "EMFILE": "open,create",
    "EINTR": "open,create,read,write,size,sync", "short": "read,write",
}
# What is only read cannot be full.
READ_ONLY = [kind for kind in KINDS if kind != "ENOSPC"]
# These are no failures: the call is to be made again.
HARMLESS = ("EINTR", "short")
SAMPLE = pytest.mark.parametrize("most", [3, pytest.param(10 ** 6, marks=pytest.mark.long)], ids=["some", "every"])


def kinds(found=KINDS):
    """Each kind, once and from then on; what is interrupted for ever is rightly tried for ever."""
    chosen = [(kind, sticky) for kind in found for sticky in (None, 1) if (kind, sticky) != ("EINTR", 1)]
    return pytest.mark.parametrize("kind, sticky", chosen, ids=[k + ("-on" if s else "") for k, s in chosen])


@pytest.fixture
def world(work):
    return World(work).start()


def repository(trial):
    return trial.yester.repo


def cache(trial):
    return trial.yester.cache


def source(trial):
    return trial.world.tree


def target(trial):
    return trial.work / "target"


def restore(trial, **env):
    name = list(trial.world.kept)[-1]
    return trial.yester.run("restore", name, "--target", target(trial), rc=None, env=env)


def trials(world, watched, kind, sticky, most, run=Trial.backup):
    """Yield (a trial, its result, what was hit) for the chosen calls."""
    calls = KINDS[kind]
    for n in spread(count(world, watched, calls, run), most):
        with world.trial() as trial:
            shim = trial.shim(watched(trial))
            result = run(trial, **shim.env(calls=calls, n=n, errno=kind, sticky=sticky))
            hit = f"{kind} at {shim.told()}: {result!r}"
            assert result.rc >= 0, f"it crashed: {hit}"
            assert result.rc == 0 or kind not in HARMLESS, hit
            assert result.rc == 0 or result.errors.strip(), f"it failed and did not say why: {hit}"
            yield trial, result, hit


@contextlib.contextmanager
def because_of(hit):
    try:
        yield
    except AssertionError as e:
        raise AssertionError(f"{hit}\n{e}") from e


@pytest.mark.quick
@SAMPLE
@kinds()
def test_a_backup_whose_repository_fails_says_so_and_hurts_nothing(world, kind, sticky, most):
    for trial, result, hit in trials(world, repository, kind, sticky, most):
        with because_of(hit):
            trial.is_truthful(result)
            trial.is_whole()


@SAMPLE
@kinds()
def test_a_backup_whose_catalog_fails_does_without(world, kind, sticky, most):
    for trial, result, hit in trials(world, cache, kind, sticky, most):
        with because_of(hit):
            assert result.rc == 0 or kind == "ENOMEM"
            trial.is_truthful(result)
            trial.is_whole()


def named(line, result):
    """Whether the path that a difference is about, or one above it, is named on stderr."""
    parts = line.split(": ")[0].split("/")
    names = {"/".join(parts[:i]) for i in range(1, len(parts) + 1)}
    return any(f"/{name}" in result.errors for name in names)


def is_named(trial, result):
    """What the snapshot has not, it names; and then the status says so."""
    tree = trial.world.tree
    lines = treecmp.compare(tree, trial.yester.restored(tree, result.lines[-1]))
    assert result.rc == 3 or not lines, lines
    # Where one name of a file is missing, the other has fewer links.
    missing = [line for line in lines if "hard links" not in line and not named(line, result)]
    assert not missing, f"not named: {missing}"


@SAMPLE
@kinds(READ_ONLY)
def test_a_source_that_fails_is_named_and_the_rest_is_there(world, kind, sticky, most):
    for trial, result, hit in trials(world, source, kind, sticky, most):
        with because_of(hit):
            assert result.rc in (0, 1, 3)
            if result.rc != 1:
                is_named(trial, result)
            trial.is_whole()


def restores(world, watched, kind, sticky, most):
    name, copy = list(world.kept.items())[-1]
    for trial, result, hit in trials(world, watched, kind, sticky, most, restore):
        with because_of(hit):
            assert result.rc in (0, 1, 4)
            if result.rc == 0:
                same(copy, below(target(trial), world.tree))
            trial.yester.restore(name, target=target(trial))
            same(copy, below(target(trial), world.tree))


@pytest.mark.quick
@SAMPLE
@kinds()
def test_a_restore_whose_target_fails_says_so_and_can_be_done_again(world, kind, sticky, most):
    restores(world, target, kind, sticky, most)


@SAMPLE
@kinds(READ_ONLY)
def test_a_restore_whose_repository_fails_says_so_and_can_be_done_again(world, kind, sticky, most):
    restores(world, repository, kind, sticky, most)


@SAMPLE
@kinds()
def test_a_restore_whose_catalog_fails_says_so_and_can_be_done_again(world, kind, sticky, most):
    restores(world, cache, kind, sticky, most)


@pytest.mark.parametrize("sticky", [None, 1], ids=["once", "from then on"])
@pytest.mark.parametrize("most", [12, pytest.param(400, marks=pytest.mark.long)], ids=["some", "many"])
def test_a_backup_that_runs_out_of_memory_says_so_and_hurts_nothing(world, sticky, most):
    if sanitizers():
        pytest.skip("a sanitizer has a malloc of its own")
    total = count(world, repository, "memory")
    for n in spread(total, most):
        with world.trial() as trial:
            shim = trial.shim(repository(trial))
            result = trial.backup(**shim.env(calls="memory", n=n, errno="ENOMEM", sticky=sticky))
            with because_of(f"allocation {n} of {total}: {result!r}"):
                assert result.rc in (0, 1, 3) and (result.rc == 0 or result.errors.strip())
                if result.rc != 1:
                    is_named(trial, result)
                trial.is_whole()
