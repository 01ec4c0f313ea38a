"""The judge is tested first: treecmp must find every kind of difference, or no other test means anything."""
import os
import socket
import subprocess
import sys

import pytest

import awkward
import treecmp


@pytest.fixture
def pair(work):
    """The same awkward tree twice: the same seed, so the same content and (set) times."""
    tops = work / "a", work / "b"
    for top in tops:
        awkward.make(os.fsencode(top), small=True)
        settle(os.fsencode(top))
    return tops


def settle(top):
    """Give everything that was made just now one time."""
    os.chdir(top)
    for path, dirs, files, fd in os.fwalk(b".", topdown=False):
        for name in files + dirs:
            if os.stat(name, dir_fd=fd, follow_symlinks=False).st_mtime_ns > 1_700_000_000 * 10**9 \
                    and b"times" not in path:
                os.utime(name, ns=(10**18, 10**18), dir_fd=fd, follow_symlinks=False)
    os.utime(top, ns=(10**18, 10**18))
    os.chdir("/")


def rewrite(path, offset, data):
    times = os.stat(path)
    with open(path, "r+b") as f:
        f.seek(offset)
        f.write(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def fill_holes(path):
    """The same bytes with every hole allocated."""
    times = os.stat(path)
    with open(path, "r+b") as f:
        os.posix_fallocate(f.fileno(), 0, times.st_size)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def keeping_time(directory, change):
    times = os.stat(directory)
    change()
    os.utime(directory, ns=(times.st_atime_ns, times.st_mtime_ns))


def unlink_from(a, b):
    """Make B a copy of A instead of a link to it."""
    data, times = a.read_bytes(), os.stat(a)
    keeping_time(b.parent, lambda: (b.unlink(), b.write_bytes(data)))
    os.utime(b, ns=(times.st_atime_ns, times.st_mtime_ns))


def replace(path, make):
    times = os.lstat(path)
    keeping_time(path.parent, lambda: (path.unlink(), make(path)))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns), follow_symlinks=False)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(path))


CHANGES = {
    "a bit of the last byte": (lambda t: rewrite(t / "sizes/zeros", 1048576 + 16, b"\1"), "content differs"),
    "a byte in a hole": (lambda t: rewrite(t / "holes/sparse", 30_000_000, b"\1"), "content differs"),
    "a hole lost": (lambda t: fill_holes(t / "holes/sparse"), "holes lost"),
    "a mode": (lambda t: (t / "names/Case").chmod(0o640), "mode"),
    "a setuid bit": (lambda t: (t / "attributes/mode.4755").chmod(0o755), "mode"),
    "a time by a nanosecond": (lambda t: os.utime(t / "times/1969.1", ns=(0, -999_999_998)), "mtime"),
    "a directory's time": (lambda t: os.utime(t / "times/dir", ns=(0, 5)), "mtime"),
    "a symlink's time": (lambda t: os.utime(t / "times/link", ns=(0, 5), follow_symlinks=False), "mtime"),
    "a target": (lambda t: replace(t / "links/up", lambda p: p.symlink_to("elsewhere")), "target"),
    "a link broken": (lambda t: unlink_from(t / "links/z1", t / "links/z2"), "hard links"),
    "a link too many": (lambda t: replace(t / "links/same content, not linked 2",
                                          lambda p: os.link(t / "links/same content, not linked 1", p)),
                        "hard links"),
    "a name missing": (lambda t: keeping_time(t / "names", (t / "names/CON").unlink), "only in the first"),
    "a name more": (lambda t: keeping_time(t / "empty", (t / "empty/new").touch), "only in the second"),
    "an xattr": (lambda t: os.setxattr(t / "attributes/small", "user.note", b"other"), "xattr user.note"),
    "an ACL": (lambda t: os.removexattr(t / "attributes/dir", "system.posix_acl_default"), "xattr system.posix"),
    "a kind": (lambda t: replace(t / "special/socket", os.mkfifo), "kind"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_difference_is_found(pair, change):
    a, b = pair
    assert treecmp.compare(a, b) == []
    do, expected = CHANGES[change]
    do(b)
    lines = treecmp.compare(a, b)
    assert len(lines) in (1, 2) and any(expected in line for line in lines), lines


@pytest.mark.root
def test_what_only_root_can_change_is_found(pair):
    a, b = pair
    os.lchown(b / "links/root", 7, 8)
    capability = os.getxattr(b / "attributes/capable", "security.capability")
    os.setxattr(b / "attributes/capable", "security.capability", capability[:4] + b"\2" + capability[5:])
    replace(b / "special/null", lambda p: os.mknod(p, 0o020666, os.makedev(1, 5)))
    os.chmod(b / "special/null", 0o666)
    lines = "\n".join(treecmp.compare(a, b))
    assert "owner" in lines and "xattr security.capability" in lines and "device" in lines, lines


def test_a_tree_deeper_than_path_max_is_compared_to_its_end_and_removed(work):
    top = os.fsencode(work / "a")
    os.mkdir(top)
    awkward.make_deep(top, small=False)
    assert treecmp.compare(top, top) == []
    other = os.fsencode(work / "b")
    os.mkdir(other)
    awkward.make_deep(other, small=False)
    assert treecmp.compare(top, other, times=False) == []
    change_the_bottom(other)
    lines = treecmp.compare(top, other, times=False)
    assert len(lines) == 1 and "bottom: content" in lines[0], lines
    awkward.remove(top)
    assert not os.path.exists(top)


def change_the_bottom(top):
    here = os.open(os.path.join(top, b"deep"), os.O_RDONLY)
    for level in range(3000):
        name = b"level %04d" % level + (b"x" * 190 if level < 25 else b"")
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    fd = os.open(b"bottom", os.O_WRONLY, dir_fd=here)
    os.write(fd, b"DEEP")
    os.close(fd)
    os.close(here)


def test_the_commands_have_the_exit_status_of_diff(work):
    harness = treecmp.__file__, awkward.__file__
    run = lambda *args: subprocess.run([sys.executable, *args], capture_output=True).returncode
    assert run(harness[1], "--small", work / "a") == 0
    assert run(harness[0], work / "a", work / "a") == 0
    assert run(harness[0], work / "a", work / "a" / "empty") == 1
    assert run(harness[0], work / "a", work / "none") == 2
    assert run(harness[1], "--remove", work / "a") == 0
