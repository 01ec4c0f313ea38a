/* A wal archive while it is written: content, index blocks between it, the document last. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/wal_internal.h"
#include "backup/archive/writer.h"
#include "backup/base/buf.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/hex.h"

struct walwriter {
    struct repo *repo;
    struct writer *writer;
    struct codec *codec;
    struct wal_meta meta;
    struct digest_stream digest;
    struct buf content, index; /* what is no block yet */
    struct wal_mark before;    /* the mark that the next one counts from */
    uint32_t blocks;
    uint32_t *index_blocks;
    size_t index_count;
};

static struct wal_meta identity_of(const struct wal_meta *meta)
{
    struct wal_meta own = *meta;

    own.points = NULL;
    own.open = NULL;
    own.point_count = own.open_size = 0;
    own.commits = own.length = own.open_lsn = 0;
    return own;
}

static void begin_index_block(struct walwriter *writer)
{
    writer->before = (struct wal_mark){.lsn = writer->meta.start};
}

int walwriter_new(struct repo *repo, int level, const struct wal_meta *meta, struct walwriter **out,
                  struct err *err)
{
    CLEANUP(walwriter_abortp) struct walwriter *writer = calloc(1, sizeof(*writer));

    if (!writer || !(writer->codec = codec_new(level)))
        return err_set(err, ERR_NOMEM, "no memory to store the server's log");
    writer->repo = repo;
    writer->meta = identity_of(meta);
    writer->content.limit = writer->index.limit = WAL_BLOCK_RAW;
    begin_index_block(writer);
    wal_digest_start(repo, &writer->digest);
    int r = writer_new(repo, ARCHIVE_WAL, &writer->writer, err);
    if (r < 0)
        return r;
    *out = STEAL(writer);
    return 0;
}

void walwriter_abort(struct walwriter *writer)
{
    if (!writer)
        return;
    writer_abort(writer->writer);
    codec_free(writer->codec);
    buf_clear(&writer->content);
    buf_clear(&writer->index);
    free(writer->index_blocks);
    wal_meta_clear(&writer->meta);
    free(writer);
}

void walwriter_abortp(struct walwriter **writer)
{
    walwriter_abort(*writer);
}

uint64_t walwriter_length(const struct walwriter *writer)
{
    return writer->meta.length;
}

static int put_block(struct walwriter *writer, struct buf *raw, struct err *err)
{
    uint32_t at, stored;
    int r = writer_append(writer->writer, writer->codec, raw->data, raw->size, NULL, 0, &at,
                          &stored, err);

    raw->size = 0;
    writer->blocks++;
    return r;
}

int walwriter_add(struct walwriter *writer, const void *bytes, size_t count, struct err *err)
{
    const uint8_t *at = bytes;
    int r = 0;

    digest_stream_add(&writer->digest, bytes, count);
    writer->meta.length += count;
    while (r == 0 && count > 0) {
        size_t part = WAL_BLOCK_RAW - writer->content.size;
        if (part > count)
            part = count;
        r = buf_append(&writer->content, at, part, err);
        if (r == 0 && writer->content.size == WAL_BLOCK_RAW)
            r = put_block(writer, &writer->content, err);
        at += part;
        count -= part;
    }
    return r;
}

/* Index blocks come between those of the content; the document says which they are. */
static int put_index_block(struct walwriter *writer, struct err *err)
{
    void *grown =
        reallocarray(writer->index_blocks, writer->index_count + 1, sizeof(*writer->index_blocks));

    if (!grown)
        return err_set(err, ERR_NOMEM, "no memory for an index of commits");
    writer->index_blocks = grown;
    writer->index_blocks[writer->index_count++] = writer->blocks;
    int r = put_block(writer, &writer->index, err);
    begin_index_block(writer);
    return r;
}

static void count_mark(struct wal_meta *meta, const struct wal_mark *mark)
{
    if (meta->commits == 0) {
        meta->first = *mark;
        meta->earliest_us = meta->latest_us = mark->time_us;
    }
    meta->last = *mark;
    meta->commits++;
    if (mark->time_us < meta->earliest_us)
        meta->earliest_us = mark->time_us;
    if (mark->time_us > meta->latest_us)
        meta->latest_us = mark->time_us;
}

