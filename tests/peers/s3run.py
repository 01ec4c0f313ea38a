"""s3run - contenders-s3 with their repositories in one S3 server, behind a relay that delays and counts."""
import os, re, shutil, signal, socket, subprocess, sys
from common import DATA, HERE, LIVE, TMP, compare, drop, opt, quiet, row, set_aside
from contender import Contender
from jobs import expect, fail, find_in, grep_in, live, state
from meter import command, plain
from schedule import lockstep, runs
sys.path.insert(0, HERE + '/../harness')
import s3server

# Read from their beginning, of a mount that has nothing of them: what can be compressed, and what cannot.
SEQUENTIAL = {'seq': 'lib.bin', 'seq_random': 'rand.bin'}
KINDS = 'LIST GET HEAD PUT POST DELETE other'.split()


class Relay:
    """tests/harness/delayrelay in front of the server."""

    def __init__(self, address, delay, rate):
        program = os.path.join(os.path.dirname(os.environ['YESTER']), '../tests/delayrelay')
        self.process = subprocess.Popen([program, address[0], str(address[1]), str(delay), str(rate)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        port, self.counters = self.process.stdout.readline().split()
        self.url = 'http://127.0.0.1:' + port

    def now(self):
        with socket.create_connection(('127.0.0.1', int(self.counters))) as s, s.makefile() as f:
            return [int(x) for x in f.read().split()]

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


def traffic(before, after):
    """As it stands in a row's note: requests by kind, MiB up and down."""
    d = [b - a for a, b in zip(before, after)]
    kinds = ' '.join('%s=%d' % x for x in zip(KINDS, d) if x[1])
    return 'requests=%d up=%.3f down=%.3f %s' % (sum(d[:len(KINDS)]), d[-3] / 2**20, d[-2] / 2**20, kinds)


class S3Contender(Contender):
    def __init__(self, name, data, server, relay):
        self.server, self.relay, self.number = server, relay, 0
        super().__init__(name, data, 'contenders-s3')
        self.env.update(server.env, S3_URL=relay.url)
        self.env.pop('AWS_ENDPOINT_URL')

    def fresh(self):
        super().fresh()
        self.number += 1
        self.env['BUCKET'] = '%s-%s-%d' % (self.name, self.data, self.number)
        self.server.client.make_bucket(self.env['BUCKET'])

    def size(self):
        return sum(self.server.client.keys(self.env['BUCKET']).values()) / 2**20

    def counted(self, work):
        """What work() gives, with m.traffic."""
        before = self.relay.now()
        m = work()
        m.traffic = traffic(before, self.relay.now())
        return m


# ---------------------------------------------------------------- jobs
def backup(c, job, function, which, tag, measured=True):
    def once(rep):
        if job == 'first':
            c.fresh()
            c.must('do_init')
        src = live(c.data, which) if c.data == 'tree' else DATA + '/big'
        drop(); quiet(); size = c.size()
        m = c.counted(lambda: c.do(function, src, tag if job == 'first' else '%s%d' % (tag, rep)))
        row(c.name, c.data, job, rep, m, repo_mib=c.size(), added_mib=c.size() - size, verified=fail(c, m), note=m.traffic)
        if m.rc != 0:
            raise RuntimeError('%s failed' % job)
        return m if measured else None
    return runs(c, job, once)


def source(c):
    return DATA + '/big' if c.data == 'big' else LIVE + '/tree'


def restore(c, tag):
    """On a machine that has nothing of it but the key."""
    dest = TMP + '/restore'

    def once(rep):
        if c.data == 'tree':
            live('tree', 'tree2')
        set_aside(dest)
        os.makedirs(dest)
        c.must('do_away'); drop(); quiet()
        m = c.counted(lambda: c.do('do_restore', tag, dest))
        row(c.name, c.data, 'restore', rep, m, verified=fail(c, m) or compare(source(c), dest), note=m.traffic)
        return m
    yield from runs(c, 'restore', once)
    set_aside(dest)


def mounted(c, tag, rep, job, away):
    if away:
        c.must('do_away')
    drop(); quiet()
    m = c.counted(lambda: c.mount(tag)); m.rc = 0
    if job == 'mount':
        row(c.name, c.data, 'mount_ls', rep, m, note=m.traffic)
    return m


def on_mount(c, job, tag, argv, good, away=False, sink='lines'):
    """A command over a mount made anew; good(meter, output file, mount's root) says 'ok' or what is wrong."""
    out = TMP + '/copied'

    def once(rep):
        try:
            root = mounted(c, tag, rep, job, away).root
            m = c.counted(lambda: command(plain(argv(root, out)), c.jobcg, [c.dcg], cap=opt.mcap, sink=sink, cwd='/', log=c.log))
            v = 'CAP' if m.rc == 'cap' else good(m, out, root) if m.rc in (0, 1) else 'DIFFERS rc=%s' % m.rc
            row(c.name, c.data, job, rep, m, verified=v, note=m.traffic)
            m.rc = 0 if m.rc == 1 else m.rc
            return m
        finally:
            c.unmount()
            if os.path.exists(out):
                os.unlink(out)
    return runs(c, job, once)


def only_mount(c, tag):
    def once(rep):
        try:
            return mounted(c, tag, rep, 'mount', True)
        finally:
            c.unmount()
    return runs(c, 'mount', once)


def plain_gets(c):
    """The same files as objects of their own, got in parallel: what the line and the server allow."""
    c.fresh()
    for name in SEQUENTIAL.values():
        c.must('do_put', DATA + '/big/' + name)
    for job, name in SEQUENTIAL.items():
        yield from got(c, job, DATA + '/big/' + name)


def got(c, job, path):
    def once(rep):
        drop(); quiet()
        m = c.counted(lambda: c.do('do_get', path))
        came = float(re.search(r'down=([\d.]+)', m.traffic)[1]) * 2**20 >= os.path.getsize(path)
        row(c.name, c.data, job, rep, m, verified=fail(c, m) or ('ok' if came else 'DIFFERS %s' % m.traffic), note=m.traffic)
        return m
    return runs(c, job, once)


def lines(make):
    return lambda m, out, root: 'ok' if m.lines == expect(make.__name__, make(live('tree', 'tree2'))) else 'DIFFERS %d lines' % m.lines


def same_file(path):
    return lambda m, out, root: 'ok' if subprocess.run(['cmp', '-s', path(), out]).returncode == 0 else 'DIFFERS'


def same_there(name):
    return lambda m, out, root: 'ok' if subprocess.run(['cmp', '-s', DATA + '/big/' + name, root + '/' + name]).returncode == 0 else 'DIFFERS'


def jobs_of(c):
    if c.name == 'gets':
        yield from plain_gets(c)
    elif c.data == 'tree':
        yield from backup(c, 'first', 'do_backup', 'tree', 't1')
        yield from backup(c, 'same_cold', 'do_again', 'tree', 's')
        yield from backup(c, 'incr', 'do_again', 'tree2', 'i', False)
        yield from restore(c, 'i1')
        yield from only_mount(c, 'i1')
        yield from on_mount(c, 'find', 'i1', lambda root, _: find_in(root), lines(find_in))
        yield from on_mount(c, 'grep', 'i1', lambda root, _: grep_in(root), lines(grep_in))
        yield from on_mount(c, 'cp1k', 'i1', lambda root, out: ['cp', root + '/include/stdio.h', out],
                            same_file(lambda: live('tree', 'tree2') + '/include/stdio.h'))
    else:
        yield from backup(c, 'first', 'do_backup', 'big', 't1')
        yield from restore(c, 't1')
        yield from on_mount(c, 'cp500', 't1', lambda root, out: ['cp', root + '/lib.bin', out], same_file(lambda: DATA + '/big/lib.bin'))
        for job, name in SEQUENTIAL.items():
            yield from on_mount(c, job, 't1', lambda root, _: ['sh', '-c', 'exec cat "$1" >/dev/null', 'x', root + '/' + name],
                                same_there(name), True, False)


def s3(names, delay, rate):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the server has to be stopped in any case
    server = s3server.start()
    if server is None:
        sys.exit('bench: no S3 server (tests/harness/s3-ceph.sh install)')
    relay = Relay(server.address, delay, rate)
    try:
        for data in opt.data:
            state.clear()
            cs = [S3Contender(name, data, server, relay) for name in names if data == 'big' or name != 'gets']

            def failed(c, e):
                row(c.name, data, 'error', 1, verified='FAIL ' + repr(e)[:400])
                c.unmount()
            lockstep([(c, jobs_of(c)) for c in cs], failed)
            for c in cs:
                shutil.rmtree(c.W, ignore_errors=True)
    finally:
        relay.stop()
        server.stop()
