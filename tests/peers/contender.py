"""contender - one backup program: its script's functions, measured, and its mounts."""
import os, shutil, subprocess, time
from common import D, HERE, WORK, MNT, TMP, PGENV, opt, set_aside, tail, tree_bytes
from meter import Cg, Meter, Started, command


class Contender:
    def __init__(self, name, data, kind='contenders', user=None):
        self.name, self.data, self.kind, self.user = name, data, kind, user
        self.W = '%s/%s.%s' % (WORK, name, data)
        self.mnt = '%s/%s' % (MNT, name)
        self.log = '%s/log.%s' % (WORK, name)
        for d in (WORK, MNT, TMP, self.mnt):
            os.makedirs(d, exist_ok=True)
        self.key = D + '/key'
        if not os.path.exists(self.key):
            with open(self.key, 'w') as f:
                f.write('correct horse battery staple')
        self.env = dict(os.environ, PEERS_DIR=D, W=self.W, KEYFILE=self.key, CONTENDERS=HERE + '/' + kind, HOME=self.W, LC_ALL='C',
                        PATH='/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', **PGENV)
        self.jobcg, self.dcg = Cg('job'), Cg('daemon')
        v = self.text('printf "%s\\n" "$ENC" "$MOUNT" "$FULL" "$CLONE" "$SKIP" "$ABOUT" "$DIFF"').split('\n')
        self.enc, self.mount_, self.full, self.clone, self.skip, self.about = v[0], v[1] == 'yes', v[2] == 'yes', v[3], v[4].split(), v[5]
        self.diff = v[6] == 'yes'

    def argv(self, fn, *args):
        u = ['runuser', '-u', self.user, '--'] if self.user else []
        return u + ['bash', '-c', '. "$CONTENDERS/.lib"; . "$CONTENDERS/%s.sh"; go; %s' % (self.name, fn + ' "$@"' if args or ' ' not in fn else fn), 'x'] + list(args)

    def text(self, fn, *args):
        return subprocess.run(self.argv(fn, *args), env=self.env, stdout=subprocess.PIPE, cwd='/', text=True).stdout

    def do(self, fn, *args, cgs=(), cap=None):
        return command(self.argv(fn, *args), self.jobcg, [self.dcg, *cgs], cap=cap or opt.cap, env=self.env, cwd='/', log=self.log)

    def must(self, fn, *args):
        m = self.do(fn, *args)
        if m.rc != 0:
            raise RuntimeError('%s %s failed (%s): %s' % (self.name, fn, m.rc, tail(self.log)))
        return m

    def fresh(self):
        set_aside(self.W)
        os.makedirs(self.W)
        if self.user:
            shutil.chown(self.W, self.user)

    def save(self):
        set_aside(self.W + '.saved')
        subprocess.run(['cp', '-a', self.W, self.W + '.saved'], check=True)

    def back(self):
        set_aside(self.W)
        subprocess.run(['cp', '-a', self.W + '.saved', self.W], check=True)

    def size(self):
        return tree_bytes(self.W + '/repo')

    # ---- mounts
    def high_water(self):
        """Peak memory of the daemons behind the mounts, in MiB."""
        kib = 0
        for pid in self.dcg.pids():
            try:
                kib += next((int(l.split()[1]) for l in open('/proc/%d/status' % pid) if l.startswith('VmHWM')), 0)
            except OSError:
                pass
        return kib / 1024

    def mount(self, tag, mnt=None):
        """Returns the meter of: command until the snapshot root could be listed."""
        mnt = mnt or self.mnt
        os.makedirs(mnt, exist_ok=True)
        root = self.text('do_root', tag, mnt).strip()
        log = open(self.log, 'ab')
        started = Started(self.argv('do_mount', tag, mnt), self.dcg, self.env, cwd='/', stdout=log, stderr=log)
        with Meter(self.dcg) as m:
            p = started.go()
            end = time.perf_counter() + opt.mcap
            while True:
                try:
                    if os.listdir(root):
                        break
                except OSError:
                    pass
                if p.poll() not in (None, 0) or time.perf_counter() > end:
                    self.unmount(mnt, p)
                    raise RuntimeError('mount failed: ' + tail(self.log))
                time.sleep(0.002)
        self.mp = getattr(self, 'mp', {})
        self.mp[mnt] = p
        m.root = os.path.realpath(root)                     # "latest" may be a symbolic link
        return m

    def unmount(self, mnt=None, p=None):
        mnt = mnt or self.mnt
        p = p or getattr(self, 'mp', {}).pop(mnt, None)
        for i in range(20):
            subprocess.run(self.argv('do_unmount', mnt), env=self.env, cwd='/', stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if mnt not in [l.split()[1] for l in open('/proc/mounts')]:
                break
            if i == 10:
                subprocess.run(['umount', '-l', mnt], stderr=subprocess.DEVNULL)
            time.sleep(0.1)
        if p:
            try:
                p.wait(10)
            except subprocess.TimeoutExpired:
                pass
        if not getattr(self, 'mp', {}):
            self.dcg.kill()
