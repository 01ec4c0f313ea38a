"""Repositories in a bucket, on a real server."""
import os
import re
import threading

import pytest
import s3server
from chaosproxy import ChaosProxy, with_length
from conftest import below, same, same_on_mount

pytestmark = pytest.mark.xdist_group("s3")


def test_what_was_stored_in_a_bucket_comes_back(s3_yester, tree):
    name = s3_yester.backup(tree)
    same(tree, s3_yester.restored(tree))
    s3_yester.verify()
    with s3_yester.mount() as mount:
        same_on_mount(tree, mount.tree(name, tree))


def test_a_large_object_goes_up_in_parts_and_leaves_none(s3_yester, work):
    source = work / "source"
    source.mkdir()
    (source / "noise").write_bytes(os.urandom(100 << 20))
    s3_yester.backup(source)
    assert max(s3_yester.keys().values()) > 32 << 20
    same(source, s3_yester.restored(source))
    assert not [key for key in s3_yester.s3.client.uploads(s3server.BUCKET) if key.startswith(s3_yester.prefix)]


def test_another_host_does_not_store_again_what_one_has_stored(s3_yester, work):
    source = work / "source"
    source.mkdir()
    (source / "noise").write_bytes(os.urandom(5 << 20))
    s3_yester.backup(source)
    before = s3_yester.stored()
    s3_yester.env = {**s3_yester.env, "XDG_CACHE_HOME": str(s3_yester.fresh("other"))}
    s3_yester.run("--host", "other", "backup", "--type", "files", source)
    assert s3_yester.stored() - before < 1 << 20


def test_hosts_that_back_up_at_once_all_have_their_snapshots(s3_yester, tree):
    def back_up(number):
        env = {"XDG_CACHE_HOME": str(s3_yester.fresh(f"cache{number}"))}
        names.append(s3_yester.backup(tree, env=env))

    names = []
    threads = [threading.Thread(target=back_up, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(names)) == 4
    assert {s["name"] for s in s3_yester.snapshots()} == set(names)
    s3_yester.verify()


def test_no_claim_is_left_behind(s3_yester, tree):
    s3_yester.backup(tree)
    assert not [name for name in s3_yester.keys() if name.startswith("claims/")]


@pytest.mark.parametrize("change, text, rc", [
    ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "is the secret key right", 1),
    ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "no S3 credentials", 1),
    ({"YESTER_REPO": "s3://there-is-no-such-bucket/x"}, "make the bucket first", 10),
    ({"YESTER_REPO": "s3://x"}, "no name of a bucket", 2),
    ({"AWS_ENDPOINT_URL": "ftp://127.0.0.1"}, "is no endpoint", 2),
])
def test_what_is_wrong_with_the_way_to_a_bucket_is_said(s3_yester, change, text, rc):
    result = s3_yester.run("list", env=change, rc=rc)
    assert text in result.errors
    assert s3_yester.s3.secret not in result.errors


def test_a_bucket_without_a_repository_is_told_from_one_that_is_not_there(s3_yester):
    result = s3_yester.run("list", env={"YESTER_REPO": f"s3://{s3server.BUCKET}/nothing-here"}, rc=10)
    assert "init" in result.errors


def test_keys_come_from_a_profile_and_are_read_again_when_they_expire(s3_yester, tree):
    """In the middle of a run the file has another token, and the old one is taken for expired."""
    home = s3_yester.work / "home"
    (home / ".aws").mkdir()
    credentials = home / ".aws" / "credentials"

    def write(token):
        credentials.write_text(f"[other]\naws_access_key_id = x\n\n[backup]\n"
                               f"aws_access_key_id = {s3_yester.s3.key}\n"
                               f"aws_secret_access_key={s3_yester.s3.secret}\naws_session_token = {token}\n")

    env = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_PROFILE": "backup"}
    def expire(number):
        if number == 6:
            write("new")
            proxy.refused_token = b"old"

    with ChaosProxy(s3_yester.s3.address) as proxy:
        write("old")
        proxy.before = expire
        s3_yester.backup(tree, env={**env, "AWS_ENDPOINT_URL": proxy.endpoint})
        assert proxy.refused
    same(tree, s3_yester.restored(tree))


class FirstForLast:
    """What s3rver makes of a range `bytes=-N`: the N + 1 first bytes."""
    count = 0

    def answer(self, *_):
        return None

    def change(self, method, path, head, answer, body):
        total = re.search(rb"(?i)\r\ncontent-range: bytes \d+-\d+/(\d+)", answer)
        if not re.search(rb"(?i)\r\nrange: bytes=-", head) or not total or int(total[1]) <= len(body):
            return answer, body
        self.count += 1
        place = b"\\g<1>0-%d/%s" % (len(body), total[1])
        answer = re.sub(rb"(?i)(\r\ncontent-range: bytes )\d+-\d+/\d+", place, answer)
        return with_length(answer, len(body) + 1), body + b"x"


def test_a_server_that_takes_the_last_bytes_for_the_first_is_asked_otherwise(s3_yester, tree):
    (tree / "noise").write_bytes(os.urandom(1 << 20))
    with ChaosProxy(s3_yester.s3.address) as proxy:
        proxy.glacier = FirstForLast()
        env = {"AWS_ENDPOINT_URL": proxy.endpoint}
        name = s3_yester.backup(tree, env=env)
        s3_yester.run("verify", "--data", env=env)
        target = s3_yester.fresh("restored")
        s3_yester.run("restore", name, "--target", target, env=env)
        assert proxy.glacier.count
    same(tree, below(target, tree))


def test_the_settings_are_shown_without_secrets(s3_yester):
    result = s3_yester.run("config")
    assert s3_yester.s3.endpoint in result.text
    assert s3_yester.s3.secret not in result.text


def test_a_server_that_is_gone_is_told_and_nothing_is_lost(s3_yester, tree, work):
    s3_yester.backup(tree)
    settings = work / "impatient.conf"
    settings.write_text("[s3]\npatience = 2\n")
    result = s3_yester.run("--config", settings, "list", env={"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, rc=1)
    assert "attempts" in result.errors
    same(tree, s3_yester.restored(tree))


def test_a_revision_is_not_overwritten_behind_a_root(s3_yester, tree):
    """What is there under the name of the next snapshot stays as it is."""
    name = s3_yester.backup(tree)
    root = f"snapshots/{name}/00000000"
    key = f"{s3_yester.prefix}/{root}"
    before = s3_yester.s3.client.get(s3server.BUCKET, key)
    for _ in range(3):
        assert s3_yester.backup(tree) != name
    assert s3_yester.s3.client.get(s3server.BUCKET, key) == before
