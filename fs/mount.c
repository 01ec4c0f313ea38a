#include "fs/mount.h"

#include <dirent.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#include "backup/archive/blocks.h"
#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/pool.h"
#include "catalog/catalog.h"
#include "fs/mount_internal.h"

enum {
    LOOP_THREADS = 2,
    REMOTE_THREADS = 64,
    KEPT = 8 * 1024 * 1024, /* of free memory; twice the largest buffer of stored blocks */
    REMOTE_KEPT = 32 * 1024 * 1024,
    POOL_DEPTH = 256,
    BACKGROUND_MAX = 64,
    THREAD_PATIENCE = 5 /* s */
};

/* ---- what the kernel is told ------------------------------------------------------------- */

/* The capabilities are an unsigned in this version of libfuse. */
static void want(struct fuse_conn_info *conn, unsigned flag, bool wanted)
{
    if (wanted)
        conn->want |= conn->capable & flag;
    else
        conn->want &= ~flag;
}

static void on_init(void *context, struct fuse_conn_info *conn)
{
    struct mount *mount = context;

    want(conn, FUSE_CAP_READDIRPLUS, true);
    want(conn, FUSE_CAP_READDIRPLUS_AUTO, false); /* always: the attributes are in the leaf */
    want(conn, FUSE_CAP_NO_OPEN_SUPPORT, true);
    want(conn, FUSE_CAP_NO_OPENDIR_SUPPORT, true);
    want(conn, FUSE_CAP_CACHE_SYMLINKS, true);
    want(conn, FUSE_CAP_PARALLEL_DIROPS, true);
    want(conn, FUSE_CAP_ASYNC_READ, true);
    want(conn, FUSE_CAP_AUTO_INVAL_DATA, false); /* content never changes */
    want(conn, FUSE_CAP_EXPLICIT_INVAL_DATA, true);
    want(conn, FUSE_CAP_POSIX_ACL, mount->options->allow_other);
    want(conn, FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE, false);
    conn->max_read = MOUNT_READ_MAX;
    conn->max_background = BACKGROUND_MAX;
    conn->congestion_threshold = BACKGROUND_MAX * 3 / 4;
    mount->no_open = (conn->capable & FUSE_CAP_NO_OPEN_SUPPORT) != 0;
    mount->no_opendir = (conn->capable & FUSE_CAP_NO_OPENDIR_SUPPORT) != 0;
}

/* ENOSYS, once: from then on the kernel opens by itself. */
static void on_open(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *file)
{
    struct mount *mount = fuse_req_userdata(req);

    (void)id;
    atomic_fetch_add(&mount->counters.opens, 1);
    file->keep_cache = 1;
    if (mount->no_open)
        fuse_reply_err(req, ENOSYS);
    else
        fuse_reply_open(req, file);
}

static void on_opendir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *file)
{
    struct mount *mount = fuse_req_userdata(req);

    (void)id;
    atomic_fetch_add(&mount->counters.opens, 1);
    file->keep_cache = 1;
    file->cache_readdir = 1;
    if (mount->no_opendir)
        fuse_reply_err(req, ENOSYS);
    else
        fuse_reply_open(req, file);
}

static const struct fuse_lowlevel_ops operations = {
    .init = on_init,
    .lookup = mount_lookup,
    .forget = mount_forget,
    .forget_multi = mount_forget_multi,
    .getattr = mount_getattr,
    .readlink = mount_readlink,
    .open = on_open,
    .read = mount_read,
    .lseek = mount_lseek,
    .opendir = on_opendir,
    .readdir = mount_readdir,
    .readdirplus = mount_readdirplus,
    .statfs = mount_statfs,
    .getxattr = mount_getxattr,
    .listxattr = mount_listxattr,
};

/* ---- the session ------------------------------------------------------------------------- */

static void freep(char **text)
{
    free(*text);
}

static void args_freep(struct fuse_args *args)
{
    fuse_opt_free_args(args);
}

/* "ro,fsname=…": one option each, with what the option parser would take apart escaped. */
static int join_options(struct mount *mount, char **out, struct err *err)
{
    CLEANUP(freep) char *name = NULL;
    const char *const fixed[] = {"ro", "subtype=yester", "max_read=1048576"};
    bool failed = asprintf(&name, "fsname=%s", mount->repository) < 0;

    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
        failed = failed || fuse_opt_add_opt(out, fixed[i]) < 0;
    failed = failed || fuse_opt_add_opt_escaped(out, name) < 0;
    if (mount->options->allow_other)
        failed = failed || fuse_opt_add_opt(out, "allow_other") < 0 ||
                 fuse_opt_add_opt(out, "default_permissions") < 0;
    return failed ? err_set(err, ERR_NOMEM, "out of memory") : 0;
}

