"""`yester diff -u`: judged by patch(1) and diff(1) over restores."""
import os
import re
import shutil
import subprocess

import pytest

from conftest import below


def take(yester, top):
    name = yester.backup(top)
    target = yester.fresh("restored")
    yester.restore(name, target=target)
    return name, below(target, top)


def hunks(text):
    """Without the headers."""
    return [line for line in text.splitlines() if not line.startswith((b"--- ", b"+++ ", b"diff "))]


@pytest.fixture
def two(yester, work):
    top = work / "src"
    (top / "sub").mkdir(parents=True)
    for i in range(5):
        (top / f"sub/text{i}").write_text("".join(f"line {n}\n" for n in range(60)))
    (top / "binary").write_bytes(b"\0" * 100)
    (top / "link").symlink_to("a")
    (top / "flip").write_text("file\n")
    (top / "gone").write_text("gone\nno newline at the end")
    first = take(yester, top)
    text = (top / "sub/text1").read_text()
    (top / "sub/text1").write_text(text.replace("line 30\n", "another line\n") + "more\n")
    (top / "sub/text2").chmod(0o600)
    (top / "binary").write_bytes(b"\0" * 99)
    os.unlink(top / "link")
    (top / "link").symlink_to("b")
    (top / "flip").unlink()
    (top / "flip").mkdir()
    (top / "gone").unlink()
    (top / "new dir").mkdir()
    (top / "new dir/new\nline").write_text("new\n")
    return top, first, take(yester, top)


@pytest.mark.quick
def test_one_file_is_shown_as_diff_shows_it_and_patch_takes_it(yester, work, two):
    top, (a, before), (b, after) = two
    result = yester.run("diff", "-u", f"{a}:{top}/sub/text1", f"{b}:{top}/sub/text1", rc=1)
    assert result.lines[0].startswith(f"--- {a}:files{top}/sub/text1\t")
    assert result.lines[1].startswith(f"+++ {b}:files{top}/sub/text1\t")
    wanted = subprocess.run(["diff", "-u", before / "sub/text1", after / "sub/text1"], capture_output=True).stdout
    assert hunks(result.out) == hunks(wanted)
    copy = work / "copy"
    shutil.copy(before / "sub/text1", copy)
    subprocess.run(["patch", "-s", copy], input=result.out, check=True)
    assert copy.read_bytes() == (after / "sub/text1").read_bytes()


def test_directories_show_all_changed_texts_and_name_the_rest(yester, two):
    top, (a, before), (b, after) = two
    result = yester.run("diff", "-u", f"{a}:{top}", f"{b}:{top}", rc=1)
    wanted = subprocess.run(["diff", "-urN", "--no-dereference", before / "sub", after / "sub"],
                            capture_output=True).stdout
    shown = re.split(rb"(?m)^(?=--- )", result.out)
    texts = [part for part in shown if b"/sub/" in part.splitlines()[0]]
    assert len(texts) == 1 and hunks(texts[0])[:len(hunks(wanted))] == hunks(wanted)
    text = result.text
    assert f"Binary files {a}:files{top}/binary and {b}:files{top}/binary differ" in text
    assert f"Symbolic links {a}:files{top}/link and {b}:files{top}/link differ" in text
    assert f"{a}:files{top}/flip is a file, {b}:files{top}/flip is a directory" in text
    assert "+++ /dev/null\n" in text and "-gone\n" in text and "\\ No newline" in text
    assert f"+++ {b}:files{top}/new dir/new\\012line\t" in text and "\n+new\n" in text
    assert "text2" not in text
    assert yester.run("diff", "-u", a, b, rc=1).out.count(b"\n@@ ") == result.out.count(b"\n@@ ")


def test_the_same_is_nothing_and_trouble_is_told(yester, two):
    top, (a, _), (b, _) = two
    assert yester.run("diff", "-u", f"{a}:{top}/sub/text2", f"{b}:{top}/sub/text2").out == b""
    assert yester.run("diff", "-u", a, a).out == b""
    yester.run("diff", "-u", f"{a}:{top}/never", f"{b}:{top}/sub/text2", rc=2)
    yester.run("--json", "diff", "-u", a, b, rc=2)
    assert "diffutils" in yester.run("diff", "-u", a, b, rc=2, env={"PATH": "/nonexistent"}).errors


def test_no_name_is_left_behind_and_no_secret_is_handed_on(yester, work, two):
    top, (a, _), (b, _) = two
    scratch, tools = work / "scratch", work / "tools"
    scratch.mkdir()
    tools.mkdir()
    (tools / "diff").write_text(f"#!/bin/sh\n/usr/bin/env > {work}/env\n/bin/ls {scratch} > {work}/names\nexit 1\n")
    (tools / "diff").chmod(0o755)
    yester.run("diff", "-u", f"{a}:{top}/sub/text1", f"{b}:{top}/sub/text1", rc=1,
               env={"PATH": f"{tools}", "TMPDIR": str(scratch)})
    assert (work / "names").read_text() == "" and os.listdir(scratch) == []
    names = {line.split("=")[0] for line in (work / "env").read_text().splitlines()}
    assert not {n for n in names if n.startswith(("YESTER", "BACKUP"))}
