"""A replica is the same objects: brought up to date, whole whenever it is interrupted, taken where the first is gone."""
import os
import random
import shutil
import signal
import time

import pytest

from conftest import Yester, below, make_tree, same, same_on_mount, wait_for


@pytest.fixture
def pair(yester, work):
    """(the program, its source, where its replica is, the environment that names it)."""
    source, replica = make_tree(work / "source"), work / "second" / "replica"
    replica.parent.mkdir(mode=0o777)
    replica.parent.chmod(0o777)
    config = work / "replica.conf"
    config.write_text(f"[replica second]\nlocation = {replica}\n")
    return yester, source, replica, {"YESTER_CONFIG": str(config)}


def objects(top):
    return {str(p.relative_to(top)): p.read_bytes() for p in top.rglob("*") if p.is_file() and "tmp/" not in str(p)}


def check(yester, replica, names, source, env={}):
    """The replica alone brings back what there was."""
    other = {**env, "YESTER_REPO": str(replica)}
    assert [s["name"] for s in yester.run("--json", "list", env=other).json()] == names
    yester.run("verify", "--data", env=other)
    target = yester.fresh("restored")
    yester.restore(names[-1], target=target, env=other)
    same(source, below(target, source))


def test_a_copy_is_the_same_repository_and_the_next_brings_what_is_missing(pair):
    yester, source, replica, _ = pair
    first = yester.backup(source)
    assert "would copy" in yester.run("copy", "--to", replica, "--dry-run").errors
    assert not replica.exists()
    yester.run("copy", "--to", replica)
    assert objects(replica) == objects(yester.repo)
    check(yester, replica, [first], source)
    (source / "new").write_bytes(os.urandom(300_000))
    second = yester.backup(source)
    told = yester.run("--json", "copy", "--to", replica).json()
    assert told["snapshots"] == 1 and told["damaged"] == 0 and 300_000 < told["bytes"] < 400_000
    assert "up to date" in yester.run("copy", "--to", replica).errors
    check(yester, replica, [first, second], source)


def test_what_the_first_lost_stays_and_rot_is_not_spread(pair):
    yester, source, replica, _ = pair
    yester.backup(source)
    yester.run("copy", "--to", replica)
    kept = objects(replica)
    data = max((yester.repo / "data").rglob("*"), key=lambda p: p.stat().st_size if p.is_file() else 0)
    data.unlink()
    (source / "new").write_bytes(os.urandom(300_000))
    yester.backup(source)
    newest = max((p for p in (yester.repo / "data").rglob("*") if p.is_file()), key=lambda p: p.stat().st_mtime_ns)
    newest.chmod(0o644)
    with open(newest, "r+b") as f:
        f.seek(1000)
        byte = f.read(1)
        f.seek(1000)
        f.write(bytes([byte[0] ^ 4]))
    result = yester.run("copy", "--to", replica, rc=4)
    assert f"not copied: data/{newest.name}" in result.errors
    now = objects(replica)
    assert kept.items() <= now.items() and f"data/{newest.name}" not in now


def test_another_repository_is_not_written_into(pair, work):
    yester, source, _, _ = pair
    yester.backup(source)
    other = work / "other"
    yester.run("init", env={"YESTER_REPO": str(other)})
    before = objects(other)
    assert "another repository" in yester.run("copy", "--to", other, rc=1).errors
    assert objects(other) == before
    assert yester.run("copy", rc=2).errors


def test_an_interrupted_copy_to_the_replicas_of_the_settings_says_so_and_the_next_goes_on(pair):
    yester, source, replica, env = pair
    (source / "noise").write_bytes(os.urandom(2_000_000))
    name = yester.backup(source)
    process = yester.start("copy", "--bwlimit", "100K", env=env)
    wait_for(lambda: (replica / "repository").exists() or process.poll() is not None, "the copy")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    yester.run("copy", env=env)
    check(yester, replica, [name], source)


def test_each_backup_brings_the_replicas_of_the_settings_up_to_date(pair):
    yester, source, replica, env = pair
    names = [yester.backup(source, env=env)]
    check(yester, replica, names, source)
    names.append(yester.backup(source))
    lag = yester.run("--json", "status", env=env).json()["replicas"][0]
    assert (lag["name"], lag["missing"], lag["oldest_missing"]) == ("second", 1, names[1])
    assert names[1] in yester.run("status", env=env).text
    yester.run("copy", env=env)
    assert yester.run("--json", "status", env=env).json()["replicas"][0]["missing"] == 0
    replica.rename(replica.parent / "away")
    (replica.parent / "replica").write_text("a file stands in the way")
    names.append(yester.backup(source, env=env, rc=5))
    check(yester, yester.repo, names, source)
    assert yester.run("--json", "status", env=env).json()["replicas"][0]["error"]


def test_who_wants_something_back_gets_it_from_a_replica_when_the_first_is_gone(pair):
    yester, source, replica, env = pair
    name = yester.backup(source, env=env)
    shutil.rmtree(yester.repo)
    target = yester.fresh("restored")
    result = yester.restore("latest", target=target, env=env)
    assert "from replica second" in result.errors
    same(source, below(target, source))
    assert yester.run("cat", f"{name}:files{source}/README", env=env).out == (source / "README").read_bytes()
    where = yester.fresh("mnt")
    yester.mounts.append(where)
    yester.run("mount", where, env=env)
    same_on_mount(source, below(where / name / "files", source))
    yester.run("umount", where)
    yester.run("backup", source, env=env, rc=10)  # who writes is told


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_any_moment_a_replica_is_whole_and_the_next_copy_goes_on(pair, seed):
    yester, source, replica, env = pair
    chance = random.Random(seed)
    names = []
    for i in range(3):
        (source / f"data/more.{i}").write_bytes(os.urandom(3_000_000))
        names.append(yester.backup(source))
    process = yester.start("copy", "--to", replica)
    time.sleep(chance.uniform(0, 0.15))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    other = {**env, "YESTER_REPO": str(replica)}
    probe = yester.run("--json", "list", env=other, rc=(0, 10))
    if probe.rc == 0:
        assert "gone" not in yester.run("verify", "--data", env=other).errors  # what is late is not lost
    yester.run("copy", "--to", replica)
    assert objects(replica) == objects(yester.repo)
    check(yester, replica, names, source, env)


def test_what_a_prune_moved_is_found_in_the_replica_too(pair):
    yester, source, replica, _ = pair
    (source / "stays").write_bytes(os.urandom(100_000))
    for i in range(10):
        (source / f"goes.{i}").write_bytes(os.urandom(100_000))
    first = yester.backup(source)
    for path in source.glob("goes.*"):
        path.unlink()
    second = yester.backup(source)
    yester.run("copy", "--to", replica)
    yester.run("forget", first)
    remaps = yester.repo / "remap"
    yester.run("prune", "--now")
    assert any(remaps.rglob("*"))
    yester.run("copy", "--to", replica)
    check(yester, replica, [second], source)
    yester.run("prune", "--now", env={"YESTER_REPO": str(replica)})
    check(yester, replica, [second], source)
    assert sum(map(len, objects(replica).values())) < 1.1 * sum(map(len, objects(yester.repo).values()))
