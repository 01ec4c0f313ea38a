#include <stdlib.h>

#include "backup/archive/format.h"
#include "backup/archive/reader.h"
#include "backup/archive/toc.h"
#include "backup/base/buf.h"
#include "backup/base/bytes.h"
#include "backup/base/err.h"

enum { RECORD_HEAD_MAX = ARCHIVE_ID_SIZE + 1 + VARINT_MAX };

static int put_string(const uint8_t *bytes, size_t size, struct buf *out, struct err *err)
{
    int r = put_varint(out, size, err);

    return r < 0 ? r : buf_append(out, bytes, size, err);
}

int index_record_encode(const struct index_record *record, struct buf *out, struct err *err)
{
    size_t start = out->size;
    int r = buf_append(out, record->id.bytes, ARCHIVE_ID_SIZE, err);

    if (r == 0)
        r = put_u8(out, (uint8_t)record->kind, err);
    if (r == 0)
        r = put_varint(out, record->size, err);
    if (r == 0)
        r = put_string(record->toc, record->toc_size, out, err);
    if (r == 0)
        r = put_string(record->chunks, record->chunks_size, out, err);
    if (r < 0)
        out->size = start;
    return r;
}

/* What ran into the end may be good with more bytes behind it, unless these were enough for any. */
static void read_head(struct cursor *in, struct index_record *out, size_t *need)
{
    size_t left = cursor_left(in);
    const uint8_t *id = read_bytes(in, ARCHIVE_ID_SIZE);
    uint8_t kind = read_u8(in);

    out->size = read_varint(in);
    if (in->failed) {
        *need = left < RECORD_HEAD_MAX ? 1 : 0;
        return;
    }
    memcpy(out->id.bytes, id, ARCHIVE_ID_SIZE);
    out->kind = kind;
    in->failed = kind != ARCHIVE_DATA && kind != ARCHIVE_METADATA;
}

static void read_section(struct cursor *in, const uint8_t **out, size_t *out_size, size_t *need)
{
    size_t left = cursor_left(in);
    bool good = !in->failed;
    uint64_t size = read_varint(in);

    if (!good)
        return;
    if (in->failed) {
        *need = left < VARINT_MAX ? 1 : 0;
        return;
    }
    if (size <= SECTION_MAX && size > cursor_left(in))
        *need = (size_t)size - cursor_left(in);
    in->failed = size > SECTION_MAX;
    *out = read_bytes(in, (size_t)size);
    *out_size = (size_t)size;
}

int index_record_parse(const uint8_t **at, const uint8_t *end, struct index_record *out,
                       size_t *out_need, struct err *err)
{
    struct cursor in = cursor_of(*at, (size_t)(end - *at));
    struct index_record record = {0};
    size_t need = 0;

    read_head(&in, &record, &need);
    read_section(&in, &record.toc, &record.toc_size, &need);
    read_section(&in, &record.chunks, &record.chunks_size, &need);
    if (in.failed && need == 0)
        return err_set(err, ERR_CORRUPT, "a record of an index that cannot be");
    *out_need = need;
    if (need > 0)
        return 0;
    *out = record;
    *at = in.at;
    return 0;
}

int index_record_blocks(const struct index_record *record, struct block_info **out,
                        size_t *out_count, struct err *err)
{
    return toc_decode(record->toc, record->toc_size, out, out_count, err);
}

int index_record_chunks(const struct index_record *record, struct chunk **out, size_t *out_count,
                        struct err *err)
{
    struct block_info *blocks = NULL;
    size_t count = 0;

    if (record->kind != ARCHIVE_DATA) {
        *out = NULL;
        *out_count = 0;
        return 0;
    }
    int r = index_record_blocks(record, &blocks, &count, err);
    if (r == 0)
        r = toc_decode_chunks(record->chunks, record->chunks_size, blocks, count, out, out_count,
                              err);
    free(blocks);
    return r;
}
