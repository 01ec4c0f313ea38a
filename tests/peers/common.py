"""common - what all of this shares: where things are, one row of results, quiet, cold caches, comparing trees."""
import os, stat, subprocess, tempfile, time
from meter import machine, NCPU

D = os.environ.get('PEERS_DIR', '/tmp/peers')
HERE = os.path.dirname(os.path.abspath(__file__))
DATA, LIVE, WORK, MNT, TMP, GONE = (D + x for x in ('/data', '/live', '/work', '/mnt', '/tmp', '/gone'))
RESULTS = D + '/results.tsv'
PGBIN = os.environ.get('PGBIN', '/usr/lib/postgresql/15/bin')
PGENV = dict(PGBIN=PGBIN, PGSRV=WORK + '/pgsrv', PGSOCK=D + '/run', PGPORT='54391', RPORT='54392', PGHOST=D + '/run')
COLS = 'time contender data job rep wall user sys rss_mib repo_mib added_mib value unit verified other steal note'.split()
T00 = time.time()


class opt:
    """The options of this run, set by main()."""


def say(*a):
    print('[%6.1f]' % (time.time() - T00), *a, flush=True)


def row(c, data, job, rep, m=None, **k):
    r = dict.fromkeys(COLS, '')
    r.update(time='%d' % time.time(), contender=c, data=data, job=job, rep=rep)
    if m:
        r.update(wall='%.3f' % m.wall, user='%.3f' % m.user, sys='%.3f' % m.sys, rss_mib='%.0f' % (m.rss / 2**20),
                 other='%.2f' % m.other, steal='%.2f' % m.steal)
    for a, b in k.items():
        r[a] = ('%.3f' % b) if isinstance(b, float) else str(b)
    new = not os.path.exists(RESULTS)
    with open(RESULTS, 'a') as f:
        if new:
            f.write('\t'.join(COLS) + '\n')
        f.write('\t'.join(str(r[x]).replace('\t', ' ').replace('\n', ' ') for x in COLS) + '\n')
    show = ' '.join('%s=%s' % (a, r[a]) for a in COLS[5:] if r[a] != '')
    say('%-14s %-4s %-10s %s %s' % (c, data, job, rep, show))


def drop():
    os.sync()
    with open('/proc/sys/vm/drop_caches', 'w') as f:
        f.write('3')


def set_aside(*paths):
    """Out of the way, and removed when all is done: ext4 creates files slowly for minutes after many were removed
    (`recently_deleted()`), which the next one to be measured would pay for."""
    os.makedirs(GONE, exist_ok=True)
    for path in paths:
        if os.path.lexists(path):
            os.rename(path, tempfile.mkdtemp(dir=GONE) + '/x')


def remove_gone():
    subprocess.run(['rm', '-rf', GONE], check=True)


def quiet():
    """Wait (not for ever) until the others on this machine leave us most of it."""
    end = time.time() + opt.quiet
    while time.time() < end:
        a = machine(); time.sleep(0.25); b = machine()
        if (b[0] - a[0] + b[1] - a[1]) / (0.25 * NCPU) < 0.15:
            return


def tree_bytes(top):
    seen, n = set(), 0
    for d, ds, fs in os.walk(top):
        for f in fs:
            st = os.lstat(d + '/' + f)
            if st.st_nlink > 1:
                if (st.st_dev, st.st_ino) in seen:
                    continue
                seen.add((st.st_dev, st.st_ino))
            n += min(st.st_size, st.st_blocks * 512) if stat.S_ISREG(st.st_mode) else st.st_size
    return n / 2**20


def compare(a, b):
    """Is directory b the same as a?  Contents by diff, the rest by lstat. '' or 'ok', or what differs."""
    p = subprocess.run(['diff', '-rq', '--no-dereference', a, b], capture_output=True, text=True, errors='replace')
    if p.returncode:
        return 'CONTENT DIFFERS %d: %s' % (p.stdout.count('\n'), (p.stdout or p.stderr)[:200])
    bad, groups = {}, {}
    for d, ds, fs in os.walk(a):
        rel = d[len(a):]
        for n in ds + fs + ([''] if not rel else []):
            x, y = os.lstat(d + '/' + n), os.lstat(b + rel + '/' + n)
            def note(k):
                bad[k] = bad.get(k, 0) + 1
            if stat.S_IFMT(x.st_mode) != stat.S_IFMT(y.st_mode): note('type')
            elif x.st_mode != y.st_mode: note('mode')
            if (x.st_uid, x.st_gid) != (y.st_uid, y.st_gid): note('owner')
            if n and not stat.S_ISDIR(x.st_mode) or n and stat.S_ISDIR(x.st_mode):
                k = 'mtime' if not stat.S_ISDIR(x.st_mode) else 'dirmtime'
                if stat.S_ISLNK(x.st_mode): k = 'linkmtime'
                if x.st_mtime_ns // 10**9 != y.st_mtime_ns // 10**9: note(k)
                elif x.st_mtime_ns != y.st_mtime_ns: note(k + '-ns')
            if stat.S_ISREG(x.st_mode) and x.st_nlink > 1 and x.st_nlink != y.st_nlink: note('hardlink')
            if stat.S_ISREG(x.st_mode) and x.st_size > 1 << 20 and x.st_blocks * 512 < x.st_size // 2 and y.st_blocks > 2 * x.st_blocks:
                note('sparse-lost')
    return 'ok' + ''.join(' %s:%d' % kv for kv in sorted(bad.items()))


def tail(f, n=300):
    try:
        return open(f, errors='replace').read()[-n:]
    except OSError:
        return ''


def want(c, job):
    return (not opt.jobs or job in opt.jobs) and job not in c.skip


def wants_any(c, jobs):
    return any(want(c, job) for job in jobs)
