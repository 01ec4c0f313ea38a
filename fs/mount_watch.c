#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "backup/archive/blocks.h"
#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/log.h"
#include "backup/base/pool.h"
#include "catalog/catalog.h"
#include "fs/mount_internal.h"

/*
 * Where the repository is a directory, a new snapshot shows in the time of its snapshots/: that is
 * looked at often and costs one system call.  What changes within a snapshot (a new revision) does
 * not show there; so all is listed now and then, and a bucket only so.
 */
#define TICK_NS (250 * 1000 * 1000)
#define HOT_NS (3 * NS_PER_SECOND)

/* ---- invalidation ------------------------------------------------------------------------ */

/* Errors are of no use: a node that the kernel does not know needs nothing. */
static void forget_name(struct mount *mount, uint64_t directory, const char *name)
{
    (void)fuse_lowlevel_notify_inval_entry(mount->session, directory, name, strlen(name));
}

static void forget_content(struct mount *mount, uint64_t id)
{
    (void)fuse_lowlevel_notify_inval_inode(mount->session, id, 0, 0);
}

static void forget_latest(struct mount *mount, uint64_t directory, uint16_t host)
{
    uint64_t latest = nodes_find(mount->nodes, directory, layout_key(NODE_LATEST, host, 0));

    if (latest == 0)
        return;
    for (unsigned type = 1; type <= TYPES; type++)
        forget_name(mount, latest, snapshot_type_name((enum snapshot_type)type));
    forget_content(mount, latest);
}

/* The directory that shows a host's snapshots is not as it was. */
static void tell_directory(struct mount *mount, uint64_t directory,
                           const struct shot_change *change)
{
    forget_name(mount, directory, change->name);
    forget_latest(mount, directory, change->host);
    forget_content(mount, directory);
}

static void tell(struct mount *mount, const struct shot_change *change)
{
    uint64_t hosts = nodes_find(mount->nodes, FUSE_ROOT_ID, layout_key(NODE_HOSTS, 0, 0));
    char name[HOST_NAME_MAX_SIZE + 1];
    uint16_t top;

    if (shots_top(mount->shots, &top) && top == change->host)
        tell_directory(mount, FUSE_ROOT_ID, change);
    if (hosts == 0)
        return;
    uint64_t host = nodes_find(mount->nodes, hosts, layout_key(NODE_HOST, change->host, 0));
    if (host != 0)
        tell_directory(mount, host, change);
    if (shots_host(mount->shots, change->host, name))
        forget_name(mount, hosts, name);
    forget_content(mount, hosts);
}

/* Another host's snapshots stand at the top from now on. */
static void tell_top(struct mount *mount, uint16_t host)
{
    struct shot shot;

    for (uint32_t number = 0; shots_next(mount->shots, host, &number, &shot); number++)
        forget_name(mount, FUSE_ROOT_ID, shot.name);
    forget_name(mount, FUSE_ROOT_ID, "latest");
    forget_name(mount, FUSE_ROOT_ID, "history");
    forget_content(mount, FUSE_ROOT_ID);
}

static void freep(uint64_t **ids)
{
    free(*ids);
}

/* Any path may have one version more, or less: lookups begin anew at the top, and what is still
 * open is read again. */
static void tell_history(struct mount *mount)
{
    CLEANUP(freep) uint64_t *ids = NULL;
    size_t count = 0;
    struct err err;
    struct node node;

    pasts_forget(mount->pasts);
    if (nodes_of_history(mount->nodes, &ids, &count, &err) < 0)
        log_warn("history is not renewed: %s", err.text);
    for (size_t i = 0; i < count; i++)
        if (nodes_get(mount->nodes, ids[i], &node) && node.kind == NODE_HISTORY)
            forget_name(mount, node.parent, "history");
    for (size_t i = 0; i < count; i++)
        forget_content(mount, ids[i]);
}

static void tell_all(struct mount *mount, const struct shot_changes *changes, bool had_top,
                     uint16_t old_top)
{
    uint16_t top = 0;
    bool has_top = shots_top(mount->shots, &top);

    if (had_top && (!has_top || top != old_top))
        tell_top(mount, old_top);
    if (has_top && (!had_top || top != old_top))
        tell_top(mount, top);
    for (size_t i = 0; i < changes->count; i++)
        tell(mount, &changes->at[i]);
    tell_history(mount);
}

static int take_over(struct mount *mount, bool notify, size_t *out_count, struct err *err)
{
    CLEANUP(snapshot_rows_clear) struct snapshot_rows rows = {0};
    CLEANUP(shot_changes_clear) struct shot_changes changes = {0};
    uint16_t old_top = 0;
    bool had_top = shots_top(mount->shots, &old_top);
    int rc = catalog_snapshots(mount->catalog, NULL, &rows, err);

    if (rc == 0)
        rc = shots_update(mount->shots, &rows, &changes, err);
    if (rc == 0 && notify && changes.count > 0)
        tell_all(mount, &changes, had_top, old_top);
    *out_count = rows.count;
    return rc;
}

int watch_refresh(struct mount *mount, bool notify, struct err *err)
{
    size_t count;
    int rc = catalog_sync(mount->catalog, false, err);

    return rc < 0 ? rc : take_over(mount, notify, &count, err);
}

