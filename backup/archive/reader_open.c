/* From a name to a reader: header, trailer and toc. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/codec.h"
#include "backup/archive/format.h"
#include "backup/archive/reader_internal.h"
#include "backup/archive/repo.h"
#include "backup/archive/toc.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/store/sealed.h"

enum { TAIL_SIZE = 64 * 1024 };

/* The end of the object as one read gives it. */
struct tail {
    uint8_t *bytes;
    size_t size;
};

static void tail_clear(struct tail *tail)
{
    free(tail->bytes);
}

static void freep(uint8_t **bytes)
{
    free(*bytes);
}

void reader_close(struct reader *reader)
{
    if (!reader)
        return;
    sealed_close(reader->object);
    part_key_clear(&reader->key);
    free(reader->blocks);
    free(reader);
}

void reader_closep(struct reader **reader)
{
    reader_close(*reader);
}

int reader_section(const struct part_key *key, enum part part, uint8_t *stored, size_t size,
                   uint8_t **out, size_t *out_size, struct err *err)
{
    CLEANUP(codec_freep) struct codec *codec = codec_new(1);
    CLEANUP(freep) uint8_t *raw = NULL;
    size_t raw_size = 0;

    if (!codec)
        return err_set(err, ERR_NOMEM, "no memory to read an archive");
    int r = part_open(key, part, 0, stored, size, stored, err);
    if (r == 0)
        r = codec_content_size(stored, size - SEAL_TAG_SIZE, SECTION_MAX, &raw_size, err);
    if (r < 0)
        return r;
    raw = malloc(raw_size + 1);
    if (!raw)
        return err_set(err, ERR_NOMEM, "no memory to read an archive");
    r = codec_decode(codec, stored, size - SEAL_TAG_SIZE, raw, raw_size, err);
    if (r < 0)
        return r;
    *out = STEAL(raw);
    *out_size = raw_size;
    return 0;
}

int reader_bytes(const struct reader *reader, uint64_t offset, size_t size, uint8_t **out,
                 struct err *err)
{
    CLEANUP(freep) uint8_t *bytes = malloc(size);

    if (!bytes)
        return err_set(err, ERR_NOMEM, "no memory to read an archive");
    int r = sealed_read(reader->object, offset, bytes, size, err);
    if (r < 0)
        return r;
    *out = STEAL(bytes);
    return 0;
}

/* The header is the one that was asked for, and its key opens the trailer. */
static int open_trailer(struct reader *reader, struct repo *repo, enum archive_kind kind,
                        const struct archive_id *id, const uint8_t trailer[TRAILER_SIZE],
                        struct err *err)
{
    uint8_t plain[TRAILER_PLAIN_SIZE];
    int r = header_decode(trailer, &reader->header, err);

    if (r < 0)
        return r;
    if (reader->header.kind != kind)
        return err_set(err, ERR_CORRUPT, "an archive of kind %d", (int)reader->header.kind);
    if (memcmp(reader->header.repo_id, repo->id, REPO_ID_SIZE) != 0)
        return err_set(err, ERR_CORRUPT, "an archive of another repository");
    if (id && !archive_id_equal(id, &reader->header.id))
        return err_set(err, ERR_CORRUPT, "another archive under this name");
    memcpy(reader->header_bytes, trailer, HEADER_SIZE);
    r = repo_open_key(repo, &reader->header, &reader->key, err);
    if (r == 0)
        r = part_open(&reader->key, PART_TRAILER, 0, trailer + HEADER_SIZE, TRAILER_SEALED_SIZE,
                      plain, err);
    if (r == 0)
        r = trailer_decode(plain, kind, reader->size, &reader->trailer, err);
    return r;
}

