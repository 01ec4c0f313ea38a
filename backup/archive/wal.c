#include "backup/archive/wal.h"

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

enum {
    DOCUMENT_VERSION = 1,
    EXTENSIONS_MAX = 64,
    SEGMENT_MIN = 1024 * 1024,
    SEGMENT_MAX = 1024 * 1024 * 1024,
    ID_DIGITS = 2 * ARCHIVE_ID_SIZE,
};

static const char segments[] = "wal/", tails[] = "tails/";

void wal_meta_clear(struct wal_meta *meta)
{
    free(meta->points);
    free(meta->open);
    *meta = (struct wal_meta){0};
}

static struct digest_key derived_key(struct repo *repo, const char *label)
{
    struct digest_key key;

    digest_bytes(keyring_id_key(repo->keyring), label, strlen(label), key.bytes);
    return key;
}

void wal_digest_start(struct repo *repo, struct digest_stream *out)
{
    struct digest_key key = derived_key(repo, "yester wal content v1");

    digest_stream_start(out, &key);
}

void wal_object_name(struct repo *repo, const struct wal_meta *meta, char out[OBJECT_NAME_SIZE])
{
    struct digest_key key = derived_key(repo, "yester wal names v1");
    uint8_t what[1 + 8 + WAL_NAME_SIZE] = {(uint8_t)meta->what}, id[DIGEST_SIZE];
    char hex[ID_DIGITS + 1];
    size_t size = 1 + 8;

    if (meta->what == WAL_TAIL) {
        (void)snprintf(out, OBJECT_NAME_SIZE, "%s", tails);
        return;
    }
    store_le64(what + 1, meta->system);
    if (meta->what == WAL_FILE) {
        memcpy(what + size, meta->name, strlen(meta->name));
        size += strlen(meta->name);
    } else {
        store_le32(what + size, meta->timeline);
        size += 4;
    }
    if (meta->what == WAL_SEGMENT) {
        store_le32(what + size, (uint32_t)(meta->start >> 32));
        store_le32(what + size + 4, (uint32_t)((meta->start & UINT32_MAX) / meta->segment_size));
        size += 8;
    }
    digest_bytes(&key, what, size, id);
    hex_encode(id, sizeof(id), hex);
    (void)snprintf(out, OBJECT_NAME_SIZE, "%s%s", segments, hex);
}

bool wal_is_name(const char *object)
{
    uint8_t id[ARCHIVE_ID_SIZE];
    const char *hex = NULL;

    if (strncmp(object, segments, sizeof(segments) - 1) == 0)
        hex = object + sizeof(segments) - 1;
    else if (strncmp(object, tails, sizeof(tails) - 1) == 0)
        hex = object + sizeof(tails) - 1;
    return hex && hex_decode(hex, strlen(hex), id, sizeof(id));
}

/* ---- the document ---- */

static int put_string(struct buf *out, const char *text, struct err *err)
{
    int r = put_varint(out, strlen(text), err);

    return r < 0 ? r : buf_append(out, text, strlen(text), err);
}

static int put_identity(struct buf *out, const struct wal_meta *meta, struct err *err)
{
    int r = put_varint(out, DOCUMENT_VERSION, err);

    if (r == 0)
        r = put_varint(out, 0, err); /* required flags */
    if (r == 0)
        r = put_u8(out, (uint8_t)meta->what, err);
    if (r == 0)
        r = put_u64(out, meta->system, err);
    if (r == 0)
        r = put_varint(out, meta->timeline, err);
    if (r == 0)
        r = put_varint(out, meta->segment_size, err);
    if (r == 0)
        r = put_varint(out, meta->start, err);
    if (r == 0)
        r = put_varint(out, meta->length, err);
    if (r == 0)
        r = put_u16(out, meta->magic, err);
    if (r == 0)
        r = buf_append(out, meta->digest, DIGEST_SIZE, err);
    if (r == 0)
        r = put_zigzag(out, meta->made_ns, err);
    if (r == 0)
        r = put_string(out, meta->host, err);
    return r < 0 ? r : put_string(out, meta->name, err);
}

static int put_mark(struct buf *out, const struct wal_mark *mark, struct err *err)
{
    int r = put_varint(out, mark->lsn, err);

    if (r == 0)
        r = put_varint(out, mark->xid, err);
    return r < 0 ? r : put_zigzag(out, mark->time_us, err);
}

