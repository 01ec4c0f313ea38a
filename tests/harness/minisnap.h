/*
 * minisnap — a directory of the disk written into a test's repository as a snapshot would be, by
 * the shortest way: no baseline, no packing across directories, errors end the test.
 *
 *     CLEANUP(minisnap_clear) struct minisnap *snap = minisnap_make();
 *     minisnap_take(snap, "/tmp/source", "/srv", TYPE_FILES);
 */
#pragma once

#include <sys/resource.h>

#include "backup/archive/blocks.h"
#include "backup/archive/chunker.h"
#include "backup/archive/root.h"
#include "backup/archive/treewriter.h"
#include "backup/archive/writer.h"
#include "backup/base/buf.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/io.h"
#include "backup/crypto/digest.h"
#include "catalog/select.h"
#include "tests/harness/minifile.h"
#include "tests/harness/temprepo.h"

enum { MINI_EXTENTS = 4096, MINI_LINKS = 256 };

struct mini_link {
    dev_t dev;
    ino_t ino;
    struct place place;
    struct entry entry;
};

struct minisnap {
    struct temprepo repo;
    struct blocks *blocks;
    struct treewriter *tree;
    struct writer *data;
    struct codec *codec;
    struct chunker chunker;
    const struct digest_key *key;
    struct root roots[2];
    struct selection selection;
    struct mini_link links[MINI_LINKS];
    size_t link_count;
    uint8_t block[BLOCK_RAW_TARGET];
    struct chunk chunks[1024];
    size_t chunk_extent[1024]; /* whose place each chunk will be */
    size_t block_size, chunk_count;
    struct extent *extents; /* of the directory that is being read */
    size_t extent_count, extent_room;
    uint64_t files, bytes;
};

static inline int mini_done(void *context, const struct writer_result *archive, const void *index,
                            size_t size, struct err *err)
{
    (void)context;
    (void)archive;
    (void)index;
    (void)size;
    (void)err;
    return 0;
}

static inline struct minisnap *minisnap_make(void)
{
    struct minisnap *snap = calloc(1, sizeof(*snap));
    struct rlimit limit;

    assert_non_null(snap);
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    snap->repo = temprepo_make();
    snap->blocks = blocks_new(snap->repo.repo, 16 * 1024 * 1024);
    snap->codec = codec_new(1);
    snap->key = keyring_id_key(snap->repo.repo->keyring);
    chunker_init(&snap->chunker, keyring_gear_key(snap->repo.repo->keyring));
    strcpy(snap->selection.host, "test");
    return snap;
}

static inline void minisnap_clear(struct minisnap **snap)
{
    root_clear(&(*snap)->roots[0]);
    root_clear(&(*snap)->roots[1]);
    blocks_free((*snap)->blocks);
    codec_free((*snap)->codec);
    free((*snap)->extents);
    temprepo_clear(&(*snap)->repo);
    free(*snap);
}

static inline void mini_roll(struct minisnap *snap)
{
    struct writer_result result;

    if (snap->data)
        assert_int_equal(writer_commit(snap->data, NULL, NULL, &result, &mini_err), 0);
    snap->data = NULL;
}

static inline void mini_flush(struct minisnap *snap)
{
    uint32_t raw, stored;

    if (snap->chunk_count == 0)
        return;
    if (snap->data && !writer_has_room(snap->data, snap->block_size, snap->chunk_count))
        mini_roll(snap);
    if (!snap->data)
        assert_int_equal(writer_new(snap->repo.repo, ARCHIVE_DATA, &snap->data, &mini_err), 0);
    assert_int_equal(writer_append(snap->data, snap->codec, snap->block, snap->block_size,
                                   snap->chunks, snap->chunk_count, &raw, &stored, &mini_err),
                     0);
    for (size_t i = 0; i < snap->chunk_count; i++)
        snap->extents[snap->chunk_extent[i]].place =
            (struct place){writer_archive(snap->data), snap->chunks[i].raw};
    snap->block_size = snap->chunk_count = 0;
}

static inline void mini_extent(struct minisnap *snap, struct extent extent)
{
    if (snap->extent_count == snap->extent_room) {
        snap->extent_room = snap->extent_room ? 2 * snap->extent_room : 256;
        snap->extents = realloc(snap->extents, snap->extent_room * sizeof(struct extent));
        assert_non_null(snap->extents);
    }
    snap->extents[snap->extent_count++] = extent;
}

