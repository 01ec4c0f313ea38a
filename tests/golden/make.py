#!/usr/bin/env python3
"""make — write the golden repositories of a format version, which every later yester must read.

    make.py YESTER DIR [NAME…]      as root; DIR is tests/golden/v1; what is there already stays

For each: `repo`, key files (`key`, which opens it, and others), and `manifest.json` with what its source
held, told by lstat(2) and read(2).  Run once for a format version: the repositories are checked in, and
never made again once a release has been.
"""
import base64
import hashlib
import json
import os
import pathlib
import random
import shutil
import stat
import subprocess
import sys
import time

KIB, SECOND = 1 << 10, 10 ** 9
LATEST = 1_600_000_000      # s; before all that is made now
# What an entry of a manifest has where it does not say.
USUAL = {"type": "file", "mode": "0644", "uid": 0, "gid": 0, "holes": []}
WORK = pathlib.Path("/tmp/yester-golden")
SOURCE = WORK / "source"
KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFCHR: "character",
         stat.S_IFBLK: "block", stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket"}


def holes_of(fd, size):
    """[offset, length] of each, as the file system tells."""
    at, found = 0, []
    while at < size:
        try:
            data = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            data = size
        if data > at:
            found.append([at, data - at])
        if data >= size:
            break
        at = os.lseek(fd, data, os.SEEK_HOLE)
    return found


def describe_file(path, st):
    with open(path, "rb") as f:
        holes = holes_of(f.fileno(), st.st_size)
        f.seek(0)
        return {"size": st.st_size, "sha256": hashlib.sha256(f.read()).hexdigest(), "holes": holes}


def describe(path, name, links):
    """One entry as a manifest has it; formatreader.py gives the same."""
    st = os.lstat(path)
    kind = KINDS[stat.S_IFMT(st.st_mode)]
    line = {"path": os.fsdecode(name), "type": kind, "mode": f"{stat.S_IMODE(st.st_mode):04o}", "uid": st.st_uid,
            "gid": st.st_gid, "mtime_ns": st.st_mtime_ns}
    if kind == "file":
        line |= describe_file(path, st)
    elif kind == "symlink":
        line["target"] = os.fsdecode(os.readlink(path))
    elif kind in ("character", "block"):
        line["device"] = st.st_rdev
    if kind != "directory" and st.st_nlink > 1:
        line["link"] = links.setdefault((st.st_dev, st.st_ino), line["path"])
    xattrs = {os.fsdecode(n): os.getxattr(path, n, follow_symlinks=False).hex()
              for n in sorted(os.listxattr(path, follow_symlinks=False), key=os.fsencode)}
    if xattrs:
        line["xattrs"] = xattrs
    return line


def manifest_of(top):
    """All below TOP and itself, with paths relative to TOP (".": itself), in order of their bytes."""
    top, links, names = os.fsencode(top), {}, [b"."]
    for here, dirs, files in os.walk(top):
        names += [os.path.relpath(os.path.join(here, n), top) for n in dirs + files]
    return [describe(os.path.join(top, n), n, links) for n in sorted(names)]


def put(name, data=b"", mode=0o644):
    path = SOURCE / os.fsdecode(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)
    return path


def settle(rnd):
    """Times that are not those of the making, for what is new; directories behind what is in them."""
    for here, dirs, files in os.walk(os.fsencode(SOURCE), topdown=False):
        for name in [os.path.join(here, n) for n in sorted(files + dirs)] + [here]:
            if os.lstat(name).st_mtime_ns > SECOND * LATEST:
                ns = rnd.randrange(-SECOND * 10 ** 8, SECOND * LATEST)
                os.utime(name, ns=(ns, ns), follow_symlinks=False)


def pages(rnd, count, kinds=5):
    """COUNT pages of 4 KiB that compress well and still are cut by their content."""
    words = [b"alpha beta gamma ", b"delta\n", b"alpha beta epsilon "]
    each = [b"".join(rnd.choices(words, k=700))[:4096] for _ in range(kinds)]
    return b"".join(rnd.choices(each, k=count))


