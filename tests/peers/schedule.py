"""schedule - who runs what next.

The jobs of one contender are a generator that says (job, repetition) before each measured run.  lockstep()
takes all contenders through the same job at the same repetition, one after the other, so that what is
compared was measured side by side, and what the sources look like can be the same for all of them.
"""
import time
from common import T00, opt

ORDER = ('first same_cold same_warm one diff_one incr restore mount find tar grep diff cp1k cp500 seq seq_random '
         'rr4k_1 rr4k_4 rr128k_1 rr128k_4').split()


def runs(c, job, once):
    """once(rep) -> Meter or None.  3 runs when the first is short, more when others disturbed the machine."""
    n, rep, extra = 1, 0, 0
    while rep < n:
        rep += 1
        yield ORDER.index(job), rep
        m = once(rep)
        if m is None:
            return
        late = opt.budget and time.time() - T00 > opt.budget
        if rep == 1 and m.rc == 0 and m.wall < opt.rep3 and not late:
            n = 3
        if rep == n and m.other + m.steal > 0.25 and extra < opt.again and not late and m.rc == 0 and m.wall < 60:
            extra, n = extra + 1, n + 1


def lockstep(tasks, failed):
    """tasks: [(contender, generator)].  Whoever raises is told to failed(contender, exception) and is out."""
    at = {}

    def go_on(c, task):
        try:
            at[c] = (next(task), task)
        except StopIteration:
            at.pop(c, None)
        except Exception as e:
            at.pop(c, None)
            failed(c, e)
    for c, task in tasks:
        go_on(c, task)
    while at:
        now = min(point for point, _ in at.values())
        for c in [c for c, (point, _) in at.items() if point == now]:
            go_on(c, at[c][1])
