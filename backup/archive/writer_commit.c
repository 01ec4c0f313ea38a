#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/codec.h"
#include "backup/archive/idtable.h"
#include "backup/archive/repo.h"
#include "backup/archive/toc.h"
#include "backup/archive/writer_internal.h"
#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/store/store.h"

static void writer_abortp(struct writer **writer)
{
    writer_abort(*writer);
}

static int compare_ids(const void *a, const void *b)
{
    return memcmp(a, b, ARCHIVE_ID_SIZE);
}

static int encode_references(const struct writer *writer, struct buf *out, struct err *err)
{
    int r = 0;

    for (uint32_t i = 0; i < writer->referred_size * 8 && r == 0; i++) {
        if (writer->referred[i / 8] >> i % 8 & 1)
            r = buf_append(out, idtable_id(writer->repo->ids, i)->bytes, ARCHIVE_ID_SIZE, err);
    }
    if (r == 0 && out->size > 0)
        qsort(out->data, out->size / ARCHIVE_ID_SIZE, ARCHIVE_ID_SIZE, compare_ids);
    return r;
}

/* The plain contents of both sections. */
struct sections {
    struct buf toc, chunks;
};

static void sections_clear(struct sections *sections)
{
    buf_clear(&sections->toc);
    buf_clear(&sections->chunks);
}

static int encode_sections(const struct writer *writer, struct sections *out, struct err *err)
{
    int r = toc_encode(writer->blocks, writer->block_count, &out->toc, err);

    if (r == 0 && writer->header.kind == ARCHIVE_METADATA)
        r = encode_references(writer, &out->chunks, err);
    else if (r == 0)
        r = toc_encode_chunks(writer->chunks, writer->chunk_count, &out->chunks, err);
    return r;
}

/* Appends a section as it is stored. */
static int append_section(struct writer *writer, struct codec *codec, enum part part,
                          const struct buf *raw, struct buf *tail, struct err *err)
{
    uint8_t *plain;
    size_t size;
    int r = codec_encode(codec, raw->data, raw->size, &plain, &size, err);

    if (r == 0)
        r = writer_seal(writer, codec, part, 0, plain, size, raw->data, raw->size, err);
    if (r == 0)
        r = buf_append(tail, plain, size + SEAL_TAG_SIZE, err);
    return r;
}

/* Appends `size` bytes of sealed zeros. */
static int append_padding(struct writer *writer, uint64_t size, struct buf *tail, struct err *err)
{
    if (size == 0)
        return 0;
    int r = buf_reserve(tail, size, err);
    if (r < 0)
        return r;
    memset(tail->data + tail->size, 0, size);
    r = part_seal(&writer->key, PART_PADDING, 0, tail->data + tail->size, size - SEAL_TAG_SIZE,
                  err);
    tail->size += size;
    return r;
}

static int append_trailer(struct writer *writer, const struct trailer *trailer, struct buf *tail,
                          struct err *err)
{
    uint8_t bytes[TRAILER_SEALED_SIZE];

    trailer_encode(trailer, bytes);
    int r = part_seal(&writer->key, PART_TRAILER, 0, bytes, TRAILER_PLAIN_SIZE, err);
    if (r == 0)
        r = buf_append(tail, writer->header_bytes, HEADER_SIZE, err);
    if (r == 0)
        r = buf_append(tail, bytes, sizeof(bytes), err);
    return r;
}

/* All that comes behind the blocks. */
static int make_tail(struct writer *writer, const struct sections *sections, struct codec *codec,
                     struct buf *tail, struct err *err)
{
    CLEANUP(buf_clear) struct buf toc = {.limit = SECTION_MAX + PART_EXTRA};
    struct trailer trailer = {
        .blocks = (uint32_t)writer->block_count,
        .chunks = (uint32_t)(writer->chunk_count + writer->reference_count),
        .chunks_offset = toc_stored_end(writer->blocks, writer->block_count),
        .raw_end = toc_raw_end(writer->blocks, writer->block_count),
    };
    int r = append_section(writer, codec, PART_TOC, &sections->toc, &toc, err);

    if (r == 0 && sections->chunks.size > 0)
        r = append_section(writer, codec, PART_CHUNKS, &sections->chunks, tail, err);
    if (r < 0)
        return r;
    trailer.toc_size = (uint32_t)toc.size;
    trailer.chunks_size = (uint32_t)tail->size;
    r = append_padding(writer,
                       padding_for(trailer.chunks_offset + tail->size + toc.size + TRAILER_SIZE),
                       tail, err);
    trailer.toc_offset = trailer.chunks_offset + tail->size;
    if (r == 0)
        r = buf_append(tail, toc.data, toc.size, err);
    if (r == 0)
        r = append_trailer(writer, &trailer, tail, err);
    return r;
}

static int append_index_record(const struct sections *sections, const struct writer_result *result,
                               struct buf *index, struct err *err)
{
    struct index_record record = {
        .id = result->id,
        .kind = result->kind,
        .size = result->size,
        .toc = sections->toc.data,
        .chunks = sections->chunks.data,
        .toc_size = sections->toc.size,
        .chunks_size = sections->chunks.size,
    };

    return index_record_encode(&record, index, err);
}

static int write_tail(struct writer *writer, struct buf *index, struct writer_result *out,
                      struct err *err)
{
    CLEANUP(sections_clear)
    struct sections sections = {
        .toc = {.limit = SECTION_MAX},
        .chunks = {.limit = SECTION_MAX},
    };
    CLEANUP(buf_clear) struct buf tail = {.limit = SIZE_MAX / 2};
    CLEANUP(codec_freep) struct codec *codec = codec_new(TABLE_LEVEL);
    uint64_t offset = toc_stored_end(writer->blocks, writer->block_count);

    if (!codec)
        return err_set(err, ERR_NOMEM, "no memory to close an archive");
    int r = encode_sections(writer, &sections, err);
    if (r == 0)
        r = make_tail(writer, &sections, codec, &tail, err);
    if (r == 0)
        r = store_put_write(writer->put, offset, tail.data, tail.size, err);
    if (r < 0)
        return r;
    *out = (struct writer_result){
        .id = writer->header.id,
        .kind = writer->header.kind,
        .archive = writer->number,
        .size = offset + tail.size,
    };
    return index ? append_index_record(&sections, out, index, err) : 0;
}

int writer_commit(struct writer *writer, const char *object_name, struct buf *index,
                  struct writer_result *out, struct err *err)
{
    CLEANUP(writer_abortp) struct writer *ending = writer;
    char name[OBJECT_NAME_SIZE];
    struct writer_result result;
    size_t index_size = index ? index->size : 0;

    assert(writer->block_count > 0);
    if (writer->failure.code != ERR_NONE) {
        *err = writer->failure;
        return -(int)err->code;
    }
    repo_object_name(writer->header.kind, &writer->header.id, name);
    int r = write_tail(writer, index, &result, err);
    if (r == 0)
        r = store_put_commit(STEAL(ending->put), object_name ? object_name : name, err);
    if (r < 0 && index)
        index->size = index_size;
    if (r < 0)
        return r;
    *out = result;
    return 0;
}
