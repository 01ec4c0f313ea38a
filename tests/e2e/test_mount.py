"""The mount: its layout, that it is live, read-only, and goes away when it should."""
import errno
import json
import os
import select
import signal
import subprocess
import threading
import time

import pytest

from conftest import as_user, is_mounted, same, same_on_mount, unmount, wait_for


@pytest.mark.smoke
def test_the_layout_is_the_promised_one(yester, tree):
    first = yester.backup(tree, "--host", "here")
    (tree / "README").write_bytes(b"newer\n")
    second = yester.backup(tree, "--host", "here")
    with yester.mount("--host", "here") as mount:
        top = mount.path
        names = set(os.listdir(top))
        assert {first, second, "latest", "hosts"} <= names
        assert os.readlink(top / "latest" / "files") == f"../{second}/files"
        assert set(os.listdir(top / "hosts")) == {"here"} and first in os.listdir(top / "hosts" / "here")
        manifest = json.loads((top / first / "manifest.json").read_bytes())
        assert manifest["name"] == first and manifest["type"] == "files" and manifest["host"] == "here"
        assert manifest["complete"] is True and manifest["files"] >= 11 and manifest["start"] <= manifest["end"]
        assert (top / first / "manifest.json").stat().st_size == len((top / first / "manifest.json").read_bytes())
        assert set(os.listdir(top / first)) == {"files", "manifest.json"}


@pytest.mark.quick
def test_a_snapshot_made_meanwhile_appears_within_a_second(yester, tree):
    first = yester.backup(tree)
    with yester.mount() as mount:
        assert (mount.tree("latest", tree) / "README").read_bytes() == b"a file\n"
        assert first in os.listdir(mount.path)
        (tree / "README").write_bytes(b"newer\n")
        second = yester.backup(tree)
        wait_for(lambda: (mount.path / second / "files").exists(), "the new snapshot", yester.notice)
        wait_for(lambda: second in os.listdir(mount.path), "the new snapshot in the listing", yester.notice)
        wait_for(lambda: (mount.tree("latest", tree) / "README").read_bytes() == b"newer\n", "latest", yester.notice)
        same_on_mount(tree, mount.tree(second, tree))


def refused(call, *args):
    try:
        call(*args)
    except OSError as e:
        return e.errno in (errno.EROFS, errno.EPERM, errno.EACCES)
    return False


def test_nothing_can_be_changed_through_it(yester, tree):
    name = yester.backup(tree)
    with yester.mount() as mount:
        top = mount.tree(name, tree)
        assert refused(lambda: (top / "README").write_bytes(b"x"))
        assert refused(lambda: (top / "new").write_bytes(b"x"))
        assert refused(os.unlink, top / "README") and refused(os.rmdir, top / "empty dir")
        assert refused(os.mkdir, top / "d") and refused(os.symlink, "x", top / "l")
        assert refused(os.rename, top / "README", top / "x") and refused(os.link, top / "README", top / "x")
        assert refused(os.chmod, top / "README", 0o777) and refused(os.truncate, top / "README", 0)
        assert refused(os.setxattr, top / "README", "user.x", b"1") and refused(os.utime, top / "README", (1, 1))
        with open("/proc/self/mountinfo", encoding="utf-8") as f:
            (line,) = [line for line in f if line.split()[4] == str(mount.path)]
        assert "ro" in line.split()[5].split(",")
        same_on_mount(tree, top)


def test_ordinary_tools_work_on_it(yester, tree):
    name = yester.backup(tree)
    with yester.mount() as mount:
        top = mount.tree(name, tree)
        copy, other = yester.fresh("copy"), yester.fresh("tar")
        subprocess.run(["cp", "-a", f"{top}/.", copy], check=True)
        same(tree, copy)
        assert subprocess.run(["diff", "-r", "--no-dereference", tree, top]).returncode == 0
        found = subprocess.run(["grep", "-rl", "int main", top], capture_output=True, text=True).stdout
        assert found.split() == [str(top / "src/main.c")]
        tar = subprocess.run(["tar", "-C", top, "--format=posix", "-cf", "-", "."], capture_output=True, check=True).stdout
        subprocess.run(["tar", "-C", other, "-xpf", "-"], input=tar, check=True)
        same(tree, other)
        count = subprocess.run(["find", top], capture_output=True, text=True).stdout.count("\n")
        assert count == subprocess.run(["find", tree], capture_output=True, text=True).stdout.count("\n")


