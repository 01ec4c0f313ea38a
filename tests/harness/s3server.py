"""Starts a real S3 server for a test session: Ceph's gateway where it is installed, else Swift.

YESTER_TEST_S3 chooses ("ceph", "swift"); YESTER_TEST_S3_ENV names the settings of a server that
runs already (the file that s3-ceph.sh start writes).
"""
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

import s3client

HERE = pathlib.Path(__file__).resolve().parent
BUCKET = "yester-tests"


def swift_app():
    return os.environ.get("S3_SWIFT_APP", "/tmp/s3-swift-app")


def available():
    """The kinds that could be started here, the better one first."""
    kinds = []
    if all(shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin") for tool in ("ceph-mon", "ceph-osd", "radosgw")):
        kinds.append("ceph")
    if os.path.isdir(swift_app() + "/root"):
        kinds.append("swift")
    return kinds


def read_settings(path):
    return dict(line.split("=", 1) for line in pathlib.Path(path).read_text().splitlines() if "=" in line)


class Server:
    def __init__(self, settings, kind, where=None):
        self.kind, self.where = kind, where
        self.endpoint, self.region = settings["S3_ENDPOINT"], settings["S3_REGION"]
        self.key, self.secret = settings["S3_ACCESS_KEY"], settings["S3_SECRET_KEY"]
        self.other = (settings.get("S3_ACCESS_KEY2"), settings.get("S3_SECRET_KEY2"))
        host, port = self.endpoint.split("//")[1].split(":")
        self.address = (host, int(port))
        self.client = s3client.Client(self.endpoint, self.region, self.key, self.secret)
        self.client.make_bucket(BUCKET)

    @property
    def env(self):
        return {"AWS_ACCESS_KEY_ID": self.key, "AWS_SECRET_ACCESS_KEY": self.secret, "AWS_REGION": self.region,
                "AWS_ENDPOINT_URL": self.endpoint, "AWS_EC2_METADATA_DISABLED": "true"}

    def script(self, word):
        subprocess.run(["sh", HERE / f"s3-{self.kind}.sh", word, self.where], check=True, capture_output=True)

    def kill(self):
        """As the power would: whoever answers is gone without a goodbye.  start() brings it back."""
        told = subprocess.run(["sh", HERE / f"s3-{self.kind}.sh", "status", self.where], capture_output=True, text=True)
        for line in told.stdout.splitlines():
            name, pid = line.split()
            if name == "radosgw" and pid.isdigit():
                os.kill(int(pid), signal.SIGKILL)

    def start(self):
        self.script("start")

    def stop(self):
        if self.where:
            self.script("stop")
            shutil.rmtree(self.where, ignore_errors=True)


def start():
    """A server, or None where none can be had."""
    running = os.environ.get("YESTER_TEST_S3_ENV")
    if running:
        settings = read_settings(running)
        return Server(settings, settings["S3_SERVER"])
    kinds = available()
    kind = os.environ.get("YESTER_TEST_S3") or (kinds[0] if kinds else None)
    if kind is None:
        return None
    return launch(kind, {})


def launch(kind, settings):
    """A server of its own, with these variables for the script (S3_REGION, S3_ACCESS_KEY …)."""
    # Swift keeps its metadata in extended attributes, which file systems in memory may not have.
    for _ in range(2):  # a port that was free may not be when it is listened to
        where = tempfile.mkdtemp(prefix="yester-s3-", dir="/var/tmp")
        p = subprocess.run(["sh", HERE / f"s3-{kind}.sh", "start", where], capture_output=True, timeout=300, text=True,
                           env={**os.environ, **settings})
        if p.returncode == 0:
            return Server(read_settings(where + "/env"), kind, where)
        shutil.rmtree(where, ignore_errors=True)
    raise RuntimeError(f"no {kind} server: {p.stdout}{p.stderr}")
