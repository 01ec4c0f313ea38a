"""bash completes what --help tells of."""
import os
import subprocess

import pytest

from conftest import BIN, ROOT

SCRIPT = """. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _yester; printf '%s\\n' "${COMPREPLY[@]}" """


@pytest.fixture
def complete(yester, tmp_path):
    (tmp_path / "yester").symlink_to(os.path.abspath(BIN))

    def run(*words):
        out = subprocess.run(["bash", "-c", SCRIPT, "bash", ROOT / "tools/yester.bash", "yester", *words], check=True,
                             env={**yester.env, "PATH": f"{tmp_path}:{os.environ['PATH']}"}, capture_output=True, text=True)
        return out.stdout.split()
    return run


def test_commands_second_words_options_and_snapshots_are_completed(yester, work, complete):
    (work / "file").write_text("text")
    name = yester.backup(work / "file")
    assert complete("ba") == ["backup"]
    assert {"list", "add", "remove"} <= set(complete("key", ""))
    assert "--dry-run" in complete("backup", "--dr")
    assert complete("--repo", "/nowhere", "ver") == ["verify", "version"]
    assert complete("restore", name[:6]) == [name]
