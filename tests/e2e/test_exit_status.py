"""The exit status tells the truth (product.md): 0 done, 1 failed, 2 wrong usage, 3, 4, 10, 12."""
import json
import os
import shutil

import pytest

from conftest import NOBODY, Yester, below


@pytest.mark.quick
@pytest.mark.parametrize("args", [
    ["no-such-command"], ["list", "--no-such-option"], ["restore"], ["restore", "latest"], ["backup", "--type", "sundry", "/etc"],
    ["mount"], ["cat"], ["backup", "--compression", "lots", "/etc"], [],
], ids=" ".join)
def test_wrong_usage_exits_2_and_says_why(yester, args):
    result = yester.run(*args, rc=2)
    assert result.out == b"" and result.err


@pytest.mark.parametrize("args", [["--help"], ["backup", "--help"], ["restore", "--help"], ["--version"]], ids=" ".join)
def test_help_is_no_error_and_goes_to_stdout(yester, args):
    result = yester.run(*args)
    assert result.out and not result.err


@pytest.mark.quick
@pytest.mark.parametrize("args", [["list"], ["backup", "--type", "files", "/etc/passwd"], ["verify"], ["ls", "latest"],
                                  ["restore", "latest", "--target", "/nonexistent"], ["mount", "/mnt"]], ids=" ".join)
def test_no_repository_exits_10(work, args):
    y = Yester(work)
    result = y.run(*args, rc=10)
    assert result.err and not y.repo.exists()


@pytest.mark.quick
@pytest.mark.parametrize("library, args", [("libcurl", ["list", "--repo", "s3://bucket"]),
                                           ("libpq", ["backup", "--type", "database", "--physical"])],
                         ids=["libcurl", "libpq"])
def test_a_library_that_cannot_be_loaded_is_named_with_what_needs_it(yester, library, args):
    """A file that is none comes before the system's own."""
    assert yester.repo.is_dir(), "a repository that needs neither"
    folder = yester.fresh("libraries")
    for name in "libcurl.so.4", "libcurl-gnutls.so.4", "libpq.so.5":
        (folder / name).write_bytes(b"none")
    env = {"LD_LIBRARY_PATH": str(folder), "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}
    said = yester.run(*args, rc=1, env=env).errors
    assert "need a library that cannot be loaded" in said and library in said and "package" in said
    assert yester.run("list", env=env).err == b""


@pytest.mark.quick
def test_a_wrong_key_exits_12(yester, tree):
    yester.backup(tree)
    other = yester.work / "other"
    yester.write_key(other)
    for args in (["list"], ["backup", "--type", "files", tree], ["verify"], ["restore", "latest", "--target", yester.fresh()],
                 ["mount", yester.fresh()]):
        yester.run(*args, rc=12, env={"YESTER_KEY_FILE": str(other)})
    shutil.rmtree(yester.cache)
    yester.cache.mkdir()
    yester.run("list", rc=12, env={"YESTER_KEY_FILE": str(other)})
    assert len(yester.snapshots()) == 1


def test_init_refuses_a_repository_that_is_there(yester, tree):
    name = yester.backup(tree)
    yester.run("init", rc=1)
    assert [s["name"] for s in yester.snapshots()] == [name]


def test_unreadable_files_exit_3_and_each_is_named(user_yester, tree):
    y = user_yester
    closed = [tree / "app/package.json", tree / "src/main.c", tree / "data"]
    for path in [tree, *tree.rglob("*")]:
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    for path in closed:
        path.chmod(0)
    name = y.backup(tree, rc=3)
    result = y.run("backup", "--type", "files", tree, rc=3)
    for path in closed:
        assert str(path) in result.errors, result.errors
        path.chmod(0o700)
    target = y.fresh("restored")
    y.restore(name, target=target)
    assert below(target, tree / "README").read_bytes() == b"a file\n"
    assert not below(target, tree / "src/main.c").exists() or not below(target, tree / "src/main.c").read_bytes()


def test_a_path_that_is_not_there_does_not_pass_silently(yester, tree):
    result = yester.run("backup", "--type", "files", tree, tree / "missing", rc=3)
    assert "missing" in result.errors
    result = yester.run("backup", "--type", "files", tree / "missing", rc=(1, 3))
    assert "missing" in result.errors


def test_a_snapshot_or_path_that_is_not_there_is_an_error(yester, tree):
    name = yester.backup(tree)
    target = yester.fresh()
    for args in (["ls", "19990101_000000"], ["cat", f"{name}:files{tree}/none"], ["ls", f"{name}:files/none"],
                 ["restore", "19990101", "--target", target], ["restore", name, "files/none", "--target", target]):
        result = yester.run(*args, rc=(1, 2))
        assert result.err
    assert list(target.iterdir()) == []


def test_diff_exits_as_diff_does(yester, tree):
    first = yester.backup(tree)
    (tree / "README").write_bytes(b"other\n")
    second = yester.backup(tree)
    yester.run("diff", first, first, rc=0)
    yester.run("diff", first, second, rc=1)
    yester.run("diff", first, "19990101_000000", rc=2)
    assert "README" in yester.run("diff", f"{first}:files{tree}", f"{second}:files{tree}", rc=1).text


def test_a_restore_that_cannot_write_fails(yester, tree):
    yester.backup(tree)
    assert yester.run("restore", "latest", "--target", "/dev/null/no", rc=None).rc != 0
    in_the_way = yester.work / "file"
    in_the_way.write_bytes(b"a file, not a directory")
    yester.run("restore", "latest", "--target", in_the_way, rc=(1, 2))
    assert in_the_way.read_bytes() == b"a file, not a directory"


def test_an_error_is_one_object_with_json(work):
    y = Yester(work)
    result = y.run("--json", "list", rc=10)
    found = json.loads(result.out)
    assert found["exit"] == 10 and found["error"]


def test_a_latest_that_does_not_exist_yet_is_said(yester):
    assert yester.run("ls", "latest", rc=(1, 2)).err
