"""The Nth system call fails, or the process is killed there: the exit status is truthful, what was
acknowledged stays whole, and the next run needs no repair.

strace counts the calls of each thread and makes the Nth one fail, once or from then on, for N = 1 …
until a run is not hit any more; every step with --long, else some.
"""
import os
import shutil
import subprocess

import pytest

from conftest import BIN, Yester, same

MUTATING = "mkdir,mkdirat,renameat2,linkat,unlinkat,fsync,fdatasync,write,pwrite64,writev,pwritev,ftruncate,fallocate"
READING = "openat,openat2,read,pread64,statx,newfstatat,fstat,getdents64,readlinkat"
END = 400


def strace_works():
    if not shutil.which("strace") or "asan" in BIN or "tsan" in BIN:
        return False
    return subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not strace_works(), reason="strace does not work here")


def injecting(yester, calls, fault, when):
    log = yester.work / "strace.log"
    return log, ["strace", "-f", "-qq", "-o", log, "-e", f"trace={calls}", "-e", f"inject={calls}:{fault}:when={when}"]


def hit(log, fault):
    """Whether the fault happened (a call that kills is never seen to return)."""
    text = log.read_bytes()
    return b"+++ killed" in text if "KILL" in fault else b"(INJECTED)" in text


def steps(request, some):
    """N = 1 … : each with --long, else SOME of the first ones and then fewer and fewer."""
    if request.config.getoption("--long"):
        return range(1, END)
    picked, n = [], 1
    while len(picked) < some:
        picked.append(n)
        n += 1 + n // 4
    return picked


@pytest.fixture
def source(work):
    top = work / "source"
    (top / "d").mkdir(parents=True)
    for i in range(5):
        (top / "d" / f"f{i}").write_bytes(b"%d\n" % i * 500)
    (top / "noise").write_bytes(os.urandom(300_000))
    return top


def change(source, n):
    (source / "README").write_bytes(b"step %d\n" % n)
    (source / "d" / f"new {n}").write_bytes(os.urandom(2000))


def backups(yester, source, calls, fault, plus, ns):
    """Backups that are hit at each of NS; what they acknowledge must be there, now and in the end."""
    kept = {}
    change(source, 0)
    kept[yester.backup(source)] = b"step 0\n"
    for n in ns:
        change(source, n)
        log, prefix = injecting(yester, calls, fault, f"{n}{plus}")
        result = yester.run("backup", "--type", "files", source, rc=None, prefix=prefix, timeout=120)
        if result.rc == 0:
            name = result.lines[-1]
            kept[name] = b"step %d\n" % n
            target = yester.fresh("restored")
            yester.restore(name, target=target)
            same(source, str(target) + str(source))
            shutil.rmtree(target)
        assert result.rc not in (139, -11, 134, -6), f"{n}: a crash: {result!r}"
        if not hit(log, fault):
            break
        for name in list(kept)[-2:]:
            assert yester.run("cat", f"{name}:files{source}/README").out == kept[name]
    last = yester.backup(source)
    same(source, yester.restored(source, last))
    for name, readme in kept.items():
        assert yester.run("cat", f"{name}:files{source}/README").out == readme
    yester.verify()


def test_a_backup_killed_at_any_call_that_changes_something_hurts_nothing(yester, source, request):
    backups(yester, source, MUTATING, "signal=KILL", "", steps(request, 14))


@pytest.mark.parametrize("error, plus", [("ENOSPC", ""), ("ENOSPC", "+"), ("EIO", ""), ("EIO", "+"), ("EINTR", "")])
def test_a_backup_whose_nth_change_fails_is_truthful(yester, source, request, error, plus):
    backups(yester, source, MUTATING, f"error={error}", plus, steps(request, 8))


@pytest.mark.parametrize("error", ["EIO", "EMFILE"])
def test_a_backup_whose_nth_read_fails_is_truthful(yester, source, request, error):
    """From the 40th on: before that, it is the loader that reads."""
    calls = READING if error == "EIO" else "openat,openat2"
    backups(yester, source, calls, f"error={error}", "", [40 + n for n in steps(request, 10)])


def test_an_init_killed_at_any_call_can_be_repeated(work, request):
    y = Yester(work)
    for n in range(1, 60):
        shutil.rmtree(y.repo, ignore_errors=True)
        log, prefix = injecting(y, MUTATING, "signal=KILL", n)
        result = y.run("init", rc=None, prefix=prefix)
        if not hit(log, "signal=KILL"):
            break
        again = y.run("init", rc=None)
        listed = y.run("list", rc=None)
        assert listed.rc == 0, f"killed at call {n}: init again exits {again.rc}, then {listed!r}"
    assert result.rc == 0 and n > 5


@pytest.mark.parametrize("fault", ["signal=KILL", "error=ENOSPC", "error=EIO"])
def test_a_restore_hit_at_any_call_is_truthful_and_goes_on(yester, source, request, fault):
    name = yester.backup(source)
    for n in steps(request, 10):
        target = yester.fresh("target")
        log, prefix = injecting(yester, MUTATING, fault, n)
        result = yester.run("restore", name, "--target", target, rc=None, prefix=prefix, timeout=120)
        top = str(target) + str(source)
        if result.rc == 0:
            same(source, top)
        assert result.rc not in (139, -11, 134, -6), f"{n}: a crash: {result!r}"
        yester.restore(name, target=target)
        same(source, top)
        shutil.rmtree(target)
        if not hit(log, fault):
            break