static int make_session(struct mount *mount, struct err *err)
{
    CLEANUP(args_freep) struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    CLEANUP(freep) char *options = NULL;
    int rc = join_options(mount, &options, err);

    if (rc < 0)
        return rc;
    if (fuse_opt_add_arg(&args, "yester") < 0 || fuse_opt_add_arg(&args, "-o") < 0 ||
        fuse_opt_add_arg(&args, options) < 0)
        return err_set(err, ERR_NOMEM, "out of memory");
    mount->session = fuse_session_new(&args, &operations, sizeof(operations), mount);
    return mount->session ? 0 : err_set(err, ERR_SYSTEM, "libfuse refuses its options");
}

/* The tables and threads.  After this nothing may fork. */
static int make_tables(struct mount *mount, struct err *err)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    size_t threads = cores > 0 ? (size_t)cores : 1;

    if (repo_is_remote(mount->repo) && threads < REMOTE_THREADS)
        threads = REMOTE_THREADS; /* they wait for the network, not for a core */
    mount->blocks = blocks_new(mount->repo, mount->options->cache_bytes);
    mount->nodes = nodes_new();
    mount->cursors = cursors_new();
    mount->ahead = ahead_new(mount);
    mount->push = push_new(mount);
    mount->pasts = pasts_new();
    mount->pool = pool_new(threads, POOL_DEPTH);
    if (!mount->blocks || !mount->nodes || !mount->cursors || !mount->ahead || !mount->push ||
        !mount->pasts || !mount->pool)
        return err_set(err, ERR_NOMEM, "out of memory");
    return 0;
}

static int open_repository(struct mount *mount, struct err *err)
{
    int rc = catalog_open(mount->repo, mount->options->catalog_directory, &mount->catalog, err);

    if (rc < 0)
        return rc;
    mount->shots = shots_new(mount->repo, mount->options->host);
    if (!mount->shots)
        return err_set(err, ERR_NOMEM, "out of memory");
    return watch_begin(mount, err);
}

/* Fails all requests that are still open, without asking anybody. */
static void abort_connection(struct mount *mount)
{
    unsigned number = atomic_load(&mount->device);
    char path[128];

    if (geteuid() == 0 && umount2(mount->directory, MNT_FORCE | MNT_DETACH) == 0)
        return;
    (void)snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%u/abort", number);
    FILE *file = number != 0 ? fopen(path, "we") : NULL;
    if (!file)
        return;
    (void)fputs("1\n", file);
    (void)fclose(file);
}

/* A thread that tells the kernel something may be waiting for a lock there, behind a request that
 * nobody answers any more. */
static void end_thread(struct mount *mount, pthread_t thread)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += THREAD_PATIENCE;
    if (pthread_timedjoin_np(thread, NULL, &until) == 0)
        return;
    abort_connection(mount);
    (void)pthread_join(thread, NULL);
}

