/* The plan, the count, and what becomes of a call. */
#include "tests/harness/faultshim.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct plan {
    char dir[PATH_MAX]; /* empty: do nothing */
    unsigned classes;
    uint64_t at;
    bool sticky;
    bool is_short;
    bool kill_before;
    bool kill_after;
    int error;
    uint64_t drop_sync;
    _Atomic uint64_t *count; /* in the count file, if there is one */
    _Atomic uint64_t own_count;
    _Atomic uint64_t syncs;
    char tell[PATH_MAX];
    atomic_flag told;
};

static struct plan plan = {.told = ATOMIC_FLAG_INIT};

/* Without libc, whose own functions are what is being replaced: a sanitizer calls them before it
 * can stand a dlsym(). */
static long call_kernel(long number, const long word[6])
{
#if defined(__x86_64__)
    register long r10 __asm__("r10") = word[3];
    register long r8 __asm__("r8") = word[4];
    register long r9 __asm__("r9") = word[5];
    __asm__ volatile("syscall"
                     : "+a"(number)
                     : "D"(word[0]), "S"(word[1]), "d"(word[2]), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return number;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = word[0];
    register long x1 __asm__("x1") = word[1];
    register long x2 __asm__("x2") = word[2];
    register long x3 __asm__("x3") = word[3];
    register long x4 __asm__("x4") = word[4];
    register long x5 __asm__("x5") = word[5];
    __asm__ volatile("svc 0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return x0;
#else
#error "how is the kernel called here?"
#endif
}

long fault_raw(long number, ...)
{
    long word[6];
    va_list words;

    va_start(words, number);
    for (int i = 0; i < 6; i++)
        word[i] = va_arg(words, long);
    va_end(words);
    long r = call_kernel(number, word);
    if (r >= 0 || r < -4095)
        return r;
    errno = (int)-r;
    return -1;
}

static void give_up(const char *what)
{
    static const char text[] = "faultshim: bad plan: ";

    (void)fault_raw(SYS_write, 2L, text, sizeof(text) - 1, 0L, 0L, 0L);
    (void)fault_raw(SYS_write, 2L, what, strlen(what), 0L, 0L, 0L);
    (void)fault_raw(SYS_write, 2L, "\n", 1L, 0L, 0L, 0L);
    (void)fault_raw(SYS_exit_group, 99L, 0L, 0L, 0L, 0L, 0L);
}

static const struct {
    const char *name;
    unsigned value;
} classes[] =
    {
        {"open", FAULT_OPEN},     {"create", FAULT_CREATE}, {"read", FAULT_READ},
        {"write", FAULT_WRITE},   {"size", FAULT_SIZE},     {"sync", FAULT_SYNC},
        {"name", FAULT_NAME},     {"look", FAULT_LOOK},     {"attribute", FAULT_ATTRIBUTE},
        {"memory", FAULT_MEMORY},
},
  errors[] = {
      {"EIO", EIO},       {"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT},
      {"ENOMEM", ENOMEM}, {"EMFILE", EMFILE}, {"EINTR", EINTR},
};

static unsigned class_of(const char *name, size_t size)
{
    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
        if (strlen(classes[i].name) == size && memcmp(classes[i].name, name, size) == 0)
            return classes[i].value;
    give_up(name);
    return 0;
}

static unsigned read_classes(const char *text)
{
    unsigned found = 0;

    if (!text)
        return (FAULT_MEMORY - 1U);
    for (const char *at = text; *at;) {
        size_t size = strcspn(at, ",");
        found |= class_of(at, size);
        at += size + (at[size] == ',');
    }
    return found;
}

static void read_error(const char *text)
{
    plan.is_short = text && strcmp(text, "short") == 0;
    for (size_t i = 0; text && i < sizeof(errors) / sizeof(errors[0]); i++)
        if (strcmp(errors[i].name, text) == 0)
            plan.error = (int)errors[i].value;
    if (text && !plan.is_short && plan.error == 0)
        give_up(text);
}

static uint64_t read_number(const char *name)
{
    const char *text = getenv(name);

    return text ? strtoull(text, NULL, 10) : 0;
}

/* So that it outlives the process, however that ends. */
static void share_count(const char *path)
{
    long fd = fault_raw(SYS_openat, (long)AT_FDCWD, path, (long)(O_RDWR | O_CREAT | O_CLOEXEC),
                        0644L, 0L, 0L);
    void *map = MAP_FAILED;

    if (fd >= 0 && fault_raw(SYS_ftruncate, fd, 8L, 0L, 0L, 0L, 0L) == 0)
        map = (void *)fault_raw(SYS_mmap, 0L, 8L, (long)(PROT_READ | PROT_WRITE), (long)MAP_SHARED,
                                fd, 0L);
    if (map == MAP_FAILED)
        give_up(path);
    (void)fault_raw(SYS_close, fd, 0L, 0L, 0L, 0L, 0L);
    plan.count = map;
}

__attribute__((constructor)) static void read_plan(void)
{
    const char *dir = getenv("FAULT_DIR");
    const char *kill = getenv("FAULT_KILL");
    const char *tell = getenv("FAULT_TELL");
    const char *count = getenv("FAULT_COUNT_FILE");
    const char *log = getenv("FAULT_LOG");

    if (!dir)
        return;
    if (dir[0] != '/' || strlen(dir) >= sizeof(plan.dir) || (tell && strlen(tell) >= PATH_MAX))
        give_up(dir);
    plan.classes = read_classes(getenv("FAULT_CALLS"));
    plan.at = read_number("FAULT_N");
    plan.drop_sync = read_number("FAULT_DROP_SYNC");
    plan.sticky = getenv("FAULT_STICKY") != NULL;
    plan.kill_before = kill && strcmp(kill, "before") == 0;
    plan.kill_after = kill && strcmp(kill, "after") == 0;
    read_error(getenv("FAULT_ERRNO"));
    if (tell)
        strcpy(plan.tell, tell);
    plan.count = &plan.own_count;
    if (count)
        share_count(count);
    if (log && !fault_log_open(log))
        give_up(log);
    strcpy(plan.dir, dir); /* from here on it works */
}

/* Removes "." and ".." and doubled slashes. */
static void normalise(char *path)
{
    char *out = path;

    for (const char *at = path; *at;) {
        const char *name = at + strspn(at, "/");
        size_t size = strcspn(name, "/");
        bool is_up = size == 2 && memcmp(name, "..", 2) == 0;
        at = name + size;
        if (is_up)
            while (out > path && *--out != '/')
                continue;
        if (size == 0 || is_up || (size == 1 && *name == '.'))
            continue;
        *out++ = '/';
        memmove(out, name, size);
        out += size;
    }
    if (out == path)
        *out++ = '/';
    *out = '\0';
}

static bool path_of_fd(int fd, char out[FAULT_PATH_SIZE])
{
    char link[40] = "/proc/self/cwd";

    if (fd != AT_FDCWD)
        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    long size =
        fault_raw(SYS_readlinkat, (long)AT_FDCWD, link, out, (long)FAULT_PATH_SIZE - 1, 0L, 0L);
    out[size < 0 ? 0 : size] = '\0';
    return size > 0 && out[0] == '/';
}

void fault_path(int dirfd, const char *path, char out[FAULT_PATH_SIZE])
{
    size_t size = 0;
    int saved = errno;

    out[0] = '\0';
    bool is_absolute = path && path[0] == '/';
    if (is_absolute || path_of_fd(dirfd, out)) {
        size = strlen(out);
        if (path && path[0] && size + strlen(path) + 2 < FAULT_PATH_SIZE)
            (void)snprintf(out + size, FAULT_PATH_SIZE - size, "/%s", path);
        normalise(out);
    }
    errno = saved;
}

static bool is_below(const char *path)
{
    size_t size = strlen(plan.dir);

    return strncmp(path, plan.dir, size) == 0 && (path[size] == '\0' || path[size] == '/');
}

static void tell(const char *call, const char *path, uint64_t number)
{
    char line[FAULT_PATH_SIZE + 100];

    if (!plan.tell[0] || atomic_flag_test_and_set(&plan.told))
        return;
    int size = snprintf(line, sizeof(line), "%llu %s %s\n", (unsigned long long)number, call, path);
    long fd = fault_raw(SYS_openat, (long)AT_FDCWD, plan.tell,
                        (long)(O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC), 0644L, 0L, 0L);
    (void)fault_raw(SYS_write, fd, line, (long)size, 0L, 0L, 0L);
    (void)fault_raw(SYS_close, fd, 0L, 0L, 0L, 0L, 0L);
}

static void die(void)
{
    (void)fault_raw(SYS_kill, (long)getpid(), (long)SIGKILL, 0L, 0L, 0L, 0L);
    (void)fault_raw(SYS_exit_group, 98L, 0L, 0L, 0L, 0L, 0L);
}

static void strike(struct fate *fate, enum fault_class what)
{
    if (plan.kill_before)
        die();
    fate->kill_after = plan.kill_after;
    fate->is_short = plan.is_short && (what & (FAULT_READ | FAULT_WRITE)) != 0;
    fate->error = plan.error;
}

struct fate fault_begin(enum fault_class what, const char *call, const char *path)
{
    struct fate fate = {0};
    int saved = errno;

    if (!plan.dir[0] || (what != FAULT_MEMORY && !is_below(path)))
        return fate;
    fate.is_below = true;
    if (what & plan.classes) {
        uint64_t number = atomic_fetch_add(plan.count, 1) + 1;
        if (plan.at > 0 && (number == plan.at || (plan.sticky && number > plan.at))) {
            tell(call, path, number);
            strike(&fate, what);
        }
    }
    fate.is_dropped = what == FAULT_SYNC && plan.drop_sync > 0 &&
                      atomic_fetch_add(&plan.syncs, 1) + 1 == plan.drop_sync;
    if (fate.is_dropped)
        tell(call, path, plan.drop_sync);
    fate.is_logged = fate.error == 0 && (what & FAULT_CHANGES) != 0 && fault_log_is_open();
    if (fate.is_logged)
        fault_log_lock();
    errno = saved;
    return fate;
}

struct fate fault_begin_at(enum fault_class what, const char *call, int dirfd, const char *path)
{
    char whole[FAULT_PATH_SIZE];

    if (!plan.dir[0])
        return (struct fate){0};
    fault_path(dirfd, path, whole);
    return fault_begin(what, call, whole);
}

int fault_refuse(const struct fate *fate)
{
    errno = fate->error;
    return -1;
}

long fault_end(const struct fate *fate, long result)
{
    int saved = errno;

    if (fate->kill_after)
        die();
    if (fate->is_logged)
        fault_log_unlock();
    errno = saved;
    return result;
}