def sparse(name, extents, size):
    with open(SOURCE / name, "wb") as f:
        for at, data in extents:
            f.seek(at)
            f.write(data)
        f.truncate(size)


def plain_names():
    for name in (b"\xff\xfe not utf-8", b"new\nline", b"n" * 255, b"-rf", b" ", b"...", b"caf\xc3\xa9", b"cafe\xcc\x81",
                 b"back\\slash", b"\x01\x7f", b"Case", b"case"):
        put(b"names/" + name, b"the file " + name)
    put(b"names/\xff dir/in it", b"below")


def plain_special():
    d = SOURCE / "special"
    d.mkdir()
    os.mkfifo(d / "fifo", 0o640)
    os.mknod(d / "socket", stat.S_IFSOCK | 0o755)
    os.mknod(d / "character", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(d / "block", stat.S_IFBLK | 0o660, os.makedev(4000, 900000))
    os.link(d / "fifo", d / "fifo too")
    for name, target in ((b"relative", b"fifo"), (b"dangling", b"/no/such"), (b"bytes", b"\xff\n"), (b"long", b"l" * 4000)):
        os.symlink(target, os.path.join(os.fsencode(d), name))


def plain_links():
    put("links/one", b"three names in three directories")
    for other in ("links/a/two", "links/b/c/three"):
        (SOURCE / other).parent.mkdir(parents=True)
        os.link(SOURCE / "links/one", SOURCE / other)
    put("links/empty1")
    os.link(SOURCE / "links/empty1", SOURCE / "links/empty2")
    os.symlink("one", SOURCE / "links/symlink")
    os.link(SOURCE / "links/symlink", SOURCE / "links/symlink too", follow_symlinks=False)


def plain_attributes(rnd):
    put("attributes/setuid", b"#!", 0o4755)
    put("attributes/closed", b"-", 0)
    os.chown(put("attributes/owned", b"o"), 12345, 4294967294)
    path = put("attributes/xattrs", b"x")
    os.setxattr(path, "user.note", b"\0binary\xff")
    os.setxattr(path, "user.empty", b"")
    os.setxattr(path, b"user.\xff", b"name")
    os.setxattr(put("attributes/many xattrs", b"y"), "user.large", rnd.randbytes(700) * 3)
    for i in range(30):
        os.setxattr(SOURCE / "attributes/many xattrs", f"user.number.{i}", b"v%d" % i)
    (SOURCE / "attributes/dir").mkdir()
    os.setxattr(SOURCE / "attributes/dir", "user.dir", b"on a directory")
    (SOURCE / "attributes/sticky").mkdir()
    (SOURCE / "attributes/sticky").chmod(0o1777)


def plain_sizes(rnd):
    for size in (0, 1, 16383, 16384, 65535, 65536, 65537, 131073):
        put(f"sizes/{size}", pages(rnd, 33)[:size])
    put("sizes/big", pages(rnd, 300) + rnd.randbytes(9000) + pages(rnd, 40, 1))
    put("sizes/zeros", bytes(300 * KIB))
    sparse("sizes/sparse", [(0, b"a" * 4096), (40960, b"b" * 5000), (2 << 20, pages(rnd, 30))], 5 << 20)
    sparse("sizes/only a hole", [], 1 << 20)
    sparse("sizes/hole first", [(1 << 20, b"end")], (1 << 20) + 3)


def fill_plain(rnd):
    plain_names()
    plain_special()
    plain_links()
    plain_attributes(rnd)
    plain_sizes(rnd)
    for i in range(1500):
        put(f"many/entry {i:04d}", b"%d\n" % (i % 16) if i % 3 else b"")
    for name in ("empty/a/b", "empty/c", "x/" * 40):
        (SOURCE / name).mkdir(parents=True)


def terse(entry):
    return {k: v for k, v in entry.items() if k not in USUAL or USUAL[k] != v}


def full(entry):
    line = USUAL | entry
    if line["type"] != "file":
        del line["holes"]
    return line


def load(path):
    """A manifest; each snapshot's entries by path, all of their fields said."""
    manifest = json.loads(pathlib.Path(path).read_text())
    before = {}
    for snapshot in manifest["snapshots"].values():
        removed = snapshot.pop("removed")
        before = {p: e for p, e in before.items() if p not in removed}
        before |= {e["path"]: full(e) for e in snapshot["entries"]}
        snapshot["entries"] = before
    return manifest


class Maker:
    def __init__(self, program, top, name):
        self.program, self.out = os.path.abspath(program), pathlib.Path(top) / name
        for path in (WORK, self.out):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)
        SOURCE.mkdir()
        self.snapshots, self.before = {}, {}
        self.rnd = random.Random(name)
        self.env = {"PATH": os.environ["PATH"], "HOME": str(WORK), "XDG_CACHE_HOME": str(WORK / "cache"), "TZ": "UTC",
                    "YESTER_REPO": str(self.out / "repo"), "YESTER_CONFIG": "/dev/null", "LC_ALL": "C.UTF-8"}

    def key(self, name, passphrase=None):
        """A key file that is checked in; these repositories hold nothing secret."""
        text = passphrase or base64.b64encode(self.rnd.randbytes(32))
        path = self.out / name
        path.write_bytes(text + b"\n")
        path.chmod(0o600)
        return path

    def run(self, *args, key="key"):
        env = self.env | {"YESTER_KEY_FILE": str(self.out / key)}
        p = subprocess.run([self.program, "--host", "golden", *map(str, args)], env=env, check=True, capture_output=True)
        return p.stdout.decode().splitlines()

    def backup(self, *args, config=None, **kwargs):
        """A snapshot of the source; CONFIG: the paths that type config takes of it."""
        wanted = "files" if config is None else "all"
        settle(self.rnd)
        if self.snapshots:
            time.sleep(1.1)
        name = self.run("backup", "--type", wanted, *args, SOURCE, **kwargs)[-1]
        now = {e["path"]: e for e in manifest_of(SOURCE)}
        self.snapshots[name] = {
            "source": str(SOURCE), "removed": sorted(self.before.keys() - now.keys()),
            "entries": [terse(e) for p, e in now.items() if self.before.get(p) != e]}
        self.before = now
        if config is not None:
            self.snapshots[name]["config"] = sorted(config)

    def finish(self, keys, wrong=()):
        for path in sorted(self.out.rglob("*"), reverse=True):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        manifest = {"keys": list(keys), "wrong_keys": list(wrong), "snapshots": self.snapshots}
        (self.out / "manifest.json").write_text(json.dumps(manifest, separators=(",", ":")).replace('{"path"', '\n{"path"') + "\n")
        size = sum(p.stat().st_size for p in (self.out / "repo").rglob("*") if p.is_file())
        print(f"{self.out.name}: {size // KIB} KiB")
        assert size < 200 * KIB, "a golden repository is to be small"
        shutil.rmtree(WORK)


