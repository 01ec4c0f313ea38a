#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "backup/archive/repo.h"
#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/pool.h"
#include "fs/mount_internal.h"

enum { MANIFEST_LIMIT = 16 * 1024 * 1024 };

static const uint8_t zeros[64 * 1024];

/* The pieces of a read: they lie in decoded blocks and are handed to the kernel from there. */
struct pieces {
    struct iovec at[MOUNT_PIECES];
    struct block *held[MOUNT_PIECES];
    size_t count, held_count;
};

struct read_job {
    struct mount *mount;
    fuse_req_t req;
    uint64_t id, offset;
    size_t size;
};

enum gathered { GATHERED_NOT, GATHERED_ALL };

static void pieces_clear(struct pieces *pieces)
{
    for (size_t i = 0; i < pieces->held_count; i++) {
        struct slice slice = {.block = pieces->held[i]};
        slice_clear(&slice);
    }
    pieces->count = pieces->held_count = 0;
}

static bool add_piece(struct pieces *pieces, const void *bytes, size_t count)
{
    if (pieces->count == MOUNT_PIECES)
        return false;
    pieces->at[pieces->count++] =
        (struct iovec){.iov_base = (void *)(uintptr_t)bytes, .iov_len = count};
    return true;
}

static int add_zeros(struct pieces *pieces, size_t count)
{
    while (count > 0) {
        size_t part = count < sizeof(zeros) ? count : sizeof(zeros);
        if (!add_piece(pieces, zeros, part))
            return GATHERED_NOT;
        count -= part;
    }
    return GATHERED_ALL;
}

/* `count` bytes at a place, block by block; with `peek` only from the cache. */
static int add_bytes(struct mount *mount, struct pieces *pieces, struct place place, size_t count,
                     bool peek, struct err *err)
{
    /* Over a network neighbours are fetched together, and not one after the other. */
    if (!peek && repo_is_remote(mount->repo))
        blocks_prefetch(mount->blocks, place, count);
    while (count > 0) {
        struct slice slice = {0};
        int rc = peek ? blocks_peek(mount->blocks, place, &slice)
                      : blocks_get(mount->blocks, place, &slice, err);
        if (rc < 0)
            return rc;
        if (peek && rc == 0) {
            ahead_missed(mount->ahead, place, count);
            return GATHERED_NOT;
        }
        size_t part = slice.size < count ? slice.size : count;
        if (part == 0 || !add_piece(pieces, slice.data, part)) {
            slice_clear(&slice);
            return GATHERED_NOT;
        }
        pieces->held[pieces->held_count++] = slice.block;
        place.raw += (uint32_t)part;
        count -= part;
    }
    return GATHERED_ALL;
}

/* The part of an extent that is wanted. */
static int add_extent(struct mount *mount, struct pieces *pieces, const struct extent *extent,
                      uint64_t skip, size_t count, bool peek, struct err *err)
{
    struct place place = extent->place;

    if (extent_is_hole(extent))
        return add_zeros(pieces, count);
    if (skip > UINT32_MAX - place.raw)
        return err_set(err, ERR_CORRUPT, "an extent leads out of its archive");
    place.raw += (uint32_t)skip;
    return add_bytes(mount, pieces, place, count, peek, err);
}

/* [offset, offset + size) lies within the content.  GATHERED_NOT: not all is in the cache, or it is
 * in too many pieces. */
static int gather(struct mount *mount, struct pieces *pieces, const struct content *content,
                  uint64_t offset, size_t size, bool peek, struct err *err)
{
    CLEANUP(content_close) struct content_cursor cursor = {0};
    struct extent extent;
    uint64_t start;
    int rc = content_open(&cursor, mount->blocks, content, offset, err);

    if (rc < 0)
        return rc;
    while (size > 0) {
        rc = content_next(&cursor, &extent, &start, err);
        if (rc < 0)
            return rc;
        if (rc == 0 || start > offset || offset - start >= extent.length)
            return err_set(err, ERR_CORRUPT, "a file's content does not cover its size");
        uint64_t left = extent.length - (offset - start);
        size_t count = left < size ? (size_t)left : size;
        rc = add_extent(mount, pieces, &extent, offset - start, count, peek, err);
        if (rc != GATHERED_ALL)
            return rc;
        offset += count;
        size -= count;
    }
    return GATHERED_ALL;
}

