"""Killed at any moment: nothing acknowledged is lost, nothing has to be repaired by hand."""
import contextlib
import random
import signal
import time

import pytest

from conftest import same, wait_for


def grow(tree, rnd, i):
    """A change that gives a backup something to do."""
    for j in range(8):
        path = tree / "grown" / f"{i}.{j}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(rnd.randbytes(700_000))
    (tree / "README").write_bytes(b"generation %d\n" % i)


def duration(yester, tree):
    begin = time.monotonic()
    yester.backup(tree)
    return time.monotonic() - begin


def killed(yester, tree, kills, command=None):
    """Kill KILLS backups at random moments; return what was acknowledged: {name: README}."""
    rnd = random.Random(4)
    grow(tree, rnd, 0)
    kept = {yester.backup(tree): b"generation 0\n"}
    grow(tree, rnd, 1)
    whole = duration(yester, tree)
    hit = 0
    for i in range(2, kills + 2):
        grow(tree, rnd, i)
        process = yester.start("backup", "--type", "files", tree)
        time.sleep(rnd.random() * whole * 1.1)
        process.send_signal(signal.SIGKILL)
        out, _ = process.communicate()
        if process.returncode == 0:
            kept[out.decode().split()[-1]] = b"generation %d\n" % i
            whole *= 0.6  # the run that was measured had more beside it
        else:
            hit += 1
        if i % 5 == 0:
            kept[yester.backup(tree)] = b"generation %d\n" % i
    assert hit >= kills // 3, "most of the kills came too late to mean anything"
    return kept


def check(yester, tree, kept):
    last = yester.backup(tree)
    yester.verify()
    for name, readme in kept.items():
        assert yester.run("cat", f"{name}:files{tree}/README").out == readme
    same(tree, yester.restored(tree, last))
    for name in list(kept)[:3]:
        yester.restore(name, "--verify", target=yester.fresh("old"))


@pytest.mark.quick
@pytest.mark.disk
def test_five_backups_killed_at_random_moments_hurt_nothing(yester, tree):
    check(yester, tree, killed(yester, tree, 5))


@pytest.mark.long
@pytest.mark.disk
def test_twenty_five_backups_killed_at_random_moments_hurt_nothing(yester, tree):
    check(yester, tree, killed(yester, tree, 25))


def test_killed_backups_and_a_lost_catalog_together_hurt_nothing(yester, tree):
    kept = killed(yester, tree, 5)
    for path in sorted(yester.cache.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    check(yester, tree, kept)


def begun(yester):
    """Whether an archive is being written."""
    for path in (yester.repo / "tmp").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size > 0:
                return True
    return False


@pytest.mark.quick
@pytest.mark.disk
def test_interrupted_by_the_keyboard_it_exits_130_and_the_next_backup_succeeds(yester, tree):
    rnd = random.Random(1)
    name = yester.backup(tree)
    for i in range(10):
        grow(tree, rnd, i)
    process = yester.start("backup", "--type", "files", "--bwlimit", "4M", tree)
    wait_for(lambda: begun(yester) or process.poll() is not None, "the first block")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and b"no snapshot is finished" in err, err
    assert [s["name"] for s in yester.snapshots()] == [name]
    same(tree, yester.restored(tree, yester.backup(tree)))
    assert name in {s["name"] for s in yester.snapshots()}