static inline void mini_chunk(struct minisnap *snap, const uint8_t *bytes, size_t count,
                              struct digest_stream *digest)
{
    if (snap->block_size + count > BLOCK_RAW_TARGET || snap->chunk_count == 1024)
        mini_flush(snap);
    struct chunk *chunk = &snap->chunks[snap->chunk_count];
    *chunk = (struct chunk){.length = (uint32_t)count, .raw = (uint32_t)snap->block_size};
    digest_bytes(snap->key, bytes, count, chunk->id);
    digest_stream_add(digest, chunk->id, sizeof(chunk->id));
    memcpy(snap->block + snap->block_size, bytes, count);
    snap->block_size += count;
    snap->chunk_extent[snap->chunk_count++] = snap->extent_count;
    mini_extent(snap, (struct extent){.length = count});
}

static inline void mini_region(struct minisnap *snap, const uint8_t *bytes, size_t count,
                               struct digest_stream *digest)
{
    digest_stream_add(digest, "\1", 1);
    if (count <= CHUNK_WHOLE) {
        mini_chunk(snap, bytes, count, digest);
        return;
    }
    for (size_t at = 0; at < count;) {
        size_t next = chunker_next(&snap->chunker, bytes + at, count - at, true);
        mini_chunk(snap, bytes + at, next, digest);
        at += next;
    }
}

static inline void mini_content(struct minisnap *snap, int fd, struct mini_file *file)
{
    uint64_t at = 0, size = file->entry.size;
    struct digest_stream digest;

    digest_stream_start(&digest, snap->key);
    file->first = snap->extent_count;
    while (at < size) {
        off_t data = lseek(fd, (off_t)at, SEEK_DATA);
        uint64_t start = data < 0 ? size : (uint64_t)data;
        if (start > at) {
            uint8_t hole[9] = {0};
            store_le64(hole + 1, start - at);
            digest_stream_add(&digest, hole, sizeof(hole));
            mini_extent(snap, (struct extent){start - at, {NO_ARCHIVE, 0}});
        }
        if (start == size)
            break;
        uint64_t end = (uint64_t)lseek(fd, (off_t)start, SEEK_HOLE);
        uint8_t *bytes = malloc(end - start);
        assert_int_equal(pread(fd, bytes, end - start, (off_t)start), (ssize_t)(end - start));
        mini_region(snap, bytes, end - start, &digest);
        free(bytes);
        at = end;
    }
    file->count = snap->extent_count - file->first;
    digest_stream_finish(&digest, file->entry.digest, ENTRY_DIGEST_SIZE);
    snap->bytes += size;
}

static inline struct dirref mini_directory(struct minisnap *snap, int fd, uint64_t *out_entries,
                                           uint64_t *out_bytes);

