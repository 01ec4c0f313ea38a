"""What the end-to-end tests share: the program with a fresh repository, source trees, mounts.

YESTER_BIN names the program (default build/tools/yester).  Tests are judged by tests/harness and
by ordinary tools, never by the program's own word.  Marks: `long` runs only with --long; `quick` also
under the address sanitizer; `smoke` under that and the thread sanitizer.
"""
import base64
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "harness"))
import awkward  # noqa: E402
import s3server  # noqa: E402
import treecmp  # noqa: E402

BIN = os.environ.get("YESTER_BIN", str(ROOT / "build" / "tools" / "yester"))
NAME = re.compile(r"\d{8}_\d{6}")
NOBODY = 65534
# A sanitizer makes everything slower; nothing may take longer than this.
PATIENCE = float(os.environ.get("YESTER_TEST_PATIENCE", "300"))


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="also run the tests marked long")


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes minutes; only with --long")
    config.addinivalue_line("markers", "quick: also run under the address sanitizer")
    config.addinivalue_line("markers", "smoke: also run under the thread sanitizer")
    config.addinivalue_line("markers", "root: needs root")
    config.addinivalue_line("markers", "disk: works on the disk of TMPDIR, not in memory")
    config.addinivalue_line("markers", "xdist_group(name): what one process runs, where there are several")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--long"):
        late = [i for i in items if i.get_closest_marker("long")]
        config.hook.pytest_deselected(items=late)
        items[:] = [i for i in items if not i.get_closest_marker("long")]


def pytest_runtest_setup(item):
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs root")


class Result:
    def __init__(self, args, rc, out, err):
        self.args, self.rc, self.out, self.err = args, rc, out, err

    @property
    def text(self):
        return self.out.decode("utf-8", "surrogateescape")

    @property
    def errors(self):
        return self.err.decode("utf-8", "surrogateescape")

    @property
    def lines(self):
        return self.text.splitlines()

    def json(self):
        """The document, or the list of the objects that stand on a line each."""
        try:
            return json.loads(self.text)
        except ValueError:
            return [json.loads(line) for line in self.lines if line.strip()]

    def __repr__(self):
        command = " ".join(map(os.fsdecode, self.args))
        return f"{command}: exit {self.rc}\n{self.text[-3000:]}\n{self.errors[-3000:]}"


def as_user(user):
    """The words in front of a command that make it run as USER, a number; root only."""
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--"] if user else []


