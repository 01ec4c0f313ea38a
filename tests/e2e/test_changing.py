"""Files that change, grow, shrink and vanish while they are read."""
import os
import threading

import pytest

from conftest import below, same


class Changing:
    """Change files of a directory until stopped."""

    def __init__(self, top):
        self.top, self.end = top, threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.end.set()
        self.thread.join()

    def run(self):
        i = 0
        while not self.end.is_set():
            i += 1
            with open(self.top / "growing", "ab") as f:
                f.write(b"%09d\n" % i * 1000)
            os.truncate(self.top / "shrinking", max(0, 3_000_000 - i * 1000))
            with open(self.top / "changing", "r+b") as f:
                f.seek(i * 4096 % 2_000_000)
                f.write(b"%09d\n" % i)
            name = self.top / f"vanishing {i % 50}"
            name.unlink() if name.exists() else name.write_bytes(b"x" * 100_000)
            self.end.wait(0.001)


@pytest.mark.smoke
def test_a_tree_that_changes_all_the_time_is_backed_up_and_can_be_restored(yester, work):
    source = work / "source"
    (source / "quiet").mkdir(parents=True)
    (source / "quiet/noise").write_bytes(os.urandom(1_000_000))
    (source / "growing").write_bytes(b"")
    (source / "shrinking").write_bytes(os.urandom(3_000_000))
    (source / "changing").write_bytes(bytes(2_000_000))
    for i in range(0, 50, 2):
        (source / f"vanishing {i}").write_bytes(b"y" * 100_000)
    names = []
    with Changing(source):
        for _ in range(4):
            names.append(yester.backup(source, rc=(0, 3)))
    yester.verify()
    for name in names:
        target = yester.fresh("then")
        yester.restore(name, target=target)
        same(source / "quiet", below(target, source / "quiet"))
        grown = (below(target, source) / "growing").read_bytes()
        assert grown == b"".join(b"%09d\n" % i * 1000 for i in range(1, len(grown) // 10000 + 2))[:len(grown)]  # a write may be there in part
    same(source, yester.restored(source, yester.backup(source)))


def test_a_file_changed_right_after_it_was_saved_is_saved_again(yester, work):
    """A change in the same tick of the file system's clock must not be taken for none."""
    source = work / "source"
    source.mkdir()
    path = source / "file"
    for i in range(8):
        path.write_bytes(b"%08d" % i)
        name = yester.backup(source)
        assert yester.run("cat", f"{name}:files{path}").out == b"%08d" % i
