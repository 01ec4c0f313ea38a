"""The recovery sheet: typed in again, scanned by another program, and never left where others read it."""
import base64
import re
import shutil
import stat
import subprocess

import pytest

from conftest import Yester, same

needs_scanner = pytest.mark.skipif(not (shutil.which("zbarimg") and shutil.which("rsvg-convert")),
                                   reason="needs zbarimg and rsvg-convert")


def scanned(picture):
    """What a scanner reads off a picture, an SVG or a PGM."""
    if picture.suffix == ".svg":
        png = picture.with_suffix(".png")
        subprocess.run(["rsvg-convert", "--zoom", "2", "-o", png, picture], check=True)
        picture = png
    found = subprocess.run(["zbarimg", "-q", "--raw", picture], capture_output=True, check=True)
    return found.stdout.strip()


def pixels(text, path):
    """A PGM of the half blocks in a sheet as text."""
    rows = []
    lines = [line for line in text.splitlines() if re.fullmatch("[ \u2580\u2584\u2588]{33,}", line)]
    for line in lines:
        rows.append([c in "\u2580\u2588" for c in line])
        rows.append([c in "\u2584\u2588" for c in line])
    scale = 4
    image = b"".join(bytes(0 if dark else 255 for dark in row for _ in range(scale)) * scale for row in rows)
    path.write_bytes(b"P5 %d %d 255\n" % (len(rows[0]) * scale, len(rows) * scale) + image)
    return path


def key_file(yester, content):
    path = yester.fresh("typed") / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    return {"YESTER_KEY_FILE": str(path)}


def typed(text):
    """The heading and the lines, as somebody types them."""
    heading, *lines = re.search(r"(YESTER RECOVERY KEY)\n(1: .*)\n(2: .*)\n(3: .*)\n(4: .*)", text).groups()
    return "\n".join([heading.lower(), *(line.upper().replace(" ", "").replace("-", "").replace("0", "O") for line in lines)])


@pytest.mark.quick
def test_what_was_typed_from_the_sheet_opens_the_repository(yester, tree):
    yester.backup(tree)
    sheet = yester.run("key", "export").text
    assert yester.key.read_text().strip() in sheet and str(yester.repo) in sheet
    for content in (sheet, typed(sheet), yester.key.read_text()):
        same(tree, yester.restored(tree, env=key_file(yester, content.encode())))


@pytest.mark.quick
def test_a_line_that_was_mistyped_is_named(yester):
    lines = typed(yester.run("key", "export").text).splitlines()
    lines[3] = lines[3][:-1] + ("1" if lines[3][-1] != "1" else "2")
    failed = yester.run("list", rc=2, env=key_file(yester, "\n".join(lines).encode()))
    assert "line 3" in failed.errors and lines[3][2:6].lower() not in failed.errors.lower()
    failed = yester.run("list", rc=2, env=key_file(yester, "\n".join(lines[:3]).encode()))
    assert "line 3" in failed.errors and "missing" in failed.errors


@needs_scanner
def test_a_scanner_reads_the_key_off_each_form_of_the_sheet(yester):
    key = yester.key.read_bytes().strip()
    out = yester.fresh("sheets")
    assert scanned(pixels(yester.run("key", "export").text, out / "text.pgm")) == key
    yester.run("key", "export", "--format", "svg", "--output", out / "page.svg")
    assert scanned(out / "page.svg") == key
    page = yester.run("key", "export", "--format", "html").text
    (out / "code.svg").write_text(re.search("<svg.*</svg>", page, re.S).group())
    assert scanned(out / "code.svg") == key


def test_a_sheet_in_a_file_is_its_owners_and_overwrites_nothing(yester):
    out = yester.fresh("sheets") / "sheet"
    yester.run("key", "export", "-o", out)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    before = out.read_bytes()
    yester.run("key", "export", "--new", "-o", out, rc=1)
    assert out.read_bytes() == before
    assert len(yester.run("--json", "key", "list").json()) == 1, "no key was let in for nothing"


def test_a_sheet_that_cannot_be_written_leaves_no_piece_of_it(yester):
    failed = yester.run("key", "export", rc=1, prefix=["sh", "-c", 'exec "$@" >/dev/full', "sh"])
    assert "stdout" in failed.errors


def test_a_passphrase_is_not_shown_but_a_new_key_can_be(work, tree):
    yester = Yester(work)
    yester.env.update(YESTER_KEY_FILE="", BACKUP_ENCRYPTION_KEY="correct horse battery staple")
    yester.init()
    yester.backup(tree)
    refused = yester.run("key", "export", rc=2)
    assert "--new" in refused.errors and not refused.out
    before = {path: path.read_bytes() for path in yester.objects()}
    assert not yester.run("key", "export", "--new", "--dry-run").out
    assert {path: path.read_bytes() for path in yester.objects()} == before
    shown = yester.run("--json", "key", "export", "--new", "--label", "in the safe").json()
    assert len(base64.b64decode(shown["key"])) == 32 and shown["repository"] == str(yester.repo)
    assert [row["label"] for row in yester.run("--json", "key", "list").json()][1:] == ["in the safe"]
    env = {"BACKUP_ENCRYPTION_KEY": shown["key"]}
    same(tree, yester.restored(tree, env=env))
    assert yester.run("--json", "key", "export", env=env).json()["key"] == shown["key"]
    yester.run("key", "remove", shown["id"])
    yester.run("list", rc=12, env=env)


def test_a_name_with_markup_in_it_stays_a_name(work):
    yester = Yester(work)
    yester.repo = work / "a <b> & c"
    yester.env["YESTER_REPO"] = str(yester.repo)
    yester.init()
    page = yester.run("key", "export", "--format", "html").text
    assert "a &lt;b&gt; &amp; c" in page and "<b>" not in page
