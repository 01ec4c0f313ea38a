#!/usr/bin/env python3
"""awkward — make a tree of everything that backup programs are known to lose.

Names that are not UTF-8, times before 1970, holes, hard links, devices, capabilities, 3,000
levels of directories: what docs/testing.md calls the awkward tree.  The same seed gives the same
content.  As a normal user the parts that need root are left out; what the file system cannot
hold (say, xattrs) is said on stderr and left out too.

    awkward.py DIR [--small]     make it (DIR must not exist or be empty)
    awkward.py --remove DIR      delete it: rm and shutil stop at paths longer than PATH_MAX
"""
import argparse
import errno
import os
import random
import socket
import stat
import struct
import sys

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
SECOND = 10 ** 9
DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
ROOT = os.geteuid() == 0


def put(path, data=b"", mode=0o644):
    with open(path, "wb") as f:
        f.write(data)
    os.chmod(path, mode)


def noise(rnd, size):
    """Bytes that do not compress."""
    return rnd.randbytes(size)


def text(rnd, size):
    """Bytes that compress as sources do."""
    words = [b"return ", b"struct ", b"int ", b"err", b" = ", b";\n", b"    ", b"value", b"0x7f"]
    return b"".join(rnd.choices(words, k=size // 3 + 1))[:size]


def attempt(what, call, *args, **kwargs):
    """Do what not every file system (or user) can do; say it where this one cannot."""
    try:
        call(*args, **kwargs)
    except OSError as e:
        if e.errno not in (errno.ENOTSUP, errno.EPERM, errno.EINVAL, errno.ENOSPC):
            raise
        print(f"awkward: without {what}: {e.strerror}", file=sys.stderr)


def make_names(top):
    d = os.path.join(top, b"names")
    os.mkdir(d)
    names = [
        b"\xff\xfe not utf-8 \x80", b"latin1 \xe9t\xe9", b"new\nline", b"\nstarts with one", b"tab\there",
        b"n" * 255, b"\xc3\xa9" * 127, b"back\\slash", b"\\", b"-rf", b"--help", b"~", b" ", b"  lead and trail  ",
        b"...", b".hidden", b"..hidden", b"*", b"?", b"[a]", b"$(touch x)", b"`id`", b"quote'\"", b"%s%n",
        b"colon:", b"a:b", b"\x01\x02\x7f", b"\xf0\x9f\x92\xbe", b"e\xcc\x81 decomposed", b"\xc3\xa9 composed",
        b"CON", b"#", b"!bang", b"Case", b"case", b"manifest.json", b"latest", b"20260101_000000",
    ]
    for name in names:
        put(os.path.join(d, name), b"the file " + name)
    for name in (b"\xff dir", b"new\nline dir", b"-d", b"d" * 255, b"@file"):
        os.mkdir(os.path.join(d, name))
        put(os.path.join(d, name, b"\xfein it"), name)


def make_sizes(top, rnd, small):
    d = os.path.join(top, b"sizes")
    os.mkdir(d)
    edges = [0, 1, 15, 16, 4095, 4096, 4097, 16383, 16384, 65535, 65536, 65537, 131071, 131072, 131073,
             262144, MIB - 1, MIB, MIB + 1]
    for size in edges:
        put(os.path.join(d, b"noise.%d" % size), noise(rnd, size))
        put(os.path.join(d, b"text.%d" % size), text(rnd, size))
    put(os.path.join(d, b"zeros"), bytes(MIB + 17))
    part = noise(rnd, 300 * KIB)
    with open(os.path.join(d, b"repeats"), "wb") as f:
        for i in range(6 if small else 100):
            f.write(part)
            f.write(noise(rnd, 100 * KIB + i))
    for i in range(10):
        put(os.path.join(d, b"empty.%d" % i))


def make_holes(top, rnd, small):
    d = os.path.join(top, b"holes")
    os.mkdir(d)
    size = 64 * MIB if small else 10 * GIB
    with open(os.path.join(d, b"sparse"), "wb") as f:
        for offset in (0, size // 3, size // 3 + 200 * KIB, size // 2 + 1, size - 5 * MIB):
            f.seek(offset)
            f.write(noise(rnd, 100 * KIB + 3))
        f.truncate(size)
    with open(os.path.join(d, b"only a hole"), "wb") as f:
        f.truncate(3 * MIB + 1)
    with open(os.path.join(d, b"hole first"), "wb") as f:
        f.seek(MIB)
        f.write(b"end")
    with open(os.path.join(d, b"hole last"), "wb") as f:
        f.write(noise(rnd, 5000))
        f.truncate(MIB)


def make_times(top):
    d = os.path.join(top, b"times")
    os.mkdir(d)
    years = {
        b"1901": -2147483648, b"1969": -1, b"1970": 0, b"1999": 946684799, b"2038": 2147483647,
        b"2039": 2177452800, b"2106": 4294967296, b"2300": 10413792000, b"2446": 15032385535,
        b"9999": 253402300799, b"10000": 253402300800,
    }
    for name, seconds in years.items():
        for ns in (0, 1, 123456789, 999999999):
            path = os.path.join(d, name + b".%d" % ns)
            put(path, name)
            attempt("the year " + name.decode(), os.utime, path, ns=(seconds * SECOND + ns,) * 2)
    link, below = os.path.join(d, b"link"), os.path.join(d, b"dir")
    os.symlink(b"1970.0", link)
    os.utime(link, ns=(-5 * SECOND + 7,) * 2, follow_symlinks=False)
    os.mkdir(below)
    os.utime(below, ns=(4294967297 * SECOND + 42,) * 2)
    os.utime(d, ns=(1234567890 * SECOND + 987654321,) * 2)


def make_links(top):
    d = os.path.join(top, b"links")
    os.makedirs(os.path.join(d, b"a"))
    os.makedirs(os.path.join(d, b"b", b"c"))
    put(os.path.join(d, b"one"), b"three names in three directories")
    for other in ((b"a", b"two"), (b"b", b"c", b"three")):
        os.link(os.path.join(d, b"one"), os.path.join(d, *other))
    put(os.path.join(d, b"z1"), b"x" * 200000)
    os.link(os.path.join(d, b"z1"), os.path.join(d, b"z2"))
    put(os.path.join(d, b"empty1"))
    os.link(os.path.join(d, b"empty1"), os.path.join(d, b"empty2"))
    put(os.path.join(d, b"same content, not linked 1"), b"twins")
    put(os.path.join(d, b"same content, not linked 2"), b"twins")
    targets = {
        b"relative": b"one", b"up": b"../names/-rf", b"absolute": b"/etc/passwd", b"dangling": b"no/such",
        b"itself": b"itself", b"root": b"/", b"out": b"../../../../../../etc", b"bytes": b"\xff\xfe\n",
        b"long": b"l" * 4095, b"slash": b"a/",
    }
    for name, target in targets.items():
        os.symlink(target, os.path.join(d, name))
    os.link(os.path.join(d, b"dangling"), os.path.join(d, b"dangling too"), follow_symlinks=False)


def make_special(top):
    d = os.path.join(top, b"special")
    os.mkdir(d)
    os.mkfifo(os.path.join(d, b"fifo"), 0o640)
    os.link(os.path.join(d, b"fifo"), os.path.join(d, b"fifo too"))
    here = os.open(d, DIR_FLAGS)
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(b"/proc/self/fd/%d/socket" % here)
    os.close(here)
    if ROOT:
        attempt("devices", os.mknod, os.path.join(d, b"null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
        attempt("devices", os.mknod, os.path.join(d, b"big"), stat.S_IFCHR | 0o600, os.makedev(4000, 900000))
        attempt("devices", os.mknod, os.path.join(d, b"loop"), stat.S_IFBLK | 0o660, os.makedev(7, 77))


def acl(entries):
    """A POSIX ACL as the kernel takes it: (tag, permissions, id) in order."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)


def make_attributes(top, rnd):
    d = os.path.join(top, b"attributes")
    os.mkdir(d)
    for name in (b"small", b"large", b"many", b"acl", b"empty value"):
        put(os.path.join(d, name), name)
    path = lambda name: os.path.join(d, name)
    attempt("xattrs", os.setxattr, path(b"small"), "user.note", b"\x00binary\xff")
    attempt("xattrs", os.setxattr, path(b"empty value"), "user.empty", b"")
    attempt("large xattrs", os.setxattr, path(b"large"), "user.large", noise(rnd, 3000))
    for i in range(20):
        attempt("xattrs", os.setxattr, path(b"many"), b"user.number.%d \xff" % i, b"v%d" % i)
    os.mkdir(path(b"dir"))
    attempt("xattrs", os.setxattr, path(b"dir"), "user.dir", b"on a directory")
    nobody, none = 65534, 0xFFFFFFFF
    access = acl([(1, 6, none), (2, 5, nobody), (4, 4, none), (8, 7, 12345), (16, 7, none), (32, 0, none)])
    default = acl([(1, 7, none), (2, 7, nobody), (4, 5, none), (16, 7, none), (32, 5, none)])
    attempt("ACLs", os.setxattr, path(b"acl"), "system.posix_acl_access", access)
    attempt("ACLs", os.setxattr, path(b"dir"), "system.posix_acl_default", default)
    os.mkdir(path(b"dir/inherits"))
    modes = (0o4755, 0o2755, 0o1644, 0o6711, 0o600, 0o444) + ((0o007,) if ROOT else ())
    for mode in modes:
        put(path(b"mode.%04o" % mode), b"m", mode)
        os.mkdir(path(b"dirmode.%04o" % (mode | 0o500)))
        os.chmod(path(b"dirmode.%04o" % (mode | 0o500)), mode | 0o500)
    os.mkdir(path(b"sticky"))
    os.chmod(path(b"sticky"), 0o1777)
    if ROOT:
        make_root_attributes(path, rnd)
    os.mkdir(path(b"read-only"))
    put(path(b"read-only/file"), b"in a read-only directory", 0o400)
    os.chmod(path(b"read-only"), 0o500)


def make_root_attributes(path, rnd):
    """What only root can make, or only root can read again."""
    for i, (uid, gid) in enumerate([(0, 0), (12345, 54321), (65534, 65534), (4294967294, 1), (1, 2147483648)]):
        put(path(b"owner.%d" % i), b"owned")
        attempt("owners", os.chown, path(b"owner.%d" % i), uid, gid)
        os.chmod(path(b"owner.%d" % i), 0o6755)
    os.symlink(b"owner.1", path(b"owner.link"))
    attempt("owners", os.lchown, path(b"owner.link"), 1234, 5678)
    put(path(b"capable"), b"\x7fELF not really", 0o755)
    capability = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)      # cap_net_bind_service=ep
    attempt("capabilities", os.setxattr, path(b"capable"), "security.capability", capability)
    attempt("trusted xattrs", os.setxattr, path(b"capable"), "trusted.note", b"root's")
    put(path(b"mode.0000"), noise(rnd, 1000), 0)
    os.mkdir(path(b"closed"))
    put(path(b"closed/file"), b"in a closed directory", 0)
    os.chmod(path(b"closed"), 0)


def make_many(top, small):
    d = os.path.join(top, b"many")
    os.mkdir(d)
    here = os.open(d, DIR_FLAGS)
    for i in range(500 if small else 20000):
        name = b"entry %05d of the large directory" % i
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=here)
        if i % 3:
            os.write(fd, b"%d\n" % i)
        os.close(fd)
    os.close(here)


def make_deep(top, small):
    """Names of 12 bytes, or of 200 in the first 25 levels: far beyond PATH_MAX either way."""
    d = os.path.join(top, b"deep")
    os.mkdir(d)
    here = os.open(d, DIR_FLAGS)
    for level in range(60 if small else 3000):
        name = b"level %04d" % level + (b"x" * 190 if level < 25 else b"")
        os.mkdir(name, dir_fd=here)
        below = os.open(name, DIR_FLAGS, dir_fd=here)
        os.close(here)
        here = below
        if level % 500 == 49:
            put_at(here, b"file at %d" % level)
    put_at(here, b"bottom")
    os.symlink(b"bottom", b"link", dir_fd=here)
    os.close(here)


def put_at(fd, name):
    file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=fd)
    os.write(file, b"deep: " + name)
    os.close(file)


def make_empty(top):
    os.makedirs(os.path.join(top, b"empty", b"in empty", b"again"))
    os.mkdir(os.path.join(top, b"empty", b"alone"))


def make(top, small=False, seed=20260204):
    """Make the tree TOP (bytes)."""
    rnd = random.Random(seed)
    os.makedirs(top, exist_ok=True)
    if os.listdir(top):
        raise FileExistsError(errno.EEXIST, "not empty", top)
    old = os.umask(0o022)
    make_names(top)
    make_sizes(top, rnd, small)
    make_holes(top, rnd, small)
    make_times(top)
    make_links(top)
    make_special(top)
    make_attributes(top, rnd)
    make_many(top, small)
    make_deep(top, small)
    make_empty(top)
    os.umask(old)


def open_to_delete(name, parent):
    try:
        return os.open(name, DIR_FLAGS, dir_fd=parent)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=parent)
        return os.open(name, DIR_FLAGS, dir_fd=parent)


def delete_files(fd):
    """Unlink all but directories; return the names of those."""
    with os.scandir(fd) as entries:
        found = [(os.fsencode(e.name), e.is_dir(follow_symlinks=False)) for e in entries]
    if found and not os.fstat(fd).st_mode & stat.S_IWUSR:
        os.fchmod(fd, 0o700)
    for name, is_dir in found:
        if not is_dir:
            os.unlink(name, dir_fd=fd)
    return [name for name, is_dir in found if is_dir]


def remove(top):
    """Delete the tree TOP, however deep, with one descriptor."""
    if not os.path.lexists(top):
        return
    here = open_to_delete(top, None)
    stack = [(top, delete_files(here))]
    while stack:
        name, below = stack[-1]
        if below:
            child = open_to_delete(below[-1], here)
            os.close(here)
            here = child
            stack.append((below.pop(), delete_files(here)))
            continue
        stack.pop()
        if stack:
            parent = os.open(b"..", DIR_FLAGS, dir_fd=here)
            os.close(here)
            here = parent
            os.rmdir(name, dir_fd=here)
    os.close(here)
    os.rmdir(top)


def main(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("dir")
    p.add_argument("--small", action="store_true", help="leave out what is big")
    p.add_argument("--remove", action="store_true", help="delete the tree")
    args = p.parse_args(argv)
    top = os.fsencode(args.dir)
    try:
        remove(top) if args.remove else make(top, args.small)
    except OSError as e:
        print(f"awkward: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
