/* The file: found, or made anew. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/hex.h"
#include "backup/base/io.h"
#include "backup/base/random.h"
#include "backup/store/sealedcache_internal.h"

enum {
    VERSION = 1,
    SETS_MAX = 4 * 1024 * 1024, /* 4 TiB */
    CHANCE = 8,                 /* random bytes in the name of one that is being made */
    STALE_SECONDS = 24 * 60 * 60,
};

static const char file_name[] = "sealed";
static const uint8_t magic[8] = "YSTRSLDC";

uint64_t sealedcache_pages_offset(uint64_t sets)
{
    uint64_t end = SEALED_HEADER_SIZE + sets * SEALED_SET_SIZE;

    return (end + SEALEDCACHE_PAGE - 1) / SEALEDCACHE_PAGE * SEALEDCACHE_PAGE;
}

/* As many as fit into `bytes`. */
uint64_t sealedcache_sets(uint64_t bytes)
{
    uint64_t sets = bytes / (SEALED_WAYS * (uint64_t)SEALEDCACHE_PAGE + SEALED_SET_SIZE);

    sets = sets < SETS_MAX ? sets : SETS_MAX;
    while (sets > 0 &&
           sealedcache_pages_offset(sets) + sets * SEALED_WAYS * SEALEDCACHE_PAGE > bytes)
        sets--;
    return sets;
}

static void encode_header(const struct sealedcache_options *options, uint64_t sets,
                          uint8_t out[SEALED_HEADER_SIZE])
{
    memset(out, 0, SEALED_HEADER_SIZE);
    memcpy(out, magic, sizeof(magic));
    store_le32(out + 8, VERSION);
    store_le64(out + 16, sets);
    memcpy(out + 24, options->repository, SEALEDCACHE_REPOSITORY);
}

/* One that is as it would be made now: whole, of this repository, of this size. */
static bool is_ours(int fd, const struct sealedcache_options *options, uint64_t sets)
{
    uint8_t wanted[SEALED_HEADER_SIZE], found[SEALED_HEADER_SIZE];
    struct stat st;
    struct err ignored;
    size_t got;

    encode_header(options, sets, wanted);
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
           (uint64_t)st.st_size ==
               sealedcache_pages_offset(sets) + sets * SEALED_WAYS * SEALEDCACHE_PAGE &&
           io_pread_full(fd, found, sizeof(found), 0, &got, &ignored) == 0 &&
           got == sizeof(found) && memcmp(wanted, found, sizeof(found)) == 0;
}

/* "sealed-<digits>", as make_file() makes it. */
static bool is_half_made(const char *name)
{
    uint8_t chance[CHANCE];
    size_t prefix = strlen(file_name);

    return strncmp(name, file_name, prefix) == 0 && name[prefix] == '-' &&
           hex_decode(name + prefix + 1, strlen(name + prefix + 1), chance, sizeof(chance));
}

static void remove_stale(int dirfd, const char *name, time_t now)
{
    struct stat st;

    if (is_half_made(name) && fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISREG(st.st_mode) && st.st_uid == geteuid() && st.st_mtime < now - STALE_SECONDS)
        (void)unlinkat(dirfd, name, 0);
}

/* What was left behind by those who were killed while they made one. */
static void tidy(int dirfd)
{
    CLEANUP(closep) int fd = -1;
    struct err ignored;
    time_t now = time(NULL);

    if (io_openat(dirfd, ".", O_RDONLY | O_DIRECTORY, 0, &fd, &ignored) < 0)
        return;
    DIR *directory = fdopendir(fd);
    if (!directory)
        return;
    fd = -1; /* the directory's */
    for (struct dirent *entry; (entry = readdir(directory));)
        remove_stale(dirfd, entry->d_name, now);
    (void)closedir(directory);
}

/* Beside it first, so that nobody finds half of one.  Those who have the one before open keep it
 * for as long as they run. */
static int make_file(int dirfd, const struct sealedcache_options *options, uint64_t sets)
{
    CLEANUP(closep) int fd = -1;
    uint8_t header[SEALED_HEADER_SIZE], chance[CHANCE];
    char name[sizeof(file_name) + 2 * sizeof(chance) + 1], hex[2 * sizeof(chance) + 1];
    struct err err;

    tidy(dirfd);
    if (random_bytes(chance, sizeof(chance), &err) < 0)
        return -1;
    hex_encode(chance, sizeof(chance), hex);
    (void)snprintf(name, sizeof(name), "%s-%s", file_name, hex);
    encode_header(options, sets, header);
    int r = io_openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600, &fd, &err);
    if (r < 0)
        return -1;
    r = io_truncate(fd, sealedcache_pages_offset(sets) + sets * SEALED_WAYS * SEALEDCACHE_PAGE,
                    &err);
    if (r == 0)
        r = io_pwrite_full(fd, header, sizeof(header), 0, &err);
    if (r == 0 && renameat(dirfd, name, dirfd, file_name) < 0)
        r = -ERR_SYSTEM;
    if (r < 0) {
        (void)unlinkat(dirfd, name, 0);
        return -1;
    }
    int opened = fd;
    fd = -1;
    return opened;
}

static int open_file(int dirfd, const struct sealedcache_options *options, uint64_t sets)
{
    CLEANUP(closep) int fd = -1;
    struct err ignored;

    if (sets == 0) {
        (void)unlinkat(dirfd, file_name, 0);
        return -1;
    }
    if (io_openat(dirfd, file_name, O_RDWR | O_NOFOLLOW, 0, &fd, &ignored) == 0 &&
        is_ours(fd, options, sets)) {
        int opened = fd;
        fd = -1;
        return opened;
    }
    return make_file(dirfd, options, sets);
}

struct sealedcache *sealedcache_open(const struct sealedcache_options *options)
{
    CLEANUP(closep) int dirfd = -1;
    uint64_t sets = sealedcache_sets(options->bytes);
    struct err ignored;

    if (io_openat(AT_FDCWD, options->directory, O_RDONLY | O_DIRECTORY, 0, &dirfd, &ignored) < 0)
        return NULL;
    int fd = open_file(dirfd, options, sets);
    struct sealedcache *cache = fd >= 0 ? calloc(1, sizeof(*cache)) : NULL;
    if (!cache) {
        closep(&fd);
        return NULL;
    }
    cache->fd = fd;
    cache->sets = sets;
    cache->pages_offset = sealedcache_pages_offset(sets);
    cache->keeps_data = options->keeps_data;
    memcpy(cache->key.bytes, options->repository, SEALEDCACHE_REPOSITORY);
    return cache;
}

void sealedcache_close(struct sealedcache *cache)
{
    if (!cache)
        return;
    closep(&cache->fd);
    free(cache);
}