static inline void mini_look(struct minisnap *snap, int dirfd, struct mini_file *file)
{
    CLEANUP(closep) int fd = openat(dirfd, file->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    char target[4096];
    struct stat st;

    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    mini_attributes(&st, &file->entry);
    mini_xattrs(fd, file);
    if (file->entry.type == ENTRY_SYMLINK) {
        ssize_t size = readlinkat(dirfd, file->name, target, sizeof(target));
        file->target = strndup(target, (size_t)size);
        file->entry.target = file->target;
        file->entry.target_size = (size_t)size;
    }
    if (file->entry.type == ENTRY_DIRECTORY) {
        CLEANUP(closep) int below = openat(dirfd, file->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(below >= 0);
        file->entry.directory =
            mini_directory(snap, below, &file->entry.below_entries, &file->entry.below_bytes);
    }
}

static inline struct place *mini_link_of(struct minisnap *snap, const struct mini_file *file)
{
    for (size_t i = 0; i < snap->link_count; i++)
        if (snap->links[i].ino == file->entry.inode && snap->links[i].dev == file->entry.device)
            return &snap->links[i].place;
    assert_true(snap->link_count < MINI_LINKS);
    struct mini_link *link = &snap->links[snap->link_count++];
    *link = (struct mini_link){.dev = file->entry.device, .ino = file->entry.inode};
    assert_int_equal(treewriter_put_inode(snap->tree, &file->entry, &link->place, &mini_err), 0);
    return &link->place;
}

static inline void mini_add(struct minisnap *snap, struct dirwriter *dir, struct mini_file *file)
{
    struct contentwriter *content = NULL;
    struct entry *entry = &file->entry;

    if (entry->type == ENTRY_FILE && entry->size > 0) {
        assert_int_equal(contentwriter_new(snap->tree, &content, &mini_err), 0);
        for (size_t i = 0; i < file->count; i++)
            assert_int_equal(contentwriter_add(content, &snap->extents[file->first + i], &mini_err),
                             0);
        assert_int_equal(contentwriter_finish(content, &entry->content, &mini_err), 0);
    }
    if (file->xattrs.size > 0) {
        entry->flags |= ENTRY_XATTRS;
        entry->xattrs = (struct content){.form = CONTENT_INLINE,
                                         .size = file->xattrs.size,
                                         .bytes = file->xattrs.data,
                                         .end = file->xattrs.data + file->xattrs.size};
    }
    if (entry->shared)
        entry->place = *mini_link_of(snap, file);
    assert_int_equal(dirwriter_add(dir, entry, NULL, &mini_err), 0);
    contentwriter_free(content);
}

static inline struct dirref mini_directory(struct minisnap *snap, int fd, uint64_t *out_entries,
                                           uint64_t *out_bytes)
{
    struct dirwriter *dir = NULL;
    struct dirref ref;
    size_t count;
    struct mini_file *files = mini_list(fd, &count);

    for (size_t i = 0; i < count; i++)
        mini_look(snap, fd, &files[i]);
    snap->extent_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (files[i].entry.type != ENTRY_FILE)
            continue;
        CLEANUP(closep) int file = openat(fd, files[i].name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        assert_true(file >= 0);
        mini_content(snap, file, &files[i]);
        snap->files++;
    }
    mini_flush(snap);
    assert_int_equal(dirwriter_new(snap->tree, NULL, &dir, &mini_err), 0);
    *out_entries = *out_bytes = 0;
    for (size_t i = 0; i < count; i++) {
        mini_add(snap, dir, &files[i]);
        *out_entries += 1 + files[i].entry.below_entries;
        *out_bytes += files[i].entry.size + files[i].entry.below_bytes;
        free(files[i].name);
        free(files[i].target);
        buf_clear(&files[i].xattrs);
    }
    free(files);
    assert_int_equal(dirwriter_finish(dir, &ref, &mini_err), 0);
    return ref;
}

/* Directory `source` as the one named `as` ("/srv", one component) of a type's root. */
static inline void minisnap_take(struct minisnap *snap, const char *source, const char *as,
                                 enum snapshot_type type)
{
    CLEANUP(closep) int fd = open(source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct root *root = &snap->roots[0];
    struct root_type *of = &root->types[type];
    struct mini_file top = {.name = (char *)as + 1};
    struct dirwriter *dir = NULL;
    struct stat st;

    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    snap->files = snap->bytes = 0;
    assert_int_equal(treewriter_new(snap->repo.repo, 1, mini_done, NULL, &snap->tree, &mini_err),
                     0);
    top.entry.name = as + 1;
    top.entry.name_size = strlen(as + 1);
    mini_attributes(&st, &top.entry);
    top.entry.directory =
        mini_directory(snap, fd, &top.entry.below_entries, &top.entry.below_bytes);
    assert_int_equal(dirwriter_new(snap->tree, NULL, &dir, &mini_err), 0);
    mini_xattrs(fd, &top);
    mini_add(snap, dir, &top);
    buf_clear(&top.xattrs);
    assert_int_equal(dirwriter_finish(dir, &of->directory, &mini_err), 0);
    mini_roll(snap);
    assert_int_equal(treewriter_finish(snap->tree, &mini_err), 0);
    treewriter_free(snap->tree);
    snap->tree = NULL;
    of->present = of->complete = true;
    of->files = snap->files;
    of->bytes = snap->bytes;
    assert_int_equal(strings_add(&of->sources, as, strlen(as), &mini_err), 0);
    strcpy(root->name, "20260101_000000");
    snap->selection.roots = snap->roots;
    snap->selection.count = 1;
    snap->selection.types[type] = root;
}

/* As another process would see it: nothing decoded is left in memory. */
static inline void minisnap_forget(struct minisnap *snap)
{
    blocks_free(snap->blocks);
    snap->blocks = blocks_new(snap->repo.repo, 16 * 1024 * 1024);
    assert_non_null(snap->blocks);
}
