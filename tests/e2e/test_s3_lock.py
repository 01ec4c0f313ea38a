"""Object lock: what is stored stays for a time, whoever has the keys.  Looked at by another client."""
import base64
import datetime
import hashlib
import json
import os
import pathlib
import re
import signal
import time

import pytest
import s3client
import s3server
import test_s3_rights
from chaosproxy import ChaosProxy
from conftest import ROOT, Yester, same, same_on_mount, unmount

pytestmark = pytest.mark.xdist_group("s3, the slow ones")
BUCKET = "yester-tests-locked"
PASSING = ("marks/", "claims/", "tails/", "tmp/")


class Locked(Yester):
    """The program with a repository in a bucket with object lock, and `lock` in its settings."""

    def __init__(self, work, server, bucket=BUCKET):
        super().__init__(work, s3=server)
        self.bucket = bucket
        self.env["YESTER_REPO"] = f"s3://{bucket}/{self.prefix}"
        self.env["YESTER_CONFIG"] = str(self.work / "settings")
        self.lock("1d governance")

    def lock(self, value, more=""):
        (self.work / "settings").write_text((f"[s3]\nlock = {value}\n" if value else "") + more)

    def versions(self, prefix=""):
        """[(name, version, kind)]"""
        found = self.s3.client.versions(self.bucket, f"{self.prefix}/{prefix}")
        return [(key[len(self.prefix) + 1:], version, kind) for key, version, kind in found]

    def keys(self):
        found = self.s3.client.keys(self.bucket, self.prefix + "/")
        return {key[len(self.prefix) + 1:]: size for key, size in found.items()}

    def dates(self, prefix=""):
        """{name: (mode, until when)}"""
        return {name: self.s3.client.locked(self.bucket, f"{self.prefix}/{name}", version)
                for name, version, kind in self.versions(prefix) if kind == "Version"}


@pytest.fixture(scope="module")
def locking(s3_server):
    """A server that has object lock."""
    if s3_server.kind != "ceph":
        pytest.skip("needs a server with object lock (Ceph)")
    s3_server.client.make_bucket(BUCKET, lock=True)
    return s3_server


@pytest.fixture
def y(work, locking):
    y = Locked(work, locking)
    yield y
    for path in y.mounts:
        unmount(path)
    y.check_reports()


def lasts(dates, seconds, since):
    """Whether all are locked for that long since then."""
    return all(mode == "GOVERNANCE" and until >= since + seconds for mode, until in dates.values())


def test_everything_is_locked_but_what_is_there_to_be_removed(y, tree):
    before = time.time()
    y.init()
    (tree / "noise").write_bytes(os.urandom(20 << 20))  # goes up in parts
    name = y.backup(tree)
    y.run("hold", name)
    y.run("forget", y.backup(tree), "--reason", "test")
    dates = y.dates()
    kinds = {name.split("/")[0] for name in dates}
    assert kinds >= {"repository", "keys", "data", "meta", "index", "snapshots", "holds", "forgets"}
    assert not kinds & {"claims", "tmp"}  # no versions of these are left either
    assert lasts(dates, 86400 * 9 / 8, before)
    assert all(until < time.time() + 86400 * 9 / 8 + 60 for _, until in dates.values())
    y.run("prune", "--grace", "0s")
    marks = y.dates("marks/")
    assert marks and all(date == (None, None) for date in marks.values())
    same(tree, y.restored(tree))


def test_the_keys_of_a_host_remove_nothing(y, tree):
    y.init()
    y.backup(tree)
    for name, version, _ in y.versions():
        with pytest.raises(s3client.Refused) as refused:
            y.s3.client.delete_version(BUCKET, f"{y.prefix}/{name}", version)
        assert refused.value.status == 403


def test_compliance_is_said_to_the_server(y):
    y.lock("20s compliance")
    y.init()
    assert {mode for mode, _ in y.dates().values()} == {"COMPLIANCE"}


