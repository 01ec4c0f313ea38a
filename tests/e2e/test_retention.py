"""Forgetting, holding, and what tells that somebody else took snapshots away."""
import json
import shutil

import pytest

from conftest import same, wait_for


@pytest.fixture
def source(work):
    path = work / "source"
    path.mkdir()
    return path


@pytest.fixture
def five(yester, source):
    """Five snapshots of a file that says which one it is."""
    names = []
    for i in range(5):
        (source / "file").write_text(f"version {i}")
        names.append(yester.backup(source, "--tag", f"tag{i}"))
    return names


def listed(yester, *args):
    return [row["name"] for row in yester.run("--json", "list", *args).json()]


def lines(yester, *args, **kwargs):
    """Objects that stand on a line each, be it one."""
    return [json.loads(line) for line in yester.run("--json", *args, **kwargs).lines]


@pytest.mark.quick
def test_forget_hides_and_unforget_brings_back(yester, source, five):
    yester.run("forget", five[4], five[1])
    assert listed(yester) == [five[0], five[2], five[3]]
    rows = {row["name"]: row for row in yester.run("--json", "list", "--all").json()}
    assert sorted(n for n in rows if rows[n]["forgotten"]) == [five[1], five[4]]
    assert yester.run("cat", f"latest:{source}/file").text == "version 3"
    # By its whole name it is still there, by the beginning of one it is not.
    assert yester.run("cat", f"{five[1]}:{source}/file").text == "version 1"
    yester.run("cat", f"{five[4][:-1]}:{source}/file", rc=(1, 2) if five[4][:-1] != five[3][:-1] else None)

    yester.run("unforget", five[4], five[1])
    assert listed(yester) == five
    assert yester.run("cat", f"latest:{source}/file").text == "version 4"
    yester.verify()
    same(source, yester.restored(source))
    yester.run("unforget", five[0], rc=1)  # never was


def test_a_mount_loses_and_regains_what_is_forgotten(yester, source, five):
    with yester.mount() as mount:
        assert (mount.path / five[2]).exists()
        yester.run("forget", five[2])
        wait_for(lambda: five[2] not in [p.name for p in mount.path.iterdir()], "the mount to see it", 30)
        assert (mount.tree(five[3], source) / "file").read_text() == "version 3"
        yester.run("unforget", five[2])
        wait_for(lambda: five[2] in [p.name for p in mount.path.iterdir()], "the mount to see it", 30)
        assert (mount.tree(five[2], source) / "file").read_text() == "version 2"


@pytest.mark.quick
def test_the_last_complete_one_is_never_forgotten(yester, source, five):
    yester.run("forget", *five[:4])
    result = yester.run("forget", five[4], rc=2)
    assert "last complete" in result.errors
    yester.run("forget", "--keep-tag", "no such tag")
    assert listed(yester) == [five[4]]
    yester.run("unforget", *five[:4])
    assert yester.run("forget", *five, rc=2) and listed(yester) == five  # all or none

    # Another type, and another host, have a last one of their own.
    config = yester.backup(source, type="config")
    other = yester.run("--host", "other", "backup", "--type", "files", source).lines[-1]
    yester.run("forget", config, rc=2)
    yester.run("forget", other, rc=2)
    yester.run("forget", "--keep-last", "1")
    assert listed(yester) == [five[4], config, other]


@pytest.mark.quick
def test_what_is_held_stays(yester, source, five):
    yester.run("hold", five[0], "--reason", "audit 2026")
    yester.run("hold", five[0], "--reason", "court")
    row = yester.run("--json", "list").json()[0]
    assert row["held"] and sorted(row["holds"]) == ["audit 2026", "court"]
    assert "audit 2026" in yester.run("list").text
    yester.run("forget", five[0], rc=2)
    yester.run("forget", "--keep-last", "2")
    assert listed(yester) == [five[0], five[3], five[4]]
    yester.run("release", five[0])
    assert not yester.run("--json", "list").json()[0]["held"]
    yester.run("forget", "--keep-last", "2")
    assert listed(yester) == [five[3], five[4]]
    yester.run("release", five[3], rc=1)


def test_a_dry_run_explains_and_changes_nothing(yester, five):
    before = yester.objects()
    told = lines(yester, "forget", "--dry-run", "--keep-last", "1", "--keep-tag", "tag1")
    assert [t["snapshot"] for t in told] == five
    assert [t["keep"] for t in told] == [False, True, False, False, True]
    assert "tag tag1" in told[1]["reason"] and "last 1 of 1" in told[4]["reason"]
    assert "no rule keeps it" in told[0]["reason"]
    for args in (["forget", five[0]], ["hold", five[0]]):
        yester.run(*args, "--dry-run")
    assert yester.objects() == before and listed(yester) == five
    done = lines(yester, "forget", "--keep-last", "1", "--keep-tag", "tag1")
    assert [t["snapshot"] for t in done] == [five[0], five[2], five[3]]
    assert listed(yester) == [five[1], five[4]]


