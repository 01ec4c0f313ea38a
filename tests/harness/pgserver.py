"""A real PostgreSQL server of its own for a test: in a directory that goes away, as an unprivileged user.

    with Server(directory, user=65534) as server:
        server.start()
        server.sql("CREATE TABLE t (n int)")

Nothing is taken from the system's own cluster: socket, port, settings are the test's.
"""
import atexit
import functools
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time

from ports import free_port


def installed():
    """The programs of the newest server that the system has; None: it has none."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: float(p.parts[-3]))
    return found[-1].parent if found else None


@functools.cache
def bindir():
    """The programs that tests use; None: there are none.  YESTER_TEST_PGBIN names a directory with those
    of another version; what it lacks (there are packages of a server alone) is taken from the system's."""
    named = os.environ.get("YESTER_TEST_PGBIN")
    if not named:
        return installed()
    both = pathlib.Path(tempfile.mkdtemp(prefix="yester-pgbin-"))
    atexit.register(shutil.rmtree, both, ignore_errors=True)
    both.chmod(0o755)
    for directory in filter(None, (named, installed())):
        for program in pathlib.Path(directory).iterdir():
            if not (both / program.name).exists():
                (both / program.name).symlink_to(program.resolve())
    return both


@functools.cache
def major(program="postgres"):
    """The major version of a program: the server's, or say pg_dump's."""
    said = subprocess.run([bindir() / program, "--version"], capture_output=True, text=True, check=True).stdout
    return int(re.search(r"\) (\d+)", said)[1])


def dumps():
    """Whether pg_dump is new enough for the server."""
    return bindir() is not None and major("pg_dump") >= major()


class Server:
    SETTINGS = {
        "listen_addresses": "''", "fsync": "off", "shared_buffers": "16MB", "max_connections": "30",
        "wal_level": "replica", "max_wal_senders": "10", "max_replication_slots": "10", "autovacuum": "off",
        "max_slot_wal_keep_size": "1GB", "wal_keep_size": "1GB", "logging_collector": "off", "log_min_messages": "warning", "timezone": "UTC",
        "synchronous_commit": "on", "max_prepared_transactions": "10",
    }

    def __init__(self, directory, user=None, data=None):
        self.directory, self.user = pathlib.Path(directory), user
        self.data = pathlib.Path(data) if data else self.directory / "data"
        self.bin, self.port, self.process = bindir(), free_port(), None
        self.directory.mkdir(exist_ok=True)
        self.log = self.directory / "server.log"
        if user:
            os.chown(self.directory, user, user)
        self.env = {"PATH": f"{self.bin}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8", "HOME": str(self.directory),
                    "PGHOST": str(self.directory), "PGPORT": str(self.port), "PGUSER": "postgres",
                    "PGDATABASE": "postgres", "TZ": "UTC"}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.stop("immediate")

    def command(self, *args):
        user = self.user
        drop = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--"] if user else []
        return [*drop, *map(os.fspath, args)]

    def run(self, program, *args, check=True, env=None, **kwargs):
        """One of PostgreSQL's own programs, with this server as its default."""
        p = subprocess.run(self.command(self.bin / program, *args), env={**self.env, **(env or {})},
                           capture_output=True, text=True, cwd=self.directory, **kwargs)
        assert not check or p.returncode == 0, f"{shlex.join(p.args)}: {p.returncode}\n{p.stdout}\n{p.stderr}"
        return p

    def init(self, *args):
        self.run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", *args)
        self.configure(**self.SETTINGS)
        return self

    def configure(self, **settings):
        """Add settings, as they stand in the file: quoted where they are text."""
        lines = [f"port = {self.port}", f"unix_socket_directories = '{self.directory}'"]
        for name, value in settings.items():
            value = value if value.startswith("'") else "'" + value.replace("'", "''") + "'"
            lines.append(f"{name} = {value}")
        with open(self.data / "postgresql.auto.conf", "a") as f:
            f.write("\n".join(lines) + "\n")

    def start(self, wait=True, env=None):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command(self.bin / "postgres", "-D", self.data), stdout=log, stderr=log,
                                            env={**self.env, **(env or {})}, cwd=self.directory, stdin=subprocess.DEVNULL)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, seconds=300):
        end = time.monotonic() + seconds
        while self.run("psql", "-Atc", "SELECT 1", check=False).returncode != 0:
            assert self.process.poll() is None, f"the server ended: {self.log.read_text()[-3000:]}"
            assert time.monotonic() < end, f"the server does not answer: {self.log.read_text()[-3000:]}"
            time.sleep(0.05)

    def stop(self, mode="fast"):
        if not self.process or self.process.poll() is not None:
            return
        self.process.send_signal({"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode])
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def sql(self, text, database="postgres"):
        """The rows as psql prints them, unaligned."""
        return self.run("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", text).stdout.strip()

    def basebackup(self, to, standby=False):
        """A copy of the running server that recovers, for a standby along this server's log."""
        if major("pg_basebackup") >= major():
            self.run("pg_basebackup", "-D", to, "-c", "fast", *(("-R", "-X", "stream") if standby else ("-X", "none")))
            return
        # An older pg_basebackup refuses the server: as it is written in PostgreSQL's manual, by hand.
        session = subprocess.Popen(self.command(self.bin / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1"), env=self.env, text=True,
                                   cwd=self.directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        session.stdin.write("SELECT pg_backup_start('test', true);\n")
        session.stdin.flush()
        assert "/" in session.stdout.readline(), "no pg_backup_start"
        subprocess.run(self.command("cp", "-a", self.data, to), check=True)
        for path in [*to.glob("postmaster.*"), *to.glob("pg_wal/*"), *to.glob("pg_replslot/*")]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        label = session.communicate("SELECT labelfile FROM pg_backup_stop();\n", timeout=60)[0]
        for name, content in {"backup_label": label, **({"standby.signal": ""} if standby else {})}.items():
            (to / name).write_text(content)
            if self.user:
                os.chown(to / name, self.user, self.user)

    def lsn(self):
        return self.sql("SELECT pg_current_wal_flush_lsn()")

    def switch(self):
        """Complete the segment; the name of its file."""
        name = self.sql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")
        self.sql("SELECT pg_switch_wal()")
        self.sql("CHECKPOINT")
        return name
