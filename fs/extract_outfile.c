#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backup/archive/chunker.h"
#include "backup/base/cleanup.h"
#include "backup/base/io.h"
#include "backup/base/progress.h"
#include "backup/crypto/digest.h"
#include "fs/extract_internal.h"

enum {
    ALLOCATE_FROM = 1024 * 1024, /* smaller files: the file system's own delay does as well */
    COMPARE_SIZE = 8192,         /* what is written in place when a byte in it differs */
};

int outfile_new(struct dir *dir, const struct entry *entry, bool over, uint64_t link,
                struct outfile **out, struct err *err)
{
    struct outfile *file = calloc(1, sizeof(*file) + entry->name_size + 1);

    if (!file)
        return err_set(err, ERR_NOMEM, "no memory for a file");
    file->dir = dir;
    dir_ref(dir);
    attributes_of(entry, &file->attributes);
    file->size = entry->size;
    memcpy(file->digest, entry->digest, sizeof(file->digest));
    file->link = link;
    file->over = over;
    file->fd = -1;
    atomic_init(&file->left, 1);
    pthread_mutex_init(&file->lock, NULL);
    memcpy(file->name, entry->name, entry->name_size);
    file->name_size = entry->name_size;
    *out = file;
    return 0;
}

static void outfile_free(struct outfile *file)
{
    closep(&file->fd);
    pthread_mutex_destroy(&file->lock);
    free(file);
}

void outfile_fail(struct outfile *file, enum side side, const struct err *err)
{
    pthread_mutex_lock(&file->lock);
    if (!file->failed) {
        file->failed = true;
        file->side = side;
        file->err = *err;
    }
    pthread_mutex_unlock(&file->lock);
}

bool outfile_failed(struct outfile *file)
{
    pthread_mutex_lock(&file->lock);
    bool failed = file->failed;
    pthread_mutex_unlock(&file->lock);
    return failed;
}

void outfile_reserve(struct outfile *file)
{
    struct err err;

    if (file->fd < 0 || file->holes || file->size < ALLOCATE_FROM)
        return;
    if (fallocate(file->fd, 0, 0, (off_t)file->size) == 0 || errno != ENOSPC)
        return; /* it is only the better order on disk */
    err_sys(&err, "reserve room");
    outfile_fail(file, SIDE_TARGET, &err);
}

static int set_size(const struct outfile *file, struct err *err)
{
    if (!file->holes && file->pieces <= 1 && !file->patched)
        return 0; /* one write makes it */
    return io_truncate(file->fd, file->size, err);
}

/* The file itself, when it is one and has no other name. */
static bool open_in_place(struct outfile *file, int dirfd)
{
    int fd = place_open(dirfd, file->name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);
    struct stat st;

    if (fd < 0)
        return false;
    file->patched = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1;
    if (file->patched)
        file->fd = fd;
    else
        close(fd);
    return file->patched;
}

int outfile_open(struct extract *x, struct outfile *file, struct err *err)
{
    int dirfd;
    int r = dir_hold(x, file->dir, &dirfd, err);

    if (r < 0)
        return r;
    if (x->options->in_place && file->over && !file->holes && open_in_place(file, dirfd)) {
        dir_let(x, file->dir);
        return set_size(file, err);
    }
    /* What is half written when it is killed must not pass for what was there before. */
    bool aside = file->over || x->options->overwrite == OVERWRITE_NEVER;
    r = place_create(dirfd, file->name, file->temporary, aside, &file->fd, err);
    if (r < 0 && err->cause == EEXIST && !aside) { /* it came meanwhile */
        file->over = true;
        r = place_create(dirfd, file->name, file->temporary, true, &file->fd, err);
    }
    dir_let(x, file->dir);
    return r < 0 ? r : set_size(file, err);
}

