#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/crypto/digest.h"
#include "backup/store/local_internal.h"

enum { SMALL_FILE = 4096, START_FIELD = 22 };

/* 0 stands for unknown. */
static uint64_t hash_of(const struct buf *text)
{
    static const struct digest_key no_key;

    return digest_hash64(&no_key, text->data, text->size) | 1;
}

static bool add_file(struct buf *text, const char *path)
{
    struct err ignored;

    return io_read_file(AT_FDCWD, path, SMALL_FILE, text, &ignored) == 0 && text->size > 0;
}

static uint64_t find_boot(void)
{
    CLEANUP(buf_clear) struct buf text = {.limit = SMALL_FILE};

    return add_file(&text, "/proc/sys/kernel/random/boot_id") ? hash_of(&text) : 0;
}

/* Machines that were copied share the first and seldom the second. */
static uint64_t find_host(void)
{
    CLEANUP(buf_clear) struct buf text = {.limit = 2 * SMALL_FILE};
    char name[256] = "";
    struct err ignored;

    if (!add_file(&text, "/etc/machine-id") || gethostname(name, sizeof(name) - 1) < 0)
        return 0;
    return buf_append(&text, name, strlen(name), &ignored) < 0 ? 0 : hash_of(&text);
}

static uint64_t find_space(void)
{
    struct stat found;

    return stat("/proc/self/ns/pid", &found) < 0 ? 0 : (uint64_t)found.st_ino;
}

/* The process's name, in brackets, may hold anything. */
static uint64_t parse_start(const char *line)
{
    const char *at = strrchr(line, ')');
    uint64_t start = 0;

    for (int field = 2; at && field < START_FIELD; field++)
        at = strchr(at + 1, ' ');
    return at && sscanf(at, " %" SCNu64, &start) == 1 ? start : 0;
}

/* In ticks since boot; 0: unknown. */
static uint64_t find_start(uint32_t pid)
{
    CLEANUP(buf_clear) struct buf text = {.limit = SMALL_FILE};
    char path[32];
    struct err ignored;

    (void)snprintf(path, sizeof(path), "/proc/%" PRIu32 "/stat", pid);
    if (!add_file(&text, path) || buf_append(&text, "", 1, &ignored) < 0)
        return 0;
    return parse_start((const char *)text.data);
}

void local_owner_self(struct local_owner *out)
{
    *out = (struct local_owner){
        .host = find_host(),
        .boot = find_boot(),
        .space = find_space(),
        .pid = (uint32_t)getpid(),
    };
    out->start = find_start(out->pid);
}

void local_owner_format(const struct local_owner *owner, uint64_t random, char out[LOCAL_TMP_SIZE])
{
    (void)snprintf(out, LOCAL_TMP_SIZE,
                   "%016" PRIx64 "-%016" PRIx64 "-%016" PRIx64 "-%08" PRIx32 "-%016" PRIx64
                   "-%016" PRIx64,
                   owner->host, owner->boot, owner->space, owner->pid, owner->start, random);
}

bool local_owner_parse(const char *name, struct local_owner *out)
{
    struct local_owner found;
    uint64_t random;
    char again[LOCAL_TMP_SIZE];

    if (sscanf(name,
               "%16" SCNx64 "-%16" SCNx64 "-%16" SCNx64 "-%8" SCNx32 "-%16" SCNx64 "-%16" SCNx64,
               &found.host, &found.boot, &found.space, &found.pid, &found.start, &random) != 6)
        return false;
    local_owner_format(&found, random, again);
    if (strcmp(name, again) != 0)
        return false;
    *out = found;
    return true;
}

/* A process that may not be looked at (hidepid) is still there for kill(). */
static bool is_running(const struct local_owner *owner)
{
    if (owner->pid == 0 || owner->pid > INT32_MAX)
        return true;
    if (kill((pid_t)owner->pid, 0) < 0 && errno == ESRCH)
        return false;

    uint64_t start = find_start(owner->pid);
    return start == 0 || owner->start == 0 || start == owner->start;
}

bool local_owner_is_dead(const struct local_owner *self, const struct local_owner *owner)
{
    if (self->boot == 0 || owner->boot == 0)
        return false;
    if (self->boot != owner->boot)
        return self->host != 0 && self->host == owner->host;
    return self->space != 0 && self->space == owner->space && !is_running(owner);
}
