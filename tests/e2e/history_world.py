"""A tree that changes from snapshot to snapshot, and what each snapshot holds by its restore."""
import os
import random
import stat

from conftest import below

KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo"}


class World:
    """Snapshots of a changing tree.  `shots` are (name, adhoc, {path: state}); a state is all that a
    restore brings back."""

    def __init__(self, yester, work, seed=1, files=40):
        self.yester, self.top = yester, work / "world"
        self.random = random.Random(seed)
        self.shots = []
        self.top.mkdir()
        self.config = work / "world.conf"
        self.config.write_text(f"[files]\npaths = {self.top}\n")
        self.env = {"YESTER_CONFIG": str(self.config)}
        for i in range(files):
            self.write(f"d{i % 5}/e{i % 3}/file{i}.txt")
        (self.top / "d0/flip").write_text("a file first\n")
        (self.top / "d0/link").symlink_to("flip")
        os.link(self.top / "d0/flip", self.top / "d1/flip2")

    def write(self, name, size=None):
        path = self.top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        size = self.random.randrange(0, 3000) if size is None else size
        path.write_bytes(self.random.randbytes(size))

    def files(self):
        return sorted(p for p in self.top.rglob("*") if p.is_file() and not p.is_symlink())

    def change(self):
        some = self.random.sample(self.files(), 6)
        for path in some[:2]:
            path.write_bytes(path.read_bytes() + b"more")
        some[2].chmod(self.random.choice([0o600, 0o640, 0o755]))
        os.utime(some[3], ns=(1, self.random.randrange(10**18)))
        some[4].unlink()
        self.write(f"d{self.random.randrange(6)}/e{self.random.randrange(3)}/new{self.random.randrange(9)}.txt")

    def flip(self):
        """A path that is a file, then a directory, then a file again."""
        path = self.top / "d0/flip"
        if path.is_dir():
            (path / "inside").unlink()
            path.rmdir()
            path.write_text("a file again\n")
        else:
            path.unlink()
            path.mkdir()
            (path / "inside").write_text("inside\n")

    def take(self, *paths):
        name = self.yester.backup(*paths, env=self.env)
        adhoc = bool(paths)
        self.shots.append((name, adhoc, self.restored(name)))
        return name

    def restored(self, name):
        target = self.yester.fresh("restored")
        self.yester.restore(name, target=target)
        return states(below(target, self.top), self.top)

    # -- what has to come out ---------------------------------------------------------------------

    def paths(self):
        return sorted({path for _, _, found in self.shots for path in found})

    def versions(self, path, directories=True):
        """[(first, last, state)] by going through all snapshots."""
        out, gap = [], False
        for name, adhoc, found in self.shots:
            if path not in found or (not directories and found[path][0] == "directory"):
                gap = gap or not adhoc
                continue
            if out and not gap and out[-1][2] == found[path]:
                out[-1][1] = name
            else:
                out.append([name, name, found[path]])
            gap = False
        return [tuple(v) for v in out]


def state(path):
    st = os.lstat(path)
    kind = KINDS[stat.S_IFMT(st.st_mode)]
    inside = None
    if kind == "file":
        inside = path.read_bytes()
    elif kind == "symlink":
        inside = os.readlink(path)
    mode = stat.S_IMODE(st.st_mode)
    return (kind, inside, mode, st.st_uid, st.st_gid, st.st_mtime_ns)


def states(directory, source):
    """{source path: state}; a directory's has that of all below it."""
    found = {}
    for at, _, files in os.walk(directory, topdown=False):
        at = type(directory)(at)
        names = sorted(os.listdir(at))
        for name in names:
            if (at / name).is_symlink() or not (at / name).is_dir():
                found[at / name] = state(at / name)
        own = state(at)
        found[at] = (own[0], tuple((n, found[at / n]) for n in names), *own[2:])
    return {str(source) + str(p)[len(str(directory)):]: s for p, s in found.items()}
