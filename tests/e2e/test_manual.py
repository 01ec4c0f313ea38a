"""The manual pages and --help name the same options."""
import re
import subprocess

from conftest import BIN, ROOT

MAN = ROOT / "docs/man"
OPTION = re.compile(r"--([a-z][a-z0-9-]*[a-z0-9])")
HELP_OPTION = re.compile(r"^ +(?:-\w, )?--([a-z][a-z0-9-]*)", re.MULTILINE)


def help_of(*words):
    return subprocess.run([BIN, *words, "--help"], check=True, capture_output=True, text=True).stdout


def entries(page):
    """What the COMMANDS of a page say, by command."""
    found, now = {}, []
    for line in page.split("# COMMANDS\n")[1].split("\n# ")[0].splitlines():
        if line and not line.startswith("\t"):
            now = re.findall(r"\*([a-z][a-z ]*)\*", line)
        for command in now:
            found[command] = found.get(command, "") + line + "\n"
    return found


def section(page, title):
    return page.split(f"# {title}\n")[1].split("\n# ")[0]


def test_every_option_of_every_command_is_in_the_manual_and_in_help():
    page, keys = (MAN / "yester.1.scd").read_text(), (MAN / "yester-key.1.scd").read_text()
    described = entries(page)
    listed = help_of().split("\nCommands:\n")[1]
    commands = set(re.findall(r"^  ([a-z]+(?: [a-z]+)?)  ", listed, re.MULTILINE)) - {"version"}
    assert len(commands) > 30 and set(described) == commands
    everywhere = set(OPTION.findall(page.split("Every command takes")[1].split("\n\n")[0]))
    for command in sorted(commands):
        own, common = help_of(*command.split()).split("Options of every command:")
        own = set(HELP_OPTION.findall(own))
        assert set(HELP_OPTION.findall(common)) | {"dry-run"} == everywhere
        text = described[command] + (keys if command.startswith("key ") else "")
        text += section(page, "LEAVING OUT") if command == "backup" else ""
        assert own - {"dry-run"} <= set(OPTION.findall(text)), command
        assert set(OPTION.findall(described[command])) - own - everywhere == set(), command
