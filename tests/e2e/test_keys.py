"""The keys that open a repository: added, removed, given as a file, a command, a passphrase."""
import base64
import os

import pytest

from conftest import Yester, same


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
