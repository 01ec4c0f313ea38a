#!/usr/bin/env python3
"""formatreader — read a repository in a local directory as docs/format.md says, by another hand than yester's.

    formatreader.py REPO KEYFILE list               snapshots, one JSON object a line
    formatreader.py REPO KEYFILE tree SNAP          its entries, one JSON object a line
    formatreader.py REPO KEYFILE cat SNAP PATH      a file's bytes
    formatreader.py REPO KEYFILE extract SNAP DIR   all of it into a new directory
    formatreader.py REPO KEYFILE check              every rule that the format states

KEYFILE holds the secret (a passphrase or 32 bytes in base64).  For small repositories: all is held in
memory.  Needs python3-cryptography and python3-zstandard.  Exits 4 for damage, 12 for a wrong key.
"""
import argparse
import hashlib
import json
import os
import pathlib
import re
import stat
import struct
import sys

from formatarchive import DATA, INDEX, META, ROOT, Archive
from formatbytes import (BLOCK_DEVICE, CHARACTER, DIRECTORY, FIFO, FILE, SOCKET, SYMLINK, Chunker, Cursor, Damaged,
                         content_digest, need)
from formatkeys import Keys, WrongKey
from formattree import CHANGED, PART, TYPES, Tree

SNAPSHOT_TYPES = {1: "files", 2: "config", 3: "database"}
NO_DIRECTORY = 2 ** 32 - 1
NAMES = re.compile(r"repository|keys/slot/[0-9a-f]{32}|keys/epoch/\d{8}\.\d{8}|(data|meta|index|marks)/[0-9a-f]{64}"
                   r"|snapshots/[^/]+/\d{8}|claims/[^/]+/[0-9a-f]{64}")


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
        need(self.sequence >= 1 and self.start <= self.end, archive.name, "has impossible numbers")
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
        self.tree = Tree(self.archive)

    def header(self, data):
        need(len(data) == 64, "there is no repository here")
        magic, version, self.algorithm, zero, flags, self.id, self.made, rest = struct.unpack("<8sHBBI16sQ24s", data)
        need(magic == b"YSTRREPO" and version == 1 and zero == 0 and flags == 0 and not any(rest),
             "the repository is of another version")

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

    def root(self, name):
        roots = self.roots()
        need(roots, "there are no snapshots")
        name = max(roots) if name == "latest" else name
        need(name in roots, "there is no snapshot", name)
        return roots[name]

    def entries(self, root):
        """(type, path, entry)"""
        for t in root.types:
            for path, entry in self.tree.walk(t["place"], t["below"]):
                yield t["type"], path, entry


def holes_of(regions):
    at, found = 0, []
    for region in regions:
        length = region if isinstance(region, int) else len(region)
        if isinstance(region, int):
            found.append([at, length])
        at += length
    return found


def described(repo, root):
    """Everything in a snapshot as plain values, as a manifest of tests/golden has it."""
    first = {}
    for kind, path, entry in repo.entries(root):
        line = {"snapshot_type": kind, "path": os.fsdecode(path), "type": TYPES[entry.type],
                "mode": f"{entry.mode:04o}", "uid": entry.uid, "gid": entry.gid, "mtime_ns": entry.mtime}
        if entry.type == FILE:
            regions = list(repo.tree.regions(entry.content))
            data = b"".join(bytes(r) if isinstance(r, int) else r for r in regions)
            need(len(data) == entry.size, "a file has another size")
            line |= {"size": entry.size, "sha256": hashlib.sha256(data).hexdigest(), "holes": holes_of(regions)}
        elif entry.type == SYMLINK:
            line["target"] = os.fsdecode(entry.target)
        elif entry.type in (CHARACTER, BLOCK_DEVICE):
            line["device"] = entry.device
        if entry.flags & PART:
            line["part"] = True
        if entry.inode_ref:
            line["link"] = first.setdefault((kind, entry.inode_ref), line["path"])
        xattrs = repo.tree.xattrs(entry)
        if xattrs:
            line["xattrs"] = {os.fsdecode(n): v.hex() for n, v in xattrs.items()}
        yield line


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
        for name in self.repo.named("marks/"):
            self.guarded(name, self.mark, name)
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
            import blake3
            need(blake3.digest(archive.read(raw, length), self.repo.keys.id_key) == chunk_id,
                 "the chunk at", raw, "has another id")
        if archive.kind == META:
            tables = set()
            for i in range(archive.count):
                self.repo.tree.item_block(archive, i)
                tables |= {i for i, _ in self.repo.tree.item_block(archive, i).table}
            need(sorted(tables) == archive.refers, "refers to other archives than it says")

    def mark(self, name):
        magic, version, zero, repo, _, rest = struct.unpack("<8sH6s16s8s24s", self.repo.objects[name])
        need(magic == b"YSTRMARK" and version == 1 and repo == self.repo.id and not any(zero + rest), "is no mark")

    def index(self):
        """What index archives tell is what the archives tell of themselves."""
        self.indexed = {}
        for name in self.repo.named("index/"):
            c = Cursor(self.repo.archive(name).whole())
            while c.left():
                archive_id, kind, size = c.fixed("32sB") + (c.varint(),)
                toc, chunks = c.string(), c.string()
                need(kind in (DATA, META), name, "tells of an archive of kind", kind)
                other = self.repo.archive(f"{'data' if kind == DATA else 'meta'}/{archive_id.hex()}")
                need(size == len(other.data) and toc == other.toc and chunks == other.chunk_bytes,
                     name, "tells something else of", other.name)
                self.indexed[archive_id] = name

    def snapshot(self, name):
        root = Root(self.repo.archive(name))
        folders = {DATA: "data", META: "meta", INDEX: "index"}
        for archive_id, kind, size in root.archives:
            need(kind in folders, "wrote an archive of kind", kind)
            other = self.repo.archive(f"{folders[kind]}/{archive_id.hex()}")
            need(len(other.data) == size, other.name, "has another size than the root tells")
            need(kind == INDEX or archive_id in self.indexed, other.name, "stands in no index archive")
        for t in root.types:
            self.counts(t)

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
