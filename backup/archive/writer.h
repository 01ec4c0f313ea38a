/*
 * writer — one archive while it is written: blocks in, sealed object out.
 *
 * Encoding (compress, seal, prove by decoding) runs in the caller's thread and without a lock; only
 * the numbers of a block are given out under one.  So as many threads as there are cores write into
 * one archive.
 *
 * Ownership: writer_commit() and writer_abort() free the writer.
 * Threads:   writer_append() from several threads; commit and abort when all of them have returned.
 * Errors:    those of the store; ERR_CORRUPT "encoder" when a block does not decode to what went in
 * (bad memory or a bad encoder).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/place.h"

struct buf;
struct err;
struct repo;
struct writer;

enum {
    BLOCK_RAW_TARGET = 128 * 1024, /* a data block closes before it would pass this */
    BLOCK_RAW_MAX = 1024 * 1024,   /* what a reader accepts */
    ARCHIVE_BLOCKS_MAX = 8192,
    ARCHIVE_CHUNKS_MAX = 65536,
    CHUNK_ID_SIZE = 32,
};

struct chunk {
    uint8_t id[CHUNK_ID_SIZE];
    uint32_t length;
    uint32_t raw; /* in the archive's raw space; before writer_append(): within the block */
};

/* A thread's own tools for encoding and decoding blocks. */
struct codec;
/* zstd's, for tables of what is in archives: most of it are ids, which do not compress, and higher
 * levels only take longer to find that out. */
enum { TABLE_LEVEL = -5 };

struct codec *codec_new(int level);                   /* zstd's level; NULL: out of memory */
void codec_set_level(struct codec *codec, int level); /* of what comes from now on */
void codec_free(struct codec *codec);
void codec_freep(struct codec **codec);

int writer_new(struct repo *repo, enum archive_kind kind, struct writer **out, struct err *err);
uint32_t writer_archive(const struct writer *writer); /* its number */
/* It is put into no storage class: said before anything is appended. */
void writer_keep_warm(struct writer *writer);

/* Whether `raw_size` bytes in `chunks` chunks more still fit, and the archive has reached neither
 * the size nor the age at which it is closed; an empty one has no age. */
bool writer_has_room(struct writer *writer, size_t raw_size, size_t chunks);

/* One block of chunks that lie in it one after the other (data), or without chunks (other kinds).
 * Fills in `raw` of each chunk and gives the raw offset of the block.  `stored` is what it takes in
 * the archive. ERR_TOO_LARGE: full; the caller takes another archive. */
int writer_append(struct writer *writer, struct codec *codec, const uint8_t *raw, size_t raw_size,
                  struct chunk *chunks, size_t count, uint32_t *out_raw, uint32_t *out_stored,
                  struct err *err);

/* What is about to be moved into an archive. */
struct writer_load {
    uint64_t stored, raw; /* bytes of its blocks; how far it reaches in the raw space */
    size_t blocks, chunks, references;
};
/* Whether all of it still fits below the size at which an archive is closed; into an empty one goes
 * whatever the format allows. */
bool writer_fits(struct writer *writer, const struct writer_load *load);
/* A block that was encoded before: `plain` is its codec byte and content, with room for a tag
 * behind it, and must decode to `raw`.  It begins at raw offset `at`, not before writer_raw_end();
 * its chunks' `raw` are within it, as for writer_append(). */
int writer_append_encoded(struct writer *writer, struct codec *codec, uint32_t at, uint8_t *plain,
                          size_t plain_size, const uint8_t *raw, size_t raw_size,
                          struct chunk *chunks, size_t count, struct err *err);

/* Metadata: the raw offset that the next block will have, and an archive that a block refers to. */
uint32_t writer_raw_end(struct writer *writer);
int writer_refer(struct writer *writer, uint32_t archive, struct err *err);

struct writer_result {
    struct archive_id id;
    enum archive_kind kind;
    uint32_t archive; /* its number */
    uint64_t size;    /* of the object */
};

/* Chunks, padding, toc, trailer; then the object is durable.  There must be a block in it.  `index`
 * (may be NULL) gets the record of docs/format.md, "Index archives", appended; `object_name` is the
 * kind's own name when NULL. */
int writer_commit(struct writer *writer, const char *object_name, struct buf *index,
                  struct writer_result *out, struct err *err);
void writer_abort(struct writer *writer); /* NULL is allowed */
