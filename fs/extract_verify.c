#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backup/archive/chunker.h"
#include "backup/base/cleanup.h"
#include "backup/base/io.h"
#include "backup/base/progress.h"
#include "backup/crypto/digest.h"
#include "fs/extract_internal.h"

enum { READ_AT_ONCE = 1024 * 1024 };

/* A file's digest made again from what is on disk: docs/format.md, "Content". */
struct reading {
    struct extract *x;
    int fd;
    struct digest_stream stream;
    uint8_t *bytes; /* READ_AT_ONCE of them */
};

static void freep(uint8_t **bytes)
{
    free(*bytes);
}

static void add_chunk(struct reading *reading, const uint8_t *bytes, size_t count)
{
    uint8_t id[DIGEST_SIZE];

    digest_bytes(reading->x->id_key, bytes, count, id);
    digest_stream_add(&reading->stream, id, sizeof(id));
}

/* Cuts a region as the backup did. */
static int add_region(struct reading *reading, uint64_t offset, uint64_t length, struct err *err)
{
    static const uint8_t mark[1] = {1};
    bool single = length <= CHUNK_WHOLE;
    size_t have = 0;

    digest_stream_add(&reading->stream, mark, sizeof(mark));
    while (length > 0 || have > 0) {
        uint64_t room = READ_AT_ONCE - have;
        size_t count = (size_t)(length < room ? length : room), got, at = 0, chunk;

        int r = io_pread_full(reading->fd, reading->bytes + have, count, offset, &got, err);
        if (r < 0)
            return err_context(err, "read back");
        if (got < count)
            return err_set(err, ERR_EXISTS, "it is shorter than it should be");
        offset += got;
        length -= got;
        have += got;
        while (at < have) {
            chunk = single ? have
                           : chunker_next(&reading->x->chunker, reading->bytes + at, have - at,
                                          length == 0);
            if (chunk == 0)
                break;
            add_chunk(reading, reading->bytes + at, chunk);
            at += chunk;
        }
        memmove(reading->bytes, reading->bytes + at, have - at);
        have -= at;
    }
    return 0;
}

static int check_zeros(struct reading *reading, uint64_t at, uint64_t end, struct err *err)
{
    while (at < end) {
        size_t count = (size_t)(end - at < READ_AT_ONCE ? end - at : READ_AT_ONCE), got;
        int r = io_pread_full(reading->fd, reading->bytes, count, at, &got, err);

        if (r < 0)
            return err_context(err, "read back");
        if (got < count || reading->bytes[0] != 0 ||
            memcmp(reading->bytes, reading->bytes + 1, count - 1) != 0)
            return err_set(err, ERR_EXISTS, "there is something in its hole");
        at += count;
    }
    return 0;
}

/* A hole on disk is read no further; what is no hole there must be zeros. */
static int add_hole(struct reading *reading, uint64_t offset, uint64_t length, struct err *err)
{
    uint64_t at = offset, end = offset + length;
    uint8_t mark[9] = {0};

    for (int i = 0; i < 8; i++)
        mark[1 + i] = (uint8_t)(length >> (8 * i));
    digest_stream_add(&reading->stream, mark, sizeof(mark));
    while (at < end) {
        off_t data = lseek(reading->fd, (off_t)at, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            return 0;
        if (data >= 0 && (uint64_t)data >= end)
            return 0;
        off_t hole = data < 0 ? -1 : lseek(reading->fd, data, SEEK_HOLE);
        uint64_t stop = hole < 0 || (uint64_t)hole > end ? end : (uint64_t)hole;
        int r = check_zeros(reading, data < 0 ? at : (uint64_t)data, stop, err);
        if (r < 0)
            return r;
        at = stop;
    }
    return 0;
}

static int add_run(struct reading *reading, uint64_t start, uint64_t end, bool hole,
                   struct err *err)
{
    if (start == end)
        return 0;
    if (extract_stopped(reading->x))
        return err_set(err, ERR_CANCELLED, "stopped");
    return hole ? add_hole(reading, start, end - start, err)
                : add_region(reading, start, end - start, err);
}

/* Extents that follow one another are one region, whatever archives they are in. */
static int add_content(struct reading *reading, const struct entry *entry, struct err *err)
{
    CLEANUP(content_close) struct content_cursor cursor = {0};
    uint64_t begun = 0, at = 0, start;
    struct extent extent;
    bool hole = false;

    int r = content_open(&cursor, reading->x->blocks, &entry->content, 0, err);
    while (r == 0 && (r = content_next(&cursor, &extent, &start, err)) > 0) {
        r = 0;
        if (extent_is_hole(&extent) != hole) {
            r = add_run(reading, begun, at, hole, err);
            begun = at;
            hole = !hole;
        }
        at += extent.length;
    }
    return r < 0 ? r : add_run(reading, begun, at, hole, err);
}

int verify_content(struct extract *x, int fd, const struct entry *entry, struct err *err)
{
    CLEANUP(freep) uint8_t *bytes = malloc(READ_AT_ONCE);
    struct reading reading = {.x = x, .fd = fd, .bytes = bytes};
    uint8_t digest[ENTRY_DIGEST_SIZE];

    if (!bytes)
        return err_set(err, ERR_NOMEM, "no memory for reading back");
    if (entry->size == 0)
        return 0;
    digest_stream_start(&reading.stream, x->id_key);
    int r = add_content(&reading, entry, err);
    if (r < 0)
        return r;
    digest_stream_finish(&reading.stream, digest, sizeof(digest));
    if (x->chunked && memcmp(digest, entry->digest, sizeof(digest)) != 0)
        return err_set(err, ERR_EXISTS, "its content is not what was backed up");
    return 0;
}

static int check_file(struct extract *x, int dirfd, const char *name, const struct entry *entry,
                      struct err *err)
{
    CLEANUP(closep) int fd = -1;

    int r = io_openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, &fd, err);
    if (r < 0)
        return err_context(err, "read back");
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* from the disk, not from memory */
    return verify_content(x, fd, entry, err);
}