class Yester:
    """The program with a repository, a key and a cache of its own."""

    def __init__(self, work, user=None, s3=None):
        self.work, self.user, self.s3 = pathlib.Path(work), user, s3
        self.prefix = "t" + os.urandom(8).hex()
        self.directory, self.key = self.work / "repo", self.work / "key"
        self.cache, self.reports = self.work / "cache", self.work / "sanitizer"
        self.mounts = []
        for path in (self.cache, self.reports, self.work / "home"):
            path.mkdir(mode=0o777)
            path.chmod(0o777)
        self.write_key(self.key)
        self.program = self.reachable(BIN)
        self.env = {
            "PATH": os.environ["PATH"], "HOME": str(self.work / "home"), "LC_ALL": "C.UTF-8", "TZ": "UTC",
            "XDG_CACHE_HOME": str(self.cache), "YESTER_REPO": self.location,
            "YESTER_KEY_FILE": str(self.key), "YESTER_CONFIG": "/dev/null",
        }
        if s3:
            self.env.update(s3.env)
        for name in ("ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS"):
            log = f"log_path={self.reports}/{name[:4]}"
            self.env[name] = ":".join(filter(None, (os.environ.get(name), log)))

    @property
    def notice(self):
        """Seconds until a mount has noticed a new snapshot, on a busy machine: it looks four times a second, at a bucket every ten."""
        return 60 if self.s3 else 30

    @property
    def location(self):
        return f"s3://{s3server.BUCKET}/{self.prefix}" if self.s3 else str(self.directory)

    @property
    def repo(self):
        """The repository's directory: a test that looks into it is not one for a bucket."""
        if self.s3:
            pytest.skip("looks into the repository's directory")
        return self.directory

    @repo.setter
    def repo(self, directory):
        if self.s3:
            pytest.skip("looks into the repository's directory")
        self.directory = directory

    def write_key(self, path):
        path.write_bytes(base64.b64encode(os.urandom(32)) + b"\n")
        path.chmod(0o600)
        if self.user:
            os.chown(path, self.user, self.user)

    def reachable(self, path):
        """A copy that the user can run, wherever the tests stand (a clone below /root, say)."""
        return shutil.copy(path, self.fresh("bin")) if self.user else path

    def command(self, *args):
        return [*as_user(self.user), self.program, *map(os.fspath, args)]

    def harness(self, script, *args):
        """Run a script of tests/harness as this user."""
        python = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
        copy = self.reachable(ROOT / "tests" / "harness" / script)
        command = [*as_user(self.user), python, copy, *map(os.fspath, args)]
        p = subprocess.run(command, capture_output=True, env=self.env)
        return Result(command, p.returncode, p.stdout, p.stderr)

    def run(self, *args, rc=0, env=None, input=b"", timeout=PATIENCE, prefix=(), cwd=None):
        """Run it to its end; RC is the exit status that it must have (None: any; or several)."""
        command = [*prefix, *self.command(*args)]
        p = subprocess.run(command, input=input, capture_output=True, env={**self.env, **(env or {})},
                           timeout=timeout, cwd=cwd)
        result = Result(command, p.returncode, p.stdout, p.stderr)
        wanted = rc if isinstance(rc, (tuple, set, list)) else (rc,)
        assert rc is None or result.rc in wanted, f"expected exit {rc}: {result!r}"
        return result

    def start(self, *args, env=None, **kwargs):
        """Start it and return the process."""
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        kwargs.setdefault("stdout", subprocess.PIPE)
        kwargs.setdefault("stderr", subprocess.PIPE)
        return subprocess.Popen(self.command(*args), env={**self.env, **(env or {})}, **kwargs)

    def init(self):
        self.run("init")
        return self

    def backup(self, *paths, type="files", rc=0, **kwargs):
        """Take a snapshot and return its name."""
        result = self.run("backup", "--type", type, *paths, rc=rc, **kwargs)
        name = result.lines[-1] if result.lines else ""
        assert NAME.fullmatch(name), f"the last line is no snapshot: {result!r}"
        return name

    def verify(self):
        """All that is stored can be read."""
        self.run("verify", "--data")

    def snapshots(self):
        found = self.run("--json", "list").json()
        if isinstance(found, dict):
            found = found["snapshots"] if "snapshots" in found else [found]
        return found

    def restore(self, *args, target, **kwargs):
        return self.run("restore", *args, "--target", target, **kwargs)

    def restored(self, source, *args, target=None, **kwargs):
        """Restore into a fresh directory; return where the directory SOURCE is in it."""
        target = target or self.fresh("restored")
        self.restore(*(args or ("latest",)), target=target, **kwargs)
        return below(target, source)

    def fresh(self, name="dir"):
        path = pathlib.Path(tempfile.mkdtemp(prefix=name + ".", dir=self.work))
        path.chmod(0o755)
        if self.user:
            os.chown(path, self.user, self.user)
        return path

    def objects(self):
        """All files of the repository."""
        return sorted(p for p in self.repo.rglob("*") if p.is_file())

    def stored(self):
        if self.s3:
            return sum(self.keys().values())
        return sum(p.stat().st_size for p in self.objects())

    def keys(self):
        """{name: size} of the objects in the bucket."""
        found = self.s3.client.keys(s3server.BUCKET, self.prefix + "/")
        return {key[len(self.prefix) + 1:]: size for key, size in found.items()}

    @contextlib.contextmanager
    def mount(self, *args, rc=0, env=None, patience=3 * PATIENCE):
        """Mount in the foreground, so that there is a process to look at (`.process`)."""
        where = self.fresh("mnt")
        log = open(self.work / (where.name + ".log"), "wb")
        process = self.start("mount", "-f", *args, where, env=env, stdout=log, stderr=log)
        # A mount that hangs would hang the tests: its end makes every call on it fail.
        watchdog = threading.Timer(patience, process.kill)
        watchdog.start()
        mount = Mount(where, process)
        self.mounts.append(where)
        try:
            wait_for(lambda: is_mounted(where) or process.poll() is not None, "the mount")
            assert process.poll() is None, f"mount ended: {pathlib.Path(log.name).read_text()}"
            yield mount
            if process.poll() is None:
                self.run("umount", where)
                wait_for(lambda: process.poll() is not None, "the mount's end", 120)
                assert process.returncode == rc, pathlib.Path(log.name).read_text()
        finally:
            watchdog.cancel()
            if process.poll() is None:
                process.kill()
                process.wait()
            log.close()
            unmount(where)

    def check_reports(self):
        found = [p.read_text(errors="replace")[:6000] for p in sorted(self.reports.iterdir())]
        # The leak checker of a process that is killed meanwhile says this, and finds nothing.
        found = [f for f in found if not re.fullmatch(r"==\d+==Unable to get registers from thread \d+\.\n", f)]
        assert not found, "a sanitizer reports: " + "\n".join(found)