static int put_commits(struct buf *out, const struct wal_meta *meta, struct err *err)
{
    int r = put_varint(out, meta->commits, err);

    if (r < 0 || meta->commits == 0)
        return r;
    r = put_mark(out, &meta->first, err);
    if (r == 0)
        r = put_mark(out, &meta->last, err);
    if (r == 0)
        r = put_zigzag(out, meta->earliest_us, err);
    return r < 0 ? r : put_zigzag(out, meta->latest_us, err);
}

static int put_points(struct buf *out, const struct wal_meta *meta, struct err *err)
{
    int r = put_varint(out, meta->point_count, err);

    for (size_t i = 0; r == 0 && i < meta->point_count; i++) {
        r = put_varint(out, meta->points[i].lsn, err);
        if (r == 0)
            r = put_zigzag(out, meta->points[i].time_us, err);
        if (r == 0)
            r = put_string(out, meta->points[i].name, err);
    }
    return r;
}

static int put_open(struct buf *out, const struct wal_meta *meta, struct err *err)
{
    int r = put_varint(out, meta->open_lsn, err);

    if (r == 0)
        r = put_varint(out, meta->open_size, err);
    return r < 0 ? r : buf_append(out, meta->open, meta->open_size, err);
}

int wal_document_encode(const struct wal_meta *meta, const uint32_t *index, size_t index_count,
                        struct buf *out, struct err *err)
{
    int r = put_identity(out, meta, err);

    if (r == 0)
        r = put_varint(out, index_count, err);
    for (size_t i = 0; r == 0 && i < index_count; i++)
        r = put_varint(out, index[i], err);
    if (r == 0)
        r = put_commits(out, meta, err);
    if (r == 0)
        r = put_points(out, meta, err);
    if (r == 0)
        r = put_open(out, meta, err);
    return r < 0 ? r : put_varint(out, 0, err); /* extensions */
}

/* Into an array of `room` bytes, with a NUL behind. */
static void take_string(struct cursor *in, char *out, size_t room)
{
    uint64_t size = read_varint(in);

    in->failed = in->failed || size >= room;
    const uint8_t *bytes = read_bytes(in, in->failed ? 0 : (size_t)size);
    in->failed = in->failed || (size > 0 && memchr(bytes, 0, (size_t)size));
    if (in->failed)
        return;
    if (size > 0)
        memcpy(out, bytes, (size_t)size);
    out[size] = '\0';
}

static void take_identity(struct cursor *in, struct wal_meta *out)
{
    out->what = (enum wal_what)read_u8(in);
    out->system = read_u64(in);
    uint64_t timeline = read_varint(in);
    in->failed = in->failed || timeline > UINT32_MAX;
    out->timeline = (uint32_t)timeline;
    out->segment_size = read_varint(in);
    out->start = read_varint(in);
    out->length = read_varint(in);
    out->magic = read_u16(in);
    const uint8_t *digest = read_bytes(in, DIGEST_SIZE);
    if (digest)
        memcpy(out->digest, digest, DIGEST_SIZE);
    out->made_ns = read_zigzag(in);
    take_string(in, out->host, sizeof(out->host));
    take_string(in, out->name, sizeof(out->name));
}

static int take_index(struct cursor *in, uint32_t **out, size_t *out_count, struct err *err)
{
    uint64_t count = read_varint(in), before = 0;

    in->failed = in->failed || count > ARCHIVE_BLOCKS_MAX;
    if (in->failed || count == 0)
        return 0;
    uint32_t *index = calloc((size_t)count, sizeof(*index));
    if (!index)
        return err_set(err, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < count; i++) {
        uint64_t number = read_varint(in);
        in->failed = in->failed || number >= ARCHIVE_BLOCKS_MAX || (i > 0 && number <= before);
        index[i] = (uint32_t)(number % ARCHIVE_BLOCKS_MAX);
        before = number;
    }
    *out = index;
    *out_count = (size_t)count;
    return 0;
}

static struct wal_mark take_mark(struct cursor *in)
{
    struct wal_mark mark = {.lsn = read_varint(in)};
    uint64_t xid = read_varint(in);

    mark.xid = (uint32_t)xid;
    mark.time_us = read_zigzag(in);
    in->failed =
        in->failed || xid > UINT32_MAX || mark.lsn > INT64_MAX || !wal_time_valid(mark.time_us);
    return mark;
}

static void take_commits(struct cursor *in, struct wal_meta *out)
{
    out->commits = read_varint(in);
    in->failed = in->failed || out->commits > WAL_FILE_MAX;
    if (in->failed || out->commits == 0)
        return;
    out->first = take_mark(in);
    out->last = take_mark(in);
    out->earliest_us = read_zigzag(in);
    out->latest_us = read_zigzag(in);
    in->failed = in->failed || !wal_time_valid(out->earliest_us) ||
                 !wal_time_valid(out->latest_us) || out->earliest_us > out->latest_us;
}

