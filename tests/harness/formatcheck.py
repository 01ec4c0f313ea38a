"""formatcheck — every rule of docs/format.md that can be seen in a repository."""
import struct

import blake3
from formatarchive import DATA, FOLDERS, INDEX, META
from formatbytes import DIRECTORY, FILE, KIB, Cursor, Damaged, content_digest, need
from formatrepo import Note, Root


LEAF_MOST, LEAF_NAMES, LEAF_BITS = 48000, 64, 9
ITEM_HEAD = 12      # a leaf's kind and number are taken as so many bytes


def leaf_ends(id_key, record, count):
    hashed = int.from_bytes(blake3.digest(record.name, id_key)[:8], "little")
    return count >= LEAF_NAMES and hashed & (1 << LEAF_BITS) - 1 == 0


class Check:
    """All rules; what does not hold ends up in `findings`."""

    def __init__(self, repo):
        self.repo, self.findings, self.done = repo, [], 0
        self.seen = set()

    def guarded(self, what, call, *args):
        try:
            call(*args)
        except Damaged as e:
            self.findings.append(f"{what}: {e}")

    def run(self):
        for name in self.repo.named(("data/", "meta/", "index/", "snapshots/")):
            self.guarded(name, self.archive, name)
        for name, why in self.repo.unread.items():
            self.findings.append(f"{name}: {why}")
        for remap in self.repo.remaps:
            self.guarded(remap.name, self.remap, remap)
        for name in self.repo.named("marks/"):
            self.guarded(name, self.mark, name)
        for name in self.repo.named(("forgets/", "holds/", "releases/")):
            self.guarded(name, self.note, name)
        self.guarded("index archives", self.index)
        for name in self.repo.named("snapshots/"):
            self.guarded(name, self.snapshot, name)
        return self.findings

    def archive(self, name):
        archive = self.repo.archive(name)
        for i in range(archive.count):
            archive.block(i)
        archive.check_writer()
        for raw, length, chunk_id in archive.chunks:
            need(blake3.digest(archive.read(raw, length), self.repo.keys.id_key) == chunk_id,
                 "the chunk at", raw, "has another id")
        if archive.kind == META:
            blocks = [self.repo.tree.block(archive, i) for i in range(archive.count)]
            tables = {archive_id for block in blocks for archive_id, _ in block.table}
            need(sorted(tables) == archive.refers, "refers to other archives than it says")
            need(all(block.size <= 64 * KIB for block in blocks), "has a block of more than 64 KiB of items")

    def remap(self, remap):
        """What an entry leads to: prune deletes it when nothing needs it any more, and the entry may stay."""
        for _, new, kind, begin, end, at in remap.entries:
            if self.is_there(new, kind):
                archive = self.archive_of(new, kind)
                archive.number_at(at)
                need(at + end - begin <= archive.raw_end, remap.name, "leads behind the end of", archive.name)

    def is_there(self, archive_id, kind):
        """One that is not may have been pruned: then nothing refers to it, or a remap says where that is now."""
        return f"{FOLDERS[kind]}/{archive_id.hex()}" in self.repo.objects

    def archive_of(self, archive_id, kind):
        return self.repo.archive(f"{FOLDERS[kind]}/{archive_id.hex()}")

    def note(self, name):
        Note(self.repo.archive(name))

    def mark(self, name):
        magic, version, zero, repo, _, _, _, _ = struct.unpack("<8sH6s16sqQQQ", self.repo.objects[name])
        need(magic == b"YSTRMARK" and version == 1 and repo == self.repo.id and not any(zero), "is no mark")

    def index(self):
        """What index archives tell is what the archives tell of themselves."""
        self.indexed = {}
        for name in self.repo.named("index/"):
            c = Cursor(self.repo.archive(name).whole())
            while c.left():
                archive_id, kind, size = c.fixed("32sB") + (c.varint(),)
                toc, chunks = c.string(), c.string()
                need(kind in (DATA, META), name, "tells of an archive of kind", kind)
                if not self.is_there(archive_id, kind):
                    continue
                other = self.archive_of(archive_id, kind)
                need(size == len(other.data) and toc == other.toc and chunks == other.chunk_bytes,
                     name, "tells something else of", other.name)
                self.indexed[archive_id] = name

    def snapshot(self, name):
        root = Root(self.repo.archive(name))
        for archive_id, kind, size in root.archives:
            need(kind in (DATA, META, INDEX), "wrote an archive of kind", kind)
            if not self.is_there(archive_id, kind):
                continue
            other = self.archive_of(archive_id, kind)
            need(len(other.data) == size, other.name, "has another size than the root tells")
            need(kind not in (DATA, META) or archive_id in self.indexed, other.name, "stands in no index archive")
        for t in root.types:
            self.counts(t)
            if not root.parent:
                self.endings(t)

    def counts(self, t):
        """The numbers of a type, and those of each directory."""
        sums, order, files = {b"": [0, 0, 0]}, [], {"files": 0, "directories": 0, "others": 0, "bytes": 0}
        for path, entry in self.repo.tree.walk(t["place"], t["below"]):
            self.entry(path, entry)
            size = entry.size if entry.type == FILE else 0
            if entry.type == DIRECTORY:
                sums[path] = [0, 0, 0]
                order.append((path, entry))
            key = {FILE: "files", DIRECTORY: "directories"}.get(entry.type, "others")
            files[key] += 1
            files["bytes"] += size
            parent = path.rpartition(b"/")[0]
            for i, n in enumerate((1, 1, size)):
                sums[parent][i] += n
        for path, entry in reversed(order):
            mine, parent = sums[path], sums[path.rpartition(b"/")[0]]
            need(mine == [entry.below, entry.all_below, entry.bytes_below], path, "has", mine, "below, not",
                 [entry.below, entry.all_below, entry.bytes_below])
            parent[1] += mine[1]
            parent[2] += mine[2]
        told = {key: t[key] for key in files}
        need(told == files, t["type"], "has", files, "and tells", told)

    def endings(self, t):
        """Leaves of a first snapshot end where writers of version 1 end them."""
        directories = [(t["place"], t["below"])]
        directories += [(e.directory, e.below) for _, e in self.repo.tree.walk(t["place"], t["below"])
                        if e.type == DIRECTORY]
        for place, below in directories:
            leaves = list(self.repo.tree.leaves(place, below)) if below else []
            for leaf, following in zip(leaves, leaves[1:] + [None]):
                self.ending(leaf, following)

    def ending(self, leaf, following):
        id_key = self.repo.keys.id_key
        size = ITEM_HEAD + sum(record.cost for record in leaf)
        need(size <= LEAF_MOST or len(leaf) == 1, "a leaf of", size, "bytes")
        for i, record in enumerate(leaf[:-1]):
            need(not leaf_ends(id_key, record, i + 1), "a leaf goes on behind", record.name)
        if following and not leaf_ends(id_key, leaf[-1], len(leaf)):
            need(size + following[0].cost > LEAF_MOST, "a leaf ends early, behind", leaf[-1].name)

    def entry(self, path, entry):
        """The digest of a file; each file once."""
        key = entry.inode_ref or entry.place
        if entry.type != FILE or key in self.seen:
            return
        self.seen.add(key)
        regions = list(self.repo.tree.regions(entry.content))
        size = sum(r if isinstance(r, int) else len(r) for r in regions)
        need(size == entry.size, path, "has", size, "bytes, not", entry.size)
        need(content_digest(self.repo.chunker, self.repo.keys.id_key, regions) == entry.digest,
             path, "has another digest")
        self.done += 1