def test_a_bucket_without_object_lock_is_refused_before_anything_is_put(work, s3_server):
    y = Locked(work, s3_server, s3server.BUCKET)
    errors = y.run("init", rc=2).errors
    assert f"s3://{s3server.BUCKET} has no object lock" in errors and "docs/s3.md" in errors
    assert not y.keys()


@pytest.mark.parametrize("value", ["30d", "0d governance", "30d gov", "x governance", "99999d compliance",
                                   "30d governance now", "-1d governance"])
def test_what_is_no_lock_is_refused(work, value):
    y = Yester(work)
    y.env["YESTER_REPO"] = "s3://bucket/prefix"
    (work / "settings").write_text(f"[s3]\nlock = {value}\n")
    assert "s3 lock: " in y.run("list", rc=2, env={"YESTER_CONFIG": str(work / "settings")}).errors


def test_of_a_replica_it_is_said_whose_lock_is_none(work, tree):
    y = Yester(work).init()
    (work / "settings").write_text("[replica far]\nlocation = s3://bucket/prefix\nlock = 30d gov\n")
    y.backup(tree)
    assert "[replica far] lock: " in y.run("copy", rc=5, env={"YESTER_CONFIG": str(work / "settings")}).errors


def test_the_settings_show_it(work):
    y = Yester(work)
    (work / "settings").write_text("[s3]\nlock = 30d governance\n[replica far]\nlocation = s3://b/p\nlock = 90d compliance\n"
                                   "[replica near]\nlocation = s3://b/q\nlock =\n")
    env = {"YESTER_CONFIG": str(work / "settings")}
    lines = y.run("config", env=env).lines
    assert "lock = 30d governance" in lines and "lock = 90d compliance" in lines and "lock =" in lines
    found = y.run("--json", "config", env=env).json()
    assert found["s3"]["lock"]["value"] == ["30d", "governance"]
    assert found["replicas"]["far"]["lock"] == ["90d", "compliance"] and found["replicas"]["near"]["lock"] == []


def forgotten(y, tree):
    """The name of a snapshot that is to be forgotten; there is another one."""
    source = y.fresh("old")
    (source / "old").write_bytes(os.urandom(300_000))
    first = y.backup(source)
    y.backup(tree)
    return first


def prune(y, *args, **kwargs):
    result = y.run("--json", "prune", "--grace", "0s", *args, **kwargs)
    return json.loads(result.lines[-1]), result