static int take_points(struct cursor *in, struct wal_meta *out, struct err *err)
{
    uint64_t count = read_varint(in);

    in->failed = in->failed || count > WAL_POINTS_MAX;
    if (in->failed || count == 0)
        return 0;
    out->points = calloc((size_t)count, sizeof(*out->points));
    if (!out->points)
        return err_set(err, ERR_NOMEM, "out of memory");
    out->point_count = (size_t)count;
    for (size_t i = 0; i < count; i++) {
        struct wal_point *point = &out->points[i];
        point->lsn = read_varint(in);
        point->time_us = read_zigzag(in);
        take_string(in, point->name, sizeof(point->name));
        in->failed = in->failed || point->lsn > INT64_MAX || !wal_time_valid(point->time_us) ||
                     !point->name[0];
    }
    return 0;
}

static int take_open(struct cursor *in, struct wal_meta *out, struct err *err)
{
    out->open_lsn = read_varint(in);
    uint64_t size = read_varint(in);
    in->failed = in->failed || size > WAL_OPEN_MAX || (size > 0) != (out->open_lsn > 0) ||
                 out->open_lsn > INT64_MAX;
    const uint8_t *bytes = read_bytes(in, in->failed ? 0 : (size_t)size);
    if (in->failed || size == 0)
        return 0;
    out->open = malloc((size_t)size);
    if (!out->open)
        return err_set(err, ERR_NOMEM, "out of memory");
    memcpy(out->open, bytes, (size_t)size);
    out->open_size = (size_t)size;
    return 0;
}

/* None is known to this version. */
static void skip_extensions(struct cursor *in)
{
    uint64_t count = read_varint(in);

    in->failed = in->failed || count > EXTENSIONS_MAX;
    for (uint64_t i = 0; i < count && !in->failed; i++) {
        read_varint(in);
        uint64_t size = read_varint(in);
        in->failed = in->failed || size > cursor_left(in);
        read_bytes(in, in->failed ? 0 : (size_t)size);
    }
}

static bool place_makes_sense(const struct wal_meta *meta)
{
    uint64_t size = meta->segment_size;

    if (size < SEGMENT_MIN || size > SEGMENT_MAX || (size & (size - 1)) != 0 ||
        meta->start > INT64_MAX - size || meta->length == 0)
        return false;
    if (meta->what == WAL_SEGMENT)
        return meta->start % size == 0 && meta->length == size;
    return meta->length <= size - meta->start % size;
}

static bool makes_sense(const struct wal_meta *meta)
{
    bool placed = meta->what == WAL_SEGMENT || meta->what == WAL_TAIL;

    if (meta->what < WAL_SEGMENT || meta->what > WAL_FILE || meta->timeline == 0 ||
        !meta->host[0] || (meta->what == WAL_FILE) != (meta->name[0] != '\0') ||
        strchr(meta->name, '/'))
        return false;
    if (placed)
        return place_makes_sense(meta);
    return meta->segment_size == 0 && meta->start == 0 && meta->length <= WAL_FILE_MAX;
}

static int take_document(struct cursor *in, struct wal_meta *out, uint32_t **out_index,
                         size_t *out_count, struct err *err)
{
    bool known = read_varint(in) == DOCUMENT_VERSION && read_varint(in) == 0;

    take_identity(in, out);
    int r = take_index(in, out_index, out_count, err);
    if (r == 0)
        take_commits(in, out);
    if (r == 0)
        r = take_points(in, out, err);
    if (r == 0)
        r = take_open(in, out, err);
    if (r < 0)
        return r;
    skip_extensions(in);
    if (!known || in->failed || cursor_left(in) > 0 || !makes_sense(out))
        return err_set(err, ERR_CORRUPT, "a wal archive's document that cannot be");
    return 0;
}

int wal_document_decode(const void *bytes, size_t size, struct wal_meta *out, uint32_t **out_index,
                        size_t *out_count, struct err *err)
{
    CLEANUP(wal_meta_clear) struct wal_meta meta = {0};
    struct cursor in = cursor_of(bytes, size);
    uint32_t *index = NULL;
    size_t count = 0;
    int r = take_document(&in, &meta, &index, &count, err);

    if (r < 0) {
        free(index);
        return r;
    }
    *out = meta;
    meta = (struct wal_meta){0};
    *out_index = index;
    *out_count = count;
    return 0;
}