def test_reads_at_any_place_return_the_right_bytes(yester, work):
    source = work / "source"
    source.mkdir()
    data = os.urandom(3_000_000) + bytes(500_000) + os.urandom(100_001)
    (source / "file").write_bytes(data)
    name = yester.backup(source)
    with yester.mount() as mount:
        fd = os.open(mount.tree(name, source) / "file", os.O_RDONLY)
        state = 1
        for _ in range(2000):
            state = state * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
            offset, size = (state >> 33) % (len(data) + 1000), (state >> 20) % 70000
            assert os.pread(fd, size, offset) == data[offset:offset + size]
        assert os.pread(fd, 100, len(data)) == b"" and os.pread(fd, 100, len(data) + 10**12) == b""
        os.close(fd)


@pytest.mark.smoke
def test_many_readers_at_once_all_get_the_right_bytes(yester, work):
    source = work / "source"
    source.mkdir()
    for i in range(40):
        (source / f"f{i}").write_bytes(bytes([i]) * 100 + os.urandom(200_000))
    name = yester.backup(source)
    wrong = []
    with yester.mount() as mount:
        top = mount.tree(name, source)

        def read(start):
            for i in range(40):
                path = f"f{(i * 7 + start) % 40}"
                if (top / path).read_bytes() != (source / path).read_bytes():
                    wrong.append(path)
        threads = [threading.Thread(target=read, args=(i,)) for i in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert not wrong


def test_unchanged_files_keep_their_inode_number_and_links_are_counted(yester, tree):
    first = yester.backup(tree)
    (tree / "src/main.c").write_bytes(b"changed")
    second = yester.backup(tree)
    with yester.mount() as mount:
        a, b = mount.tree(first, tree), mount.tree(second, tree)
        ino = lambda p: p.stat().st_ino
        assert ino(a / "README") == ino(b / "README") and ino(a / "src/main.c") != ino(b / "src/main.c")
        assert ino(a / "README") == ino(a / "data/README.too")
        assert (a / "README").stat().st_nlink == 2 and (a / "src/main.c").stat().st_nlink == 1
        entries = {e.name: e.inode() for e in os.scandir(a)}
        assert entries["README"] == ino(a / "README")


@pytest.mark.quick
def test_in_the_background_it_returns_when_the_mount_answers(yester, tree):
    name = yester.backup(tree)
    where = yester.fresh("mnt")
    yester.mounts.append(where)
    yester.run("mount", where, timeout=60)
    assert is_mounted(where)
    same_on_mount(tree, where / name / "files" / str(tree)[1:])
    yester.run("umount", where)
    assert not is_mounted(where) and os.listdir(where) == []


@pytest.mark.quick
def test_the_background_process_keeps_nothing_open_that_it_was_given(yester, tree):
    yester.backup(tree)
    where = yester.fresh("mnt")
    yester.mounts.append(where)
    reader, writer = os.pipe()
    try:
        process = yester.start("mount", where, pass_fds=[writer])
        assert process.wait(timeout=60) == 0
        os.close(writer)
        assert select.select([reader], [], [], 60)[0], "the mount holds the other end"
        assert os.read(reader, 1) == b""
        assert os.listdir(where / "latest")
    finally:
        os.close(reader)
        yester.run("umount", where, rc=None)


def test_sigterm_unmounts_cleanly(yester, tree):
    yester.backup(tree)
    for number in (signal.SIGTERM, signal.SIGINT):
        with yester.mount() as mount:
            os.listdir(mount.path)
            mount.process.send_signal(number)
            wait_for(lambda: mount.process.poll() is not None, "the end")
            assert not is_mounted(mount.path)
            assert mount.process.returncode in (0, 130)


def test_after_kill_9_umount_clears_what_is_left(yester, tree):
    name = yester.backup(tree)
    where = yester.fresh("mnt")
    yester.mounts.append(where)
    process = yester.start("mount", "-f", where)
    wait_for(lambda: is_mounted(where), "the mount")
    os.listdir(where / name)
    process.kill()
    process.communicate()
    with pytest.raises(OSError):
        os.listdir(where)
    yester.run("umount", where)
    assert not is_mounted(where) and os.listdir(where) == []
    with yester.mount() as mount:
        same_on_mount(tree, mount.tree(name, tree))


def test_umount_waits_a_moment_for_who_is_leaving(yester, tree):
    name = yester.backup(tree)
    for _ in range(5):  # on a busy machine the moment may be too long
        with yester.mount() as mount:
            with open(mount.tree(name, tree) / "README", "rb"):
                leaving = yester.start("umount", mount.path)
                time.sleep(0.2)
            if leaving.wait(timeout=60) == 0:
                assert not is_mounted(mount.path)
                mount.process.wait(timeout=60)
                return
    assert False, "it did not wait"


def test_a_mount_in_use_stays(yester, tree):
    name = yester.backup(tree)
    with yester.mount() as mount:
        with open(mount.tree(name, tree) / "README", "rb") as file:
            message = yester.run("umount", mount.path, rc=11).errors
            assert f"{mount.path} is in use" in message and "fuser" in message, message
            assert file.read() == b"a file\n"


def test_umount_of_what_is_not_mounted_is_an_error(yester):
    assert yester.run("umount", yester.fresh(), rc=(1, 2)).err


def test_a_mount_point_that_is_not_there_is_an_error(yester, tree):
    yester.backup(tree)
    assert yester.run("mount", yester.work / "none", rc=(1, 2), timeout=30).err


def test_an_empty_repository_can_be_mounted_and_fills_up(yester, tree):
    with yester.mount() as mount:
        assert "hosts" in os.listdir(mount.path)
        name = yester.backup(tree)
        wait_for(lambda: name in os.listdir(mount.path), "the first snapshot", yester.notice)
        same_on_mount(tree, mount.tree(name, tree))


@pytest.mark.quick
def test_a_normal_user_mounts_the_own_repository(user_yester, tree):
    name = user_yester.backup(tree)
    with user_yester.mount() as mount:
        command = ["cat", str(mount.tree(name, tree) / "README")]
        prefix = as_user(user_yester.user)
        assert subprocess.run([*prefix, *command], capture_output=True).stdout == b"a file\n"
        if prefix:
            assert subprocess.run(command, capture_output=True).returncode != 0, "root has no business in it"


@pytest.mark.root
def test_allow_other_lets_users_read_what_their_permissions_allow(yester, tree):
    (tree / "app/.env").chmod(0o600)
    (tree / "README").chmod(0o644)
    name = yester.backup(tree)
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
    read = lambda path: subprocess.run([*user, "cat", path], capture_output=True)
    with yester.mount("--allow-other") as mount:
        top = mount.tree(name, tree)
        assert read(top / "README").stdout == b"a file\n"
        assert read(top / "app/.env").returncode != 0
    with yester.mount() as mount:
        assert read(mount.tree(name, tree) / "README").returncode != 0


def test_two_mounts_of_one_repository_live_side_by_side(yester, tree):
    name = yester.backup(tree)
    with yester.mount() as one, yester.mount() as two:
        same_on_mount(tree, one.tree(name, tree))
        same_on_mount(tree, two.tree(name, tree))


def test_a_large_directory_is_listed_whole(yester, work):
    source = work / "source"
    source.mkdir()
    names = {f"a name of some length that fills the buffers soon {i:05}" for i in range(5000)}
    for n in names:
        (source / n).touch()
    name = yester.backup(source)
    with yester.mount() as mount:
        top = mount.tree(name, source)
        assert set(os.listdir(top)) == names
        fd = os.open(top, os.O_RDONLY)
        assert len(os.listdir(fd)) == 5000
        os.lseek(fd, 0, os.SEEK_SET)
        assert len(os.listdir(fd)) == 5000
        os.close(fd)
        assert not (top / "no such name").exists()


def test_a_mount_stays_responsive_while_backups_run(yester, tree):
    name, late = yester.backup(tree), 0
    with yester.mount() as mount:
        for i in range(3):
            (tree / f"file {i}").write_bytes(os.urandom(2_000_000))
            process = yester.start("backup", "--type", "files", tree)
            while process.poll() is None:
                begin = time.monotonic()
                assert (mount.tree(name, tree) / "README").read_bytes() == b"a file\n"
                late += time.monotonic() - begin >= 5
                time.sleep(0.01)
            _, err = process.communicate()
            assert process.returncode == 0, err
    assert late <= 1  # the whole machine may stand still once


def test_unmounting_leaves_no_process(yester, tree):
    yester.backup(tree)
    where = yester.fresh("mnt")
    yester.mounts.append(where)
    yester.run("mount", where, timeout=60)
    yester.run("umount", where)
    unmount(where)

    def running():
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    if str(where).encode() in f.read():
                        return True
            except OSError:
                pass
        return False
    wait_for(lambda: not running(), "the process to end")