def test_rules_are_for_the_types_that_are_named(yester, source, five):
    config = [yester.backup(source, type="config") for _ in range(2)]
    both = yester.backup(source, type="all")
    yester.run("forget", "--type", "files", "--keep-last", "1")
    # One that has config as well was not asked about in whole.
    assert listed(yester) == config + [both]
    yester.run("forget", "--type", "config", "--keep-last", "1")
    assert listed(yester) == [both]


def test_age_needs_several_snapshots_that_say_so(yester, source):
    (source / "file").write_text("x")
    names = [yester.backup(source) for _ in range(3)]
    yester.run("forget", "--keep-within", "1h")
    assert listed(yester) == names
    names.append(yester.backup(source, "--retention", "1"))
    assert listed(yester) == names  # of four, none is old


def test_retention_of_a_backup(yester, source, five):
    yester.run("hold", five[2])
    config = yester.backup(source, type="config")
    result = yester.run("backup", "--type", "files", "--retention", "0", source)
    assert listed(yester) == [five[2], config, result.lines[-1]]
    for nonsense in ("", "x", "-1", "1d", "99999999999"):
        yester.run("backup", "--retention", nonsense, source, rc=2)
    assert len(listed(yester)) == 3


def test_rules_of_the_settings(yester, five, work):
    settings = work / "conf"
    settings.write_text("[retention]\nfiles = last=2 tag=tag0\nconfig = forever\n")
    yester.run("--config", settings, "forget")
    assert listed(yester) == [five[0], five[3], five[4]]
    for nonsense in ("last=2d", "within=5", "often=3", "daily=x", "tag="):
        settings.write_text(f"[retention]\nfiles = {nonsense}\n")
        assert str(settings) in yester.run("--config", settings, "forget", rc=2).errors
    assert listed(yester) == [five[0], five[3], five[4]]


@pytest.mark.quick
def test_a_removed_snapshot_is_told_until_it_is_forgotten(yester, five):
    assert listed(yester) == five
    shutil.rmtree(yester.repo / "snapshots" / five[3])
    assert five[3] in yester.run("status", rc=4).text
    assert five[3] in yester.run("verify", rc=4).errors
    yester.run("catalog", "rebuild")
    assert yester.run("--json", "status", rc=4).json()["losses"]
    yester.run("forget", five[3])
    yester.run("status")
    yester.run("verify")


@pytest.mark.quick
def test_an_older_state_put_back_is_told(yester, source, five, work):
    shutil.copytree(yester.repo, work / "older")
    newest = yester.backup(source)
    yester.run("forget", five[0])
    shutil.rmtree(yester.repo)
    shutil.copytree(work / "older", yester.repo)
    told = "\n".join(yester.run("--json", "status", rc=4).json()["losses"])
    assert newest in told and "higher than any that is left" in told
    assert f"forgets/{five[0]}" in told
    assert five[0] not in listed(yester)  # what this host saw counts
    result = yester.run("catalog", "rebuild", "--accept-losses")
    assert newest in result.errors
    yester.run("status")
    assert listed(yester) == five


def test_another_host_can_tell_a_forget_from_a_theft(yester, five, work):
    """As after a prune: the roots are gone, the notes are there."""
    other = {"XDG_CACHE_HOME": str(work / "other-cache")}
    yester.run("list", env=other)
    yester.run("forget", five[1])
    shutil.rmtree(yester.repo / "snapshots" / five[1])
    shutil.rmtree(yester.repo / "snapshots" / five[2])
    told = yester.run("--json", "status", rc=4, env=other).json()["losses"]
    assert len(told) == 1 and five[2] in told[0]


@pytest.mark.quick
def test_a_flipped_bit_in_a_note_is_found(yester, five):
    yester.run("forget", five[0])
    yester.run("hold", five[1])
    yester.verify()
    for note in (next((yester.repo / "forgets").iterdir()), next((yester.repo / "holds").iterdir())):
        whole = note.read_bytes()
        note.chmod(0o600)
        for at in range(0, len(whole), 37):
            note.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1:])
            assert note.name in yester.run("verify", rc=4).errors
        note.write_bytes(whole)
    yester.verify()
    assert listed(yester) == five[1:]


def test_keys_that_went_back_are_told(yester, five, work):
    shutil.copytree(yester.repo / "keys", work / "keys")
    second = work / "second"
    yester.write_key(second)
    yester.run("key", "add", "--new-key-file", second)
    yester.run("list")
    shutil.rmtree(yester.repo / "keys")
    shutil.copytree(work / "keys", yester.repo / "keys")
    assert "keys went back" in "".join(yester.run("--json", "status", rc=4).json()["losses"])
