#include "backup/source/scout.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/pool.h"
#include "backup/source/findings.h"
#include "backup/source/srcdir.h"

/* A wait keeps scouts going for so many directories. */
enum { THREADS = 3, WAITING_MAX = 64, HEAT = 64, DENTS_SIZE = 32 * 1024 };
/* The walk may be a while in what lies below the first of the directories that they looked into. */
enum { KEPT_MOST = 256, KEPT_ENTRIES = 2 * FINDINGS_MOST, REACHED = 256 };

struct scout {
    struct pool *pool; /* NULL: nothing was sent yet */
    atomic_int heat;
    atomic_bool over;
    _Atomic uint64_t reached[REACHED]; /* by the walk, lately: inodes, each at its remainder */

    pthread_mutex_t lock;             /* guards what follows */
    struct findings *kept[KEPT_MOST]; /* the oldest first */
    size_t count, entries;
};

struct errand {
    struct scout *scout;
    struct srcdir *dir;
    char name[NAME_MAX + 1];
};

struct scout *scout_new(void)
{
    struct scout *scout = calloc(1, sizeof(*scout));

    if (scout)
        pthread_mutex_init(&scout->lock, NULL);
    return scout;
}

/* The lock is held. */
static struct findings *take(struct scout *scout, size_t i)
{
    struct findings *taken = scout->kept[i];

    scout->count--;
    scout->entries -= findings_count(taken);
    memmove(&scout->kept[i], &scout->kept[i + 1], (scout->count - i) * sizeof(struct findings *));
    return taken;
}

/* The oldest give way: the walk has most likely been there without them. */
static void keep(struct scout *scout, struct findings *findings)
{
    pthread_mutex_lock(&scout->lock);
    while (scout->count == KEPT_MOST ||
           (scout->count > 0 && scout->entries + findings_count(findings) > KEPT_ENTRIES))
        findings_free(take(scout, 0));
    scout->kept[scout->count++] = findings;
    scout->entries += findings_count(findings);
    pthread_mutex_unlock(&scout->lock);
}

void scout_reached(struct scout *scout, const struct srcdir *dir)
{
    atomic_store_explicit(&scout->reached[dir->inode % REACHED], dir->inode, memory_order_relaxed);
}

struct findings *scout_findings(struct scout *scout, const struct srcdir *dir)
{
    struct findings *found = NULL;

    pthread_mutex_lock(&scout->lock);
    for (size_t i = scout->count; !found && i > 0; i--)
        if (findings_are_of(scout->kept[i - 1], dir))
            found = take(scout, i - 1);
    pthread_mutex_unlock(&scout->lock);
    return found;
}

void scout_free(struct scout *scout)
{
    if (!scout)
        return;
    atomic_store(&scout->over, true); /* what still waits is given up */
    pool_free(scout->pool);
    while (scout->count > 0)
        findings_free(take(scout, 0));
    pthread_mutex_destroy(&scout->lock);
    free(scout);
}

long scout_waits(void)
{
    struct rusage usage;

    return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_nvcsw : 0;
}

void scout_waited(struct scout *scout, long waits_before)
{
    if (scout_waits() > waits_before)
        atomic_store_explicit(&scout->heat, HEAT, memory_order_relaxed);
}

bool scout_pays(const struct scout *scout)
{
    return atomic_load_explicit(&scout->heat, memory_order_relaxed) > 0;
}

static void look_at(int fd, const char *name, struct findings *findings)
{
    struct statx st;

    if (statx(fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BASIC_STATS | STATX_BTIME,
              &st) == 0 &&
        findings && !S_ISDIR(st.stx_mode))
        findings_note(findings, name, &st);
}

static void look_into(const struct scout *scout, int fd, struct findings *findings)
{
    _Alignas(struct dirent64) char dents[DENTS_SIZE];
    long got;

    while ((got = syscall(SYS_getdents64, fd, dents, sizeof(dents))) > 0)
        for (long at = 0; at < got && !atomic_load(&scout->over);) {
            const struct dirent64 *dent = (const struct dirent64 *)(dents + at);
            if (strcmp(dent->d_name, ".") != 0 && strcmp(dent->d_name, "..") != 0)
                look_at(fd, dent->d_name, findings);
            at += dent->d_reclen;
        }
}

static void look_and_keep(struct scout *scout, const struct srcdir *dir)
{
    struct findings *findings = findings_new(dir);

    look_into(scout, dir->fd, findings);
    if (!findings)
        return;
    findings_finish(findings);
    keep(scout, findings);
}

/* Ahead of the walk still, and on the same file system as its parent: opening a directory that
 * waits to be mounted over would mount it. */
static bool is_worthwhile(const struct errand *errand)
{
    struct stat st;

    return fstatat(errand->dir->fd, errand->name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) ==
               0 &&
           S_ISDIR(st.st_mode) && st.st_dev == errand->dir->device &&
           atomic_load_explicit(&errand->scout->reached[st.st_ino % REACHED],
                                memory_order_relaxed) != st.st_ino;
}

static void run(void *argument)
{
    struct errand *errand = argument;
    struct scout *scout = errand->scout;
    struct srcdir *dir = NULL;
    long waits = scout_waits();
    struct err ignored;

    if (!atomic_load(&scout->over) && is_worthwhile(errand) &&
        srcdir_open(errand->dir, errand->name, &dir, &ignored) == 0) {
        look_and_keep(scout, dir);
        scout_waited(scout, waits);
    }
    srcdir_unref(dir);
    srcdir_unref(errand->dir);
    free(errand);
}

void scout_send(struct scout *scout, struct srcdir *dir, const char *name)
{
    struct errand *errand = malloc(sizeof(*errand));
    size_t size = strlen(name);

    if (!scout->pool)
        scout->pool = pool_new(THREADS, WAITING_MAX);
    if (!errand || !scout->pool || size > NAME_MAX) {
        free(errand);
        return;
    }
    errand->scout = scout;
    errand->dir = srcdir_ref(dir);
    memcpy(errand->name, name, size + 1);
    atomic_fetch_sub_explicit(&scout->heat, 1, memory_order_relaxed);
    if (pool_try_submit(scout->pool, run, errand))
        return;
    srcdir_unref(errand->dir);
    free(errand);
}
