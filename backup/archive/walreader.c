/* A wal archive opened for reading. */
#include <stdlib.h>
#include <string.h>

#include "backup/archive/reader.h"
#include "backup/archive/wal_internal.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/hex.h"

struct walreader {
    struct repo *repo;
    struct reader *reader;
    struct codec *codec;
    struct wal_meta meta;
    uint32_t *index;
    size_t index_count;
    uint8_t block[BLOCK_RAW_MAX];
};

void walreader_close(struct walreader *reader)
{
    if (!reader)
        return;
    reader_close(reader->reader);
    codec_free(reader->codec);
    wal_meta_clear(&reader->meta);
    free(reader->index);
    free(reader);
}

void walreader_closep(struct walreader **reader)
{
    walreader_close(*reader);
}

const struct wal_meta *walreader_meta(const struct walreader *reader)
{
    return &reader->meta;
}

uint64_t walreader_size(const struct walreader *reader)
{
    return reader_size(reader->reader);
}

static int decode(struct walreader *reader, size_t number, struct err *err)
{
    return reader_decode(reader->reader, reader->codec, number, reader->block, err);
}

static size_t raw_size(const struct walreader *reader, size_t number)
{
    return reader_block(reader->reader, number)->raw_size;
}

static size_t content_blocks_end(const struct walreader *reader)
{
    return reader_blocks(reader->reader) - 1;
}

/* The blocks that are left when index and document are taken out make up the content. */
static int check_blocks(const struct walreader *reader, const char *object, struct err *err)
{
    size_t blocks = content_blocks_end(reader), index = 0;
    uint64_t length = 0;

    for (size_t i = 0; i < blocks; i++) {
        if (index < reader->index_count && reader->index[index] == i)
            index++;
        else
            length += raw_size(reader, i);
    }
    if (length != reader->meta.length || index != reader->index_count)
        return err_set(err, ERR_CORRUPT, "%s: its blocks are not what its document says", object);
    return 0;
}

static int check_name(const struct walreader *reader, const char *object, struct err *err)
{
    char own[OBJECT_NAME_SIZE];

    wal_object_name(reader->repo, &reader->meta, own);
    if (reader->meta.what == WAL_TAIL)
        hex_encode(reader_id(reader->reader)->bytes, ARCHIVE_ID_SIZE, own + strlen(own));
    if (strcmp(own, object) != 0)
        return err_set(err, ERR_CORRUPT, "%s: it is %s", object, own);
    return 0;
}

static int read_document(struct walreader *reader, const char *object, struct err *err)
{
    size_t last = content_blocks_end(reader);

    if (raw_size(reader, last) > WAL_DOCUMENT_MAX)
        return err_set(err, ERR_CORRUPT, "%s: its document is too large", object);
    int r = decode(reader, last, err);
    if (r == 0)
        r = wal_document_decode(reader->block, raw_size(reader, last), &reader->meta,
                                &reader->index, &reader->index_count, err);
    return r < 0 ? err_context(err, "%s", object) : 0;
}

int walreader_open(struct repo *repo, const char *object, struct walreader **out, struct err *err)
{
    CLEANUP(walreader_closep) struct walreader *reader = calloc(1, sizeof(*reader));

    if (!reader || !(reader->codec = codec_new(1)))
        return err_set(err, ERR_NOMEM, "no memory to read the server's log");
    reader->repo = repo;
    int r = reader_open(repo, ARCHIVE_WAL, NULL, object, &reader->reader, err);
    if (r == 0)
        r = read_document(reader, object, err);
    if (r == 0)
        r = check_name(reader, object, err);
    if (r == 0)
        r = check_blocks(reader, object, err);
    if (r < 0)
        return r;
    *out = STEAL(reader);
    return 0;
}

int walreader_check(const struct walreader *reader, struct err *err)
{
    int r = reader_check_header(reader->reader, err);

    return r < 0 ? r : reader_check_padding(reader->reader, err);
}

/* The content block `number`, which begins at `at`: what of it lies from `from` up to `to`. */
static int
copy_block(struct walreader *reader, size_t number, uint64_t at, uint64_t from, uint64_t to,
           int (*each)(void *context, const uint8_t *bytes, size_t count, struct err *err),
           void *context, struct err *err)
{
    uint64_t end = at + raw_size(reader, number);
    uint64_t first = at > from ? at : from, last = end < to ? end : to;

    if (first >= last)
        return 0;
    int r = decode(reader, number, err);
    if (r == 0)
        r = each(context, reader->block + (first - at), (size_t)(last - first), err);
    return r;
}

int walreader_copy(struct walreader *reader, uint64_t from, uint64_t to,
                   int (*each)(void *context, const uint8_t *bytes, size_t count, struct err *err),
                   void *context, struct err *err)
{
    size_t index = 0;
    uint64_t at = 0;
    int r = 0;

    for (size_t i = 0; r == 0 && i < content_blocks_end(reader); i++) {
        if (index < reader->index_count && reader->index[index] == i) {
            index++;
            continue;
        }
        r = copy_block(reader, i, at, from, to, each, context, err);
        at += raw_size(reader, i);
    }
    return r;
}

static int marks_of_block(struct walreader *reader, size_t size,
                          int (*each)(void *context, const struct wal_mark *mark, struct err *err),
                          void *context, struct err *err)
{
    struct cursor in = cursor_of(reader->block, size);
    struct wal_mark mark = {.lsn = reader->meta.start};
    int r = 0;

    while (r == 0 && cursor_left(&in) > 0) {
        mark.lsn += (uint64_t)read_zigzag(&in);
        uint64_t xid = read_varint(&in);
        uint64_t time = (uint64_t)mark.time_us + (uint64_t)read_zigzag(&in);
        mark.xid = (uint32_t)xid;
        mark.time_us = (int64_t)time;
        if (in.failed || xid > UINT32_MAX || mark.lsn > INT64_MAX || !wal_time_valid(mark.time_us))
            return err_set(err, ERR_CORRUPT, "an index of commits that cannot be");
        r = each(context, &mark, err);
    }
    return in.failed ? err_set(err, ERR_CORRUPT, "an index of commits that is cut off") : r;
}

int walreader_marks(struct walreader *reader,
                    int (*each)(void *context, const struct wal_mark *mark, struct err *err),
                    void *context, struct err *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < reader->index_count; i++) {
        size_t number = reader->index[i];
        r = decode(reader, number, err);
        if (r == 0)
            r = marks_of_block(reader, raw_size(reader, number), each, context, err);
    }
    return r;
}
