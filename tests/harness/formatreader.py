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
import stat
import sys

from formatbytes import (BLOCK_DEVICE, CHARACTER, DIRECTORY, FIFO, FILE, SOCKET, SYMLINK, Damaged, need)
from formatcheck import Check
from formatkeys import WrongKey
from formatrepo import Repository
from formattree import PART, TYPES


def holes_of(regions):
    at, found = 0, []
    for region in regions:
        length = region if isinstance(region, int) else len(region)
        if isinstance(region, int):
            found.append([at, length])
        at += length
    return found


def described_entry(repo, kind, path, entry):
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
    xattrs = repo.tree.xattrs(entry)
    if xattrs:
        line["xattrs"] = {os.fsdecode(n): v.hex() for n, v in xattrs.items()}
    return line


def described(repo, root):
    """Everything in a snapshot as plain values, as a manifest of tests/golden has it; names of one file
    have the first of them as "link"."""
    found = list(repo.entries(root))
    first = {}
    for kind, path, entry in found:
        group = kind, entry.inode_ref
        first[group] = min(path, first.get(group, path))
    for kind, path, entry in found:
        line = described_entry(repo, kind, path, entry)
        if entry.inode_ref:
            line["link"] = os.fsdecode(first[kind, entry.inode_ref])
        yield line


def listed(repo):
    for name, root in sorted(repo.roots().items()):
        yield {"name": name, "revision": root.revision, "host": root.host, "sequence": root.sequence,
               "parent": root.parent, "complete": root.complete, "adhoc": root.adhoc,
               "forgotten": repo.is_forgotten(root), "held": repo.is_held(root), "tags": list(map(os.fsdecode, root.tags)),
               "types": {t["type"]: [os.fsdecode(s) for s in t["sources"]] for t in root.types}}


def make_file(repo, entry, path):
    with open(path, "xb") as f:
        for region in repo.tree.regions(entry.content):
            if isinstance(region, int):
                f.seek(region, os.SEEK_CUR)
            else:
                f.write(region)
        f.truncate(entry.size)


def make(repo, entry, path):
    if entry.type == FILE:
        make_file(repo, entry, path)
    elif entry.type == DIRECTORY:
        os.mkdir(path, 0o700)
    elif entry.type == SYMLINK:
        os.symlink(entry.target, path)
    else:
        kind = {CHARACTER: stat.S_IFCHR, BLOCK_DEVICE: stat.S_IFBLK, FIFO: stat.S_IFIFO, SOCKET: stat.S_IFSOCK}
        os.mknod(path, kind[entry.type] | 0o600, entry.device)


def dress(repo, entry, path):
    """Owner, mode, xattrs, time."""
    if os.geteuid() == 0:
        os.lchown(path, entry.uid, entry.gid)
    if entry.type != SYMLINK:
        os.chmod(path, entry.mode)
    for name, value in repo.tree.xattrs(entry).items():
        os.setxattr(path, name, value, follow_symlinks=False)
    os.utime(path, ns=(entry.mtime, entry.mtime), follow_symlinks=False)


def extract(repo, root, target):
    """All types into one new tree: what two of them have is the same."""
    target = os.fsencode(target)
    os.mkdir(target)
    made, directories = {}, []
    for _, name, entry in repo.entries(root):
        path = os.path.join(target, name)
        if os.path.lexists(path):
            continue
        if entry.inode_ref in made:
            os.link(made[entry.inode_ref], path, follow_symlinks=False)
            continue
        make(repo, entry, path)
        if entry.inode_ref:
            made[entry.inode_ref] = path
        if entry.type == DIRECTORY:
            directories.append((path, entry))
        else:
            dress(repo, entry, path)
    for path, entry in reversed(directories):
        dress(repo, entry, path)


def cat(repo, root, wanted):
    wanted = os.fsencode(wanted).strip(b"/")
    for _, path, entry in repo.entries(root):
        if path == wanted:
            need(entry.type == FILE, wanted, "is no file")
            return repo.tree.read(entry.content) if entry.content else b""
    raise Damaged(f"there is no {os.fsdecode(wanted)}")


def run(args):
    repo = Repository(args.repo, pathlib.Path(args.key).read_bytes())
    if args.do == "list":
        lines = listed(repo)
    elif args.do == "tree":
        lines = described(repo, repo.root(args.arguments[0]))
    elif args.do == "cat":
        sys.stdout.buffer.write(cat(repo, repo.root(args.arguments[0]), args.arguments[1]))
        return 0
    elif args.do == "extract":
        extract(repo, repo.root(args.arguments[0]), args.arguments[1])
        return 0
    else:
        check = Check(repo)
        for finding in check.run():
            print(finding)
        print(f"{len(check.findings)} findings, {check.done} files with the right digest", file=sys.stderr)
        return 4 if check.findings else 0
    for line in lines:
        print(json.dumps(line))
    return 0


def main(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("repo")
    p.add_argument("key")
    p.add_argument("do", choices=("list", "tree", "cat", "extract", "check"))
    p.add_argument("arguments", nargs="*")
    args = p.parse_args(argv)
    wanted = {"tree": 1, "cat": 2, "extract": 2}.get(args.do, 0)
    if len(args.arguments) != wanted:
        p.error(f"{args.do} takes {wanted} arguments")
    try:
        return run(args)
    except WrongKey as e:
        print(f"formatreader: {e}", file=sys.stderr)
        return 12
    except Damaged as e:
        print(f"formatreader: {e}", file=sys.stderr)
        return 4


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