class Mount:
    def __init__(self, path, process):
        self.path, self.process = path, process

    def tree(self, snapshot, source, type="files"):
        """Where the absolute path SOURCE appears."""
        return below(self.path / snapshot / type, source)


def below(top, path):
    return pathlib.Path(str(top) + str(path))


def is_mounted(path):
    name = str(path).encode()
    with open("/proc/self/mountinfo", "rb") as f:
        return any(line.split()[4] == name for line in f)


def unmount(path):
    """Whatever happened, leave nothing mounted."""
    for command in (["fusermount3", "-u", "-z"], ["umount", "-l"]):
        if is_mounted(path):
            subprocess.run([*command, path], capture_output=True)


def wait_for(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.02)


@contextlib.contextmanager
def suspended(process):
    """It does nothing meanwhile, so that what is to happen in the middle of its work does."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def same(a, b, **options):
    """Fail with the differences when the trees differ."""
    lines = treecmp.compare(a, b, **options)
    assert not lines, f"{a} and {b} differ:\n" + "\n".join(lines)


def same_on_mount(source, mounted, **options):
    """As same(); a mount's st_blocks and its list of holes are the program's word, so all is read."""
    same(source, mounted, holes=False, **options)


def in_memory():
    """A file system in memory with room for the tests, or None: they make and delete many small files."""
    where = "/dev/shm"
    try:
        room = os.statvfs(where)
    except OSError:
        return None
    fits = room.f_bavail * room.f_frsize > 8 << 30 and os.access(where, os.W_OK)
    return where if fits and not room.f_flag & os.ST_NOEXEC else None


@pytest.fixture
def work(request):
    """A directory that goes away however deep it has become: in memory, on a disk for those marked so."""
    where = None if "TMPDIR" in os.environ or request.node.get_closest_marker("disk") else in_memory()
    path = pathlib.Path(tempfile.mkdtemp(prefix="yester-test-", dir=where))
    path.chmod(0o755)
    yield path
    if not os.environ.get("YESTER_TEST_KEEP"):
        awkward.remove(os.fsencode(path))


@pytest.fixture(scope="session")
def s3_server():
    """A real S3 server; tests that ask for it are skipped where there is none."""
    server = s3server.start()
    if server is None:
        pytest.skip("no S3 server is installed (tests/harness/s3-ceph.sh install)")
    yield server
    server.stop()


@pytest.fixture
def everywhere(request):
    """With YESTER_TEST_REPO=s3 all tests keep their repositories in a bucket."""
    return request.getfixturevalue("s3_server") if os.environ.get("YESTER_TEST_REPO") == "s3" else None


@pytest.fixture
def s3_yester(work, s3_server):
    """The program with a repository in a bucket."""
    y = Yester(work, s3=s3_server).init()
    yield y
    for path in y.mounts:
        unmount(path)
    y.check_reports()


@pytest.fixture
def yester(work, everywhere):
    """The program with an initialised repository."""
    y = Yester(work, s3=everywhere).init()
    yield y
    for path in y.mounts:
        unmount(path)
    y.check_reports()


@pytest.fixture
def user_yester(work, everywhere):
    """The same as a normal user: nobody, where the tests run as root."""
    user = NOBODY if os.geteuid() == 0 else None
    if user:
        os.chown(work, user, user)
    y = Yester(work, user, everywhere).init()
    yield y
    for path in y.mounts:
        unmount(path)
    y.check_reports()


@pytest.fixture
def tree(work):
    """A small ordinary source tree."""
    return make_tree(work / "source")


def make_tree(top):
    files = {
        "README": b"a file\n", "src/main.c": b"int main(void)\n{\n    return 0;\n}\n" * 50,
        "src/lib/deep/er/file.h": b"#pragma once\n", "data/noise": os.urandom(300_000), "data/zeros": bytes(200_000),
        "data/empty": b"", ".hidden/.file": b"dot", "app/.env": b"SECRET=1\n", "app/package.json": b"{}\n",
        "app/docker-compose.yml": b"services: {}\n",
    }
    for name, data in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (top / "src/link").symlink_to("main.c")
    os.link(top / "README", top / "data/README.too")
    (top / "empty dir").mkdir()
    return top
