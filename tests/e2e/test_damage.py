"""One changed bit anywhere is found or harmless; wrong bytes are never returned.

For every object of a small repository: flip a bit, cut it off, remove it, swap it for another.
After each, with a fresh catalog, what `cat` and `restore` give is right or an error, and when verify
--data says that all is well, everything is readable.
"""
import os
import random
import shutil

import pytest

from conftest import below, same, treecmp


@pytest.fixture
def small(yester, work):
    """(the program, its source, the bytes of each object)."""
    source = work / "source"
    (source / "d").mkdir(parents=True)
    (source / "text").write_bytes(b"a line of text\n" * 400)
    (source / "noise").write_bytes(os.urandom(150_000))
    (source / "d" / "empty").write_bytes(b"")
    (source / "d" / "link").symlink_to("../text")
    yester.backup(source)
    (source / "d" / "more").write_bytes(os.urandom(3000))
    yester.newest_root = next((yester.repo / "snapshots" / yester.backup(source)).iterdir())
    return yester, source, {p: p.read_bytes() for p in yester.objects()}


def fresh_catalog(yester):
    for path in sorted(yester.cache.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def writable(path):
    path.parent.chmod(0o755)
    if path.exists():
        path.chmod(0o644)


def put(path, data):
    writable(path)
    path.write_bytes(data)


def heal(objects):
    for path, data in objects.items():
        if not path.exists() or path.read_bytes() != data:
            path.parent.mkdir(parents=True, exist_ok=True)
            put(path, data)


def judge(yester, source, what, fresh=True):
    """Look at the damaged repository; return whether the damage was found."""
    if fresh:
        fresh_catalog(yester)
    target = yester.fresh("judged")
    root = yester.newest_root
    restored = yester.run("restore", "latest", "--target", target, rc=None)
    verified = yester.run("verify", "--data", rc=None)
    for result in (restored, verified):
        assert 0 <= result.rc < 128 and result.rc != 139, f"{what}: a crash: {result!r}"
        assert result.rc not in (2, 3, 11), f"{what}: {result!r}"
    top = below(target, source)
    if restored.rc == 0:
        lines = treecmp.compare(source, top) if top.exists() else ["nothing restored"]
        # The snapshot before stands in for one whose root is damaged, if that is said; who never saw a root
        # that is gone cannot miss it.
        said = root.parent.name in restored.errors or fresh and not root.exists()
        older = said and all("more" in line or "mtime" in line for line in lines)
        assert not lines or older, f"{what}: exit 0, but {lines}"
    else:
        assert restored.err, what
        for path in top.rglob("*") if top.exists() else ():
            original = source / path.relative_to(top)
            if path.is_file() and not path.is_symlink() and path.stat().st_size == original.stat().st_size:
                data, wanted = path.read_bytes(), original.read_bytes()
                assert data == wanted or str(original) in restored.errors, f"{what}: wrong bytes, not named: {path}"
    if verified.rc == 0:
        assert restored.rc == 0, f"{what}: verify finds nothing, restore fails: {restored!r}"
    shutil.rmtree(target)
    return verified.rc != 0


def places(size, rnd, count):
    """Some offsets: both ends, and others at random."""
    edges = {0, 1, 7, 8, 16, 40, 64, 100, 255, size - 256, size - 255, size - 128, size - 17, size - 1}
    return sorted({o for o in edges if 0 <= o < size} | {rnd.randrange(size) for _ in range(count)})


def flip(small, path, offset, rnd):
    yester, source, objects = small
    changed = bytearray(objects[path])
    changed[offset] ^= 1 << rnd.randrange(8)
    put(path, changed)
    judge(yester, source, f"{path.relative_to(yester.repo)}: bit at {offset} of {len(changed)}")


def flip_bits(small, count):
    rnd = random.Random(11)
    for path, data in small[2].items():
        offsets = places(len(data), rnd, count)
        for offset in rnd.sample(offsets, min(count, len(offsets))):
            flip(small, path, offset, rnd)
        put(path, data)


def test_some_flipped_bits_of_each_object_are_found_or_harmless(small):
    flip_bits(small, 4)


@pytest.mark.long
def test_many_flipped_bits_of_each_object_are_found_or_harmless(small):
    flip_bits(small, 60)


@pytest.mark.long
def test_a_bit_of_every_byte_of_the_smallest_repository_is_found_or_harmless(yester, work):
    source = work / "source"
    source.mkdir()
    (source / "text").write_bytes(b"a line of text\n" * 20)
    yester.newest_root = next((yester.repo / "snapshots" / yester.backup(source)).iterdir())
    objects = {p: p.read_bytes() for p in yester.objects()}
    rnd = random.Random(14)
    for path, data in objects.items():
        for offset in range(len(data)):
            flip((yester, source, objects), path, offset, rnd)
        put(path, data)


def truncate(small, count):
    yester, source, objects = small
    rnd = random.Random(12)
    for path, data in objects.items():
        sizes = places(len(data), rnd, count)
        for size in rnd.sample(sizes, min(count, len(sizes))):
            put(path, data[:size])
            judge(yester, source, f"{path.relative_to(yester.repo)}: cut at {size} of {len(data)}")
        put(path, data + bytes(100))
        judge(yester, source, f"{path.relative_to(yester.repo)}: 100 bytes more")
        put(path, data)


def test_an_object_cut_short_is_found(small):
    truncate(small, 2)


@pytest.mark.long
def test_an_object_cut_at_many_places_is_found(small):
    truncate(small, 30)


def test_an_object_that_is_missing_or_another_ones_content_is_found(small):
    yester, source, objects = small
    paths = list(objects)
    for i, path in enumerate(paths):
        writable(path)
        path.unlink()
        judge(yester, source, f"{path.relative_to(yester.repo)}: removed")
        other = paths[(i + 1) % len(paths)]
        put(path, objects[other])
        judge(yester, source, f"{path.relative_to(yester.repo)}: has the content of {other.name}")
        put(path, objects[path])
    assert not judge(yester, source, "healed")


@pytest.mark.quick
def test_damage_is_never_masked_by_a_catalog_that_knows_better(small):
    """The same without deleting the catalog: what the program remembers must not hide damage."""
    yester, source, objects = small
    rnd = random.Random(13)
    for path, data in objects.items():
        changed = bytearray(data)
        changed[rnd.randrange(len(data))] ^= 16
        put(path, changed)
        judge(yester, source, f"{path.relative_to(yester.repo)}: a bit, known catalog", fresh=False)
        put(path, data)


@pytest.mark.quick
def test_on_the_mount_damage_is_an_error_never_zeros(small):
    yester, source, objects = small
    largest = max(objects, key=lambda p: len(objects[p]))
    data = bytearray(objects[largest])
    for offset in range(5000, len(data) - 5000, 20_000):
        data[offset] ^= 255
    put(largest, data)
    failed = 0
    with yester.mount() as mount:
        for path in (p for p in source.rglob("*") if p.is_file() and not p.is_symlink()):
            try:
                assert (mount.tree("latest", source) / path.relative_to(source)).read_bytes() == path.read_bytes()
            except OSError as e:
                assert e.errno == 5
                failed += 1
    assert failed >= 1


@pytest.mark.quick
def test_verify_exits_4_and_names_the_snapshots_and_paths_that_are_hurt(small):
    yester, source, objects = small
    assert yester.run("verify").rc == 0 and yester.run("verify", "--data").rc == 0
    largest = max(objects, key=lambda p: len(objects[p]))
    data = bytearray(objects[largest])
    for offset in range(5000, len(data) - 5000, 20_000):
        data[offset] ^= 255
    put(largest, data)
    names = [s["name"] for s in yester.snapshots()]
    result = yester.run("verify", "--data", rc=4)
    said = result.text + result.errors
    assert "noise" in said and all(name in said for name in names), said
    writable(largest)
    largest.unlink()
    result = yester.run("verify", rc=4)
    said = result.text + result.errors
    assert largest.name[:16] in said and all(name in said for name in names), said


def test_who_saw_a_snapshot_notices_that_it_was_removed(small):
    yester, source, objects = small
    writable(yester.newest_root)
    yester.newest_root.unlink()
    result = yester.run("verify", rc=4)
    assert yester.newest_root.parent.name in result.text + result.errors
    put(yester.newest_root, objects[yester.newest_root])
    yester.run("verify")


def test_only_snapshots_that_need_the_damaged_object_are_hurt(yester, work):
    source = work / "source"
    source.mkdir()
    (source / "first").write_bytes(os.urandom(100_000))
    old = yester.backup(source)
    before = set(yester.objects())
    (source / "second").write_bytes(os.urandom(100_000))
    new = yester.backup(source)
    largest = max(set(yester.objects()) - before, key=lambda p: p.stat().st_size)
    writable(largest)
    largest.unlink()
    fresh_catalog(yester)
    assert yester.run("cat", f"{old}:files{source}/first").out == (source / "first").read_bytes()
    yester.restore(old, target=yester.fresh("old"))
    assert yester.run("cat", f"{new}:files{source}/second", rc=None).rc not in (0, None)
    assert yester.run("cat", f"{new}:files{source}/first").out == (source / "first").read_bytes()


def test_a_file_whose_archive_is_gone_is_read_again_by_the_next_backup(small):
    yester, source, objects = small
    largest = max(objects, key=lambda p: len(objects[p]))
    writable(largest)
    largest.unlink()
    name = yester.backup(source)
    fresh_catalog(yester)
    same(source, yester.restored(source, name))


def test_what_was_bad_for_a_while_is_referred_to_again_once_all_of_it_reads_well(small):
    yester, source, objects = small
    data = max((p for p in objects if p.parent.name == "data"), key=lambda p: len(objects[p]))
    put(data, objects[data][:5000] + bytes([objects[data][5000] ^ 1]) + objects[data][5001:])
    yester.run("verify", "--data", rc=4)
    put(data, objects[data])
    assert "reads well now" in yester.run("verify", "--data").errors
    assert "reads well now" not in yester.run("verify", "--data").errors
    shutil.copy(source / "noise", source / "copy")
    yester.backup(source)
    assert {p for p in yester.objects() if p.parent.name == "data"} == {p for p in objects if p.parent.name == "data"}


def test_find_and_stats_tell_what_they_could_not_read_and_go_on(small):
    yester, source, objects = small
    newest = max((p for p in objects if p.parent.name == "meta"), key=lambda p: p.stat().st_mtime_ns)
    put(newest, objects[newest][:300] + bytes([objects[newest][300] ^ 1]) + objects[newest][301:])
    found = yester.run("find", "noise", rc=4)
    assert b"/noise" in found.out
    assert "could not be read, so this is not all" in found.errors
    assert "could not be read, so this is not all" in yester.run("stats", rc=4).errors
