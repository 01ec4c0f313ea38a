"""jobs - what every contender does on files: backups, restores, and all that is read through a mount."""
import json, os, subprocess, time
from common import DATA, HERE, LIVE, TMP, WORK, compare, drop, opt, quiet, row, set_aside, tail, want, wants_any
from meter import command, plain
from schedule import runs

GREP = 'uint64_t'
ONE = 'include/stdio.h'                                     # the one file that changes among all
MOUNTED = 'mount find tar grep diff'.split()
FIO = ((4, 1), (4, 4), (128, 1), (128, 4))
state = {}


def live(name, which):
    """The directory that is backed up comes to hold data/<which>; `one`: tree with one file changed."""
    if state.get(name) != which:
        subprocess.run([HERE + '/corpus', 'live', name if which == 'one' else which], check=True)
        if which == 'one':
            with open(LIVE + '/tree/' + ONE, 'a', encoding='utf-8') as f:
                f.write('/* changed */\n')
        state[name] = which
    return LIVE + '/' + name


def fail(c, m):
    return '' if m.rc == 0 else 'FAIL rc=%s %s' % (m.rc, tail(c.log, 150))


def source(c):
    return DATA + '/big' if c.data == 'big' else LIVE + '/' + c.data


def ready(c, which):
    return source(c) if c.data == 'big' else live(c.data, which)


# ---------------------------------------------------------------- backups
def first(c):
    def once(rep):
        c.fresh(); src = ready(c, c.data); c.must('do_init'); drop(); quiet(); base = c.size()
        m = c.do('do_backup', src, 't1')
        size = c.size()
        row(c.name, c.data, 'first', rep, m, repo_mib=size, added_mib=size - base, verified=fail(c, m))
        if m.rc != 0:
            raise RuntimeError('first backup failed')
        return m
    return runs(c, 'first', once)


def same(c, job):
    def once(rep):
        src = ready(c, 'tree')
        if job == 'same_cold':
            drop()
        else:
            subprocess.run(['find', src, '-size', '-0', '-ls'], stdout=subprocess.DEVNULL)
        quiet(); a = c.size()
        c.last = '%s%d' % (job[5], rep)
        m = c.do('do_again', src, c.last)
        row(c.name, c.data, job, rep, m, added_mib=c.size() - a, verified=fail(c, m))
        return m
    return runs(c, job, once)


def one(c):
    """A backup with one file changed, and what the contender says has changed."""
    def backup(rep):
        src = ready(c, 'one'); quiet(); a = c.size()
        m = c.do('do_again', src, 'one')
        row(c.name, c.data, 'one', rep, m, added_mib=c.size() - a, verified=fail(c, m))

    def diff(rep):
        quiet()
        m = command(c.argv('do_diff', c.last, 'one'), c.jobcg, cap=opt.mcap, sink='lines', env=c.env, cwd='/', log=c.log)
        good = ONE.encode() in m.first and m.lines < 20
        row(c.name, c.data, 'diff_one', rep, m, verified='ok' if good else 'DIFFERS rc=%s %r' % (m.rc, m.first[:80]))
        m.rc = 0 if good else m.rc
        return m
    yield from runs(c, 'one', backup)
    yield from runs(c, 'diff_one', diff)


def incr(c):
    def once(rep):
        if rep == 1:
            c.save()
        else:
            c.back()
        src = ready(c, c.data + '2')
        drop(); quiet(); a = c.size()
        m = c.do('do_again', src, 't2')
        b = c.size()
        row(c.name, c.data, 'incr', rep, m, repo_mib=b, added_mib=b - a, verified=fail(c, m))
        return None if c.full else m
    yield from runs(c, 'incr', once)
    set_aside(c.W + '.saved')


def restore(c, tag):
    dest = TMP + '/restore'

    def once(rep):
        ready(c, c.data if tag == 't1' else c.data + '2')
        set_aside(dest)
        os.makedirs(dest); drop(); quiet()
        m = c.do('do_restore', tag, dest)
        t = time.perf_counter(); os.sync(); t = time.perf_counter() - t
        row(c.name, c.data, 'restore', rep, m, verified=fail(c, m) or compare(source(c), dest), note='sync %.1f s' % t)
        row(c.name, c.data, 'restored', rep, m, wall=m.wall + t, verified=fail(c, m))
        return m
    yield from runs(c, 'restore', once)
    set_aside(dest)


