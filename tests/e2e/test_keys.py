"""The keys that open a repository: added, removed, given as a file, a command, a passphrase."""
import base64
import os

import pytest

from conftest import Yester, same, same_on_mount, wait_for


def with_key(path):
    return {"YESTER_KEY_FILE": str(path)}


def second_key(yester):
    path = yester.work / "second"
    yester.write_key(path)
    return path


@pytest.mark.quick
def test_a_key_that_was_added_opens_and_one_that_was_removed_does_not(yester, tree):
    yester.backup(tree)
    second = second_key(yester)
    before = yester.run("key", "list").text
    yester.run("key", "add", "--new-key-file", second)
    after = yester.run("key", "list").text
    assert len(after.splitlines()) == len(before.splitlines()) + 1
    same(tree, yester.restored(tree, env=with_key(second)))
    listed = yester.run("--json", "key", "list").json()
    slots = listed.get("keys", listed) if isinstance(listed, dict) else listed
    first = slots[0]
    yester.run("key", "remove", first.get("id") or first["name"], env=with_key(second))
    yester.run("list", rc=12)
    yester.backup(tree, env=with_key(second))
    same(tree, yester.restored(tree, env=with_key(second)))


@pytest.mark.quick
def test_after_a_rotation_every_key_opens_what_was_before_and_what_comes(yester, tree):
    before = yester.backup(tree)
    second = second_key(yester)
    yester.run("key", "add", "--new-key-file", second)
    kept = yester.objects()
    told = yester.run("--json", "key", "rotate", env=with_key(second)).json()
    assert told == {"epoch": 2, "keys": 2, "older_epochs": 1}
    (tree / "README").write_bytes(b"of the second epoch\n")
    after = yester.backup(tree)
    for key in (yester.key, second):
        same(tree, yester.restored(tree, after, env=with_key(key)))
        yester.run("verify", "--data", env=with_key(key))
        assert yester.run("cat", f"{before}:files{tree}/README", env=with_key(key)).out == b"a file\n"
    gone = {path.relative_to(yester.repo).parts[0] for path in kept if not path.exists()}
    assert gone == {"keys"}, "only the old epoch's object goes"


def test_a_rotation_that_is_only_tried_changes_nothing(yester, tree):
    yester.backup(tree)
    before = {path: path.read_bytes() for path in yester.objects()}
    assert "epoch 2" in yester.run("key", "rotate", "--dry-run").errors
    assert {path: path.read_bytes() for path in yester.objects()} == before


def test_a_mount_goes_on_through_a_rotation(yester, tree):
    yester.backup(tree)
    with yester.mount() as mount:
        assert (mount.tree("latest", tree) / "README").read_bytes() == b"a file\n"
        yester.run("key", "rotate")
        (tree / "README").write_bytes(b"of the second epoch\n")
        after = yester.backup(tree)
        wait_for(lambda: (mount.path / after / "files").exists(), "the new snapshot", 5)
        same_on_mount(tree, mount.tree(after, tree))


def test_the_last_key_cannot_be_removed(yester):
    listed = yester.run("--json", "key", "list").json()
    slots = listed.get("keys", listed) if isinstance(listed, dict) else listed
    yester.run("key", "remove", slots[0].get("id") or slots[0]["name"], rc=(1, 2))
    yester.run("list")


def test_a_key_comes_from_a_command_or_the_environment(yester, tree):
    yester.backup(tree)
    text = yester.key.read_text().strip()
    yester.run("list", env={"YESTER_KEY_FILE": "", "YESTER_KEY_COMMAND": f"cat {yester.key}"})
    yester.run("list", env={"YESTER_KEY_FILE": "", "BACKUP_ENCRYPTION_KEY": text})
    yester.run("list", rc=12, env={"YESTER_KEY_FILE": "", "BACKUP_ENCRYPTION_KEY": "wrong"})
    failed = yester.run("list", rc=None, env={"YESTER_KEY_FILE": "", "YESTER_KEY_COMMAND": "exit 3"})
    assert failed.rc != 0 and failed.err


def test_a_passphrase_opens_what_it_made(work, tree):
    y = Yester(work)
    y.env.update(YESTER_KEY_FILE="", BACKUP_ENCRYPTION_KEY="correct horse battery staple é")
    y.init()
    y.backup(tree)
    same(tree, y.restored(tree))
    y.run("list", rc=12, env={"BACKUP_ENCRYPTION_KEY": "correct horse battery staple e"})


@pytest.mark.quick
def test_without_any_key_it_says_what_to_do_and_does_not_ask(yester):
    result = yester.run("list", rc=(1, 2, 12), env={"YESTER_KEY_FILE": ""}, timeout=20)
    assert "YESTER_KEY_FILE" in result.errors


def test_nothing_of_the_source_or_the_key_stands_in_the_repository(yester, work):
    source = work / "source-with-a-telling-name"
    source.mkdir()
    (source / "telling-file-name").write_bytes(b"telling content " * 1000)
    yester.backup(source, "--tag", "telling-tag")
    secret = base64.b64decode(yester.key.read_bytes())
    for path in yester.objects():
        data = path.read_bytes()
        assert b"telling" not in data and secret not in data and b"telling" not in os.fsencode(path.relative_to(yester.repo))
