"""A bad network and a bad server between yester and its bucket: each run is right, or fails and says so."""
import os
import random
import shutil

import pytest
from chaosproxy import FAULTS, LYING, ChaosProxy
from conftest import same

pytestmark = pytest.mark.xdist_group("s3")

TRUTHFUL = (0, 1, 3, 4, 10, 11, 12)
LOUD = tuple(fault for fault in FAULTS if fault not in LYING)


def change(source, chance):
    """Something new, something gone, something else."""
    for _ in range(3):
        (source / f"file{chance.randrange(8)}").write_bytes(chance.randbytes(chance.randrange(300_000)))
    (source / f"file{chance.randrange(8)}").unlink(missing_ok=True)


def run_with_faults(y, work, seed, faults, rounds, rate):
    """Backs up, restores and lists through the proxy; all that was acknowledged has to be there in the end."""
    chance = random.Random(seed)
    source = work / f"source{seed}"
    source.mkdir()
    settings = work / "impatient.conf"
    settings.write_text("[s3]\npatience = 8\n")
    kept = {}
    with ChaosProxy(y.s3.address, seed, rate, faults) as proxy:
        env = {"AWS_ENDPOINT_URL": proxy.endpoint}
        for _ in range(rounds):
            change(source, chance)
            result = y.run("--config", settings, "backup", "--type", "files", source, env=env, rc=TRUTHFUL)
            if result.rc == 0:
                name = result.lines[-1]
                kept[name] = work / f"kept.{name}"
                shutil.copytree(source, kept[name], symlinks=True)
            else:
                assert result.errors.strip(), repr(result)
            check_restore(y, settings, env, kept)
        drawn = list(proxy.drawn)
    y.verify()
    for name, copy in kept.items():
        same(copy, y.restored(source, name))
    return kept, drawn


def check_restore(y, settings, env, kept):
    """What a restore calls done is right; what it could not do, it says."""
    if not kept:
        return
    name, copy = list(kept.items())[-1]
    target = y.fresh("through")
    result = y.run("--config", settings, "restore", name, "--target", target, env=env, rc=TRUTHFUL)
    if result.rc == 0:
        found = [p for p in target.rglob("source*") if p.is_dir()]
        same(copy, found[0])
    shutil.rmtree(target)


@pytest.mark.parametrize("fault", FAULTS)
def test_each_kind_of_fault_is_outlived_or_told(s3_yester, work, fault):
    kept, drawn = run_with_faults(s3_yester, work, FAULTS.index(fault), (fault,), 2, 0.2)
    assert drawn
    if fault in LOUD and fault != "expired":
        assert kept, "what may be tried again was not outlived"


@pytest.mark.parametrize("seed", [1000])
def test_faults_of_all_kinds_lose_nothing(s3_yester, work, seed):
    run_with_faults(s3_yester, work, seed, FAULTS, 3, 0.15)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2000, 2000 + int(os.environ.get("YESTER_CHAOS_RUNS", "200"))))
def test_faults_of_all_kinds_lose_nothing_many_times(s3_yester, work, seed):
    run_with_faults(s3_yester, work, seed, FAULTS if seed % 2 else LOUD, 2, (0.05, 0.15, 0.3)[seed % 3])