static int write_difference(struct outfile *file, const uint8_t *bytes, size_t count,
                            uint64_t offset, struct err *err)
{
    uint8_t there[COMPARE_SIZE];
    int r = 0;

    for (size_t at = 0, size; r == 0 && at < count; at += size) {
        size_t to_edge = COMPARE_SIZE - (offset + at) % COMPARE_SIZE, got;

        size = count - at < to_edge ? count - at : to_edge;
        r = io_pread_full(file->fd, there, size, offset + at, &got, err);
        if (r < 0)
            return err_context(err, "read what is there");
        if (got == size && memcmp(there, bytes + at, size) == 0)
            continue;
        r = io_pwrite_full(file->fd, bytes + at, size, offset + at, err);
        atomic_fetch_add_explicit(&file->written, size, memory_order_relaxed);
    }
    return r < 0 ? err_context(err, "write") : 0;
}

int outfile_write(struct outfile *file, const void *bytes, size_t count, uint64_t offset,
                  struct err *err)
{
    if (file->patched)
        return write_difference(file, bytes, count, offset, err);
    int r = io_pwrite_full(file->fd, bytes, count, offset, err);
    return r < 0 ? err_context(err, "write") : 0;
}

static const char *present_name(const struct outfile *file)
{
    return file->temporary[0] ? file->temporary : file->name;
}

/* The file itself by its name: nobody put another one there. */
static bool is_still(int dirfd, const char *name, const struct stat *st)
{
    struct stat now;

    return fstatat(dirfd, name, &now, AT_SYMLINK_NOFOLLOW) == 0 && now.st_dev == st->st_dev &&
           now.st_ino == st->st_ino;
}

static void remove_partial(struct extract *x, struct outfile *file)
{
    struct stat st;
    struct err err;
    int dirfd;

    if (file->fd < 0 || file->patched || fstat(file->fd, &st) < 0 ||
        dir_hold(x, file->dir, &dirfd, &err) < 0)
        return;
    if (is_still(dirfd, present_name(file), &st))
        (void)unlinkat(dirfd, present_name(file), 0);
    dir_let(x, file->dir);
}

/* Some network file systems cannot refuse to replace what is there but by way of a link. */
static int rename_new(int dirfd, const char *from, const char *to)
{
    if (renameat2(dirfd, from, dirfd, to, RENAME_NOREPLACE) == 0)
        return 0;
    if ((errno != EINVAL && errno != ENOSYS) || linkat(dirfd, from, dirfd, to, 0) < 0)
        return -1;
    return unlinkat(dirfd, from, 0);
}

static int put_in_place(struct extract *x, struct outfile *file, struct err *err)
{
    int dirfd;

    if (!file->temporary[0])
        return 0;
    int r = dir_hold(x, file->dir, &dirfd, err);
    if (r < 0)
        return r;
    bool never = x->options->overwrite == OVERWRITE_NEVER;
    if ((never ? rename_new(dirfd, file->temporary, file->name)
               : renameat(dirfd, file->temporary, dirfd, file->name)) < 0)
        r = err_sys(err, "put it in its place");
    dir_let(x, file->dir);
    return r;
}

/* All content is written: what is left to do. */
static int complete(struct extract *x, struct outfile *file, struct err *err)
{
    struct stat st;

    if (fstat(file->fd, &st) < 0)
        return err_sys(err, "stat");
    if ((uint64_t)st.st_size != file->size)
        return err_set(err, ERR_CORRUPT, "its content is not as long as it should be");
    if (file->patched && file->holes)
        return err_set(err, ERR_SYSTEM, "what has holes cannot be brought in line in place");
    int r = meta_apply(x, &(struct handle){.fd = file->fd}, &file->attributes, &st, err);
    if (r == 0)
        r = put_in_place(x, file, err);
    if (r < 0)
        return r;
    if (file->link)
        links_done(x->links, file->link - 1, &st);
    return 0;
}

