"""A repository with a past, and copies of it to do harm to: what the tests of failures share."""
import itertools
import os
import shutil
import subprocess

from conftest import NAME, Yester, make_tree, same
import faults

CHANGES = "create,write,size,sync,name"


class World:
    """Two snapshots, copies of the sources that they were made of, and a source that has changed since."""

    def __init__(self, work):
        self.work, self.tree = work, make_tree(work / "source")
        self.origin = Yester(self.fresh("origin"))
        self.kept = {}
        self.numbers = itertools.count(1)

    def start(self):
        self.origin.init()
        self.keep(self.origin.backup(self.tree))
        self.change(1)
        self.keep(self.origin.backup(self.tree))
        self.change(2)
        return self

    def fresh(self, name):
        path = self.work / name
        path.mkdir()
        return path

    def change(self, number):
        """Something new, something changed, something gone, something bigger than a block."""
        (self.tree / "README").write_bytes(b"generation %d\n" % number)
        (self.tree / f"data/new.{number}").write_bytes(os.urandom(150_000))
        (self.tree / f"src/small.{number}").write_bytes(b"small %d\n" % number)
        (self.tree / f"src/small.{number - 1}").unlink(missing_ok=True)

    def keep(self, name):
        """Note that NAME was acknowledged, and what it has to bring back."""
        copy = self.work / f"as-in-{name}"
        subprocess.run(["cp", "-a", self.tree, copy], check=True)
        self.kept[name] = copy

    def trial(self):
        return Trial(self, self.fresh(f"trial{next(self.numbers)}"))


class Trial:
    """A copy of the repository and of the catalog, which goes away."""

    def __init__(self, world, work):
        self.world, self.work = world, work
        self.yester = Yester(work)
        shutil.copy(world.origin.key, self.yester.key)
        for old, new in ((world.origin.repo, self.yester.repo), (world.origin.cache, self.yester.cache)):
            if old.exists():
                shutil.copytree(old, new, symlinks=True, dirs_exist_ok=True)

    def __enter__(self):
        return self

    def __exit__(self, failed, *_):
        if not failed:
            self.yester.check_reports()
            shutil.rmtree(self.work, ignore_errors=True)

    def shim(self, directory):
        return faults.Shim(self.work / "shim", directory)

    def backup(self, **env):
        return self.yester.run("backup", "--type", "files", self.world.tree, rc=None, env=env)

    def holds(self, name, source):
        """NAME brings SOURCE back byte for byte."""
        same(source, self.yester.restored(self.world.tree, name))

    def is_whole(self):
        """Whatever was acknowledged comes back; and a new backup needs no help."""
        for name, copy in self.world.kept.items():
            self.holds(name, copy)
        self.holds(self.yester.backup(self.world.tree), self.world.tree)
        self.yester.run("verify", "--data")

    def is_truthful(self, result):
        """The status of a backup whose source was readable, judged without the shim."""
        assert result.rc in (0, 1), result
        if result.rc == 0:
            assert NAME.fullmatch(result.lines[-1]), result
            self.holds(result.lines[-1], self.world.tree)
        else:
            assert result.errors.strip(), "it failed and did not say why"


def count(world, watched, calls=None, run=Trial.backup):
    """How many calls a run makes that are left alone; WATCHED names a directory of the trial."""
    with world.trial() as trial:
        shim = trial.shim(watched(trial))
        result = run(trial, **shim.env(calls=calls))
        assert result.rc == 0, result
        assert shim.count() > 0, "the shim saw nothing"
        return shim.count()
