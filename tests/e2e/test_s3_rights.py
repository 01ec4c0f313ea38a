"""The policies of docs/s3.md, given to another user of a real server: they are enough, and no more than that."""
import json
import pathlib
import re

import pytest
import s3client
import s3server
from conftest import ROOT, same

pytestmark = pytest.mark.xdist_group("s3")
KINDS = ("reading", "writing", "pruning")


def documented():
    """Statements of docs/s3.md by what they are for."""
    text = (pathlib.Path(ROOT) / "docs/s3.md").read_text()
    found = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]
    writing, reading, pruning = found
    return {"reading": reading["Statement"], "writing": writing["Statement"],
            "pruning": writing["Statement"] + [pruning]}


def grant(y, kind):
    """To the server's other user, below this repository's prefix."""
    text = json.dumps(documented()[kind]).replace("BUCKET", s3server.BUCKET).replace("PREFIX", y.prefix)
    statements = [{**s, "Principal": {"AWS": ["arn:aws:iam:::user/s3other"]}} for s in json.loads(text)]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements}).encode()
    y.s3.client.call("PUT", "/" + s3server.BUCKET, {"policy": ""}, policy)


@pytest.fixture
def other(s3_yester):
    """The environment of the other user."""
    if s3_yester.s3.kind != "ceph":
        pytest.skip("needs bucket policies")
    key, secret = s3_yester.s3.other
    yield {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
    s3_yester.s3.client.call("DELETE", "/" + s3server.BUCKET, {"policy": ""})


@pytest.mark.parametrize("kind", KINDS)
def test_status_finds_out_what_the_documented_policy_allows(s3_yester, other, kind):
    grant(s3_yester, kind)
    found = s3_yester.run("--json", "status", "--rights", env=other).json()
    assert found == {word: KINDS.index(word) <= KINDS.index(kind) for word in KINDS}


def test_who_may_write_backs_up_and_takes_nothing_away(s3_yester, other, tree):
    grant(s3_yester, "writing")
    name = s3_yester.backup(tree, env=other)
    same(tree, s3_yester.restored(tree, env=other))
    client = s3client.Client(s3_yester.s3.endpoint, s3_yester.s3.region, other["AWS_ACCESS_KEY_ID"],
                             other["AWS_SECRET_ACCESS_KEY"])
    with pytest.raises(s3client.Refused):
        client.delete(s3server.BUCKET, f"{s3_yester.prefix}/snapshots/{name}/00000000")


def test_who_may_read_restores_and_is_refused_a_backup(s3_yester, other, tree):
    s3_yester.backup(tree)
    grant(s3_yester, "reading")
    same(tree, s3_yester.restored(tree, env=other))
    result = s3_yester.run("backup", "--type", "files", tree, env=other, rc=1)
    assert "AccessDenied" in result.errors and "docs/s3.md" in result.errors