int walwriter_mark(struct walwriter *writer, const struct wal_mark *mark, struct err *err)
{
    int r = 0;

    if (!wal_time_valid(mark->time_us))
        return 0;
    if (writer->index.size + WAL_MARK_BYTES_MAX > WAL_BLOCK_RAW)
        r = put_index_block(writer, err);
    if (r == 0)
        r = put_zigzag(&writer->index, (int64_t)(mark->lsn - writer->before.lsn), err);
    if (r == 0)
        r = put_varint(&writer->index, mark->xid, err);
    if (r == 0)
        r = put_zigzag(&writer->index, mark->time_us - writer->before.time_us, err);
    if (r < 0)
        return r;
    writer->before = *mark;
    count_mark(&writer->meta, mark);
    return 0;
}

/* More than the format holds are not listed; the server finds them all the same. */
int walwriter_point(struct walwriter *writer, const struct wal_point *point, struct err *err)
{
    struct wal_meta *meta = &writer->meta;

    if (meta->point_count == WAL_POINTS_MAX || !wal_time_valid(point->time_us) || !point->name[0])
        return 0;
    void *grown = reallocarray(meta->points, meta->point_count + 1, sizeof(*meta->points));
    if (!grown)
        return err_set(err, ERR_NOMEM, "no memory for restore points");
    meta->points = grown;
    meta->points[meta->point_count++] = *point;
    return 0;
}

static int put_document(struct walwriter *writer, struct err *err)
{
    CLEANUP(buf_clear) struct buf document = {.limit = WAL_DOCUMENT_MAX};
    int r = wal_document_encode(&writer->meta, writer->index_blocks, writer->index_count, &document,
                                err);

    return r < 0 ? r : put_block(writer, &document, err);
}

static int put_rest(struct walwriter *writer, struct err *err)
{
    int r = writer->content.size > 0 ? put_block(writer, &writer->content, err) : 0;

    if (r == 0 && writer->index.size > 0)
        r = put_index_block(writer, err);
    digest_stream_finish(&writer->digest, writer->meta.digest, DIGEST_SIZE);
    return r < 0 ? r : put_document(writer, err);
}

static int keep_open(struct wal_meta *meta, uint64_t lsn, const uint8_t *open, size_t size,
                     struct err *err)
{
    if (lsn == 0 || !open || size == 0 || size > WAL_OPEN_MAX)
        return 0;
    meta->open = malloc(size);
    if (!meta->open)
        return err_set(err, ERR_NOMEM, "out of memory");
    memcpy(meta->open, open, size);
    meta->open_size = size;
    meta->open_lsn = lsn;
    return 0;
}

/* Somebody stored it in the meantime: fine, if it is the same. */
static int compare_stored(const struct walwriter *writer, const char *object, struct err *err)
{
    CLEANUP(walreader_closep) struct walreader *reader = NULL;
    int r = walreader_open(writer->repo, object, &reader, err);

    if (r == -ERR_NOT_FOUND)
        return err_set(err, ERR_BUSY,
                       "%s: another host is about to store it, or was: try again later", object);
    if (r < 0)
        return r;
    if (memcmp(walreader_meta(reader)->digest, writer->meta.digest, DIGEST_SIZE) != 0)
        return err_set(err, ERR_EXISTS, "%s: there already, with another content", object);
    return 0;
}

static int commit(struct walwriter *writer, char out_object[OBJECT_NAME_SIZE], struct err *err)
{
    struct writer_result result;
    char name[OBJECT_NAME_SIZE];
    bool is_tail = writer->meta.what == WAL_TAIL;

    wal_object_name(writer->repo, &writer->meta, name);
    int r = writer_commit(STEAL(writer->writer), is_tail ? NULL : name, NULL, &result, err);
    if (r == -ERR_EXISTS && !is_tail)
        r = compare_stored(writer, name, err);
    if (r < 0)
        return r;
    if (is_tail) {
        hex_encode(result.id.bytes, ARCHIVE_ID_SIZE, name + strlen(name));
    }
    memcpy(out_object, name, OBJECT_NAME_SIZE);
    return 0;
}

int walwriter_commit(struct walwriter *writer, uint16_t magic, uint64_t open_lsn,
                     const uint8_t *open, size_t open_size, char out_object[OBJECT_NAME_SIZE],
                     struct err *err)
{
    CLEANUP(walwriter_abortp) struct walwriter *own = writer;

    own->meta.magic = magic;
    int r = keep_open(&own->meta, open_lsn, open, open_size, err);
    if (r == 0)
        r = put_rest(own, err);
    return r < 0 ? r : commit(own, out_object, err);
}