static int check_links(struct extract *x, const struct entry *entry, const struct stat *st,
                       struct err *err)
{
    uint64_t record;

    if (!entry->shared || !links_find(x->links, entry->place, &record) ||
        links_agree(x->links, record, st))
        return 0;
    return err_set(err, ERR_EXISTS, "it is not the same file as its other names");
}

/* 1: it was left as it was, by the user's wish. */
static int check_at(struct extract *x, int dirfd, const struct entry *entry, bool keep,
                    struct err *err)
{
    struct handle handle = {.fd = -1};
    struct attributes attributes;
    char name[ENTRY_NAME_MAX + 1];
    struct stat st;

    memcpy(name, entry->name, entry->name_size);
    name[entry->name_size] = 0;
    int r = place_look(dirfd, name, &handle, &st, err);
    if (r < 0)
        return r;
    CLEANUP(closep) int fd = handle.fd;
    bool never = x->options->overwrite == OVERWRITE_NEVER;
    bool regular = entry->type == ENTRY_FILE && S_ISREG(st.st_mode);
    bool same = regular ? (uint64_t)st.st_size == entry->size : meta_same(dirfd, name, entry, &st);
    if (keep || (never && (!same || !meta_time_equal(&st, entry->mtime_s, entry->mtime_ns))))
        return 1;
    if (!same)
        return err_set(err, ERR_EXISTS, "it is not what was backed up");
    attributes_of(entry, &attributes);
    r = never ? 0 : meta_compare(x, &handle, &st, &attributes, err);
    if (r == 0)
        r = never ? 0 : check_links(x, entry, &st, err);
    return r < 0 || !regular ? r : check_file(x, dirfd, name, entry, err);
}

void verify_entry(struct extract *x, struct dir *dir, const struct entry *entry, bool keep)
{
    bool special = entry->type != ENTRY_FILE && entry->type != ENTRY_SYMLINK;
    struct err err;
    int dirfd;

    if (special && x->options->no_special)
        return;
    int r = dir_ensure(x, dir, &err);
    if (r == 0)
        r = dir_hold(x, dir, &dirfd, &err);
    if (r == 0) {
        r = check_at(x, dirfd, entry, keep, &err);
        dir_let(x, dir);
    }
    if (r < 0)
        extract_trouble(x, dir, entry->name, entry->name_size,
                        err.code == ERR_CORRUPT ? SIDE_REPOSITORY : SIDE_TARGET, &err);
    else if (r == 0)
        extract_add(x, &x->result.verified, 1);
}

static int check_directory(struct extract *x, struct dir *dir, struct err *err)
{
    struct stat st;
    int fd;

    if (dir->state != DIR_THERE)
        return err_set(err, ERR_NOT_FOUND, "the directory is not there");
    if (dir->aside)
        return 0;
    int r = dir_hold(x, dir, &fd, err);
    if (r < 0)
        return r;
    r = fstat(fd, &st) < 0
            ? err_sys(err, "stat")
            : meta_compare(x, &(struct handle){.fd = fd}, &st, &dir->attributes, err);
    dir_let(x, dir);
    return r;
}

void verify_directory(struct extract *x, struct dir *dir)
{
    struct err err;

    if (!dir->parent)
        return;
    if (check_directory(x, dir, &err) < 0)
        extract_trouble(x, dir, NULL, 0, SIDE_TARGET, &err);
    else
        extract_add(x, &x->result.verified, 1);
}