def make_plain(m):
    """Files of all types and shapes."""
    m.key("key")
    m.run("init")
    fill_plain(m.rnd)
    m.backup()
    m.finish(["key"])


def make_shared(m):
    """Three snapshots; most leaves and files of the later ones are those of the first."""
    m.key("key")
    m.run("init")
    for i in range(1200):
        put(f"many/entry {i:04d}", b"%d\n" % (i % 16) if i % 3 else b"")
    put("big", pages(m.rnd, 200))
    put("a/b/c/unchanged", b"the same in all")
    m.backup()
    put("many/entry 0700", b"changed")
    put("many/entry 0700 and a half", b"new")
    (SOURCE / "many/entry 0900").unlink()
    with open(SOURCE / "big", "r+b") as f:
        f.seek(300000)
        f.write(b"a change in the middle")
    m.backup("--tag", "second")
    shutil.rmtree(SOURCE / "a")
    m.backup()
    m.finish(["key"])


def make_types(m):
    """Files and configuration in one snapshot."""
    m.key("key")
    m.run("init")
    config = ["app/.env", "app/package.json", "app/docker-compose.yml", "lib/Cargo.lock"]
    for name in config:
        put(name, b"configuration: " + name.encode() * 20)
    put("app/main.c", b"int main(void)\n{\n    return 0;\n}\n")
    put("lib/data", pages(m.rnd, 40))
    m.backup(config=config)
    m.finish(["key"])


