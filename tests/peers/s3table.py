"""s3table - yester beside restic in the same bucket's server, with requests and bytes, in Markdown."""
import re
from table import Results, is_wrong, median, num, real

JOBS = [('tree', 'first', 'first backup, small files'), ('tree', 'same_cold', 'nothing changed'), ('tree', 'incr', '1 % changed'),
        ('tree', 'restore', 'restore, small files, without a cache'), ('tree', 'mount_ls', 'mount until the first `ls`, without a cache'),
        ('tree', 'find', '`find -ls` over the mount'), ('tree', 'grep', '`grep -r` over the mount'), ('tree', 'cp1k', '`cp` of one small file'),
        ('big', 'first', 'first backup, large files'), ('big', 'restore', 'restore, large files, without a cache'),
        ('big', 'cp500', '`cp` of one large file'),
        ('big', 'seq', '`cat` of 500 MiB of libraries, without a cache'), ('big', 'seq_random', '`cat` of 512 MiB of noise, without a cache')]


def figure(rs, name):
    """A count of the note, by the median."""
    found = [re.search(name + r'=([\d.]+)', r['note']) for r in rs]
    return median([r for r, x in zip(rs, found) if x], lambda r: real(re.search(name + r'=([\d.]+)', r['note'])[1]))


def kinds(rs):
    return ' '.join('%s %s' % x for x in re.findall(r'([A-Z]{3,})=(\d+)', rs[-1]['note']))


def cells(res, name, data, job):
    rs = res.get(name, data, job)
    if is_wrong(rs):
        return ['WRONG', '', '', '', '', '']
    seconds, times = res.value(name, data, job), res.times('yester', name, data, job)
    requests, up, down = (figure(rs, x) for x in ('requests', 'up', 'down'))
    capped = '> ' + num(max(real(r['wall']) for r in rs)) if seconds is None else num(seconds)
    return [capped, num(times) if times is not None and name != 'yester' else '', '%.0f' % requests, num(up), num(down), kinds(rs)]


def is_good(res):
    """Whether all that yester had to do it did, and right."""
    rs = [r for r in res.rows if r['contender'] == 'yester']
    return bool(rs) and not is_wrong(rs)


def markdown(about, res):
    lines = [about, '', '"×" is how many times as fast yester is; MiB are all that went over the line, headers included, from the client (up) and to it.', '',
             '| job | | s | × | requests | MiB up | MiB down | |', '| --- | --- | --- | --- | --- | --- | --- | --- |']
    for data, job, title in JOBS:
        for name in res.names:
            if res.get(name, data, job):
                lines.append('| %s | %s | %s |' % (title, name, ' | '.join(cells(res, name, data, job))))
                title = ''
    lines.append('')
    for data, title in (('tree', 'small files'), ('big', 'large files')):
        rows = [(n, median(res.get(n, data, 'first'), lambda r: real(r['repo_mib']))) for n in res.names if res.get(n, data, 'first')]
        if rows:
            lines.append('- MiB stored, %s: %s' % (title, ', '.join('%s %s' % (n, num(v)) for n, v in rows)))
    return '\n'.join(lines) + '\n'
