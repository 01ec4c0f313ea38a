"""key rotate --reencrypt: all is sealed anew, nothing is lost, and the old secret opens nothing."""
import os
import shutil
import signal
import subprocess

import pytest

from conftest import same, same_on_mount, wait_for
from faults import spread
from world import CHANGES, World, count
import formatarchive
import formatkeys

SEALED = ("data", "meta", "index", "remap", "snapshots", "forgets", "holds", "releases")


def other(yester, name="second"):
    path = yester.work / name
    if not path.exists():
        yester.write_key(path)
    return path


def here(yester):
    """Epochs are ended in a directory only: for a bucket the test is skipped."""
    return yester.repo


def with_key(path):
    return {"YESTER_KEY_FILE": str(path)}


def objects(yester, *folders):
    return {str(p.relative_to(yester.repo)): p.read_bytes() for p in yester.objects()
            if p.relative_to(yester.repo).parts[0] in folders}


class Thief:
    """Has a secret, and has kept the keys' objects as they were."""

    def __init__(self, yester, secret):
        self.secret, self.kept = secret.read_bytes(), objects(yester, "keys")
        self.repo_id = (yester.repo / "repository").read_bytes()[16:32]
        keys = formatkeys.Keys(self.kept, self.repo_id, self.secret)
        self.masters, self.slot = list(keys.masters.values()), keys.slot
        self.private = keys.slot.open(*formatkeys.secret(self.secret))

    def opens(self, name, data):
        """Whether any master key that he has opens an archive, whatever epoch it says it is of."""
        for master in self.masters:
            try:
                formatarchive.Archive(name, data, self.repo_id, dict.fromkeys(range(1, 100), master))
                return True
            except Exception:
                continue
        return False

    def opens_keys(self, found):
        """Whether an epoch's object opens with his slot, or what he kept opens what is there now."""
        for name, data in found.items():
            if name.startswith("keys/epoch/"):
                try:
                    if formatkeys.Epoch(name, data, self.repo_id).open(self.slot.id, self.private):
                        return True
                except Exception:
                    continue
            elif formatkeys.Slot(name, data, self.repo_id).open(*formatkeys.secret(self.secret)):
                return True
        return False


def opened(yester, thief):
    return sorted(name for name, data in objects(yester, *SEALED).items() if thief.opens(name, data))


@pytest.fixture
def story(yester, work):
    """Three snapshots, of which one is forgotten and one held; copies of what they hold."""
    source, kept = work / "source", {}
    source.mkdir()
    (source / "big").write_bytes(os.urandom(3_000_000))
    for number in range(3):
        (source / f"file{number}").write_bytes(b"number %d " % number * 20_000)
        (source / "changes").write_bytes(os.urandom(200_000))
        name = yester.backup(source)
        shutil.copytree(source, work / f"as-in-{name}")
        kept[name] = work / f"as-in-{name}"
    names = list(kept)
    yester.run("forget", names[0], "--reason", "of no use")
    yester.run("forget", names[1])
    yester.run("unforget", names[1])
    yester.run("hold", names[1], "--reason", "for the court")
    yester.run("hold", names[2])
    yester.run("release", names[2])
    return source, kept


def state(yester, env=None):
    rows = yester.run("--json", "list", "--all", env=env).json()
    rows = rows["snapshots"] if isinstance(rows, dict) else rows
    return [(row["name"], bool(row["forgotten"]), bool(row["held"])) for row in rows]


def holds_all(yester, story, env=None):
    source, kept = story
    for name, copy in kept.items():
        same(copy, yester.restored(source, name, env=env))
    yester.run("verify", "--data", env=env)


def test_the_old_secret_opens_nothing_after_it(yester, story):
    new = other(yester)
    before = state(yester)
    thief = Thief(yester, yester.key)
    everything = objects(yester, *SEALED)
    assert opened(yester, thief) == sorted(everything), "the thief reads everything while it is so"
    yester.run("key", "passwd", "--new-key-file", new)
    assert opened(yester, thief) == sorted(everything), "what was there before he still reads"
    told = yester.run("--json", "key", "rotate", "--reencrypt", env=with_key(new)).json()
    assert told["epoch"] == 2 and told["older_epochs"] == 0 and told["resealed_bytes"] > 3_000_000
    assert opened(yester, thief) == [] and not thief.opens_keys(objects(yester, "keys"))
    keys = formatkeys.Keys(objects(yester, "keys"), thief.repo_id, new.read_bytes())
    assert list(keys.masters) == [2] and not set(keys.masters.values()) & set(thief.masters)
    assert len(objects(yester, "keys")) == 2, "one slot, one generation"
    holds_all(yester, story, with_key(new))
    assert state(yester, with_key(new)) == before
    assert "warning" not in yester.run("status", env=with_key(new)).errors


