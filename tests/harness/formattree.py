"""formattree — read directories and files as docs/format.md, "Metadata", says, and check what stands there."""
import struct

from formatarchive import DATA, META, FOLDERS
from formatbytes import (BLOCK_DEVICE, CHARACTER, DIRECTORY, FIFO, FILE, LINK, SOCKET, SYMLINK, Cursor, Damaged, need,
                         signed)

LEAF, TREE_INDEX, EXTENTS, EXTENTS_INDEX, INODE = 1, 2, 3, 4, 5
XATTRS, CHANGED, PART = 16, 32, 64
TYPES = {FILE: "file", DIRECTORY: "directory", SYMLINK: "symlink", CHARACTER: "character", BLOCK_DEVICE: "block",
         FIFO: "fifo", SOCKET: "socket"}
ITEM_MOST, TABLE_MOST, LEVEL_MOST = 64000, 1024, 8


class Extent:
    """LENGTH bytes at a place, or a hole (archive is None)."""

    def __init__(self, length, archive=None, offset=0):
        self.length, self.archive, self.offset = length, archive, offset


class Content:
    """How a content's bytes are found; extents() walks what lies in items."""

    def __init__(self, size, extents=None, ref=None):
        self.size, self.inline, self.ref = size, extents, ref


class Entry:
    """A record, or an inode item: attributes by name."""

    def __init__(self):
        self.name, self.type, self.flags, self.inode_ref = b"", 0, 0, None
        self.content, self.directory, self.target, self.device, self.xattrs = None, None, b"", 0, None
        self.links, self.place, self.cost = 1, None, 0


