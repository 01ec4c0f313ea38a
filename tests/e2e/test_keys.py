"""The keys that open a repository: added, removed, given as a file, a command, a passphrase."""
import base64
import contextlib
import os
import pty
import select

import pytest

from conftest import PATIENCE, Yester, same, same_on_mount, wait_for


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
        wait_for(lambda: (mount.path / after / "files").exists(), "the new snapshot", max(5, yester.notice))
        same_on_mount(tree, mount.tree(after, tree))


@pytest.mark.quick
def test_a_changed_key_opens_everything_and_the_old_one_nothing_any_more(yester, tree):
    yester.backup(tree)
    second = second_key(yester)
    assert "would" in yester.run("key", "passwd", "--dry-run", "--new-key-file", second).errors
    yester.run("list", rc=12, env=with_key(second))
    told = yester.run("--json", "key", "passwd", "--new-key-file", second, "--label", "the second").json()
    yester.run("list", rc=12)
    row, = yester.run("--json", "key", "list", env=with_key(second)).json()
    assert row["id"] == told["id"] and row["label"] == "the second" and told["epoch"] == 2
    same(tree, yester.restored(tree, env=with_key(second)))


def test_a_key_is_not_changed_into_itself(yester):
    yester.run("key", "passwd", "--new-key-file", yester.key, rc=2)
    yester.run("list")


def test_an_interrupted_change_is_finished_by_doing_it_again(yester):
    second = second_key(yester)
    yester.run("key", "add", "--new-key-file", second)
    yester.run("key", "passwd", "--new-key-file", second)
    assert len(yester.run("--json", "key", "list", env=with_key(second)).json()) == 1
    yester.run("list", rc=12)


def on_a_terminal(yester, *args, answers, env):
    """Run it with a terminal of its own that gives ANSWERS to what it asks; returns (exit status, what was shown)."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(yester.program, yester.command(*args), {**yester.env, **env})
    shown = b""
    for answer in answers:
        while not shown.endswith(b": "):
            assert select.select([terminal], [], [], PATIENCE)[0], shown
            shown += os.read(terminal, 1024)
        os.write(terminal, answer + b"\n")
        shown += b"\n"
    with contextlib.suppress(OSError):
        while more := os.read(terminal, 1024):
            shown += more
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown


def test_a_passphrase_is_changed_on_the_terminal(work, tree):
    y = Yester(work)
    old, new = {"BACKUP_ENCRYPTION_KEY": "swordfish"}, {"BACKUP_ENCRYPTION_KEY": "marmalade"}
    y.env["YESTER_KEY_FILE"] = ""
    y.run("init", env=old)
    y.backup(tree, env=old)
    status, shown = on_a_terminal(y, "key", "passwd", answers=[b"marmalade", b"another"], env=old)
    assert status == 2 and b"differ" in shown and b"marmalade" not in shown
    status, shown = on_a_terminal(y, "key", "passwd", env={}, answers=[b"swordfish", b"marmalade", b"marmalade"])
    assert status == 0 and b"swordfish" not in shown and b"marmalade" not in shown
    y.run("list", rc=12, env=old)
    same(tree, y.restored(tree, env=new))


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
    result = yester.run("list", rc=(1, 2, 12), env={"YESTER_KEY_FILE": ""}, timeout=120)
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