/* All signals are for the threads of the loop. */
static int start_threads(struct mount *mount, pthread_t *out_watch, pthread_t *out_push)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = push_start(mount->push, out_push);
    if (failed == 0 && (failed = pthread_create(out_watch, NULL, watch_run, mount)) != 0) {
        push_stop(mount->push);
        (void)pthread_join(*out_push, NULL);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

/* Requests are answered until somebody unmounts or a signal comes. */
static int loop(struct mount *mount, struct err *err)
{
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    pthread_t watch, push;

    if (!config)
        return err_set(err, ERR_NOMEM, "out of memory");
    fuse_loop_cfg_set_clone_fd(config, 1);
    fuse_loop_cfg_set_max_threads(config, LOOP_THREADS);
    fuse_loop_cfg_set_idle_threads(config, LOOP_THREADS);
    int failed = start_threads(mount, &watch, &push);
    if (failed == 0) {
        (void)fuse_session_loop_mt(mount->session, config);
        atomic_store(&mount->ending.cancelled, 1);
        push_stop(mount->push);
        end_thread(mount, watch);
        end_thread(mount, push);
    }
    fuse_loop_cfg_destroy(config);
    return failed == 0 ? 0 : err_set(err, ERR_NOMEM, "cannot start a thread");
}

/* The caller's own handlers would keep libfuse from ending on these. */
static void take_signals(struct mount *mount)
{
    static const int ending[] = {SIGTERM, SIGINT, SIGHUP, SIGPIPE};
    sigset_t counters;

    for (size_t i = 0; i < sizeof(ending) / sizeof(ending[0]); i++)
        (void)signal(ending[i], SIG_DFL);
    sigemptyset(&counters);
    sigaddset(&counters, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &counters, NULL);
    (void)fuse_set_signal_handlers(mount->session);
}

static int serve_session(struct mount *mount, struct err *err)
{
    if (fuse_session_mount(mount->session, mount->directory) < 0)
        return err_set(err, ERR_SYSTEM, "cannot mount at %s", mount->directory);
    take_signals(mount);
    repo_follow(mount->repo, &mount->ending);
    int rc = make_tables(mount, err);
    if (rc == 0)
        rc = loop(mount, err);
    if (mount->pool)
        pool_wait_idle(mount->pool);
    fuse_remove_signal_handlers(mount->session);
    fuse_session_unmount(mount->session);
    return rc;
}

static void mount_clear(struct mount *mount)
{
    pool_free(mount->pool);
    if (mount->session)
        fuse_session_destroy(mount->session);
    ahead_free(mount->ahead);
    push_free(mount->push);
    pasts_free(mount->pasts);
    cursors_free(mount->cursors);
    nodes_free(mount->nodes);
    shots_free(mount->shots);
    blocks_free(mount->blocks);
    catalog_close(mount->catalog);
    free(mount->directory);
    free(mount->repository);
}

static int serve(struct mount *mount, struct err *err)
{
    int rc = open_repository(mount, err);

    /* Blocks come and go in all threads' hands: more arenas would only keep what is free. */
    (void)mallopt(M_ARENA_MAX, 1);
    /* Pages that are given back and taken again are cleared each time: as costly as decoding. */
    int kept = repo_is_remote(mount->repo) ? REMOTE_KEPT : KEPT;
    (void)mallopt(M_MMAP_THRESHOLD, kept);
    (void)mallopt(M_TRIM_THRESHOLD, kept);
    if (rc == 0)
        rc = make_session(mount, err);
    return rc < 0 ? rc : serve_session(mount, err);
}

/* ---- before anything is mounted ---------------------------------------------------------- */

static int check_device(struct err *err)
{
    if (access("/dev/fuse", R_OK | W_OK) == 0)
        return 0;
    return errno == ENOENT ? err_set(err, ERR_SYSTEM,
                                     "there is no /dev/fuse: is the kernel's module there "
                                     "(`modprobe fuse`)?")
                           : err_sys(err, "/dev/fuse (its mode on most systems is 0666)");
}

/* fusermount3 would refuse it with fewer words. */
static int check_allow_other(const struct mount_options *options, struct err *err)
{
    char line[256];
    bool allowed = !options->allow_other || geteuid() == 0;
    FILE *file = allowed ? NULL : fopen("/etc/fuse.conf", "re");

    while (file && !allowed && fgets(line, sizeof(line), file))
        allowed = strncmp(line, "user_allow_other", strlen("user_allow_other")) == 0;
    if (file)
        (void)fclose(file);
    return allowed ? 0
                   : err_set(err, ERR_DENIED,
                             "--allow-other as a user needs the line "
                             "user_allow_other in /etc/fuse.conf");
}

static int check_empty(const char *path, struct err *err)
{
    DIR *directory = opendir(path);
    const struct dirent *entry;
    size_t names = 0;

    if (!directory)
        return err_sys(err, "cannot mount at %s", path);
    while (names <= 2 && (entry = readdir(directory)))
        names++;
    (void)closedir(directory);
    return names <= 2 ? 0
                      : err_set(err, ERR_EXISTS, "%s is not empty: take an empty directory", path);
}

static int check_directory(struct mount *mount, const char *directory, struct err *err)
{
    bool ours = false;
    int rc;

    mount->directory = realpath(directory, NULL);
    rc = mount->directory ? 0 : mount_point_path(directory, &mount->directory, err);
    if (rc == 0)
        rc = mount_point_is_ours(mount->directory, &ours, err);
    if (rc < 0)
        return rc;
    if (!mount_point_answers(mount->directory))
        return err_set(err, ERR_BUSY, "%s: a dead mount is there; `yester umount %s` clears it",
                       mount->directory, mount->directory);
    if (ours)
        return err_set(err, ERR_BUSY, "a yester is mounted at %s already", mount->directory);
    return check_empty(mount->directory, err);
}

static int prepare(struct mount *mount, struct err *err)
{
    const char *location = repo_location(mount->repo);

    mount->repository = realpath(location, NULL);
    if (!mount->repository)
        mount->repository = strdup(location);
    if (!mount->repository)
        return err_set(err, ERR_NOMEM, "out of memory");
    int rc = check_device(err);
    if (rc == 0)
        rc = check_allow_other(mount->options, err);
    return rc < 0 ? rc : check_directory(mount, mount->options->directory, err);
}

/* The child leaves the current directory. */
static int absolute_path(const char *path, char **out, struct err *err)
{
    CLEANUP(freep) char *here = path[0] == '/' ? strdup("") : getcwd(NULL, 0);

    if (!here)
        return err_sys(err, "the current directory");
    if (asprintf(out, "%s%s%s", here, path[0] == '/' ? "" : "/", path) < 0) {
        *out = NULL;
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    return 0;
}

int mount_run(struct repo *repo, const struct mount_options *options, struct err *err)
{
    CLEANUP(freep) char *catalog = NULL;
    struct mount_options absolute = *options;
    struct mount *mount = calloc(1, sizeof(*mount));

    if (!mount)
        return err_set(err, ERR_NOMEM, "out of memory");
    mount->repo = repo;
    mount->options = &absolute;
    mount->ready_fd = -1;
    mount->uid = geteuid();
    mount->gid = getegid();
    int rc = absolute_path(options->catalog_directory, &catalog, err);
    absolute.catalog_directory = catalog;
    if (rc == 0)
        rc = prepare(mount, err);
    if (rc == 0)
        rc = options->foreground ? serve(mount, err) : daemon_run(mount, serve, err);
    repo_follow(repo, NULL);
    mount_clear(mount);
    free(mount);
    return rc;
}