class MetaBlock:
    """The items of one block, by raw offset."""

    def __init__(self, archive, number):
        self.where = f"{archive.name}: block {number}"
        data, base = archive.block(number), archive.blocks[number][0]
        need(len(data) >= 2, self.where, "has no table")
        count = struct.unpack("<H", data[-2:])[0]
        end = len(data) - 2 - 33 * count
        need(count <= TABLE_MOST and end >= 0, self.where, "has an impossible table")
        rows = [data[end + 33 * i:end + 33 * (i + 1)] for i in range(count)]
        self.table = [(row[:32], row[32]) for row in rows]
        need(all(kind in (DATA, META) for _, kind in self.table), self.where, "refers to an unknown kind")
        need(len({i for i, _ in self.table}) == count, self.where, "has an archive twice in its table")
        self.used, self.items, self.spare, self.size = set(), {}, 0, end
        c = Cursor(data, 0, end)
        try:
            while c.left():
                begin = c.at
                self.items[base + begin] = self.item(c, archive.id, base)
                need(c.at - begin <= ITEM_MOST, "an item is too long")
        except Damaged as e:
            raise Damaged(f"{self.where}: at {c.at}: {e}") from e
        need(self.used == set(range(count)), self.where, "has archives in its table that no item refers to")

    def ref(self, c, kind, used=True):
        """(archive id, raw offset) of what is of KIND."""
        index, offset = c.varint(TABLE_MOST), c.varint(2 ** 32 - 1)
        if not used:
            return index, offset
        return self.resolve(index, offset, kind)

    def resolve(self, index, offset, kind):
        need(index < len(self.table), "a ref goes beyond the table")
        need(self.table[index][1] == kind, "a ref is to an archive of another kind")
        self.used.add(index)
        self.spare += 1 if index < 128 else 0       # to be taken as two bytes where a leaf's size counts
        return self.table[index][0], offset

    def item(self, c, archive_id, base):
        kind = c.fixed("B")
        if kind == LEAF:
            return LEAF, self.rows(c, lambda: self.record(c, archive_id, base))
        if kind == TREE_INDEX:
            level = c.fixed("B")
            need(1 <= level <= LEVEL_MOST, "an index has level", level)
            return TREE_INDEX, level, self.rows(c, lambda: (c.string(255), self.ref(c, META), c.varint()))
        if kind == EXTENTS:
            return EXTENTS, [self.extent(c) for _ in range(self.some(c))]
        if kind == EXTENTS_INDEX:
            level = c.fixed("B")
            need(1 <= level <= LEVEL_MOST, "an index of extents has level", level)
            return EXTENTS_INDEX, level, [(c.varint(), self.ref(c, META)) for _ in range(self.some(c))]
        need(kind == INODE, "an item of unknown kind", kind)
        entry = Entry()
        entry.place = archive_id, base + c.at - 1
        self.kind_of(c.fixed("B"), entry)
        need(entry.type not in (LINK, DIRECTORY), "an inode item is a link or a directory")
        self.attributes(c, entry, True)
        return INODE, entry

    @staticmethod
    def some(c):
        count = c.varint(ITEM_MOST)
        need(count >= 1, "an item is empty")
        return count

    def rows(self, c, read):
        """Records or index entries behind their table of offsets, in order of their names."""
        count = self.some(c)
        begins = struct.unpack(f"<{count}H", c.take(2 * count))
        first, rows, names = c.at, [], []
        for begin in begins:
            need(c.at - first == begin, "a record begins elsewhere than its offset says")
            rows.append(read())
            names.append(rows[-1].name if isinstance(rows[-1], Entry) else rows[-1][0])
        need(names == sorted(set(names)), "names are out of order")
        for name in names:
            need(1 <= len(name) <= 255 and name not in (b".", b"..") and b"/" not in name and b"\0" not in name,
                 "a name may not be so:", name)
        return rows

    @staticmethod
    def kind_of(byte, entry):
        entry.type, entry.flags = byte & 15, byte & 0xF0
        need(entry.type in TYPES or entry.type == LINK, "unknown type", entry.type)
        need(not entry.flags & 128, "a reserved flag is set")
        need(not entry.flags & PART or entry.type == DIRECTORY, "a part of something that is no directory")

    def record(self, c, archive_id, base):
        entry = Entry()
        begin, spare = c.at, self.spare
        entry.place = archive_id, base + begin
        entry.name = c.string(255)
        self.kind_of(c.fixed("B"), entry)
        if entry.type == LINK:
            need(entry.flags == 0, "a link has flags")
            entry.inode_ref = self.ref(c, META)
        else:
            self.attributes(c, entry, False)
        entry.cost = 2 + c.at - begin + self.spare - spare
        return entry

    def attributes(self, c, entry, with_links):
        entry.mode, entry.uid, entry.gid = c.varint(0o7777), c.varint(2 ** 32 - 1), c.varint(2 ** 32 - 1)
        seconds, ns = c.zigzag(), c.varint(10 ** 9 - 1)
        entry.mtime = seconds * 10 ** 9 + ns
        entry.ctime = signed(seconds + c.zigzag()) * 10 ** 9 + c.varint(10 ** 9 - 1)
        entry.inode, entry.source_device = c.varint(), c.varint()
        if with_links:
            entry.links = c.varint()
        if entry.type == FILE:
            entry.size, entry.digest = c.varint(2 ** 63 - 1), bytes(16)
            if entry.size:
                entry.digest = c.take(16)
                entry.content = self.content(c, entry.size)
        elif entry.type == DIRECTORY:
            self.directory(c, entry)
        elif entry.type == SYMLINK:
            entry.target = c.string(ITEM_MOST)
            need(entry.target and b"\0" not in entry.target, "a symlink's target may not be so")
        elif entry.type in (CHARACTER, BLOCK_DEVICE):
            entry.device = c.varint()
        if entry.flags & XATTRS:
            self.xattrs(c, entry)

    def directory(self, c, entry):
        index, offset = self.ref(c, META, used=False)
        entry.below, entry.all_below, entry.bytes_below = c.varint(), c.varint(), c.varint()
        if entry.below:
            entry.directory = self.resolve(index, offset, META)
        else:
            need(index == offset == entry.all_below == entry.bytes_below == 0, "an empty directory has something")

    def xattrs(self, c, entry):
        form = c.fixed("B")
        if form == 0:
            entry.xattrs = parse_xattrs(c.string())
        else:
            need(form == 1, "unknown form of xattrs", form)
            size = c.varint()
            need(size, "an empty set of xattrs")
            entry.xattrs = self.content(c, size)

    def content(self, c, size):
        form = c.fixed("B")
        if form == 0:
            index, offset = c.varint(TABLE_MOST), c.varint(2 ** 32 - 1)
            return Content(size, [Extent(size, *self.resolve(index, offset, DATA))])
        if form == 1:
            count = c.varint(64)
            need(count >= 1, "content without extents")
            extents = [self.extent(c) for _ in range(count)]
            need(sum(e.length for e in extents) == size, "extents do not cover the size")
            return Content(size, extents)
        need(form == 2, "unknown form of content", form)
        return Content(size, ref=self.ref(c, META))

    def extent(self, c):
        word = c.varint()
        need(word >> 1, "an extent is empty")
        if word & 1:
            return Extent(word >> 1)
        index, offset = c.varint(TABLE_MOST), c.varint(2 ** 32 - 1)
        return Extent(word >> 1, *self.resolve(index, offset, DATA))


def parse_xattrs(data):
    c, found, last = Cursor(data), {}, b""
    while c.left():
        name, value = c.string(255), c.string(64 << 10)
        need(name > last, "xattrs are out of order")
        found[name] = value
        last = name
    need(found, "an empty set of xattrs")
    return found