def make_slots(m):
    """A raw key, a passphrase (scrypt), and one more of each."""
    m.key("key")
    m.run("init")
    m.key("passphrase", b"correct horse battery staple \xc3\xa9")
    m.key("third")
    m.key("fourth", b" a passphrase with blanks ")
    for name in ("passphrase", "third", "fourth"):
        m.run("key", "add", "--new-key-file", m.out / name, "--label", name)
    put("file", b"opened by any of four keys")
    m.backup(key="passphrase")
    m.key("wrong")
    m.finish(["key", "passphrase", "third", "fourth"], ["wrong"])


def make_epoch(m):
    """A key is taken out between two snapshots, and another is let in."""
    m.key("key")
    m.run("init")
    m.key("removed")
    m.run("key", "add", "--new-key-file", m.out / "removed", "--label", "removed")
    put("old", b"written in epoch 1" * 1000)
    m.backup(key="removed")
    listed = json.loads("\n".join(m.run("--json", "key", "list")))
    rows = listed["keys"] if isinstance(listed, dict) else listed
    m.run("key", "remove", next(row["id"] for row in rows if row["label"] == "removed"))
    put("new", b"written in epoch 2" * 1000)
    m.backup()
    m.key("late")
    m.run("key", "add", "--new-key-file", m.out / "late", "--label", "late")
    m.finish(["key", "late"], ["removed"])


def make_extents(m):
    """Files in so many pieces that these have items, and an index, of their own."""
    m.key("key")
    m.run("init")
    page = pages(m.rnd, 1)
    sparse("100 pieces", [(i * 8192, page) for i in range(100)], 100 * 8192)
    sparse("1500 pieces", [(i * 8192 + 4096, page if i % 7 else b"%04d" % i * 1024) for i in range(1500)], 1500 * 8192)
    os.link(SOURCE / "1500 pieces", SOURCE / "1500 pieces too")
    m.backup()
    m.finish(["key"])


def make_moved(m):
    """What a compaction left: content and directories are found through a remap."""
    m.key("key")
    m.run("init")
    for i in range(40):
        put(f"kept/{i}", pages(m.rnd, 1) + b"%d" % i)
        put(f"gone/{i}", m.rnd.randbytes(9000))
    for i in range(4000):
        put(f"gone too/{i}")
    put("big", pages(m.rnd, 60))
    os.link(SOURCE / "big", SOURCE / "big too")
    m.backup()
    first, m.before = next(iter(m.snapshots)), {}
    for name in ("gone", "gone too"):
        shutil.rmtree(SOURCE / name)
    put("new", b"of the second snapshot")
    m.backup()
    m.snapshots.pop(first)
    m.run("forget", first)
    m.run("prune", "--now", "--compact", "90%")
    assert list((m.out / "repo/remap").iterdir()), "nothing was moved"
    m.finish(["key"])


MAKERS = {"plain": make_plain, "shared": make_shared, "types": make_types, "slots": make_slots, "epoch": make_epoch,
          "extents": make_extents, "moved": make_moved}


def main(argv):
    if len(argv) < 2 or os.geteuid() != 0:
        print(__doc__, file=sys.stderr)
        return 2
    os.umask(0o022)
    for name in argv[2:] or MAKERS:
        if not os.path.exists(os.path.join(argv[1], name)):
            MAKERS[name](Maker(argv[0], argv[1], name))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
