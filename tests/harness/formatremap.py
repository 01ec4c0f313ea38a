"""formatremap — where moved content lies by now, as docs/format.md, "Remaps", says."""
from formatarchive import DATA, META
from formatbytes import Cursor, Damaged, need

OBJECTS_MOST, ENTRIES_MOST, ALIKE_MOST, STEPS_MOST, PLACES_MOST = 1024, 1 << 20, 64, 16, 16


class Remap:
    """The document of a remap archive; entries are (old, new, kind, from, end, at)."""

    def __init__(self, archive):
        self.name, self.id = archive.name, archive.id
        c = Cursor(archive.whole())
        need(c.varint() == 1 and c.varint() == 0, self.name, "is of an unknown version")
        self.superseded = [c.take(32) for _ in range(c.varint(OBJECTS_MOST))]
        need(self.superseded == sorted(set(self.superseded)), self.name, "stands in for remaps out of order")
        self.entries = [c.fixed("32s32sBIII") for _ in range(c.varint(ENTRIES_MOST))]
        c.finish(self.name)
        order = [(old, begin, new, end, at) for old, new, _, begin, end, at in self.entries]
        need(order == sorted(set(order)), self.name, "has entries out of order")
        self.about = {}
        for entry in self.entries:
            self.entry(*entry)
            self.about.setdefault(entry[0], []).append(entry)
        need(all(len(same) <= ALIKE_MOST for same in self.about.values()), self.name, "says too much of one archive")
        self.flat()

    def entry(self, old, new, kind, begin, end, at):
        need(kind in (DATA, META) and begin < end and at + end - begin < 2 ** 32 and old != new,
             self.name, "has an entry that cannot be")

    def flat(self):
        for _, new, kind, begin, end, at in self.entries:
            for _, _, other, low, high, _ in self.about.get(new, ()):
                need(kind == other and (at + end - begin <= low or high <= at), self.name, "is not flat")


class Moves:
    """What all remap archives say together."""

    def __init__(self, remaps):
        self.remaps = remaps

    def after(self, place, kind):
        """The places that PLACE was moved to in one step."""
        for remap in self.remaps:
            for _, new, found, begin, end, at in remap.about.get(place[0], ()):
                if begin <= place[1] < end and found == kind:
                    yield new, at + place[1] - begin

    def places(self, place, kind):
        """PLACE, and all places that its bytes may have been moved to."""
        found, steps = [place], {place: 0}
        for at in found:
            for moved in self.after(at, kind):
                if moved in steps:
                    continue
                steps[moved] = steps[at] + 1
                need(steps[moved] <= STEPS_MOST and len(found) <= PLACES_MOST, "remaps lead on and on")
                found.append(moved)
        return found

    def located(self, archives, place, kind):
        """(archive, offset) of the first that is there, the moved ones first; ARCHIVES(id, kind) or Damaged."""
        own, *moved = self.places(place, kind)
        for archive_id, offset in moved:
            try:
                archive = archives(archive_id, kind)
                archive.number_at(offset)
                return archive, offset
            except Damaged:
                continue
        return archives(own[0], kind), own[1]

    def tells_of(self, archive_id):
        return any(archive_id in remap.about for remap in self.remaps)
