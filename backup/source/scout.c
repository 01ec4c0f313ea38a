#include "backup/source/scout.h"

#include <dirent.h>
#include <fcntl.h>
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
#include "backup/source/srcdir.h"

/* A wait keeps scouts going for so many directories. */
enum { THREADS = 3, WAITING_MAX = 64, HEAT = 64, DENTS_SIZE = 32 * 1024 };

struct scout {
    struct pool *pool; /* NULL: nothing was sent yet */
    atomic_int heat;
    atomic_bool over;
};

struct errand {
    struct scout *scout;
    struct srcdir *dir;
    char name[NAME_MAX + 1];
};

struct scout *scout_new(void)
{
    return calloc(1, sizeof(struct scout));
}

void scout_free(struct scout *scout)
{
    if (!scout)
        return;
    atomic_store(&scout->over, true); /* what still waits is given up */
    pool_free(scout->pool);
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

static void look_at(int fd, const char *name)
{
    struct statx st;

    (void)statx(fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BASIC_STATS | STATX_BTIME,
                &st);
}

static void look_into(const struct scout *scout, int fd)
{
    _Alignas(struct dirent64) char dents[DENTS_SIZE];
    long got;

    while ((got = syscall(SYS_getdents64, fd, dents, sizeof(dents))) > 0)
        for (long at = 0; at < got && !atomic_load(&scout->over);) {
            const struct dirent64 *dent = (const struct dirent64 *)(dents + at);
            look_at(fd, dent->d_name);
            at += dent->d_reclen;
        }
}

/* On the same file system as its parent: opening a directory that waits to be mounted over would
 * mount it. */
static bool is_near(const struct errand *errand)
{
    struct stat st;

    return fstatat(errand->dir->fd, errand->name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) ==
               0 &&
           S_ISDIR(st.st_mode) && st.st_dev == errand->dir->device;
}

static void run(void *argument)
{
    struct errand *errand = argument;
    struct scout *scout = errand->scout;
    struct srcdir *dir = NULL;
    long waits = scout_waits();
    struct err ignored;

    if (!atomic_load(&scout->over) && is_near(errand) &&
        srcdir_open(errand->dir, errand->name, &dir, &ignored) == 0) {
        look_into(scout, dir->fd);
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