static void finish(struct extract *x, struct outfile *file)
{
    struct err err;
    int r = 0;

    if (extract_stopped(x) && !file->failed) { /* not all of it may have been written */
        err_set(&err, ERR_CANCELLED, "stopped");
        outfile_fail(file, SIDE_TARGET, &err);
    }
    if (!file->failed)
        r = complete(x, file, &err);
    if (r < 0)
        outfile_fail(file, r == -ERR_CORRUPT ? SIDE_REPOSITORY : SIDE_TARGET, &err);
    if (!file->failed) {
        extract_add(x, &x->result.files, 1);
        extract_add(x, &x->result.bytes, file->patched ? file->written : file->size);
    } else {
        remove_partial(x, file);
        extract_trouble(x, file->dir, file->name, file->name_size, file->side, &file->err);
    }
    progress_add(x->options->progress, 1, 0);
}

void outfile_release(struct extract *x, struct outfile *file)
{
    if (atomic_fetch_sub_explicit(&file->left, 1, memory_order_acq_rel) != 1)
        return;
    finish(x, file);
    dir_unref(x, file->dir);
    outfile_free(file);
}

bool outfile_is(const struct extract *x, const struct outfile *file, const void *bytes,
                size_t count)
{
    struct digest_stream stream;
    uint8_t piece[1 + DIGEST_SIZE] = {1};
    uint8_t digest[ENTRY_DIGEST_SIZE];

    if (!x->chunked || count != file->size || count > CHUNK_WHOLE || count == 0)
        return true;
    digest_bytes(x->id_key, bytes, count, piece + 1);
    digest_stream_start(&stream, x->id_key);
    digest_stream_add(&stream, piece, sizeof(piece));
    digest_stream_finish(&stream, digest, sizeof(digest));
    return memcmp(digest, file->digest, sizeof(digest)) == 0;
}

static int copy_extent(struct extract *x, struct outfile *file, const struct extent *extent,
                       uint64_t offset, enum side *side, struct err *err)
{
    struct place place = extent->place;
    uint64_t left = extent->length;

    while (left > 0) {
        CLEANUP(slice_clear) struct slice slice = {0};

        *side = SIDE_REPOSITORY;
        int r = blocks_get(x->blocks, place, &slice, err);
        if (r < 0)
            return r;
        size_t count = slice.size < left ? slice.size : (size_t)left;
        *side = SIDE_TARGET;
        r = outfile_write(file, slice.data, count, offset, err);
        if (r < 0)
            return r;
        place.raw += (uint32_t)count;
        offset += count;
        left -= count;
    }
    return 0;
}

static int copy_content(struct extract *x, struct outfile *file, const struct entry *entry,
                        enum side *side, struct err *err)
{
    CLEANUP(content_close) struct content_cursor cursor = {0};
    struct extent extent;
    uint64_t start;

    *side = SIDE_REPOSITORY;
    int r = content_open(&cursor, x->blocks, &entry->content, 0, err);
    while (r == 0 && (r = content_next(&cursor, &extent, &start, err)) > 0) {
        r = extent_is_hole(&extent) ? 0 : copy_extent(x, file, &extent, start, side, err);
        if (r == 0)
            *side = SIDE_REPOSITORY;
        progress_add(x->options->progress, 0, extent.length);
    }
    return r;
}

void outfile_write_now(struct extract *x, struct dir *dir, const struct entry *entry, bool over,
                       uint64_t link)
{
    struct outfile *file = NULL;
    enum side side = SIDE_TARGET;
    struct err err;

    if (outfile_new(dir, entry, over, link, &file, &err) < 0) {
        extract_trouble(x, dir, entry->name, entry->name_size, SIDE_TARGET, &err);
        return;
    }
    file->holes = true; /* sets the size at once */
    int r = outfile_open(x, file, &err);
    if (r == 0)
        r = copy_content(x, file, entry, &side, &err);
    if (r < 0)
        outfile_fail(file, side, &err);
    outfile_release(x, file);
}