def shorten(y, seconds):
    """As an administrator may: everything is locked for so long only."""
    for name, version, kind in y.versions():
        if kind == "Version":
            until = datetime.datetime.fromtimestamp(time.time() + seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
            body = f"<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>{until}</RetainUntilDate></Retention>".encode()
            md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
            y.s3.client.call("PUT", f"/{BUCKET}/{y.prefix}/{name}", {"retention": "", "versionId": version}, body,
                             {"content-md5": md5, "x-amz-bypass-governance-retention": "true"})


def test_prune_leaves_what_is_locked_says_until_when_and_frees_it_afterwards(y, tree):
    y.lock("1h governance")
    y.init()
    first = forgotten(y, tree)
    told = y.run("forget", first).errors
    assert "1 snapshot locked until " in told and "prune frees nothing" in told
    prune(y)  # marks
    before = y.versions()
    dry, _ = prune(y, "--dry-run")
    result = y.run("prune", "--grace", "0s")
    assert "locked until " in result.errors or "locked, the first until " in result.errors
    real, _ = prune(y)
    for told in dry, real:
        assert told["deleted"] == 0 and told["locked"] >= 3 and told["locked_bytes"] > 300_000
        ends = datetime.datetime.fromisoformat(told["locked_until"].replace("Z", "+00:00")).timestamp()
        assert ends == max(until for _, until in y.dates(f"snapshots/{first}/").values())
    assert y.versions() == before
    shorten(y, 8)
    time.sleep(9)
    done, _ = prune(y)
    assert done["locked"] == 0 and done["snapshots"] == 1 and done["freed"] > 300_000
    assert not y.versions(f"snapshots/{first}/")  # no version, and nothing that hides one
    assert sum(1 for _, _, kind in y.versions() if kind == "DeleteMarker") == 0
    y.verify()
    same(tree, y.restored(tree))


def test_a_pruner_whose_settings_say_nothing_of_a_lock_asks_the_bucket(y, tree):
    y.init()
    first = forgotten(y, tree)
    y.lock("")
    assert "1 snapshot locked until " in y.run("forget", first).errors
    prune(y)
    told, _ = prune(y)
    assert told["deleted"] == 0 and told["locked"] > 0
    hidden = [name for name, _, kind in y.versions() if kind == "DeleteMarker"]
    assert all(name.startswith("claims/") for name in hidden)


def hidden(y):
    return [name for name, _, kind in y.versions() if kind == "DeleteMarker" and not name.startswith("claims/")]


def asks(method, path):
    return method == "GET" and "object-lock=" in path


def test_a_pruner_who_may_not_ask_the_bucket_asks_each_object(y, tree):
    y.init()
    first = forgotten(y, tree)
    y.lock("")
    with ChaosProxy(y.s3.address) as proxy:
        proxy.deny = asks
        env = {"AWS_ENDPOINT_URL": proxy.endpoint}
        assert "1 snapshot locked until " in y.run("forget", first, env=env).errors
        prune(y, env=env)
        told, _ = prune(y, env=env)
    assert told["deleted"] == 0 and told["locked"] > 0 and not hidden(y)


@pytest.mark.parametrize("answer,off", [(("400 Bad Request", "InvalidArgument"), False), (("409 Conflict", "Odd"), False),
                                        (("501 Not Implemented", "NotImplemented"), True),
                                        (("400 Bad Request", "InvalidRequest"), True)])
def test_only_what_says_so_means_that_there_is_no_object_lock(y, tree, answer, off):
    y.init()
    y.backup(tree)
    with ChaosProxy(y.s3.address) as proxy:
        proxy.deny = lambda method, path: asks(method, path) and answer
        result = y.run("backup", tree, rc=None, env={"AWS_ENDPOINT_URL": proxy.endpoint})
    assert result.rc != 0
    assert ("has no object lock" in result.errors) == off and (answer[1] in result.errors) != off


def test_what_was_overwritten_keeps_nobody_from_pruning(y, tree):
    y.init()
    first = forgotten(y, tree)
    y.run("forget", first)
    for key in y.keys():  # with what nothing locks
        if key.startswith(f"snapshots/{first}/"):
            y.s3.client.put(BUCKET, f"{y.prefix}/{key}", y.s3.client.get(BUCKET, f"{y.prefix}/{key}"))
    y.lock("")
    prune(y)
    told, _ = prune(y)
    assert told["deleted"] == 0 and told["locked"] > 0 and not hidden(y)


@pytest.mark.parametrize("first,second", [("30s governance", "90s compliance"), ("30s compliance", "90s governance")])
def test_what_is_locked_in_the_other_mode_is_locked_for_longer_all_the_same(y, tree, first, second):
    y.lock(first)
    y.init()
    y.backup(tree)
    y.lock(second)
    before = time.time()
    name = y.backup(tree)
    dates = y.dates()
    assert all(until >= before + 90 for _, until in referred(dates).values())
    assert {mode for mode, _ in y.dates(f"snapshots/{name}/").values()} == {second.split()[1].upper()}


def set_hold(y, name, version, status):
    body = b"<LegalHold><Status>%s</Status></LegalHold>" % status
    md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    y.s3.client.call("PUT", f"/{BUCKET}/{y.prefix}/{name}", {"legal-hold": "", "versionId": version}, body,
                     {"content-md5": md5})


def test_a_snapshot_under_a_legal_hold_stays(y, tree):
    y.lock("5s governance")
    y.init()
    first = forgotten(y, tree)
    (name, version, _), = y.versions(f"snapshots/{first}/")
    set_hold(y, name, version, b"ON")
    assert "legal hold" in y.run("forget", first).errors
    prune(y)
    time.sleep(7)
    told, _ = prune(y)
    assert told["deleted"] == 0 and told["locked"] > 0 and told["locked_until"] is None
    assert "until its legal hold ends" in y.run("prune", "--grace", "0s", "--dry-run").text
    set_hold(y, name, version, b"OFF")
    assert prune(y)[0]["snapshots"] == 1


def test_a_legal_hold_is_no_lock_that_lasts_long_enough(y, tree):
    """It may be lifted tomorrow: where the date cannot be set, that is told."""
    y.lock("400s governance")
    y.init()
    y.backup(tree)
    (name, version, _), *_ = y.versions("data/")
    set_hold(y, name, version, b"ON")
    y.lock("2000s governance")
    with ChaosProxy(y.s3.address) as proxy:
        proxy.deny = lambda method, path: method == "PUT" and "retention" in path and name in path
        result = y.run("backup", "--type", "files", tree, rc=5, env={"AWS_ENDPOINT_URL": proxy.endpoint})
    assert name in result.errors and "AccessDenied" in result.errors
    y.backup(tree)
    set_hold(y, name, version, b"OFF")


def test_a_key_that_is_taken_out_says_what_of_it_is_locked(y, tree):
    y.init()
    (y.work / "second").write_bytes(base64.b64encode(os.urandom(32)))
    (y.work / "second").chmod(0o600)
    y.run("key", "add", "--new-key-file", y.work / "second")
    old = next(key["id"] for key in y.run("--json", "key", "list").json() if not key["in_use"])
    errors = y.run("key", "remove", old, rc=1).errors
    assert "the key is out, but not all is cleared away" in errors and f"keys/slot/{old}" in errors
    assert "is locked until " in errors
    y.run("list", rc=12, env={"YESTER_KEY_FILE": str(y.work / "second")})
    y.backup(tree)


def referred(dates):
    """What a snapshot needs to be read and restored, and the catalog to be made again."""
    return {name: date for name, date in dates.items() if name.split("/")[0] in ("data", "meta", "index", "keys", "repository")}


def test_what_a_new_snapshot_refers_to_is_locked_as_if_it_were_new(y, tree):
    y.lock("400s governance")
    y.init()
    y.backup(tree)
    old = y.dates()
    y.lock("2000s governance")  # as if the first were made half an hour ago
    before = time.time()
    result = y.run("backup", "--type", "files", tree)
    new = y.dates()
    assert lasts(referred(new), 2000, before)
    assert all(new[name] > old[name] for name in referred(old))
    assert " locked until " in result.errors
    # What is locked for long enough is left alone: only what the run before wrote is locked anew.
    y.backup(tree)
    again = y.dates()
    assert all(again[name] == new[name] for name in referred(old))


def test_what_only_older_snapshots_refer_to_is_not_locked_anew(y, tree):
    y.lock("400s governance")
    y.init()
    forgotten(y, tree)
    old = y.dates()
    y.lock("2000s governance")
    y.backup(tree)
    new = y.dates()
    same_as_before = [name for name in old if new[name] == old[name]]
    assert [name for name in same_as_before if name.startswith("data/")]
    assert not all(new[name] == old[name] for name in old if name.startswith("data/"))


def test_a_bucket_that_lost_its_dates_is_locked_anew(y, tree):
    y.lock("4s governance")
    y.init()
    y.backup(tree)
    y.lock("1000s governance")
    y.backup(tree)
    shorten(y, 30)
    before = time.time()
    assert "everything is locked anew" in y.run("backup", "--type", "files", tree).errors
    assert lasts(referred(y.dates()), 1000, before)


def test_another_host_without_a_catalog_locks_what_it_refers_to(y, tree):
    y.lock("400s governance")
    y.init()
    y.backup(tree)
    y.lock("2000s governance")
    before = time.time()
    y.run("--host", "other", "backup", "--type", "files", tree, env={"XDG_CACHE_HOME": str(y.fresh("other"))})
    dates = {name: date for name, date in referred(y.dates()).items() if not name.startswith("meta/")}
    assert lasts(dates, 2000, before)


def test_a_renewal_that_fails_says_so_and_the_snapshot_is_there(y, tree):
    y.lock("400s governance")
    y.init()
    y.backup(tree)
    y.lock("2000s governance")
    archive = next(name for name, _, _ in y.versions("data/"))

    def deny(method, path):
        return method == "PUT" and "retention=" in path and archive in path
    with ChaosProxy(y.s3.address) as proxy:
        proxy.deny = deny
        result = y.run("backup", "--type", "files", tree, rc=5, env={"AWS_ENDPOINT_URL": proxy.endpoint})
    assert "object lock: " in result.errors and "AccessDenied" in result.errors
    y.verify()


@pytest.fixture
def replica(y):
    """A second prefix as a replica under its own lock."""
    y.prefix, first = "t" + os.urandom(8).hex(), y.prefix
    second, y.prefix = y.prefix, first
    y.replica = f"[replica second]\nlocation = s3://{BUCKET}/{second}\nlock = %s\n"
    return second


def at(y, prefix):
    """Dates below another prefix."""
    own, y.prefix = y.prefix, prefix
    try:
        return y.dates()
    finally:
        y.prefix = own


@pytest.mark.parametrize("way", ["backup", "copy"])
def test_a_replica_has_a_lock_of_its_own(y, tree, replica, way):
    y.lock("100s governance", y.replica % "400s governance")
    y.init()
    before = time.time()
    y.backup(tree)
    assert lasts(referred(at(y, replica)), 400, before)
    assert all(until < before + 200 for _, until in referred(y.dates()).values())
    old = referred(at(y, replica))
    env = {}
    if way == "copy":  # the snapshot is made without the replica
        (y.work / "alone").write_text("[s3]\nlock = 100s governance\n")
        env = {"YESTER_CONFIG": str(y.work / "alone")}
    y.lock("100s governance", y.replica % "2000s governance")
    before = time.time()
    y.backup(tree, env=env)
    if way == "copy":
        y.run("copy")
    new = at(y, replica)
    assert lasts(referred(new), 2000, before) and all(new[name] > old[name] for name in old)


@pytest.fixture
def alone(y):
    """Settings that know of no replica."""
    (y.work / "alone").write_text("[s3]\nlock = 100s governance\n")
    return {"YESTER_CONFIG": str(y.work / "alone")}


@pytest.mark.parametrize("way", ["backup", "copy"])
def test_a_snapshot_comes_into_a_replica_when_all_that_it_refers_to_is_locked_there(y, tree, replica, alone, way):
    y.lock("100s governance", y.replica % "400s governance")
    y.init()
    y.backup(tree)
    y.lock("100s governance", y.replica % "2000s governance")
    if way == "copy":
        second = y.backup(tree, env=alone)
    with ChaosProxy(y.s3.address) as proxy:
        proxy.deny = lambda method, path: method == "PUT" and "retention=" in path and f"{replica}/data/" in path
        args = ("copy",) if way == "copy" else ("backup", "--type", "files", tree)
        result = y.run(*args, rc=5, env={"AWS_ENDPOINT_URL": proxy.endpoint})
    if way == "backup":
        second = result.lines[-1]
    assert "object lock: " in result.errors
    assert not [name for name in at(y, replica) if second in name]
    before = time.time()
    y.run("copy")
    dates = at(y, replica)
    assert [name for name in dates if second in name] and lasts(referred(dates), 2000, before)


def test_what_several_snapshots_refer_to_is_locked_in_a_replica_that_was_away(y, tree, replica, alone):
    y.lock("100s governance", y.replica % "400s governance")
    y.init()
    first, second = y.fresh("first"), y.fresh("second")
    (first / "file").write_bytes(os.urandom(300_000))
    y.backup(first)
    old = referred(at(y, replica))
    (first / "more").write_bytes(os.urandom(300_000))
    y.backup(first, env=alone)
    (second / "file").write_bytes(os.urandom(300_000))
    y.lock("100s governance", y.replica % "2000s governance")
    before = time.time()
    y.backup(second)  # this refers to nothing of the others
    new = referred(at(y, replica))
    still = [name for name in old if new[name] == old[name]]
    assert all(name.startswith("meta/") for name in still)  # the root of the first tree has changed
    assert lasts({name: date for name, date in new.items() if name not in still}, 2000, before)


def test_what_was_copied_slowly_is_locked_anew_before_the_snapshot_comes(y, tree, replica, alone):
    y.lock("100s governance", y.replica % "16s governance")
    y.init()
    (tree / "noise").write_bytes(os.urandom(12 << 20))
    name = y.backup(tree, env=alone)
    y.run("copy", "--bwlimit", "1500K")
    dates = at(y, replica)
    (_, root), = (date for key, date in dates.items() if name in key)
    assert all(until >= root - 16 / 8 - 4 for _, until in referred(dates).values())


def interrupted_at_publication(y, tree, *args):
    """Its exit status, the name it told, and its messages.  Once more where the bucket was too slow for the look behind it."""
    with ChaosProxy(y.s3.address) as proxy:
        def interrupt(method, path):
            if method == "PUT" and "/snapshots/" in path and "claims/" not in path:
                process.send_signal(signal.SIGINT)
            return False
        proxy.lose = interrupt  # it is asked when the server has answered
        for _ in range(10):
            process = y.start("backup", "--type", "files", *args, tree, env={"AWS_ENDPOINT_URL": proxy.endpoint})
            out, errors = process.communicate(timeout=60)
            if process.returncode != 130:
                break
            assert b"unless it was just being published" in errors
    return process.returncode, out.decode().split()[-1], errors.decode()


def test_what_is_interrupted_when_the_snapshot_is_published_says_that_it_is_there(y, tree, replica):
    y.lock("400s governance")
    y.init()
    y.backup(tree)
    before = y.dates("data/")
    y.lock("2000s governance", y.replica % "2000s governance")
    status, name, errors = interrupted_at_publication(y, tree)
    assert status == 5 and "interrupted: the snapshot is there; left out: replicas, renewed locks\n" in errors
    assert name in y.run("list").text and not at(y, replica)
    assert all(y.dates("data/")[name] == date for name, date in before.items())
    y.backup(tree)
    assert [found for found in at(y, replica) if name in found]


def test_what_is_interrupted_when_nothing_else_is_to_be_done_is_done(y, tree):
    y.lock("")
    y.init()
    status, name, errors = interrupted_at_publication(y, tree)
    assert status == 0 and "interrupted: the snapshot is there, and nothing was left to do\n" in errors
    status, other, errors = interrupted_at_publication(y, tree, "--retention", "9")
    assert status == 5 and "interrupted: the snapshot is there; left out: --retention\n" in errors
    assert {name, other} <= {s["name"] for s in y.snapshots()}


def test_a_forget_that_cannot_ask_until_when_it_is_locked_is_one_all_the_same(y, tree):
    y.init()
    first = forgotten(y, tree)
    with ChaosProxy(y.s3.address) as proxy:
        proxy.deny = lambda method, path: asks(method, path) and ("409 Conflict", "Odd")
        y.lock("")
        result = y.run("forget", first, env={"AWS_ENDPOINT_URL": proxy.endpoint})
    assert "until when they are locked cannot be told: " in result.errors and "Odd" in result.errors
    assert first not in y.run("list").text


def test_a_mark_that_another_pruner_is_about_to_make_is_left_to_him(y, tree):
    y.lock("")
    y.init()
    source = y.fresh("old")
    (source / "old").write_bytes(os.urandom(300_000))
    first = y.backup(source)
    archive = next(name for name in y.keys() if name.startswith("data/"))[len("data/"):]
    y.backup(tree)
    y.run("forget", first)
    claim = f"{y.prefix}/claims/marks/{archive}/{'0' * 32}"
    y.s3.client.put(BUCKET, claim, b"somebody's")
    others, _ = prune(y)
    assert others["marked"] > 0 and f"marks/{archive}" not in y.keys()
    (_, version, _), = y.versions(claim[len(y.prefix) + 1:])
    y.s3.client.delete_version(BUCKET, claim, version)
    prune(y)
    assert f"marks/{archive}" in y.keys()


def documented(kind):
    """Actions of docs/s3.md's table, beside the policies there."""
    row = re.search(rf"^\| {kind} \|(.*)\|$", (pathlib.Path(ROOT) / "docs/s3.md").read_text(), re.MULTILINE)[1]
    found = set(re.findall(r"`(s3:\w+)`", row))
    return found | documented("writing") if kind == "pruning" else found


@pytest.fixture
def other(y):
    """grant(kind) gives the server's other user what is documented, and returns his environment."""
    key, secret = y.s3.other

    def grant(kind):
        statements = json.dumps(test_s3_rights.documented()[kind]).replace("BUCKET", BUCKET).replace("PREFIX", y.prefix)
        actions = sorted(documented(kind))
        statements = json.loads(statements) + [{"Effect": "Allow", "Action": actions, "Resource": [
            f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/{y.prefix}/*"]}]
        text = {"Version": "2012-10-17",
                "Statement": [{**s, "Principal": {"AWS": ["arn:aws:iam:::user/s3other"]}} for s in statements]}
        y.s3.client.call("PUT", "/" + BUCKET, {"policy": ""}, json.dumps(text).encode())
        return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
    yield grant
    y.s3.client.call("DELETE", "/" + BUCKET, {"policy": ""})


def test_the_documented_rights_are_enough_to_write_and_to_renew(y, tree, other):
    y.lock("400s governance")
    y.init()
    env = other("writing")
    y.backup(tree, env=env)
    y.lock("2000s governance")
    before = time.time()
    y.backup(tree, env=env)
    # What he has put is his: the bucket's owner may not look at it.
    client = s3client.Client(y.s3.endpoint, y.s3.region, *y.s3.other)
    dates = {name: client.locked(BUCKET, f"{y.prefix}/{name}", version) for name, version, kind in y.versions("data/")}
    assert dates and lasts(dates, 2000, before)
    assert y.run("--json", "status", "--rights", env=env).json()["pruning"] is False


def test_the_documented_rights_are_enough_to_prune(y, tree, other):
    y.lock("6s governance")
    y.init()
    y.run("forget", forgotten(y, tree))
    env = other("pruning")
    assert y.run("--json", "status", "--rights", env=env).json()["pruning"] is True
    prune(y, env=env)
    time.sleep(7)
    assert prune(y, env=env)[0]["snapshots"] == 1


def hide_all(y):
    for name, _, _ in y.versions():
        y.s3.client.delete(BUCKET, f"{y.prefix}/{name}")


def test_what_an_attacker_hides_is_read_all_the_same(y, tree):
    y.init()
    (tree / "noise").write_bytes(os.urandom(20 << 20))
    name = y.backup(tree)
    hide_all(y)
    assert not y.keys()
    env = {"XDG_CACHE_HOME": str(y.fresh("cache"))}  # as on a new machine
    result = y.run("list", env=env)
    assert name in result.text and "hidden by delete markers" in result.errors
    same(tree, y.restored(tree, env=env))
    y.run("verify", "--data", env=env)
    with y.mount() as mount:
        same_on_mount(tree, mount.tree(name, tree))
    y.lock("2d governance")
    before = time.time()
    y.backup(tree)  # and is locked where it lies
    assert lasts(referred(y.dates()), 2 * 86400, before)
    same(tree, y.restored(tree))


def test_what_an_attacker_overwrites_is_read_in_its_first_version(y, tree):
    y.init()
    name = y.backup(tree)
    for key in y.keys():
        y.s3.client.put(BUCKET, f"{y.prefix}/{key}", b"other bytes")
    env = {"XDG_CACHE_HOME": str(y.fresh("cache"))}
    target = y.fresh("restored")
    assert "overwritten" in y.restore("latest", target=target, env=env).errors
    same(tree, target / str(tree)[1:])
    y.run("catalog", "rebuild", env=env)
    y.run("verify", "--data", env=env)
    assert name in y.run("list", env=env).text
    y.backup(tree)


def test_without_a_lock_in_the_settings_what_is_hidden_is_not_there(y, tree):
    y.init()
    y.backup(tree)
    hide_all(y)
    y.lock("")
    y.run("list", rc=10)
