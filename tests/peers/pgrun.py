"""pgrun - contenders-pg against a running PostgreSQL."""
import os, shutil, subprocess
import pgcost
from common import D, DATA, PGBIN, TMP, WORK, drop, opt, quiet, row
from contender import Contender
from jobs import fail
from meter import Cg
from schedule import ORDER, lockstep, runs

CHECK = ("select count(*) || '/' || sum(hashtextextended(a::text, 7)) from pgbench_accounts a union all "
         "select count(*) || '/' || sum(hashtextextended(a::text, 7)) from pgbench_history a")


def pgsh(*a, **k):
    return subprocess.run(['runuser', '-u', 'postgres', '--', *a], cwd='/', text=True, stderr=subprocess.DEVNULL,
                          stdout=k.pop('stdout', subprocess.DEVNULL), **k)


def psql(port, sql, db='bench'):
    return pgsh(PGBIN + '/psql', '-h', D + '/run', '-p', port, '-XAtqc', sql, db, stdout=subprocess.PIPE).stdout.strip()


def pg(names):
    srv, cg, rcg = WORK + '/pgsrv', Cg('pgserver'), Cg('pgrestored')
    os.makedirs(WORK, exist_ok=True); os.makedirs(TMP, exist_ok=True)
    os.makedirs(D + '/run', exist_ok=True); shutil.chown(D + '/run', 'postgres')
    subprocess.run(['rm', '-rf', srv, TMP + '/pgrest'])
    subprocess.run(['cp', '-a', DATA + '/pg/cluster', srv], check=True)
    os.chmod(srv, 0o700)
    start = lambda dir, port, g: subprocess.run(['runuser', '-u', 'postgres', '--', PGBIN + '/pg_ctl', '-D', dir, '-w', '-t', '120',
            '-l', D + '/run/log.' + port, '-o', '-p %s' % port, 'start'], cwd='/', stdout=subprocess.DEVNULL, preexec_fn=g.join, check=True)
    stop = lambda dir: pgsh(PGBIN + '/pg_ctl', '-D', dir, '-w', '-m', 'immediate', 'stop')
    start(srv, '54391', cg)
    cs = [Contender(n, 'pgrun', 'contenders-pg', 'postgres') for n in names]

    def backup(c, fn, job, tag, rep):
        if job == 'first':
            c.fresh(); c.must('do_init')
        psql('54391', 'checkpoint'); drop(); quiet(); a = c.size() if os.path.isdir(c.W + '/repo') else 0.0
        m = c.do(fn, tag, cgs=[cg])
        b = c.size()
        row(c.name, 'pgrun', job, rep, m, repo_mib=b, added_mib=b - a, verified=fail(c, m))
        c.last = tag
        return m

    def restore(c, job, state, rep):
        dest = TMP + '/pgrest'
        subprocess.run(['rm', '-rf', dest]); os.makedirs(dest); os.chmod(dest, 0o700); shutil.chown(dest, 'postgres')
        if c.text('echo "$KIND"').strip() == 'logical':
            pgsh(PGBIN + '/initdb', '-D', dest, '-E', 'UTF8', '--locale=C', '-k')
            with open(dest + '/postgresql.conf', 'a') as f:
                f.write("unix_socket_directories='%s/run'\nlisten_addresses=''\nmax_wal_size=1GB\nautovacuum=off\nsynchronous_commit=off\n" % D)
            start(dest, '54392', rcg)
            psql('54392', 'create database bench', 'postgres')
        drop(); quiet()
        m = c.do('do_restore', c.last, dest, cgs=[cg, rcg])
        v = fail(c, m)
        if not v:
            v = 'ok' if psql('54392', CHECK) == state else 'CONTENT DIFFERS'
        row(c.name, 'pgrun', 'restore' if job == 'first' else 'restore2', rep, m, verified=v)
        stop(dest); c.jobcg.kill(); rcg.kill(); subprocess.run(['rm', '-rf', dest])
        return m

    def failed(c, e):
        row(c.name, 'pgrun', 'error', 1, verified='FAIL ' + repr(e)[:400])
        stop(TMP + '/pgrest'); c.jobcg.kill(); rcg.kill()
        cs.remove(c)

    def once(c, job, call):
        yield ORDER.index(job), 1
        call(1)

    def phase(fn, job, tag, state):
        """Each in turn, and again; but a backup of what has changed is one only once."""
        how = runs if job == 'first' else once
        lockstep([(c, how(c, job, lambda rep, c=c: backup(c, fn, job, tag, rep))) for c in cs], failed)
        if job == 'incr' or not opt.jobs or 'restore' in opt.jobs:
            lockstep([(c, runs(c, 'restore', lambda rep, c=c: restore(c, job, state, rep))) for c in cs], failed)
    try:
        phase('do_backup', 'first', 't1', psql('54391', CHECK))
        pgsh(PGBIN + '/pgbench', '-h', D + '/run', '-p', '54391', '-n', '-c', '1', '-t', '20000', '--random-seed=2', 'bench')
        phase('do_again', 'incr', 't2', psql('54391', CHECK))
        if not opt.jobs or 'cost' in opt.jobs:
            pgcost.measure(cs, cg, lambda sql: psql('54391', sql))
    finally:
        stop(srv); cg.kill()
        for c in cs:
            subprocess.run(['rm', '-rf', c.W])
        subprocess.run(['rm', '-rf', srv])
