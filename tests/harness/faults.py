"""faults — run a command under faultshim."""
import functools
import os
import pathlib
import struct
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("YESTER_BIN", ROOT / "build" / "tools" / "yester"))
LIBRARIES = BIN.resolve().parents[1] / "tests"


@functools.cache
def sanitizers():
    """The libraries of a sanitizer that the program is linked with; they have to come first."""
    lines = subprocess.run(["ldd", BIN], capture_output=True, text=True).stdout.splitlines()
    return [line.split()[2] for line in lines if line.lstrip().startswith(("libasan", "libtsan", "libclang_rt"))]


class Shim:
    """The library, with files of its own in WORK; DIRECTORY is what it watches."""

    def __init__(self, work, directory):
        self.dir = os.path.realpath(directory)
        self.work = pathlib.Path(work)
        self.work.mkdir(exist_ok=True)
        self.log = self.work / "log"

    def env(self, **plan):
        """The environment for a plan: n=3, errno="EIO", sticky=1, kill="before", calls="read,write" …"""
        for name in ("count", "tell"):
            (self.work / name).unlink(missing_ok=True)
        library = LIBRARIES / ("faultshim_memory.so" if plan.get("calls") == "memory" else "faultshim.so")
        assert library.exists(), f"{library} was not built"
        found = {"LD_PRELOAD": " ".join([*sanitizers(), str(library)]), "FAULT_DIR": self.dir,
                 "FAULT_COUNT_FILE": str(self.work / "count"), "FAULT_TELL": str(self.work / "tell")}
        if sanitizers():
            # With a file for its log it does not come up here; its status is no other one's.
            found.update(ASAN_OPTIONS="exitcode=77", UBSAN_OPTIONS="halt_on_error=1:exitcode=77")
        return {**found, **{f"FAULT_{name.upper()}": str(value) for name, value in plan.items() if value}}

    def count(self):
        """How many calls the last run made."""
        path = self.work / "count"
        return struct.unpack("<Q", path.read_bytes())[0] if path.exists() else 0

    def told(self):
        """Which call was hit, in words; "" if none."""
        path = self.work / "tell"
        return path.read_text(errors="replace").strip() if path.exists() else ""


def spread(count, most):
    """At most MOST of the numbers 1 … COUNT, the first and the last among them."""
    if count <= most:
        return list(range(1, count + 1))
    return sorted({1 + round(i * (count - 1) / (most - 1)) for i in range(most)})