def take_over(c):
    """A contender that only mounts what another one made."""
    other = '%s/%s.%s' % (WORK, c.clone, c.data)
    if not os.path.isdir(other):
        raise RuntimeError('needs the work directory of %s: run both in one call' % c.clone)
    set_aside(c.W)
    subprocess.run(['cp', '-a', other, c.W], check=True)


# ---------------------------------------------------------------- below a mount
EXPECT = {}


def expect(key, argv):
    if key not in EXPECT:
        EXPECT[key] = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.count(b'\n')
    return EXPECT[key]


def mounted(c, tag, rep, mnt=None):
    drop(); quiet()
    m = c.mount(tag, mnt); m.rc = 0
    row(c.name, c.data, 'mount_ls', rep, m)
    return m


def find_in(r): return ['find', r, '-ls']
def tar_of(r): return ['tar', 'cf', '-', '-C', r, '.']
def grep_in(r): return ['grep', '-r', GREP, r + '/include']
def diff_of(a, b): return ['diff', '-rq', '--no-dereference', a + '/include', b + '/include']


def read_job(c, name, argv, rep, sink, good, unit):
    quiet()
    m = command(plain(argv), c.jobcg, [c.dcg], cap=opt.mcap, sink=sink, cwd='/', log=c.log)
    got = m.bytes if sink == 'bytes' else m.lines
    v = 'ok' if m.rc in (0, 1) and abs(got - good) <= good * (0.02 if sink == 'bytes' else 0) else \
        ('CAP, %.0f %% done' % (100 * got / good) if m.rc == 'cap' else 'DIFFERS %d of %d rc=%s' % (got, good, m.rc))
    row(c.name, c.data, name, rep, m, value=got / (2**20 if sink == 'bytes' else 1) / m.wall, unit=unit, verified=v)
    m.rc = 0 if m.rc in (0, 1) else m.rc
    return m


def cold_and_warm(c, job, argv, sink, good, unit):
    """The same command on a mount made anew with cold caches, and then once more."""
    def once(rep):
        root = mounted(c, 't2', rep).root
        try:
            m = read_job(c, job + '_cold', argv(root), rep, sink, good(), unit)
            if m.rc == 0:
                read_job(c, job + '_warm', argv(root), rep, sink, good(), unit)
            if job == 'tar':
                row(c.name, c.data, 'mount_rss', rep, value=c.high_water(), unit='MiB')
        finally:
            c.unmount()
        return m
    return runs(c, job, once)


def diffs(c):
    good = expect('diff', diff_of(DATA + '/tree', DATA + '/tree2'))

    def once(rep):
        m = mounted(c, 't2', rep)
        second = None
        try:
            old = os.path.realpath(c.text('do_root', 't1', c.mnt).strip())
            if old == m.root:                               # this contender mounts one snapshot at a time
                second = c.mnt + '.t1'
                old = c.mount('t1', second).root
            return read_job(c, 'diff_cold', diff_of(old, m.root), rep, 'lines', good, 'lines/s')
        finally:
            if second:
                c.unmount(second)
            c.unmount()
    return runs(c, 'diff', once)


def tar_bytes(c):
    if 'tar' not in EXPECT:
        EXPECT['tar'] = command(plain(tar_of(live('tree', 'tree2'))), c.jobcg, sink='bytes').bytes
    return EXPECT['tar']


def mounted_tree(c):
    def lines(key, argv):
        return lambda: expect(key, argv(live('tree', 'tree2')))
    if want(c, 'mount'): yield from runs(c, 'mount', lambda rep: (mounted(c, 't2', rep), c.unmount())[0])
    if want(c, 'find'): yield from cold_and_warm(c, 'find', find_in, 'lines', lines('find', find_in), 'entries/s')
    if want(c, 'tar'): yield from cold_and_warm(c, 'tar', tar_of, 'bytes', lambda: tar_bytes(c), 'MiB/s')
    if want(c, 'grep'): yield from cold_and_warm(c, 'grep', grep_in, 'lines', lines('grep', grep_in), 'lines/s')
    if want(c, 'diff'): yield from diffs(c)


