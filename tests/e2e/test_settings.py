"""Settings from a file, the environment and the command line; what `all`, `latest` and adhoc mean."""
import json
import os

import pytest

from conftest import below, same


@pytest.fixture
def configured(yester, tree):
    """A configuration that names the tree."""
    conf = yester.work / "yester.conf"
    conf.write_text(f"# what this host keeps\n[files]\npaths = {tree}\nexclude = *.tmp scratch/\n[config]\npaths = {tree}/app\n")
    yester.env["YESTER_CONFIG"] = str(conf)
    return yester


def files_of(yester, snapshot, *types):
    target = yester.fresh("restored")
    yester.restore(snapshot, "--type", ",".join(types), target=target)
    return target


@pytest.mark.quick
def test_what_is_configured_is_backed_up_without_being_named(configured, tree):
    (tree / "x.tmp").write_bytes(b"x")
    (tree / "scratch").mkdir()
    (tree / "scratch/y").write_bytes(b"y")
    name = configured.backup()
    top = below(files_of(configured, name, "files"), tree)
    assert (top / "src/main.c").exists() and not (top / "x.tmp").exists() and not (top / "scratch").exists()
    (only,) = configured.snapshots()
    assert only["adhoc"] is False


def test_all_types_stand_in_one_snapshot(configured, tree):
    name = configured.backup(type="all")
    (only,) = configured.snapshots()
    assert only["name"] == name
    with configured.mount() as mount:
        assert {"files", "config", "manifest.json"} <= set(os.listdir(mount.path / name))
        assert (mount.tree(name, tree, "config") / "app/.env").read_bytes() == b"SECRET=1\n"
        assert (mount.tree(name, tree) / "README").read_bytes() == b"a file\n"
        assert set(os.listdir(mount.path / "latest")) >= {"files", "config"}
    target = configured.fresh("restored")
    configured.restore(name, target=target)
    assert (below(target, tree) / "app/.env").read_bytes() == b"SECRET=1\n"


def test_a_file_in_both_types_is_written_once(configured, tree):
    name = configured.backup(type="all")
    target = configured.fresh("restored")
    configured.restore(name, target=target)
    same(tree, below(target, tree))


@pytest.mark.quick
def test_a_snapshot_of_other_paths_is_adhoc_and_never_the_latest(configured, tree, work):
    regular = configured.backup()
    other = work / "other"
    other.mkdir()
    (other / "file").write_bytes(b"other")
    adhoc = configured.backup(other)
    found = {s["name"]: s["adhoc"] for s in configured.snapshots()}
    assert found == {regular: False, adhoc: True}
    configured.run("cat", f"latest:files{tree}/README")
    configured.run("cat", f"latest:files{other}/file", rc=(1, 2))
    assert configured.run("cat", f"{adhoc}:files{other}/file").out == b"other"
    with configured.mount() as mount:
        assert os.readlink(mount.path / "latest/files") == f"../{regular}/files"


def test_latest_joins_the_newest_of_each_type(configured, tree):
    config = configured.backup(type="config")
    files = configured.backup(type="files")
    assert config != files
    target = configured.fresh("restored")
    result = configured.restore("latest", target=target)
    said = result.text + result.errors
    assert config in said and files in said, "each snapshot that is joined is named"
    same(tree, below(target, tree))


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(configured, work):
    conf = configured.work / "yester.conf"
    conf.write_text(f"[repository]\nlocation = {work}/from-file\nkey_file = {configured.key}\n")
    env = {"YESTER_REPO": "", "YESTER_KEY_FILE": ""}
    configured.run("init", env=env)
    assert (work / "from-file").is_dir()
    configured.run("init", env={**env, "YESTER_REPO": str(work / "from-env")})
    assert (work / "from-env").is_dir()
    configured.run("--repo", work / "from-line", "init", env={"YESTER_REPO": str(work / "from-env")})
    assert (work / "from-line").is_dir()


def test_config_prints_each_setting_and_where_it_came_from(configured):
    text = configured.run("config").text
    assert str(configured.repo) in text and "YESTER_REPO" in text and "yester.conf:" in text and "default" in text
    json.loads(configured.run("--json", "config").text)
    assert configured.key.read_text().strip() not in text


@pytest.mark.parametrize("text", ["[files]\npath = /x\n", "[fils]\npaths = /x\n", "[files]\none_file_system = perhaps\n",
                                  "[backup]\ncompression = 99\n", "no section\n"])
def test_a_mistake_in_the_file_is_named_with_its_line(configured, text):
    (configured.work / "yester.conf").write_text(text)
    result = configured.run("list", rc=2)
    assert "yester.conf" in result.errors


def test_a_configuration_that_was_named_has_to_be_there(yester):
    yester.run("list", rc=2, env={"YESTER_CONFIG": "/no/such/file"})
    yester.run("--config", "/no/such/file", "list", rc=2)


def test_another_hosts_snapshots_are_taken_when_there_are_no_others(yester, tree):
    yester.backup(tree, "--host", "far")
    result = yester.run("cat", f"latest:files{tree}/README")
    assert result.out == b"a file\n" and "far" in result.errors, "and that is said"
    yester.backup(tree, "--host", "further")
    result = yester.run("ls", "latest", rc=2)
    assert "far" in result.errors and "further" in result.errors
