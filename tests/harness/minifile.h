/*
 * minifile — what the disk says of a file, for minisnap.
 */
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "backup/archive/entry.h"
#include "backup/base/buf.h"
#include "backup/base/err.h"
#include "tests/harness/cmocka.h"

struct mini_file {
    char *name;
    struct entry entry;
    size_t first, count; /* of the extents */
    struct buf xattrs;
    char *target;
};

static struct err mini_err;

static inline int mini_by_name(const void *a, const void *b)
{
    return strcmp(((const struct mini_file *)a)->name, ((const struct mini_file *)b)->name);
}

static inline void mini_xattrs(int fd, struct mini_file *file)
{
    static _Thread_local char names[65536], value[65536];
    char path[64];
    char *sorted[256];
    size_t count = 0;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    ssize_t size = listxattr(path, names, sizeof(names));
    for (ssize_t at = 0; at < size; at += (ssize_t)strlen(names + at) + 1)
        sorted[count++] = names + at;
    for (size_t i = 0; i < count; i++)
        for (size_t j = i + 1; j < count; j++)
            if (strcmp(sorted[j], sorted[i]) < 0) {
                char *swap = sorted[i];
                sorted[i] = sorted[j];
                sorted[j] = swap;
            }
    file->xattrs.limit = ENTRY_XATTRS_MAX;
    for (size_t i = 0; i < count; i++) {
        ssize_t got = getxattr(path, sorted[i], value, sizeof(value));
        assert_true(got >= 0);
        assert_int_equal(xattrs_append(&file->xattrs, sorted[i], strlen(sorted[i]), value,
                                       (size_t)got, &mini_err),
                         0);
    }
}

static inline enum entry_type mini_type(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return ENTRY_FILE;
    case S_IFDIR:
        return ENTRY_DIRECTORY;
    case S_IFLNK:
        return ENTRY_SYMLINK;
    case S_IFCHR:
        return ENTRY_CHARDEV;
    case S_IFBLK:
        return ENTRY_BLOCKDEV;
    case S_IFIFO:
        return ENTRY_FIFO;
    default:
        return ENTRY_SOCKET;
    }
}

static inline void mini_attributes(const struct stat *st, struct entry *entry)
{
    entry->type = mini_type(st->st_mode);
    entry->mode = st->st_mode & 07777;
    entry->uid = st->st_uid;
    entry->gid = st->st_gid;
    entry->mtime_s = st->st_mtim.tv_sec;
    entry->mtime_ns = (uint32_t)st->st_mtim.tv_nsec;
    entry->ctime_s = st->st_ctim.tv_sec;
    entry->ctime_ns = (uint32_t)st->st_ctim.tv_nsec;
    entry->inode = st->st_ino;
    entry->device = st->st_dev;
    entry->links = 1;
    if (entry->type == ENTRY_FILE)
        entry->size = (uint64_t)st->st_size;
    if (entry->type == ENTRY_CHARDEV || entry->type == ENTRY_BLOCKDEV)
        entry->rdev = st->st_rdev;
    if (entry->type != ENTRY_DIRECTORY && st->st_nlink > 1) {
        entry->shared = true;
        entry->links = st->st_nlink;
    }
}

static inline struct mini_file *mini_list(int fd, size_t *out_count)
{
    DIR *stream = fdopendir(fcntl(fd, F_DUPFD_CLOEXEC, 3));
    struct mini_file *files = NULL;
    size_t count = 0;

    assert_non_null(stream);
    for (struct dirent *entry; (entry = readdir(stream));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if ((count & (count - 1)) == 0)
            files = realloc(files, (count ? 2 * count : 1) * sizeof(*files));
        files[count] = (struct mini_file){.name = strdup(entry->d_name)};
        files[count].entry.name = files[count].name;
        files[count].entry.name_size = strlen(files[count].name);
        count++;
    }
    closedir(stream);
    if (count > 0)
        qsort(files, count, sizeof(*files), mini_by_name);
    *out_count = count;
    return files;
}
