#!/usr/bin/env python3
"""treecmp — compare two directory trees in everything that a backup has to bring back.

An independent judge: it shares no code with yester and asks only the kernel.  One line for each
difference; exit 0 the same, 1 different, 2 trouble.

It walks both trees at once, relative to directory descriptors and without recursion: one
descriptor a tree, however deep (the way up is `..`), so a path may be longer than PATH_MAX.
Memory is bounded by the largest directory and the number of names with several links.
"""
import argparse
import errno
import fnmatch
import os
import stat
import sys

STEP = 1 << 20
# A restored file may take this much more room than its source before its holes count as lost.
HOLE_SLACK = 256 << 10
KINDS = {
    stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket", stat.S_IFCHR: "char device",
    stat.S_IFBLK: "block device",
}
OPEN_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def show(path):
    """A path as one line of text, whatever bytes it has; the middle of a very long one left out."""
    if len(path) > 400:
        path = path[:150] + b"[%d bytes]" % (len(path) - 350) + path[-200:]
    text = path.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class Options:
    """What to compare; everything by default."""

    def __init__(self, owner=True, hardlinks=True, holes=True, times=True, xattrs=True,
                 subset=False, root=True, ignore=()):
        self.owner, self.hardlinks, self.holes = owner, hardlinks, holes
        self.times, self.xattrs, self.subset, self.root = times, xattrs, subset, root
        self.ignore = [os.fsencode(p) for p in ignore]

    def ignores(self, path):
        return any(path == p or fnmatch.fnmatchcase(path, p) for p in self.ignore)


class Links:
    """Which names are the same file: the groups of A and of B must match one to one."""

    def __init__(self):
        self.forth, self.back = {}, {}

    def match(self, a, b):
        if a.st_nlink < 2 and b.st_nlink < 2:
            return True
        ka, kb = (a.st_dev, a.st_ino), (b.st_dev, b.st_ino)
        return self.forth.setdefault(ka, kb) == kb and self.back.setdefault(kb, ka) == ka


class Level:
    """One directory on the way down: what is left to do in it."""

    def __init__(self, path, keys, names):
        self.path, self.keys, self.names = path, keys, names


def key_of(fd):
    st = os.fstat(fd)
    return st.st_dev, st.st_ino


def names_of(fd):
    with os.scandir(fd) as entries:
        return {os.fsencode(e.name) for e in entries}


def at(fd, name):
    """A path by which calls that take no descriptor reach NAME in the directory FD."""
    return b"/proc/self/fd/%d/%s" % (fd, name)


def xattrs_of(fd, name):
    path = at(fd, name)
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as e:
        if e.errno in (errno.ENOTSUP, errno.EPERM):
            return {}
        raise
    return {n: os.getxattr(path, n, follow_symlinks=False) for n in names}


def extents(fd, size):
    """(offset, end, is data) over the whole file, as the file system tells it."""
    offset = 0
    while offset < size:
        try:
            start = os.lseek(fd, offset, os.SEEK_DATA)
        except OSError as e:
            if e.errno != errno.ENXIO:
                yield offset, size, True
                return
            start = size
        start = min(start, size)
        if start > offset:
            yield offset, start, False
        if start >= size:
            return
        offset = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        yield start, offset, True


def has_data(fd, offset, end):
    try:
        return os.lseek(fd, offset, os.SEEK_DATA) < end
    except OSError as e:
        return e.errno != errno.ENXIO


def difference(fa, fb, offset, end, zeros, skip):
    """The first offset at which the two differ, or None; skip: trust B's own list of holes."""
    if zeros and skip and not has_data(fb, offset, end):
        return None
    while offset < end:
        want = min(STEP, end - offset)
        a = bytes(want) if zeros else os.pread(fa, want, offset)
        b = os.pread(fb, want, offset)
        if a != b:
            n = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
            return offset + n
        if not a:
            return offset
        offset += len(a)
    return None


