#include "backup/archive/reader.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/codec.h"
#include "backup/archive/format.h"
#include "backup/archive/repo.h"
#include "backup/archive/toc.h"
#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/store/store.h"

enum { TAIL_SIZE = 64 * 1024, NAME_SIZE = OBJECT_NAME_SIZE };

struct reader {
    struct store_object *object;
    char name[NAME_SIZE]; /* of the object, for messages */
    uint64_t size;
    uint8_t header_bytes[HEADER_SIZE]; /* the trailer's copy */
    struct header header;
    struct part_key key;
    struct trailer trailer;
    struct block_info *blocks; /* trailer.blocks of them */
};

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
    store_object_close(reader->object);
    part_key_clear(&reader->key);
    free(reader->blocks);
    free(reader);
}

void reader_closep(struct reader **reader)
{
    reader_close(*reader);
}

/* Opens a stored section in place and decodes it; *out is malloc'ed. */
static int decode_section(const struct part_key *key, enum part part, uint8_t *stored, size_t size,
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
    int r = decode_section(&reader->key, PART_TOC, stored, trailer->toc_size, &raw, &size, err);

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

static int fetch(const struct reader *reader, uint64_t offset, size_t size, uint8_t **out,
                 struct err *err)
{
    CLEANUP(freep) uint8_t *bytes = malloc(size);

    if (!bytes)
        return err_set(err, ERR_NOMEM, "no memory to read an archive");
    int r = store_read(reader->object, offset, bytes, size, err);
    if (r < 0)
        return r;
    *out = STEAL(bytes);
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
        r = fetch(reader, reader->trailer.toc_offset, reader->trailer.toc_size, &more, err);
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
    int r = store_open(repo->store, reader->name, &reader->object, err);

    if (r < 0)
        return r;
    reader->size = store_object_size(reader->object);
    if (reader->size < HEADER_SIZE + TRAILER_SIZE)
        return err_set(err, ERR_CORRUPT, "%s: too short for an archive", reader->name);
    tail.size = reader->size < TAIL_SIZE ? (size_t)reader->size : TAIL_SIZE;
    r = fetch(reader, reader->size - tail.size, tail.size, &tail.bytes, err);
    if (r < 0)
        return r;
    r = open_trailer(reader, repo, kind, id, tail.bytes + tail.size - TRAILER_SIZE, err);
    if (r < 0)
        return err_context(err, "%s", reader->name);
    return load_toc(reader, &tail, err);
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
    int r = load(reader, repo, kind, id, err);
    if (r < 0)
        return r;
    *out = STEAL(reader);
    return 0;
}

const struct archive_id *reader_id(const struct reader *reader)
{
    return &reader->header.id;
}

uint32_t reader_epoch(const struct reader *reader)
{
    return reader->header.epoch;
}

uint64_t reader_size(const struct reader *reader)
{
    return reader->size;
}

size_t reader_memory(const struct reader *reader)
{
    return sizeof(*reader) + reader->trailer.blocks * sizeof(*reader->blocks);
}

uint32_t reader_raw_end(const struct reader *reader)
{
    return reader->trailer.raw_end;
}

size_t reader_blocks(const struct reader *reader)
{
    return reader->trailer.blocks;
}

const struct block_info *reader_block(const struct reader *reader, size_t number)
{
    return &reader->blocks[number];
}

int reader_find(const struct reader *reader, uint32_t raw, size_t *out_number, struct err *err)
{
    size_t low = 0;
    size_t high = reader->trailer.blocks;

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (reader->blocks[middle].raw <= raw)
            low = middle;
        else
            high = middle;
    }
    if (raw < reader->blocks[low].raw ||
        raw - reader->blocks[low].raw >= reader->blocks[low].raw_size)
        return err_set(err, ERR_CORRUPT, "%s: nothing is stored at raw offset %u", reader->name,
                       raw);
    *out_number = low;
    return 0;
}

/* `stored` and `opened` may be the same. */
static int decode_block(const struct reader *reader, struct codec *codec, size_t number,
                        const uint8_t *stored, uint8_t *opened, uint8_t *out, struct err *err)
{
    const struct block_info *block = &reader->blocks[number];
    int r = part_open(&reader->key, PART_BLOCK, number, stored, block->stored_size, opened, err);

    if (r == 0)
        r = codec_decode(codec, opened, block->stored_size - SEAL_TAG_SIZE, out, block->raw_size,
                         err);
    return r < 0 ? err_context(err, "%s: block %zu", reader->name, number) : 0;
}

int reader_decode(const struct reader *reader, struct codec *codec, size_t number, uint8_t *out,
                  struct err *err)
{
    uint8_t *scratch;
    int r = codec_scratch(codec, reader->blocks[number].stored_size, &scratch, err);

    if (r == 0)
        r = reader_fetch(reader, number, 1, scratch, err);
    if (r == 0)
        r = decode_block(reader, codec, number, scratch, scratch, out, err);
    return r;
}

