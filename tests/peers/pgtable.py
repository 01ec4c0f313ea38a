"""pgtable - yester beside the others on PostgreSQL, and what each costs the server, in Markdown."""
from table import Results, is_wrong, median, num, real

DATA = 'pgrun'
KINDS = [('Physical', 'yester', 'basebackup basebackup-zstd pgbackrest copy'.split()),
         ('Logical', 'yester-logical', 'pgdump-fc pgdump-zstd'.split())]
JOBS = ['first', 'incr', 'restore2']


def stored(res, name, job):
    rs = [r for r in res.get(name, DATA, job) if r['added_mib'] and not is_wrong([r])]
    return num(median(rs, lambda r: real(r['added_mib']))) if rs else '–'


def cells(res, name, mine):
    for job in JOBS:
        rs = res.get(name, DATA, job)
        seconds, times = res.value(name, DATA, job), res.times(mine, name, DATA, job)
        yield 'WRONG' if is_wrong(rs) else num(seconds) if seconds is not None else '–'
        yield num(times) if times is not None and name != mine else '–'
        if job != 'restore2':
            yield stored(res, name, job)


def compare(res, title, mine, peers):
    yield '| %s | first, s | × | MiB stored | changed, s | × | MiB more | restore, s | × |' % title
    yield '| --- |' + ' --- |' * 8
    for name in [mine] + peers:
        if any(res.get(name, DATA, job) for job in JOBS + ['error']):
            yield '| %s | %s |' % (name, ' | '.join(cells(res, name, mine)))
    yield ''


def cost(res):
    yield '| a full backup meanwhile | transactions/s without | with | kept | it takes, s | transactions not done |'
    yield '| --- |' + ' --- |' * 5
    for name in res.names:
        for r in res.get(name, DATA, 'cost'):
            if is_wrong([r]):
                yield '| %s | WRONG | | | | |' % name
                continue
            base, now, wall = real(r['note']), real(r['value']), real(r['wall'])
            yield '| %s | %s | %s | %.0f %% | %s | %.0f |' % (name, num(base), num(now), 100 * now / base, num(wall),
                                                              max(0, base - now) * wall)


def is_good(res):
    """Whether all that yester had to do it did, and right."""
    rs = [r for r in res.rows if r['data'] == DATA and r['contender'].startswith('yester')]
    return bool(rs) and not is_wrong(rs)


def markdown(about, res):
    lines = [about, '', 'pgbench; "changed" is the backup after 20,000 transactions, "restore" brings that one back into a running server, of '
             'which each table was compared. "×" is how many times as fast yester is.', '']
    for title, mine, peers in KINDS:
        lines += compare(res, title, mine, peers)
    return '\n'.join(lines + list(cost(res))) + '\n'