def content(da, db, name, size, holes):
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    fa = fb = -1
    try:
        fa = os.open(name, flags, dir_fd=da)
        fb = os.open(name, flags, dir_fd=db)
        for offset, end, data in extents(fa, size):
            where = difference(fa, fb, offset, end, not data, holes)
            if where is not None:
                return where
        return None
    finally:
        for fd in (fa, fb):
            if fd >= 0:
                os.close(fd)


class Comparison:
    def __init__(self, options):
        self.options, self.links = options, Links()
        self.differences, self.entries = 0, 0

    def attributes(self, da, db, name, a, b):
        """Yield what differs in everything but content and kind."""
        if stat.S_IMODE(a.st_mode) != stat.S_IMODE(b.st_mode):
            yield f"mode {stat.S_IMODE(a.st_mode):04o} != {stat.S_IMODE(b.st_mode):04o}"
        if self.options.owner and (a.st_uid, a.st_gid) != (b.st_uid, b.st_gid):
            yield f"owner {a.st_uid}:{a.st_gid} != {b.st_uid}:{b.st_gid}"
        if self.options.times and a.st_mtime_ns != b.st_mtime_ns:
            yield f"mtime {a.st_mtime_ns} != {b.st_mtime_ns}"
        if self.options.xattrs:
            xa, xb = xattrs_of(da, name), xattrs_of(db, name)
            for x in sorted(set(xa) | set(xb)):
                if xa.get(x) != xb.get(x):
                    yield f"xattr {x}: {xa.get(x)!r:.80} != {xb.get(x)!r:.80}"

    def kind(self, da, db, name, a, b):
        """Yield what differs in the parts that only some kinds have."""
        mode = a.st_mode
        if not stat.S_ISDIR(mode) and self.options.hardlinks and not self.links.match(a, b):
            yield "hard links: not linked to the same names"
        if stat.S_ISLNK(mode):
            ta, tb = os.readlink(name, dir_fd=da), os.readlink(name, dir_fd=db)
            if ta != tb:
                yield f"target {ta!r:.80} != {tb!r:.80}"
        elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            if a.st_rdev != b.st_rdev:
                yield f"device {a.st_rdev:#x} != {b.st_rdev:#x}"
        elif stat.S_ISREG(mode):
            yield from self.regular(da, db, name, a, b)

    def regular(self, da, db, name, a, b):
        if a.st_size != b.st_size:
            yield f"size {a.st_size} != {b.st_size}"
            return
        where = content(da, db, name, a.st_size, self.options.holes)
        if where is not None:
            yield f"content differs at byte {where}"
        sparse = a.st_blocks * 512 + 4096 <= a.st_size
        if self.options.holes and sparse:
            room_a, room_b = a.st_blocks * 512, b.st_blocks * 512
            if room_b > room_a + room_a // 8 + HOLE_SLACK:
                yield f"holes lost: {room_a} bytes allocated, now {room_b}"

    def entry(self, da, db, name, a, b):
        self.entries += 1
        ka, kb = stat.S_IFMT(a.st_mode), stat.S_IFMT(b.st_mode)
        if ka != kb:
            yield f"kind {KINDS[ka]} != {KINDS[kb]}"
            return
        yield from self.attributes(da, db, name, a, b)
        yield from self.kind(da, db, name, a, b)

    def guarded(self, da, db, name, a, b):
        """entry(), where a file that cannot be read is a difference too, not the end."""
        try:
            yield from self.entry(da, db, name, a, b)
        except OSError as e:
            yield f"cannot compare: {e.strerror}"

    def level(self, path, da, db, out):
        """Compare the names of one directory; return those that both have."""
        na, nb = names_of(da), names_of(db)
        keep = lambda names: sorted(n for n in names if not self.options.ignores(path + n))
        out.extend((path + n, "only in the first") for n in keep(na - nb))
        if not self.options.subset:
            out.extend((path + n, "only in the second") for n in keep(nb - na))
        return keep(na & nb), na == nb

    def run(self, top_a, top_b):
        """Yield (path as bytes, what differs)."""
        da, db = os.open(top_a, OPEN_DIR), os.open(top_b, OPEN_DIR)
        try:
            yield from self.walk(da, db)
        except OSError as e:
            yield b".", f"the walk ended early: {e}"

    def walk(self, da, db):
        out = []
        names, same = self.level(b"", da, db, out)
        if self.options.root and (same or not self.options.subset):
            out.extend((b".", d) for d in self.guarded(da, db, b".", os.fstat(da), os.fstat(db)))
        stack = [Level(b"", None, names[::-1])]
        while stack:
            for item in out:
                self.differences += 1
                yield item
            out.clear()
            top = stack[-1]
            if not top.names:
                stack.pop()
                da, db = self.up(da, db, top.keys) if stack else self.close(da, db)
                continue
            name = top.names.pop()
            path = top.path + name
            a = os.stat(name, dir_fd=da, follow_symlinks=False)
            b = os.stat(name, dir_fd=db, follow_symlinks=False)
            if not (stat.S_ISDIR(a.st_mode) and stat.S_ISDIR(b.st_mode)):
                out.extend((path, d) for d in self.guarded(da, db, name, a, b))
                continue
            below = self.down(da, db, name, path, out)
            if below is None:
                out.extend((path, d) for d in self.guarded(da, db, name, a, b))
                continue
            keys = (key_of(da), key_of(db))
            try:
                names, same = self.level(path + b"/", *below, out)
            except OSError as e:
                out.append((path, f"cannot list: {e.strerror}"))
                self.close(*below)
                continue
            if same or not self.options.subset:
                out.extend((path, d) for d in self.guarded(da, db, name, a, b))
            os.close(da)
            os.close(db)
            da, db = below
            stack.append(Level(path + b"/", keys, names[::-1]))
        for item in out:
            self.differences += 1
            yield item

    def down(self, da, db, name, path, out):
        fa = -1
        try:
            fa = os.open(name, OPEN_DIR, dir_fd=da)
            return fa, os.open(name, OPEN_DIR, dir_fd=db)
        except OSError as e:
            out.append((path, f"cannot open: {e.strerror}"))
            if fa >= 0:
                os.close(fa)
            return None

    @staticmethod
    def up(da, db, keys):
        """Back to the parents, and sure that they are the ones we came from."""
        result = []
        for fd, key in ((da, keys[0]), (db, keys[1])):
            parent = os.open(b"..", OPEN_DIR, dir_fd=fd)
            os.close(fd)
            if key_of(parent) != key:
                raise OSError(errno.ESTALE, "a directory moved during the comparison")
            result.append(parent)
        return result

    @staticmethod
    def close(da, db):
        os.close(da)
        os.close(db)
        return -1, -1


