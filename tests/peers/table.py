"""table - results.tsv as tables: for a terminal, every job and every contender; for docs/benchmarks.md, what was aimed at."""
import os, re, statistics
from common import COLS, RESULTS

JOBS = [('tree', j) for j in ('first same_cold same_warm one diff_one incr restore restored mount_ls find_cold find_warm tar_cold tar_warm '
                              'grep_cold grep_warm diff_cold').split()] + \
       [('big', j) for j in 'first restore restored cp1k cp500 rr4k_1 rr4k_4 rr128k_1 rr128k_4'.split()] + \
       [('pg', j) for j in 'first incr restore'.split()] + [('pgrun', j) for j in 'first restore incr restore2'.split()]

# data, job, what it is called, [(contender, yester is to be at least so many times as fast)], or a limit that holds by itself
SECONDS, IOPS = 's', 'IOPS'
AIMS = [
    ('tree', 'first', 'first backup, small files, cold', [('restic', 5), ('borg', 8), ('tarssl', 1), ('sqfs', 1)], None),
    ('big', 'first', 'first backup, large files', [('restic', 4)], None),
    ('tree', 'same_warm', 'no change, warm', [('restic', 8)], None),
    ('tree', 'same_cold', 'no change, cold', [('restic', 4)], None),
    ('tree', 'incr', '1 % changed', [('restic', 5)], None),
    ('tree', 'restore', 'full restore', [('restic', 4), ('cp', 1)], None),
    ('tree', 'restored', '… until it is on the disk', [], None),
    ('big', 'restore', 'restore of large files', [], None),
    ('big', 'restored', '… until it is on the disk', [], None),
    ('tree', 'mount_ls', 'mount until the first `ls`', [], 0.05),
    ('tree', 'find_cold', '`find -ls` over the mount, cold', [('cp', 1)], None),
    ('tree', 'find_warm', '… warm', [('cp', 1 / 1.3)], None),
    ('tree', 'tar_cold', '`tar` of the mount, cold', [('cp', 1)], None),
    ('tree', 'tar_warm', '… warm', [('cp', 1 / 1.2)], None),
    ('tree', 'grep_cold', '`grep -r` cold', [('cp', 1)], None),
    ('tree', 'grep_warm', '… warm', [('cp', 1 / 1.2)], None),
    ('big', 'cp500', '`cp` of 500 MB out of the mount, cold', [('sqfuse_ll', 1)], 0.79),
    ('big', 'rr4k_1', 'random 4 KiB, cold, 1 thread (reads a second)', [], 3300),
    ('big', 'rr4k_4', '… 4 threads', [], 6000),
    ('big', 'rr128k_1', 'random 128 KiB, cold, 1 thread (reads a second)', [], 2000),
    ('big', 'rr128k_4', '… 4 threads', [], 3500),
    ('tree', 'diff_cold', '`diff -rq` of two mounted dates', [('restic', 5)], None),
    ('tree', 'diff_one', 'what changed (`yester diff`): one file among all', [], 0.05),
]


def num(x):
    return '%.0f' % x if x >= 1000 else '%.1f' % x if x >= 10 else '%.2f' % x if x >= 0.1 else '%.3f' % x


def real(text):
    return float(text) if text else 0.0


def disturbed(r):
    return real(r['other']) + real(r['steal'])


def median(rs, key):
    """Over the undisturbed runs; if there is none, the least disturbed one."""
    v = [key(r) for r in rs if disturbed(r) <= 0.25] or [key(min(rs, key=disturbed))] if rs else []
    return statistics.median(v) if v else None


def is_wrong(rs):
    return any(x in r['verified'] for r in rs for x in ('FAIL', 'DIFFERS'))