def test_without_older_epochs_it_begins_one_first(yester, story):
    thief = Thief(yester, yester.key)
    assert "epoch 2" in yester.run("key", "rotate", "--reencrypt", "--dry-run").errors
    assert len(opened(yester, thief)) == len(objects(yester, *SEALED))
    assert yester.run("--json", "key", "rotate", "--reencrypt").json()["epoch"] == 2
    assert opened(yester, thief) == []
    holds_all(yester, story)


def test_a_dry_run_tells_how_much_and_changes_nothing(yester, story):
    yester.run("key", "rotate")
    before = {path: path.read_bytes() for path in yester.objects()}
    told = yester.run("key", "rotate", "--reencrypt", "--dry-run").errors
    assert str(len(objects(yester, *SEALED))) in told and "MiB" in told
    assert {path: path.read_bytes() for path in yester.objects()} == before


def test_another_host_sees_the_same_and_misses_nothing(yester, story, work):
    here(yester)
    cache = work / "other-cache"
    cache.mkdir()
    env = {"XDG_CACHE_HOME": str(cache)}
    before = state(yester, env)
    yester.run("key", "rotate", "--reencrypt")
    assert state(yester, env) == before
    assert "warning" not in yester.run("list", env=env).errors
    yester.run("verify", env=env)
    name = before[1][0]
    yester.run("release", name, env=env)
    assert state(yester)[1] == (name, False, False), "a release reaches the hold that was sealed anew"
    yester.run("unforget", before[0][0], env=env)
    assert not state(yester)[0][1]


def test_what_is_stored_stays_known_and_the_next_backup_stores_little(yester, story):
    here(yester)
    source, _ = story
    yester.run("key", "rotate", "--reencrypt")
    before = yester.stored()
    (source / "copy").write_bytes((source / "big").read_bytes())
    yester.backup(source)
    assert yester.stored() - before < 200_000
    holds_all(yester, story)


def test_it_can_be_done_again_and_again(yester, story):
    here(yester)
    stored = yester.stored()
    for epoch in (2, 3, 4):
        told = yester.run("--json", "key", "rotate", "--reencrypt").json()
        assert told["epoch"] == epoch and told["resealed_bytes"] < 1.1 * stored, "each once"
        holds_all(yester, story)
    assert "compact" not in yester.run("prune", "--dry-run").text


def test_a_mount_goes_on_meanwhile(yester, story):
    here(yester)
    source, kept = story
    last = list(kept)[-1]
    with yester.mount() as mount:
        (mount.tree(last, source) / "changes").read_bytes()
        yester.run("key", "rotate", "--reencrypt")
        same_on_mount(kept[last], mount.tree(last, source))


def test_it_waits_for_who_writes_and_can_be_called_again(yester, story, work):
    thief, fifo = Thief(yester, yester.key), work / "stream"
    os.mkfifo(fifo)
    writer = yester.start("backup", "--stdin", "slow", stdin=open(os.open(fifo, os.O_RDWR), "rb"))
    try:
        lock = ["flock", "-n", yester.repo / "repository", "true"]
        wait_for(lambda: subprocess.run(lock).returncode == 1, "the writer's lock")
        yester.run("key", "rotate", "--reencrypt", "--wait", "0s", rc=11)
    finally:
        writer.send_signal(signal.SIGTERM)
        writer.wait()
    assert yester.run("--json", "key", "rotate", "--reencrypt").json()["epoch"] == 2, "it goes on with what it began"
    assert opened(yester, thief) == []
    holds_all(yester, story)


def test_what_is_damaged_keeps_the_old_epoch_and_is_named(yester, story):
    for path in sorted((yester.repo / "data").iterdir())[:1]:
        data = bytearray(path.read_bytes())
        data[len(data) // 3] ^= 1
        path.write_bytes(data)
    failed = yester.run("key", "rotate", "--reencrypt", rc=4)
    assert "older epochs stay" in failed.errors and "data/" in failed.errors
    assert yester.run("--json", "key", "list").json()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("most", [6, pytest.param(10 ** 6, marks=pytest.mark.long)], ids=["some", "every"])
def test_killed_at_a_call_it_goes_on_where_it_stopped(work, when, most):
    world = World(work).start()
    names = list(world.kept)
    world.origin.run("hold", names[0])

    def reencrypt(trial, **env):
        return trial.yester.run("key", "rotate", "--reencrypt", rc=None, env=env)

    for n in spread(count(world, lambda t: t.yester.repo, CHANGES, reencrypt), most):
        with world.trial() as trial:
            thief = Thief(trial.yester, trial.yester.key)
            shim = trial.shim(trial.yester.repo)
            result = reencrypt(trial, **shim.env(calls=CHANGES, n=n, kill=when))
            assert result.rc in (-9, 0), result
            for name, copy in world.kept.items():
                trial.holds(name, copy)
            again = reencrypt(trial)
            assert again.rc == 0, f"{shim.told()}: {again!r}"
            assert opened(trial.yester, thief) == [], shim.told()
            assert [row[2] for row in state(trial.yester) if row[0] == names[0]] == [True]
            trial.is_whole()