class Tree:
    """Directories and files by place, wherever MOVES say that it is; ARCHIVES(name) gives an Archive or raises."""

    def __init__(self, archives, moves):
        self.archives, self.moves, self.blocks = archives, moves, {}

    def archive(self, archive_id, kind):
        return self.archives(f"{FOLDERS[kind]}/{archive_id.hex()}")

    def block(self, archive, number):
        key = archive.id, number
        if key not in self.blocks:
            self.blocks[key] = MetaBlock(archive, number)
        return self.blocks[key]

    def item(self, place, *kinds):
        archive, offset = self.moves.located(self.archive, place, META)
        found = self.block(archive, archive.number_at(offset)).items.get(offset)
        need(found and found[0] in kinds, archive.name, "has no such item at", offset)
        return found

    def bytes_at(self, place, count):
        """Bytes that lay together once."""
        out = b""
        while len(out) < count:
            archive, offset = self.moves.located(self.archive, (place[0], place[1] + len(out)), DATA)
            begin, length, _, _ = archive.blocks[archive.number_at(offset)]
            out += archive.read(offset, min(begin + length - offset, count - len(out)))
        return out

    def leaves(self, place, count):
        """The leaves of a directory: lists of records, in order."""
        stack, seen = [(place, None, None, count)], 0
        while stack:
            place, level, first, below = stack.pop()
            found = self.item(place, LEAF, TREE_INDEX)
            rows = found[-1]
            need(level is None or level == (0 if found[0] == LEAF else found[1]), "an index has another level below")
            name = rows[0].name if found[0] == LEAF else rows[0][0]
            need(first is None or first == name, "an index tells another first name")
            if found[0] == LEAF:
                need(below == len(rows), "a leaf has", len(rows), "entries, not", below)
                seen += len(rows)
                yield rows
                continue
            need(below == sum(row[2] for row in rows), "an index tells another number of entries")
            stack.extend((ref, found[1] - 1, name, n) for name, ref, n in reversed(rows))
        need(seen == count, "a directory has", seen, "entries, not", count)

    def entries(self, place, count):
        """The entries of a directory, links resolved."""
        last = b""
        for rows in self.leaves(place, count):
            for record in rows:
                need(record.name > last, "names are out of order between leaves")
                last = record.name
                yield self.resolved(record)

    def resolved(self, record):
        if record.type != LINK:
            return record
        entry = self.item(record.inode_ref, INODE)[1]
        named = Entry()
        named.__dict__.update(entry.__dict__, name=record.name, inode_ref=record.inode_ref)
        return named

    def extents(self, content):
        if content.ref is None:
            yield from content.inline
            return
        stack = [(content.ref, None, content.size)]
        while stack:
            place, level, covered = stack.pop()
            found = self.item(place, EXTENTS, EXTENTS_INDEX)
            need(level is None or level == (0 if found[0] == EXTENTS else found[1]), "an index has another level below")
            if found[0] == EXTENTS:
                need(sum(e.length for e in found[1]) == covered, "extents do not cover what they should")
                yield from found[1]
                continue
            need(sum(length for length, _ in found[2]) == covered, "an index of extents covers something else")
            stack.extend((ref, found[1] - 1, length) for length, ref in reversed(found[2]))

    def regions(self, content):
        """bytes, or the length of a hole, in order; no two of the same sort follow one another."""
        data = b""
        hole = 0
        for extent in self.extents(content) if content else ():
            if extent.archive is None:
                if data:
                    yield data
                    data = b""
                hole += extent.length
                continue
            if hole:
                yield hole
                hole = 0
            data += self.bytes_at((extent.archive, extent.offset), extent.length)
        if data or hole:
            yield data or hole

    def read(self, content):
        return b"".join(bytes(r) if isinstance(r, int) else r for r in self.regions(content))

    def xattrs(self, entry):
        if isinstance(entry.xattrs, Content):
            return parse_xattrs(self.read(entry.xattrs))
        return entry.xattrs or {}

    def walk(self, place, count):
        """(path, entry) of all below a directory, parents first."""
        stack = [(b"", place, count, 2 ** 64)]
        while stack:
            path, place, count, most = stack.pop()
            if not count:
                continue
            found = list(self.entries(place, count))
            for entry in found:
                yield path + entry.name, entry
            inside = [e for e in reversed(found) if e.type == DIRECTORY]
            # So that no directory is in itself.
            need(all(e.all_below < most for e in inside), path, "has a directory with as much below it")
            stack.extend((path + e.name + b"/", e.directory, e.below, e.all_below) for e in inside)
