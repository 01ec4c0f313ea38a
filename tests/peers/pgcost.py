"""pgcost - what a backup costs the server: pgbench's transactions a second while one runs, and while none does."""
import subprocess, time
from common import PGBIN, PGENV, drop, quiet, row
from jobs import fail

ALONE = 4                # seconds of pgbench without a backup, before and behind each of them
# Each of pgbench's transactions takes one number, and nobody else takes any.
NUMBER = 'select pg_snapshot_xmax(pg_current_snapshot())'


class Load:
    """pgbench at full speed by two clients, until it is stopped."""
    def __init__(self, sql):
        self.sql = sql
        self.process = subprocess.Popen(['runuser', '-u', 'postgres', '--', PGBIN + '/pgbench', '-h', PGENV['PGHOST'], '-p', PGENV['PGPORT'],
                                         '-n', '-c', '2', '-j', '2', '-T', '3600', 'bench'], cwd='/', stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        time.sleep(2)                        # both are connected, and what they need is read
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def during(self, work):
        """(what work() returns, transactions a second meanwhile)"""
        t, n = time.perf_counter(), int(self.sql(NUMBER))
        result = work()
        tps = (int(self.sql(NUMBER)) - n) / (time.perf_counter() - t)
        if self.process.poll() is not None or tps == 0:
            raise RuntimeError('pgbench does not run')
        return result, tps


def settle(sql):
    """Every one starts after a checkpoint, with the server's own archive_command."""
    for text in ('alter system reset archive_command', 'select pg_reload_conf()', 'checkpoint'):
        sql(text)


def measure_one(c, cg, sql):
    settle(sql)
    c.fresh()
    c.must('do_init')
    drop(); quiet()
    with Load(sql) as load:
        before = load.during(lambda: time.sleep(ALONE))[1]
        m, tps = load.during(lambda: c.do('do_backup', 'cost', cgs=[cg]))
        behind = load.during(lambda: time.sleep(ALONE))[1]
    row(c.name, 'pgrun', 'cost', 1, m, value=tps, unit='tps', verified=fail(c, m), note='%.1f' % ((before + behind) / 2))


def measure(contenders, cg, sql):
    """Full backups of a server that is written to; the transactions a second without one are in `note`."""
    for c in contenders:
        try:
            measure_one(c, cg, sql)
        except Exception as e:
            row(c.name, 'pgrun', 'cost', 1, verified='FAIL ' + repr(e)[:400])
            c.jobcg.kill()
    settle(sql)