/* The caller has listed the repository a moment ago, and the first look comes in a moment: over a
 * network that is not done a third time.  A catalog without anything may be one in memory. */
int watch_begin(struct mount *mount, struct err *err)
{
    size_t count = 0;
    int rc = repo_is_remote(mount->repo) ? take_over(mount, false, &count, err) : 0;

    return rc == 0 && count == 0 ? watch_refresh(mount, false, err) : rc;
}

/* In the pool: what whoever looks first will look at. */
static void warm(void *argument)
{
    struct mount *mount = argument;
    struct shot shot;
    struct err ignored;
    uint32_t number;
    uint16_t top;

    if (!shots_top(mount->shots, &top))
        return;
    for (unsigned type = 1; type <= TYPES; type++) {
        CLEANUP(tree_closep) struct tree_cursor *cursor = NULL;
        if (shots_latest(mount->shots, top, type, &number, &shot) &&
            shots_load(mount->shots, number, &shot, &ignored) == 0)
            (void)tree_open(mount->blocks, &shot.directories[type], 0, &cursor, &ignored);
    }
}

/* ---- the thread -------------------------------------------------------------------------- */

/* When the last change, and the last listing, was. */
struct watch {
    struct timespec changed, forgets_changed;
    int64_t hot_until, listed;
    bool failing;
};

/* Whether a directory of the repository has another time than before; -1: it is no directory. */
static int has_changed(const struct mount *mount, const char *folder, struct timespec *before)
{
    char path[4096];
    struct stat st;
    int size = snprintf(path, sizeof(path), "%s/%s", mount->repository, folder);

    if (size < 0 || (size_t)size >= sizeof(path) || stat(path, &st) < 0)
        return -1;
    bool same = st.st_mtim.tv_sec == before->tv_sec && st.st_mtim.tv_nsec == before->tv_nsec;
    *before = st.st_mtim;
    return !same;
}

/* Whether a listing is due. */
static bool is_due(struct mount *mount, struct watch *watch, int64_t now)
{
    int snapshots = has_changed(mount, "snapshots", &watch->changed);
    int forgets = has_changed(mount, "forgets", &watch->forgets_changed); /* may not be there yet */
    int64_t every = (int64_t)mount->options->refresh_s * NS_PER_SECOND;

    if (snapshots > 0 || forgets > 0)
        watch->hot_until = now + HOT_NS;
    return (snapshots >= 0 && now < watch->hot_until) || now - watch->listed >= every;
}

static void look(struct mount *mount, struct watch *watch)
{
    int64_t now = clock_monotonic_ns();
    struct err err;

    if (!is_due(mount, watch, now))
        return;
    watch->listed = now;
    int rc = watch_refresh(mount, true, &err);
    if (rc < 0 && !watch->failing)
        log_warn("new snapshots cannot be seen for now: %s", err.text);
    watch->failing = rc < 0;
}

static void log_counters(struct mount *mount)
{
    struct counters *c = &mount->counters;
    struct blockcache_stats stats = {0};

    blocks_stats(mount->blocks, &stats);
    log_info("requests: lookup %llu, getattr %llu, readdir %llu, read %llu, open %llu, xattr %llu, "
             "seek %llu, forget %llu, other %llu",
             c->lookups, c->getattrs, c->readdirs, c->reads, c->opens, c->xattrs, c->seeks,
             c->forgets, c->others);
    log_info("reads: %llu from the cache, %llu decoded, %llu bytes; %llu prefetches, %llu "
             "pushed; blocks: %llu hits, %llu loads, %zu bytes; directories: %zu",
             c->peeked, c->decoded, c->bytes, c->prefetched, c->pushed,
             (unsigned long long)stats.hits, (unsigned long long)stats.loads, stats.bytes,
             nodes_count(mount->nodes));
}

/* The read-ahead of the kernel: 128 KiB at first, more only by way of sysfs. */
static void raise_read_ahead(struct mount *mount)
{
    char path[128];
    struct stat st;

    if (stat(mount->directory, &st) < 0)
        return;
    atomic_store(&mount->device, minor(st.st_dev));
    if (geteuid() != 0)
        return;
    (void)snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", major(st.st_dev),
                   minor(st.st_dev));
    FILE *file = fopen(path, "we");
    if (!file)
        return;
    (void)fprintf(file, "%d\n", MOUNT_READ_AHEAD_KB);
    (void)fclose(file);
}

void *watch_run(void *context)
{
    const struct timespec tick = {.tv_nsec = TICK_NS};
    struct mount *mount = context;
    struct watch watch = {0};
    struct statvfs st;
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR2); /* blocked in every thread */
    if (statvfs(mount->directory, &st) == 0) {
        raise_read_ahead(mount);
        if (repo_is_remote(mount->repo))
            pool_submit(mount->pool, warm, mount);
        daemon_ready(mount);
    } else {
        log_error("%s does not answer", mount->directory);
        (void)kill(getpid(), SIGTERM);
    }
    while (!progress_cancelled(&mount->ending)) {
        if (sigtimedwait(&signals, NULL, &tick) == SIGUSR2)
            log_counters(mount);
        else
            look(mount, &watch);
    }
    return NULL;
}
