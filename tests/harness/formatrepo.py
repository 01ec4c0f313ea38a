"""formatrepo — a repository in a local directory and its snapshots, read as docs/format.md says."""
import pathlib
import re
import struct

from formatarchive import Archive
from formatbytes import KIB, Chunker, Cursor, Damaged, need
from formatkeys import Keys
from formatremap import Moves, Remap
from formattree import Tree

SNAPSHOT_TYPES = {1: "files", 2: "config", 3: "database"}
NO_DIRECTORY = 2 ** 32 - 1
NAMES = re.compile(r"repository|keys/slot/[0-9a-f]{32}|keys/epoch/\d{8}\.\d{8}|(data|meta|index|remap|marks)/[0-9a-f]{64}"
                   r"|snapshots/[^/]+/\d{8}|claims/[^/]+/[0-9a-f]{64}|forgets/[^/.]+\.\d{8}"
                   r"|(holds|releases)/[^/.]+\.[0-9a-f]{32}")
FORGOTTEN, NOT_FORGOTTEN, HELD, RELEASED = 1, 2, 3, 4


class Root:
    """The document of a root archive."""

    def __init__(self, archive):
        self.archive = archive
        c = Cursor(archive.whole())
        need(c.varint() == 1 and c.varint() == 0, archive.name, "is of an unknown version")
        self.name, self.revision, self.host = c.string().decode(), c.varint(), c.string().decode()
        self.sequence, self.parent = c.varint(), c.string().decode()
        self.start, self.end, flags = c.zigzag(), c.zigzag(), c.varint(3)
        self.complete, self.adhoc = bool(flags & 1), bool(flags & 2)
        self.version, self.tags = c.string().decode(), c.strings()
        self.types = [self.type(c) for _ in range(c.varint(3))]
        self.exclusions = c.strings()
        self.archives = [c.fixed("32sB") + (c.varint(),) for _ in range(c.varint(1 << 20))]
        self.extensions = [(c.varint(), c.string()) for _ in range(c.varint(1 << 10))]
        c.finish(archive.name)
        need(archive.name == f"snapshots/{self.name}/{self.revision:08d}", archive.name, "is another snapshot's")
        need(self.sequence >= 1 and self.host, archive.name, "has impossible numbers")
        names = [t["type"] for t in self.types]
        need(names and len(set(names)) == len(names), archive.name, "has a type twice, or none")

    @staticmethod
    def type(c):
        number, flags = c.fixed("B"), c.varint(1)
        need(number in SNAPSHOT_TYPES, "unknown type", number)
        archive, offset, below = c.take(32), c.varint(NO_DIRECTORY), c.varint()
        need((offset == NO_DIRECTORY) == (below == 0), "a type's directory is neither empty nor there")
        files, directories, others, size, new, unreadable = (c.varint() for _ in range(6))
        return {"type": SNAPSHOT_TYPES[number], "complete": bool(flags), "place": (archive, offset), "below": below,
                "files": files, "directories": directories, "others": others, "bytes": size, "new": new,
                "unreadable": unreadable, "sources": c.strings()}


class Note:
    """What was decided about a snapshot after it was published."""

    def __init__(self, archive):
        c = Cursor(archive.whole())
        need(archive.count == 1 and archive.raw_end <= 16 * KIB, archive.name, "is too long for a note")
        need(c.varint() == 1 and c.varint() == 0, archive.name, "is of an unknown version")
        self.what, self.name, self.host, self.sequence = c.fixed("B"), c.string(), c.string(), c.varint()
        self.start, self.number, self.hold = c.zigzag(), c.varint(), c.take(16)
        self.made, self.by, self.reason = c.zigzag(), c.string(), c.string(255)
        self.extensions = [(c.varint(), c.string()) for _ in range(c.varint(1 << 10))]
        c.finish(archive.name)
        name = self.name.decode()
        if self.what in (FORGOTTEN, NOT_FORGOTTEN):
            need(not any(self.hold), archive.name, "has a hold")
            own = f"forgets/{name}.{self.number:08d}"
        else:
            need(self.what in (HELD, RELEASED) and self.number == 0, archive.name, "is of an unknown kind")
            own = f"{'holds' if self.what == HELD else 'releases'}/{name}.{self.hold.hex()}"
        need(archive.name == own, archive.name, "is another note,", own)

    def speaks_of(self, root):
        return (self.name.decode(), self.host.decode(), self.sequence, self.start) == (
            root.name, root.host, root.sequence, root.start)


class Repository:
    def __init__(self, path, text):
        top = pathlib.Path(path)
        self.objects = {}
        for file in sorted(top.rglob("*")):
            name = str(file.relative_to(top))
            if NAMES.fullmatch(name) and file.is_file():
                self.objects[name] = file.read_bytes()
        self.header(self.objects.get("repository", b""))
        keys = {n: d for n, d in self.objects.items() if n.startswith("keys/")}
        self.keys = Keys(keys, self.id, text)
        need(self.keys.algorithm == self.algorithm == 1, "the id algorithm is another one in the epoch")
        self.open, self.chunker = {}, Chunker(self.keys.gear_key)
        self.remaps, self.unread = [], {}
        for name in self.named("remap/"):
            self.read_remap(name)
        self.moves = Moves(self.remaps)
        self.tree = Tree(self.archive, self.moves)

    def header(self, data):
        need(len(data) == 64, "there is no repository here")
        magic, version, self.algorithm, zero, flags, self.id, self.made, rest = struct.unpack("<8sHBBI16sQ24s", data)
        need(magic == b"YSTRREPO" and version == 1 and zero == 0 and flags == 0 and not any(rest),
             "the repository is of another version")

    def read_remap(self, name):
        """What one that is damaged says is lost; check tells."""
        try:
            self.remaps.append(Remap(self.archive(name)))
        except Damaged as e:
            self.unread[name] = str(e)

    def named(self, prefix):
        return sorted(n for n in self.objects if n.startswith(prefix))

    def archive(self, name):
        if name not in self.open:
            need(name in self.objects, name, "is missing")
            self.open[name] = Archive(name, self.objects[name], self.id, self.keys.masters)
        return self.open[name]

    def roots(self):
        """The highest revision of each snapshot, by name."""
        return {name.split("/")[1]: Root(self.archive(name)) for name in self.named("snapshots/")}

    def note(self, name):
        """None where it does not open."""
        try:
            return Note(self.archive(name))
        except Damaged:
            return None

    def is_forgotten(self, root):
        """The note with the highest number decides; one that does not open says no."""
        for name in reversed(self.named(f"forgets/{root.name}.")):
            note = self.note(name)
            if note is None or note.speaks_of(root):
                return note is not None and note.what == FORGOTTEN
        return False

    def is_held(self, root):
        """A hold without its release; one that does not open holds."""
        for name in self.named(f"holds/{root.name}."):
            hold, release = self.note(name), name.replace("holds/", "releases/", 1)
            if hold is not None and not hold.speaks_of(root):
                continue
            if release not in self.objects or self.note(release) is None:
                return True
        return False

    def root(self, name):
        roots = self.roots()
        need(roots, "there are no snapshots")
        if name == "latest":
            name = max((n for n, r in roots.items() if not self.is_forgotten(r)), default=name)
        need(name in roots, "there is no snapshot", name)
        return roots[name]

    def entries(self, root):
        """(type, path, entry)"""
        for t in root.types:
            for path, entry in self.tree.walk(t["place"], t["below"]):
                yield t["type"], path, entry
