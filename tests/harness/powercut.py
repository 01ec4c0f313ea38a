"""powercut — what a power cut could leave on the disk, from the log that faultshim writes.

The model of a file system is the one that POSIX allows: a sync of a file makes its content
durable, a sync of a directory the names in it, and nothing else does; of all that is not durable,
any part may be there, in any order.  (A real one is kinder: ext4 and XFS keep the order of names.)

`cuts(log, root)` yields, for each sync and for the end, the states that a cut just before it could
leave: only what was synced; all; each operation lost; each write torn at 512 and 4096 bytes, its
front or its back; names without their data, as nothing and as zeros; each name alone.  A state is
{path: content}, None for a directory; `write_out` makes it a directory again.
"""
import hashlib
import os
import struct

HEADER = struct.Struct("<8Q")
SECTORS = (512, 4096)


class Inode:
    def __init__(self):
        self.content = b""   # durable, of a file
        self.names = {}      # durable, of a directory: name -> Inode
        self.is_dir = False


class Op:
    """Something that was done and need not be durable: on a file's content or a directory's names."""

    def __init__(self, inode, name=None, to=None, offset=0, data=None, size=None):
        self.inode, self.name, self.to = inode, name, to
        self.offset, self.data, self.size = offset, data, size

    @property
    def is_name(self):
        return self.name is not None

    def torn(self, begin, end):
        return Op(self.inode, offset=self.offset + begin, data=self.data[begin:end])

    def zeros(self):
        return Op(self.inode, offset=self.offset, data=bytes(len(self.data)))

    def apply(self, content):
        if self.size is not None:
            return content[:self.size].ljust(self.size, b"\0")
        content = content.ljust(self.offset, b"\0")
        return content[:self.offset] + self.data + content[self.offset + len(self.data):]


class Disk:
    """The durable part, and in order what is not durable yet."""

    def __init__(self, root):
        self.root = Inode()
        self.root.is_dir = True
        self.inodes = {root: self.root}
        self.pending = []

    def inode(self, number):
        return self.inodes.setdefault(number, Inode())

    def new(self, number, is_dir):
        inode = self.inodes[number] = Inode()
        inode.is_dir = is_dir
        return inode

    def sync(self, inode):
        """All of them for None."""
        for op in self.pending:
            if inode is None or op.inode is inode:
                self.settle(op)
        self.pending = [op for op in self.pending if inode is not None and op.inode is not inode]

    def settle(self, op):
        if not op.is_name:
            op.inode.content = op.apply(op.inode.content)
        elif op.to is None:
            op.inode.names.pop(op.name, None)
        else:
            op.inode.names[op.name] = op.to

    def take(self, record):
        kind, number, dir_, other_dir, offset, name, other, data = record
        if kind in "CM":
            self.pending.append(Op(self.inode(dir_), name=name, to=self.new(number, kind == "M")))
        elif kind == "L":
            self.pending.append(Op(self.inode(dir_), name=name, to=self.inode(number)))
        elif kind == "U":
            self.pending.append(Op(self.inode(dir_), name=name))
        elif kind == "R":
            self.pending.append(Op(self.inode(other_dir), name=other, to=self.inode(number)))
            self.pending.append(Op(self.inode(dir_), name=name))
        elif kind == "W":
            self.pending.append(Op(self.inode(number), offset=offset, data=data))
        elif kind == "T":
            self.pending.append(Op(self.inode(number), size=offset))
        elif kind in "SA":
            self.sync(self.inode(number) if kind == "S" else None)

    def state(self, ops):
        """What is there when, beyond the durable part, exactly OPS have reached the disk."""
        content, names = {}, {}
        for op in ops:
            if not op.is_name:
                content[op.inode] = op.apply(content.get(op.inode, op.inode.content))
                continue
            here = names.setdefault(op.inode, dict(op.inode.names))
            here.pop(op.name, None)
            if op.to is not None:
                here[op.name] = op.to
        found, todo = {}, [("", self.root)]
        while todo:
            path, inode = todo.pop()
            for name, below in names.get(inode, inode.names).items():
                where = f"{path}/{name}" if path else name
                found[where] = None if below.is_dir else content.get(below, below.content)
                if below.is_dir:
                    todo.append((where, below))
        return found

    def choices(self):
        """(what it is, the operations that reached the disk)."""
        ops = self.pending
        yield "only what was synced", []
        yield "all", ops
        yield "names without data", [op for op in ops if op.is_name]
        yield "names, and zeros for data", [op.zeros() if op.data else op for op in ops]
        yield "data without names", [op for op in ops if not op.is_name]
        for i, op in enumerate(ops):
            rest = ops[:i], ops[i + 1:]
            yield f"operation {i} lost", [*rest[0], *rest[1]]
            if op.is_name:
                yield f"name {i} alone", [op]
            for end in torn_at(op):
                yield f"write {i} up to {end}", [*rest[0], op.torn(0, end), *rest[1]]
                yield f"write {i} from {end}", [*rest[0], op.torn(end, len(op.data)), *rest[1]]


def torn_at(op):
    """In a write: the first and the last boundary of a sector."""
    if op.is_name or not op.data:
        return []
    first, last = op.offset, op.offset + len(op.data) - 1
    edges = set()
    for size in SECTORS:
        edges |= {(first // size + 1) * size - first, last // size * size - first}
    return sorted(edge for edge in edges if 0 < edge < len(op.data))


class Cut:
    def __init__(self, where, disk, acknowledged):
        self.where, self.acknowledged = where, list(acknowledged)
        self.states = [(f"cut {where}: {what}", disk.state(ops)) for what, ops in disk.choices()]


def records(log):
    at = 0
    while at < len(log):
        kind, inode, dir_, other_dir, offset, *sizes = HEADER.unpack_from(log, at)
        at += HEADER.size
        parts = []
        for size in sizes:
            parts.append(log[at:at + size])
            assert len(parts[-1]) == size, "the log is cut off"
            at += size
        yield chr(kind), inode, dir_, other_dir, offset, os.fsdecode(parts[0]), os.fsdecode(parts[1]), parts[2]


def acknowledge(path, name):
    """Append that the program has said NAME is safe."""
    text = os.fsencode(name)
    with open(path, "ab") as log:
        log.write(HEADER.pack(ord("K"), 0, 0, 0, 0, len(text), 0, 0) + text)


def cuts(log, root, only_end=False):
    """LOG: its bytes; ROOT: the inode of FAULT_DIR, which was empty when the log began."""
    disk, acknowledged, where = Disk(root), [], 0
    for record in records(log):
        if record[0] == "K":
            acknowledged.append(record[5])
        elif record[0] in "SA" and not only_end:
            yield Cut(where, disk, acknowledged)
        disk.take(record)
        where += 1
    yield Cut(where, disk, acknowledged)


def digest(state, ignored=""):
    """The same for states that are the same, but for what is below a directory named IGNORED."""
    found = hashlib.sha256()
    for path in sorted(state):
        if ignored and f"/{ignored}/" in f"/{path}":
            continue
        data = state[path]
        found.update(b"%d %d " % (len(os.fsencode(path)), -1 if data is None else len(data)))
        found.update(os.fsencode(path))
        found.update(data or b"")
    return found.digest()


def write_out(state, where):
    os.mkdir(where, 0o700)
    for path in sorted(state):
        full = os.path.join(where, path)
        if state[path] is None:
            os.mkdir(full, 0o700)
            continue
        with open(os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
            f.write(state[path])