/* As much of [offset, offset + size) as the file has. */
static size_t within(uint64_t file_size, uint64_t offset, size_t size)
{
    if (offset >= file_size)
        return 0;
    if (size > MOUNT_READ_MAX)
        size = MOUNT_READ_MAX;
    return file_size - offset < size ? (size_t)(file_size - offset) : size;
}

static void reply_pieces(struct mount *mount, fuse_req_t req, struct pieces *pieces, size_t size)
{
    atomic_fetch_add_explicit(&mount->counters.bytes, size, memory_order_relaxed);
    fuse_reply_iov(req, pieces->at, (int)pieces->count);
}

/* Many small extents: they are copied together. */
static int reply_copied(struct mount *mount, fuse_req_t req, const struct content *content,
                        uint64_t offset, size_t size, struct err *err)
{
    char *bytes = malloc(size);

    if (!bytes)
        return err_set(err, ERR_NOMEM, "out of memory");
    int rc = content_read(mount->blocks, content, offset, bytes, size, err);
    if (rc == 0)
        fuse_reply_buf(req, bytes, size);
    free(bytes);
    return rc;
}

static int read_now(const struct read_job *job, struct err *err)
{
    CLEANUP(held_entry_clear) struct held_entry held = {0};
    CLEANUP(pieces_clear) struct pieces pieces;
    const struct content *content = &held.entry.content;

    pieces.count = pieces.held_count = 0;
    int rc = mount_entry(job->mount, job->id, &held, err);
    if (rc < 0)
        return rc;
    size_t size = within(held.entry.size, job->offset, job->size);
    rc = gather(job->mount, &pieces, content, job->offset, size, false, err);
    if (rc < 0)
        return rc;
    if (rc == GATHERED_NOT)
        return reply_copied(job->mount, job->req, content, job->offset, size, err);
    reply_pieces(job->mount, job->req, &pieces, size);
    return 0;
}

/* In the pool: decodes what is missing, and answers. */
static void run_read(void *argument)
{
    struct read_job *job = argument;
    struct err err;

    if (read_now(job, &err) < 0)
        fuse_reply_err(job->req, mount_errno(job->mount, job->id, &err));
    free(job);
}

static void read_later(struct mount *mount, fuse_req_t req, uint64_t id, uint64_t offset,
                       size_t size)
{
    struct read_job *job = malloc(sizeof(*job));

    atomic_fetch_add_explicit(&mount->counters.decoded, 1, memory_order_relaxed);
    if (!job) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    *job = (struct read_job){.mount = mount, .req = req, .id = id, .offset = offset, .size = size};
    pool_submit(mount->pool, run_read, job);
}

/* From what is in the cache, or in the pool. */
static void read_stored(struct mount *mount, fuse_req_t req, uint64_t id, uint64_t offset,
                        size_t wanted)
{
    CLEANUP(held_entry_clear) struct held_entry held = {0};
    CLEANUP(pieces_clear) struct pieces pieces;
    struct err err;

    pieces.count = pieces.held_count = 0;
    int rc = mount_entry(mount, id, &held, &err);
    if (rc == 0 && held.entry.type != ENTRY_FILE)
        rc = err_set(&err, ERR_USAGE, "no file");
    if (rc < 0) {
        fuse_reply_err(req, mount_errno(mount, id, &err));
        return;
    }
    size_t size = within(held.entry.size, offset, wanted);
    if (offset == 0)
        push_asked(mount->push, id);
    ahead_note(mount->ahead, id, offset, size, held.entry.size);
    rc = gather(mount, &pieces, &held.entry.content, offset, size, true, &err);
    if (rc < 0) {
        fuse_reply_err(req, mount_errno(mount, id, &err));
    } else if (rc == GATHERED_NOT) {
        read_later(mount, req, id, offset, size);
    } else {
        atomic_fetch_add_explicit(&mount->counters.peeked, 1, memory_order_relaxed);
        reply_pieces(mount, req, &pieces, size);
    }
}