int reader_decode_fetched(const struct reader *reader, struct codec *codec, size_t number,
                          const uint8_t *stored, uint8_t *out, struct err *err)
{
    uint8_t *scratch;
    int r = codec_scratch(codec, reader->blocks[number].stored_size, &scratch, err);

    if (r == 0)
        r = decode_block(reader, codec, number, stored, scratch, out, err);
    return r;
}

int reader_open_block(const struct reader *reader, size_t number, const uint8_t *stored,
                      uint8_t *out, struct err *err)
{
    int r = part_open(&reader->key, PART_BLOCK, number, stored, reader->blocks[number].stored_size,
                      out, err);

    return r < 0 ? err_context(err, "%s: block %zu", reader->name, number) : 0;
}

int reader_fetch(const struct reader *reader, size_t first, size_t count, uint8_t *out,
                 struct err *err)
{
    const struct block_info *last = &reader->blocks[first + count - 1];
    uint64_t offset = reader->blocks[first].offset;

    return store_read(reader->object, offset, out, last->offset + last->stored_size - offset, err);
}

/* The content of the chunks' section; nothing where it is absent. */
static int load_chunks(const struct reader *reader, uint8_t **out, size_t *out_size,
                       struct err *err)
{
    CLEANUP(freep) uint8_t *stored = NULL;
    const struct trailer *trailer = &reader->trailer;

    *out = NULL;
    *out_size = 0;
    if (trailer->chunks == 0)
        return 0;
    int r = fetch(reader, trailer->chunks_offset, trailer->chunks_size, &stored, err);
    if (r < 0)
        return r;
    r = decode_section(&reader->key, PART_CHUNKS, stored, trailer->chunks_size, out, out_size, err);
    return r < 0 ? err_context(err, "%s: chunks", reader->name) : 0;
}

static int count_matches(const struct reader *reader, size_t count, struct err *err)
{
    if (count == reader->trailer.chunks)
        return 0;
    return err_set(err, ERR_CORRUPT, "%s: chunks and trailer differ", reader->name);
}

int reader_chunks(const struct reader *reader, struct chunk **out, size_t *out_count,
                  struct err *err)
{
    CLEANUP(freep) uint8_t *bytes = NULL;
    struct chunk *chunks = NULL;
    size_t size = 0;
    size_t count = 0;
    int r = load_chunks(reader, &bytes, &size, err);

    if (r == 0)
        r = toc_decode_chunks(bytes, size, reader->blocks, reader->trailer.blocks, &chunks, &count,
                              err);
    if (r == 0)
        r = count_matches(reader, count, err);
    if (r < 0) {
        free(chunks);
        return r;
    }
    *out = chunks;
    *out_count = count;
    return 0;
}

int reader_references(const struct reader *reader, struct archive_id **out, size_t *out_count,
                      struct err *err)
{
    CLEANUP(freep) uint8_t *bytes = NULL;
    struct archive_id *ids = NULL;
    size_t size = 0;
    size_t count = 0;
    int r = load_chunks(reader, &bytes, &size, err);

    if (r == 0)
        r = toc_decode_references(bytes, size, &ids, &count, err);
    if (r == 0)
        r = count_matches(reader, count, err);
    if (r < 0) {
        free(ids);
        return r;
    }
    *out = ids;
    *out_count = count;
    return 0;
}

int reader_check_header(const struct reader *reader, struct err *err)
{
    uint8_t bytes[HEADER_SIZE];
    int r = store_read(reader->object, 0, bytes, sizeof(bytes), err);

    if (r == 0 && memcmp(bytes, reader->header_bytes, HEADER_SIZE) != 0)
        r = err_set(err, ERR_CORRUPT, "%s: the header is not as it was written", reader->name);
    return r;
}

int reader_check_padding(const struct reader *reader, struct err *err)
{
    CLEANUP(freep) uint8_t *bytes = NULL;
    uint64_t offset = reader->trailer.chunks_offset + reader->trailer.chunks_size;
    uint64_t size = reader->trailer.toc_offset - offset;

    if (size == 0)
        return 0;
    int r = fetch(reader, offset, size, &bytes, err);
    if (r < 0)
        return r;
    r = part_open(&reader->key, PART_PADDING, 0, bytes, size, bytes, err);
    return r < 0 ? err_context(err, "%s: padding", reader->name) : 0;
}

int reader_index_record(const struct reader *reader, struct buf *index, struct err *err)
{
    CLEANUP(freep) uint8_t *chunks = NULL;
    CLEANUP(buf_clear) struct buf toc = {.limit = SECTION_MAX};
    struct index_record record = {
        .id = reader->header.id, .kind = reader->header.kind, .size = reader->size};
    int r = load_chunks(reader, &chunks, &record.chunks_size, err);

    if (r == 0)
        r = toc_encode(reader->blocks, reader->trailer.blocks, &toc, err);
    if (r < 0)
        return r;
    record.toc = toc.data;
    record.toc_size = toc.size;
    record.chunks = chunks;
    return index_record_encode(&record, index, err);
}
