"""Replicas in buckets: of a directory, of another bucket in another region, taken where the first is gone."""
import os
import random
import shutil
import signal
import time

import pytest
import s3server
from conftest import Yester, same, same_on_mount

pytestmark = pytest.mark.xdist_group("s3")
FAR = "eu-north-9"


@pytest.fixture(scope="module")
def far():
    """A second server, in another region and with other keys."""
    if "ceph" not in s3server.available():
        pytest.skip("needs a second server")
    server = s3server.launch("ceph", {"S3_REGION": FAR, "S3_ACCESS_KEY": "FARAWAYACCESSKEY0001",
                                      "S3_SECRET_KEY": "farawaySecretKey000000000000000000000001"})
    yield server
    server.stop()


@pytest.fixture
def local(work, s3_server):
    """The program with its repository in a directory, and a prefix for a bucket that is as fresh."""
    y = Yester(work)
    y.env.update(s3_server.env)
    y.init()
    yield y
    y.check_reports()


def objects(server, prefix):
    found = server.client.keys(s3server.BUCKET, prefix + "/")
    return {key[len(prefix) + 1:]: size for key, size in found.items() if "/tmp/" not in key}


def files(top):
    found = {str(p.relative_to(top)): p.stat().st_size for p in top.rglob("*") if p.is_file()}
    return {name: size for name, size in found.items() if not name.startswith("tmp/") and name != "lock"}


def taken_back(y, name, tree, env):
    """Restored and mounted, from the replica, which is told."""
    target = y.fresh("restored")
    result = y.restore(name, target=target, env=env)
    assert "taken from replica" in result.errors
    same(tree, target / str(tree)[1:])
    where = y.fresh("mnt")
    y.mounts.append(where)
    y.run("mount", where, env=env)
    same_on_mount(tree, where / name / "files" / str(tree)[1:])
    y.run("umount", where)


def test_what_the_environment_names_is_brought_up_to_date_and_taken_when_the_directory_is_gone(local, s3_server, tree):
    env = {"BACKUP_S3_BUCKET": f"{s3server.BUCKET}/{local.prefix}"}
    local.backup(tree, env=env)
    (tree / "new").write_bytes(os.urandom(100_000))
    name = local.backup(tree, env=env)
    assert objects(s3_server, local.prefix) == files(local.directory)
    shutil.rmtree(local.directory)
    taken_back(local, name, tree, env)
    local.run("verify", "--data", env={"YESTER_REPO": f"s3://{env['BACKUP_S3_BUCKET']}"})


@pytest.mark.parametrize("seed", range(3))
def test_killed_on_its_way_into_a_bucket_a_copy_is_whole_and_goes_on(local, s3_server, tree, seed):
    for i in range(3):
        (tree / f"data/more.{i}").write_bytes(os.urandom(12_000_000))
        local.backup(tree)
    location = f"s3://{s3server.BUCKET}/{local.prefix}"
    process = local.start("copy", "--to", location)
    time.sleep(random.Random(seed).uniform(0.05, 0.5))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    other = {"YESTER_REPO": location, "XDG_CACHE_HOME": str(local.fresh("cache"))}
    if local.run("list", env=other, rc=(0, 10)).rc == 0:
        local.run("verify", "--data", env=other)
    again = local.run("copy", "--to", location, rc=(0, 11) if s3_server.kind == "swift" else 0)
    if s3_server.kind == "swift":
        # A server that overwrites: what the dead one had claimed is its own for an hour, which is over here.
        for key in s3_server.client.keys(s3server.BUCKET, local.prefix + "/claims/"):
            s3_server.client.delete(s3server.BUCKET, key)
    if again.rc == 11:
        local.run("copy", "--to", location)
    assert objects(s3_server, local.prefix) == files(local.directory)
    local.run("verify", "--data", env=other)
    target = local.fresh("restored")
    local.restore("latest", target=target, env=other)
    same(tree, target / str(tree)[1:])


@pytest.fixture
def pair(s3_yester, far):
    """(the program with its repository in one region, settings with a replica of the same name in the other)."""
    def write(*regions):
        path = s3_yester.fresh("settings") / "pair.conf"
        path.write_text(f"[s3]\nregions = {' '.join(regions)}\n[replica far]\nlocation = {s3_yester.location}\n"
                        f"endpoint = {far.endpoint}\nregion = {FAR}\nprofile = far\n")
        return {"YESTER_CONFIG": str(path)}
    credentials = s3_yester.work / "home" / ".aws" / "credentials"
    credentials.parent.mkdir()
    credentials.write_text(f"[far]\naws_access_key_id = {far.key}\naws_secret_access_key = {far.secret}\n")
    return s3_yester, write


def test_a_replica_at_another_server_has_its_own_endpoint_region_and_keys(pair, far, tree):
    y, write = pair
    env = write(y.s3.region, FAR)
    y.backup(tree, env=env)
    (tree / "new").write_bytes(os.urandom(100_000))
    name = y.backup(tree)
    assert y.run("--json", "status", env=env).json()["replicas"][0]["missing"] == 1
    y.run("copy", env=env)
    assert y.run("--json", "status", env=env).json()["replicas"][0]["missing"] == 0
    assert objects(far, y.prefix) == objects(y.s3, y.prefix)
    for key in objects(y.s3, y.prefix):
        y.s3.client.delete(s3server.BUCKET, f"{y.prefix}/{key}")
    taken_back(y, name, tree, env)


def test_a_replica_in_a_region_that_is_not_allowed_gets_nothing(pair, far, tree):
    y, write = pair
    errors = y.run("backup", "--type", "files", tree, env=write(y.s3.region), rc=5).errors
    assert f"replica far: {y.location} is in region {FAR} by the settings" in errors
    assert not objects(far, y.prefix)