class Results:
    def __init__(self):
        self.rows = [dict(zip(COLS, l.rstrip('\n').split('\t'))) for l in open(RESULTS, encoding='utf-8')][1:]
        self.by, self.names = {}, []
        for r in self.rows:
            self.by.setdefault((r['contender'], r['data'], r['job']), []).append(r)
            if r['contender'] not in self.names:
                self.names.append(r['contender'])

    def get(self, name, data, job):
        return self.by.get((name, data, job), [])

    def value(self, name, data, job):
        """Seconds, or reads a second; None when there is none that counts."""
        rs = self.get(name, data, job)
        if not rs or is_wrong(rs) or any('CAP' in r['verified'] or 'rc=cap' in r['verified'] for r in rs):
            return None
        return median(rs, lambda r: real(r['value'] if r['unit'] == IOPS else r['wall']))

    def times(self, a, b, data, job):
        """How many times as fast as b is a: the median over runs made side by side."""
        if self.value(a, data, job) is None or self.value(b, data, job) is None:
            return None
        ratios = []
        for x in self.get(a, data, job):
            for y in self.get(b, data, job):
                if x['rep'] == y['rep']:
                    iops = x['unit'] == IOPS
                    u, v = (real(r['value' if iops else 'wall']) for r in (x, y))
                    if u > 0 and v > 0:
                        ratios.append(u / v if iops else v / u)
        return statistics.median(ratios) if ratios else None


def plain(base):
    res = Results()
    for data in ('tree', 'big', 'pg', 'pgrun'):
        jobs = [j for d, j in JOBS if d == data and any((n, d, j) in res.by for n in res.names)]
        if jobs:
            plain_of(res, data, jobs, base)
    checks(res)


def plain_of(res, data, jobs, base):
    names = [n for n in res.names if any((n, data, j) in res.by for j in jobs)]
    b = base if base in names else 'copy' if 'copy' in names else None

    def cell(n, j, what):
        rs = res.get(n, data, j)
        if not rs:
            return '-'
        key = lambda r: real(r['value'] if r['unit'] == IOPS else r['wall'])
        w = median(rs, key)
        cap = any('CAP' in r['verified'] or 'rc=cap' in r['verified'] for r in rs)
        mark = '>' if cap else '!' if is_wrong(rs) else '~' if min(map(disturbed, rs)) > 0.25 else ''
        if what == 'wall': return mark + num(w)
        if what == 'cpu': return num(median(rs, lambda r: real(r['user']) + real(r['sys'])))
        if what == 'rss': return '%.0f' % median(rs, lambda r: real(r['rss_mib']))
        if what == 'added':
            v = [real(r['added_mib']) for r in rs if r['added_mib']]
            return num(statistics.median(v)) if v else '-'
        bw = median(res.get(b, data, j), key) if b and res.get(b, data, j) else None
        return mark + num(w / bw) if bw else '-'
    for title, what in (('wall s (fio jobs: IOPS); ~ more than 25 % of the machine taken by others, > stopped at cap, ! wrong', 'wall'),
                        ('CPU s, user+sys, daemons included', 'cpu'), ('ratio of wall (fio: of IOPS) to ' + str(b), 'ratio'),
                        ('peak RSS MiB', 'rss'), ('MiB added to the repository', 'added')):
        shown = [j for j in jobs if what != 'added' or j in ('first', 'same_cold', 'one', 'incr')]
        lines = [['contender'] + shown] + [[n] + [cell(n, j, what) for j in shown] for n in names]
        wide = [max(len(l[i]) for l in lines) for i in range(len(lines[0]))]
        print('\n%s: %s' % (data, title))
        for l in lines:
            print('  '.join((x.ljust if i == 0 else x.rjust)(wide[i]) for i, x in enumerate(l)))


def checks(res):
    said = {}
    for r in res.rows:
        bad = any(x in r['verified'] for x in ('FAIL', 'DIFFERS', 'CAP'))
        if bad or r['job'].startswith('restore') and r['verified']:
            key = (r['contender'], r['data'], r['job'])
            if bad or key not in said:
                said[key] = r['verified']
    print('\nverification (content by diff/cmp; counts = entries whose metadata came back different):')
    for k, x in said.items():
        print('  %-15s %-6s %-10s %s' % (*k, x[:230]))