def compare(a, b, limit=50, **options):
    """The differences as lines of text; at most LIMIT of them."""
    lines = []
    for path, what in Comparison(Options(**options)).run(a, b):
        lines.append(f"{show(path)}: {what}")
        if len(lines) >= limit:
            lines.append("… and maybe more")
            break
    return lines


def main(argv):
    p = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    p.add_argument("a")
    p.add_argument("b")
    p.add_argument("--ignore", action="append", default=[], metavar="GLOB",
                   help="leave out paths (relative, as a shell pattern in which * matches /)")
    for name in ("owner", "hardlinks", "holes", "times", "xattrs", "root"):
        p.add_argument("--no-" + name, dest=name, action="store_false",
                       help=f"do not compare {name}")
    p.add_argument("--subset", action="store_true", help="the second tree may have more names")
    args = vars(p.parse_args(argv))
    comparison = Comparison(Options(**{k: v for k, v in args.items() if k not in "ab"}))
    try:
        for path, what in comparison.run(args["a"], args["b"]):
            print(f"{show(path)}: {what}")
    except OSError as e:
        print(f"treecmp: {e}", file=sys.stderr)
        return 2
    if comparison.differences == 0:
        print(f"treecmp: {comparison.entries} entries are the same", file=sys.stderr)
    return 1 if comparison.differences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