def copied(c, job, name):
    def once(rep):
        root, out = mounted(c, 't1', rep).root, TMP + '/copied'
        try:
            m = command(plain(['cp', root + '/' + name, out]), c.jobcg, [c.dcg], cap=opt.mcap, log=c.log)
            ok = m.rc == 0 and subprocess.run(['cmp', '-s', DATA + '/big/' + name, out]).returncode == 0
            n = os.path.getsize(out) if os.path.exists(out) else 0
            row(c.name, 'big', job, rep, m, value=n / 2**20 / m.wall, unit='MiB/s',
                verified='ok' if ok else 'CAP' if m.rc == 'cap' else 'DIFFERS')
            if os.path.exists(out): os.unlink(out)
        finally:
            c.unmount()
        return m
    return runs(c, job, once)


def fio(c, bs, jobs):
    name = 'rr%dk_%d' % (bs, jobs)
    size = os.path.getsize(DATA + '/big/lib.bin')
    total = min(size // 2 if bs == 4 else size * 3 // 4, 10**10)
    out = TMP + '/fio.json'

    def once(rep):
        root = mounted(c, 't1', rep).root
        try:
            if os.path.exists(out): os.unlink(out)
            m = command(plain(['fio', '--name=r', '--filename=' + root.replace(':', '\\:') + '/lib.bin', '--readonly', '--rw=randread', '--bs=%dk' % bs,
                         '--ioengine=psync', '--numjobs=%d' % jobs, '--group_reporting', '--runtime=%d' % opt.fio, '--thread',
                         '--size=%d' % size, '--io_size=%d' % (total // jobs), '--invalidate=0', '--fadvise_hint=0', '--randseed=%d' % (41 + rep),
                         '--output-format=json', '--output=' + out]), c.jobcg, [c.dcg], cap=60, log=c.log)
            if m.rc == 'cap':
                row(c.name, 'big', name, rep, m, value=0.0, unit='IOPS', verified='CAP no answer in 60 s')
                return m
            j = json.load(open(out))['jobs'][0]['read']
            p = j['clat_ns'].get('percentile', {})
            row(c.name, 'big', name, rep, m, value=j['iops'], unit='IOPS', verified='' if m.rc == 0 else 'FAIL %s' % m.rc,
                note='%.1f MiB/s mean %.0f us p99 %.0f us read %d MiB' % (j['bw_bytes'] / 2**20, j['clat_ns']['mean'] / 1e3,
                     p.get('99.000000', 0) / 1e3, j['io_bytes'] / 2**20))
            return m
        finally:
            c.unmount()
    return runs(c, name, once)


def mounted_big(c):
    if want(c, 'cp1k'): yield from copied(c, 'cp1k', 'small.1k')
    if want(c, 'cp500'): yield from copied(c, 'cp500', 'lib.bin')
    for bs, jobs in FIO:
        if want(c, 'fio'): yield from fio(c, bs, jobs)


# ---------------------------------------------------------------- all of it
def jobs_of(c):
    """All jobs of a contender on its data."""
    below = c.mount_ and wants_any(c, MOUNTED)
    tag = 't1'
    if not c.clone:
        yield from first(c)
        c.last = 't1'
    if c.data == 'tree' and not c.clone and not c.full:
        if want(c, 'same_cold'): yield from same(c, 'same_cold')
        if want(c, 'same_warm'): yield from same(c, 'same_warm')
        if want(c, 'diff_one') and c.diff: yield from one(c)
    if c.data != 'big':
        if not c.clone and (want(c, 'incr') or below):      # what is mounted is t2
            yield from incr(c)
            tag = 't2'
    if want(c, 'restore') and not c.clone:
        yield from restore(c, tag)
    if c.clone:
        yield ORDER_MOUNT
        take_over(c)
    if c.mount_ and c.data == 'tree':
        yield from mounted_tree(c)
    if c.mount_ and c.data == 'big':
        yield from mounted_big(c)


ORDER_MOUNT = (6, 99)                                       # after the last restore
