"""`regions` keeps repositories and replicas out of buckets that are elsewhere: by the settings, and by the server's word."""
import pytest
import s3server
from conftest import same

pytestmark = pytest.mark.xdist_group("s3")


@pytest.fixture
def pinned(s3_yester):
    """Settings that allow these regions."""
    def write(*regions, more=""):
        path = s3_yester.fresh("settings") / "pinned.conf"
        path.write_text(f"[s3]\nregions = {' '.join(regions)}\n{more}")
        return {"YESTER_CONFIG": str(path)}
    return write


def test_a_bucket_in_an_allowed_region_is_used_as_ever(s3_yester, pinned, tree):
    env = pinned("eu-north-9", s3_yester.s3.region)
    s3_yester.backup(tree, env=env)
    same(tree, s3_yester.restored(tree, env=env))


@pytest.mark.parametrize("said, who", [(None, "by the settings"), ("eu-north-9", "by the server")])
@pytest.mark.parametrize("command", [("init",), ("list",), ("backup", "--type", "files", "/etc/hostname")])
def test_a_bucket_elsewhere_is_refused_and_nothing_written(s3_yester, pinned, command, said, who):
    """The region that was set is not allowed; or it is, and the server says that the bucket is elsewhere."""
    env = {**pinned("eu-north-9"), **({"AWS_REGION": said} if said else {})}
    if command[0] == "init":
        env["YESTER_REPO"] = f"{s3_yester.location}-more"
    before = s3_yester.s3.client.keys(s3server.BUCKET, s3_yester.prefix)
    errors = s3_yester.run(*command, env=env, rc=2).errors
    for word in (s3_yester.location, s3_yester.s3.region, who, '"regions" in [s3]'):
        assert word in errors
    assert s3_yester.s3.client.keys(s3server.BUCKET, s3_yester.prefix) == before


def test_a_replica_elsewhere_is_refused_and_nothing_written(s3_yester, pinned, tree, work):
    """The repository is a directory, the replica in a bucket that is elsewhere."""
    other = f"s3://{s3server.BUCKET}/{s3_yester.prefix}-replica"
    env = {**pinned("eu-north-9", more=f"[replica far]\nlocation = {other}\n"), "YESTER_REPO": str(work / "local")}
    s3_yester.run("init", env=env)
    for region in (s3_yester.s3.region, "eu-north-9"):
        errors = s3_yester.run("backup", "--type", "files", tree, env={**env, "AWS_REGION": region}, rc=5).errors
        assert f"replica far: {other} is in region {s3_yester.s3.region}" in errors
    assert not s3_yester.s3.client.keys(s3server.BUCKET, s3_yester.prefix + "-replica/")
