"""What goes into a snapshot, and what is left out."""
import json
import os
import subprocess

import pytest

from conftest import below

TAG = b"Signature: 8a477f597d28d172789f06886806bc55\n"


def make(top, *names):
    for name in names:
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def kept(yester, source, *args, rc=0):
    """The relative paths of the files that a backup with ARGS holds."""
    name = yester.backup(source, *args, rc=rc)
    target = yester.fresh("restored")
    yester.restore(name, target=target)
    top = below(target, source)
    return {str(p.relative_to(top)) for p in top.rglob("*") if not p.is_dir() or p.is_symlink()}


@pytest.fixture
def source(work):
    return work / "source"


@pytest.mark.quick
def test_excludes_follow_the_rules_of_gitignore(yester, source):
    make(source, "a.log", "keep.log", "sub/b.log", "top.txt", "sub/top.txt", "logs/x", "sub/logs/y", "file/logs",
         "a/z", "a/b/c/z", "q/z", "doc/x.pdf", "doc/sub/x.pdf", "#note", "[x]", "abc", "a-c")
    rules = source.parent / "rules"
    rules.write_bytes(b"# a comment\n\n*.log\n!keep.log\n/top.txt\nlogs/\na/**/z\ndoc/*.pdf\n\\#note\n\\[x\\]\na[!-]c\n")
    assert kept(yester, source, "--exclude-file", rules) == {
        "keep.log", "sub/top.txt", "file/logs", "q/z", "doc/sub/x.pdf", "a-c"}


def test_excludes_given_one_by_one_add_up(yester, source):
    make(source, "a.tmp", "b.bak", "c", "deep/d.tmp")
    assert kept(yester, source, "--exclude", "*.tmp", "--exclude", "*.bak") == {"c"}


def test_caches_marked_directories_and_node_modules_are_left_out(yester, source):
    make(source, "cache/x", "fake/x", "skip/x", "skip/.nobackup", "node_modules/m/index.js", "app/node_modules/x",
         "app/index.js", "fake/CACHEDIR.TAG")
    (source / "cache/CACHEDIR.TAG").write_bytes(TAG)
    found = kept(yester, source)
    assert "app/index.js" in found and "fake/x" in found
    assert not {p for p in found if "node_modules" in p or p.startswith("skip/x") or p == "cache/x"}


def test_a_directory_that_holds_a_named_file_is_left_out(yester, source):
    make(source, "a/.mark", "a/x", "b/x", "c/d/.mark", "c/d/x", "c/x")
    found = kept(yester, source, "--exclude-if-present", ".mark")
    assert "b/x" in found and "c/x" in found and not found & {"a/x", "c/d/x"}


@pytest.mark.root
def test_one_file_system_stops_at_a_mount_point(yester, source):
    make(source, "here", "other/hidden")
    subprocess.run(["mount", "-t", "tmpfs", "none", source / "other"], check=True)
    try:
        make(source, "other/there")
        assert kept(yester, source, "--one-file-system") == {"here"}
        assert kept(yester, source) == {"here", "other/there"}
    finally:
        subprocess.run(["umount", source / "other"], check=True)


def test_only_the_files_of_a_list_are_taken(yester, source):
    make(source, "a", "b", "c d", "sub/e", "sub/f")
    names = source.parent / "list"
    names.write_text(f"{source}/a\n{source}/c d\n{source}/sub/f\n")
    name = yester.backup("--files-from", names)
    target = yester.fresh("restored")
    yester.restore(name, target=target)
    top = below(target, source)
    assert {str(p.relative_to(top)) for p in top.rglob("*") if p.is_file()} == {"a", "c d", "sub/f"}


@pytest.mark.quick
def test_a_stream_becomes_a_file(yester):
    data = os.urandom(3_000_000)
    name = yester.backup("--stdin", "dump.sql", input=data)
    assert yester.run("cat", f"{name}:files/dump.sql").out == data


def test_a_dry_run_says_what_it_would_read_and_writes_nothing(yester, tree):
    before = {p: p.stat().st_mtime_ns for p in yester.objects()}
    result = yester.run("backup", "--type", "files", "--dry-run", tree)
    assert result.out or result.err
    assert {p: p.stat().st_mtime_ns for p in yester.objects()} == before
    assert yester.snapshots() == []


def test_several_paths_and_a_single_file_are_one_snapshot(yester, work):
    make(work, "one/a", "two/b", "three")
    name = yester.backup(work / "one", work / "two", work / "three")
    target = yester.fresh("restored")
    yester.restore(name, target=target)
    for path in ("one/a", "two/b", "three"):
        assert below(target, work / path).read_bytes() == path.encode()


def test_paths_that_contain_each_other_are_stored_once(yester, work):
    make(work, "top/in/file")
    name = yester.backup(work / "top", work / "top/in", work / "top/in/file")
    target = yester.fresh("restored")
    yester.restore(name, target=target)
    assert below(target, work / "top/in/file").read_bytes() == b"top/in/file"
    assert yester.run("ls", f"{name}:files{work}/top").text.count("in") == 1


def test_a_symlink_given_as_a_path_is_kept_as_one(yester, work):
    make(work, "real/file")
    (work / "link").symlink_to("real")
    name = yester.backup(work / "link")
    target = yester.fresh("restored")
    yester.restore(name, target=target)
    assert os.readlink(below(target, work / "link")) == "real"


@pytest.mark.quick
def test_configuration_is_found_by_its_patterns(yester, tree):
    (tree / "app/package-lock.json").write_bytes(b"{}")
    (tree / "app/.env.production").write_bytes(b"A=1")
    name = yester.backup(tree, type="config")
    target = yester.fresh("restored")
    yester.restore(name, "--type", "config", target=target)
    top = below(target, tree)
    found = {str(p.relative_to(top)) for p in top.rglob("*") if p.is_file()}
    assert {"app/.env", "app/package.json", "app/docker-compose.yml", "app/package-lock.json",
            "app/.env.production"} <= found
    assert not found & {"README", "src/main.c", "data/noise"}
    assert (top / "app/.env").read_bytes() == b"SECRET=1\n"
    with yester.mount() as mount:
        assert (mount.tree(name, tree, "config") / "app/.env").read_bytes() == b"SECRET=1\n"


def test_a_tag_and_a_host_are_kept_with_the_snapshot(yester, tree):
    name = yester.backup(tree, "--tag", "before-upgrade", "--host", "elsewhere")
    (found,) = [s for s in yester.snapshots() if s["name"] == name]
    assert found["host"] == "elsewhere"
    manifest = json.loads(yester.run("cat", f"{name}:manifest.json").out)
    assert manifest["tags"] == ["before-upgrade"]


def test_a_stronger_compression_stores_less(yester, work):
    source = work / "source"
    source.mkdir()
    lines = b"".join(b"%d %d the line of a log with some words\n" % (i, i * i) for i in range(60000))
    (source / "log").write_bytes(lines)
    yester.backup(source, "--compression", "1")
    light = yester.stored()
    (source / "log").write_bytes(lines.replace(b"a log", b"THE LOG"))
    yester.backup(source, "--compression", "19")
    assert yester.stored() - light < light