static int interpret_toc(struct reader *reader, uint8_t *stored, struct err *err)
{
    CLEANUP(freep) uint8_t *raw = NULL;
    const struct trailer *trailer = &reader->trailer;
    size_t size = 0;
    size_t count = 0;
    int r = reader_section(&reader->key, PART_TOC, stored, trailer->toc_size, &raw, &size, err);

    if (r == 0)
        r = toc_decode(raw, size, &reader->blocks, &count, err);
    if (r < 0)
        return r;
    if (count != trailer->blocks ||
        toc_stored_end(reader->blocks, count) != trailer->chunks_offset ||
        toc_raw_end(reader->blocks, count) != trailer->raw_end)
        return err_set(err, ERR_CORRUPT, "toc and trailer differ");
    return 0;
}

/* The toc is within the tail, unless it is very long. */
static int load_toc(struct reader *reader, struct tail *tail, struct err *err)
{
    CLEANUP(freep) uint8_t *more = NULL;
    uint64_t tail_offset = reader->size - tail->size;
    uint8_t *stored = NULL;
    int r = 0;

    if (reader->trailer.toc_offset >= tail_offset) {
        stored = tail->bytes + (reader->trailer.toc_offset - tail_offset);
    } else {
        r = reader_bytes(reader, reader->trailer.toc_offset, reader->trailer.toc_size, &more, err);
        stored = more;
    }
    if (r < 0)
        return r;
    r = interpret_toc(reader, stored, err);
    return r < 0 ? err_context(err, "%s: toc", reader->name) : 0;
}

static int load(struct reader *reader, struct repo *repo, enum archive_kind kind,
                const struct archive_id *id, struct err *err)
{
    CLEANUP(tail_clear) struct tail tail = {0};

    reader->size = sealed_size(reader->object);
    if (reader->size < HEADER_SIZE + TRAILER_SIZE)
        return err_set(err, ERR_CORRUPT, "%s: too short for an archive", reader->name);
    tail.size = reader->size < TAIL_SIZE ? (size_t)reader->size : TAIL_SIZE;
    int r = reader_bytes(reader, reader->size - tail.size, tail.size, &tail.bytes, err);
    if (r < 0)
        return r;
    r = open_trailer(reader, repo, kind, id, tail.bytes + tail.size - TRAILER_SIZE, err);
    if (r < 0)
        return err_context(err, "%s", reader->name);
    return load_toc(reader, &tail, err);
}

/* Archives that are named by their id cannot be others; a snapshot's name may be used again. */
static int open_object(struct reader *reader, struct repo *repo, enum archive_kind kind,
                       bool straight, struct err *err)
{
    bool by_id = kind == ARCHIVE_DATA || kind == ARCHIVE_METADATA || kind == ARCHIVE_INDEX ||
                 kind == ARCHIVE_REMAP;

    sealed_close(STEAL(reader->object));
    return sealed_open(repo->store, by_id && !straight ? repo->cache : NULL,
                       kind == ARCHIVE_DATA ? SEALED_DATA : SEALED_METADATA, reader->name,
                       &reader->object, err);
}

/* What the cache has of it may be wrong, and then says nothing about the store. */
static int open_and_load(struct reader *reader, struct repo *repo, enum archive_kind kind,
                         const struct archive_id *id, struct err *err)
{
    int r = open_object(reader, repo, kind, false, err);

    if (r == 0)
        r = load(reader, repo, kind, id, err);
    if ((r != -ERR_CORRUPT && r != -ERR_WRONG_KEY) || !sealed_doubt(reader->object, 0, 1))
        return r;
    part_key_clear(&reader->key);
    free(STEAL(reader->blocks));
    r = open_object(reader, repo, kind, true, err);
    return r < 0 ? r : load(reader, repo, kind, id, err);
}

int reader_open(struct repo *repo, enum archive_kind kind, const struct archive_id *id,
                const char *object_name, struct reader **out, struct err *err)
{
    CLEANUP(reader_closep) struct reader *reader = calloc(1, sizeof(*reader));

    if (!reader)
        return err_set(err, ERR_NOMEM, "no memory to open an archive");
    if (object_name)
        snprintf(reader->name, sizeof(reader->name), "%s", object_name);
    else
        repo_object_name(kind, id, reader->name);
    int r = open_and_load(reader, repo, kind, id, err);
    if (r < 0)
        return r;
    *out = STEAL(reader);
    return 0;
}