static void read_manifest(struct mount *mount, fuse_req_t req, uint64_t id, const struct node *node,
                          uint64_t offset, size_t wanted)
{
    CLEANUP(buf_clear) struct buf manifest = {.limit = MANIFEST_LIMIT};
    struct err err;

    if (shots_manifest(mount->shots, node->snapshot, &manifest, &err) < 0) {
        fuse_reply_err(req, mount_errno(mount, id, &err));
        return;
    }
    size_t size = within(manifest.size, offset, wanted);
    fuse_reply_buf(req, size > 0 ? (const char *)manifest.data + offset : NULL, size);
}

void mount_read(fuse_req_t req, fuse_ino_t id, size_t size, off_t offset,
                struct fuse_file_info *file)
{
    struct mount *mount = fuse_req_userdata(req);
    struct node node;

    (void)file;
    atomic_fetch_add_explicit(&mount->counters.reads, 1, memory_order_relaxed);
    if (node_is_placed(id))
        read_stored(mount, req, id, (uint64_t)offset, size);
    else if (nodes_get(mount->nodes, id, &node) && node.kind == NODE_MANIFEST)
        read_manifest(mount, req, id, &node, (uint64_t)offset, size);
    else
        fuse_reply_err(req, EISDIR);
}

/* ---- holes ------------------------------------------------------------------------------- */

/* The first offset from `offset` on that is data (or a hole); the file's end is a hole. */
static int seek(struct mount *mount, const struct entry *entry, uint64_t offset, bool hole,
                uint64_t *out, struct err *err)
{
    CLEANUP(content_close) struct content_cursor cursor = {0};
    struct extent extent;
    uint64_t start;
    int rc = content_open(&cursor, mount->blocks, &entry->content, offset, err);

    while (rc >= 0 && (rc = content_next(&cursor, &extent, &start, err)) > 0) {
        if (extent_is_hole(&extent) != hole)
            continue;
        *out = start > offset ? start : offset;
        return 0;
    }
    *out = entry->size;
    return rc;
}

void mount_lseek(fuse_req_t req, fuse_ino_t id, off_t offset, int whence,
                 struct fuse_file_info *file)
{
    CLEANUP(held_entry_clear) struct held_entry held = {0};
    struct mount *mount = fuse_req_userdata(req);
    struct err err;
    uint64_t found = 0;

    (void)file;
    atomic_fetch_add(&mount->counters.seeks, 1);
    if (mount->options->no_holes) {
        fuse_reply_err(req, ENOSYS); /* once: from then on the kernel answers by itself */
        return;
    }
    if (!node_is_placed(id) || (whence != SEEK_DATA && whence != SEEK_HOLE)) {
        fuse_reply_err(req, EINVAL);
        return;
    }
    int rc = mount_entry(mount, id, &held, &err);
    if (rc == 0 && (offset < 0 || (uint64_t)offset >= held.entry.size)) {
        fuse_reply_err(req, ENXIO);
        return;
    }
    if (rc == 0)
        rc = seek(mount, &held.entry, (uint64_t)offset, whence == SEEK_HOLE, &found, &err);
    if (rc < 0)
        fuse_reply_err(req, mount_errno(mount, id, &err));
    else if (whence == SEEK_DATA && found >= held.entry.size)
        fuse_reply_err(req, ENXIO);
    else
        fuse_reply_lseek(req, (off_t)found);
}