# ---------------------------------------------------------------- what was aimed at
def aim_words(res, data, job, aims, limit):
    """The goal, and whether it was reached."""
    words, met = [], True
    for peer, factor in aims:
        t = res.times('yester', peer, data, job)
        if t is None:
            continue
        words.append('%s × %s' % (('%.2f' % factor).rstrip('0').rstrip('.'), peer))
        met &= t >= factor
    if limit is not None:
        mine, iops = res.value('yester', data, job), limit > 100
        words.append('%d' % limit if iops else '%s s' % limit)
        met &= mine is not None and (mine >= limit if iops else mine <= limit)
    return ', '.join(words) or '–', ('yes' if met else 'no') if words else '–'


def aims_rows(res):
    peers = [n for n in res.names if n not in ('yester', 'cp')]
    for data, job, title, aims, limit in AIMS:
        mine = res.value('yester', data, job)
        if mine is None:
            if res.get('yester', data, job):
                yield [title, 'WRONG', '', '', '', '', '', 'no']
            continue
        ranked = sorted((t, n) for n in peers for t in [res.times('yester', n, data, job)] if t is not None)
        best, cp = (ranked[0] if ranked else (None, None)), res.times('yester', 'cp', data, job)
        restic = res.times('yester', 'restic', data, job)
        show = lambda t: num(t) if t else '–'
        words, met = aim_words(res, data, job, aims, limit)
        yield [title, num(mine), '%s %s' % (best[1], num(res.value(best[1], data, job))) if best[1] else '–', show(best[0]),
               show(restic), show(cp), words, met]


def sizes(res):
    """Lines on bytes stored and memory."""
    def added(name, job, data='tree'):
        rs = [r for r in res.get(name, data, job) if r['added_mib']]
        return median(rs, lambda r: real(r['added_mib'])) if rs else None

    def memory(name, data='tree'):
        rs = res.get(name, data, 'first')
        return max(real(r['rss_mib']) for r in rs) if rs else None
    parts = []
    for title, f in (('MiB stored after the first backup', lambda n: added(n, 'first')), ('new after 1 % changed', lambda n: added(n, 'incr')),
                     ('large files', lambda n: added(n, 'first', 'big')), ('peak MiB of memory, first backup', memory),
                     ('… large files', lambda n: memory(n, 'big'))):
        shown = [(n, f(n)) for n in res.names if n not in ('cp', 'sqfuse_ll') and f(n)]
        if shown:
            parts.append('%s: %s' % (title, ', '.join('%s %s' % (n, num(v)) for n, v in shown)))
    rss = [real(r['value']) for r in res.get('yester', 'tree', 'mount_rss')]
    if rss:
        parts.append("peak memory of yester's mount after `tar` of all: %.0f MiB (256 of them its cache)" % max(rss))
    return parts


def markdown(about):
    res = Results()
    out = [about, '', '| job | yester | best peer | × the best peer | × restic | × plain files (`cp`, ext4) | goal | reached |',
           '| --- | --- | --- | --- | --- | --- | --- | --- |']
    out += ['| ' + ' | '.join(r) + ' |' for r in aims_rows(res)]
    out += [''] + ['- ' + p for p in sizes(res)]
    return '\n'.join(out) + '\n'


def write(path, name, text):
    """Replaces what stands between the marks of that name, or adds it at the end."""
    begin, end = '<!-- %s: written by tests/bench -->\n' % name, '<!-- end of %s -->\n' % name
    old = open(path, encoding='utf-8').read() if os.path.exists(path) else ''
    pattern = re.compile(re.escape(begin) + '.*?' + re.escape(end), re.S)
    new = begin + text + end
    old = pattern.sub(lambda _: new, old) if pattern.search(old) else old.rstrip('\n') + '\n\n' + new
    with open(path, 'w', encoding='utf-8') as f:
        f.write(old)
