#include "backup/archive/treewriter.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/idtable.h"
#include "backup/archive/repo.h"
#include "backup/archive/treewriter_internal.h"
#include "backup/archive/writer.h"
#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"

enum {
    ITEMS_TARGET = 64 * 1024, /* a block closes before its items would pass this */
    TABLE_SIZE_MAX = BLOCK_REFS_MAX * TABLE_SLOT_SIZE + TABLE_COUNT_SIZE,
    BLOCK_SIZE_MAX = ITEMS_TARGET + TABLE_SIZE_MAX,
    INDEX_RECORD_MAX = 64 * 1024 * 1024,
};

struct treewriter {
    struct repo *repo;
    struct codec *codec;
    treewriter_done_fn *done;
    void *context;
    uint64_t stored;
    struct writer *writer; /* NULL: no archive is open */
    uint64_t open_stored;  /* blocks of that archive */
    struct buf items;      /* of the open block */
    struct reftable refs;
    uint32_t block_raw; /* where the open block will begin */
    bool failed;        /* something that places were given for was not written */
};

int treewriter_new(struct repo *repo, int level, treewriter_done_fn *done, void *context,
                   struct treewriter **out, struct err *err)
{
    struct treewriter *writer = calloc(1, sizeof(*writer));

    if (writer)
        writer->codec = codec_new(level);
    if (!writer || !writer->codec) {
        free(writer);
        return err_set(err, ERR_NOMEM, "no memory to write directories");
    }
    writer->repo = repo;
    writer->done = done;
    writer->context = context;
    writer->items.limit = (size_t)4 * BLOCK_SIZE_MAX; /* an item that is too long, and then some */
    *out = writer;
    return 0;
}

void treewriter_free(struct treewriter *writer)
{
    if (!writer)
        return;
    writer_abort(writer->writer);
    codec_free(writer->codec);
    buf_clear(&writer->items);
    free(writer);
}

uint64_t treewriter_stored(const struct treewriter *writer)
{
    return writer->stored + writer->open_stored;
}

const struct digest_key *treewriter_id_key(const struct treewriter *writer)
{
    return keyring_id_key(writer->repo->keyring);
}

static int commit_archive(struct treewriter *writer, struct err *err)
{
    CLEANUP(buf_clear) struct buf index = {.limit = INDEX_RECORD_MAX};
    struct writer_result result;

    int r = writer_commit(STEAL(writer->writer), NULL, &index, &result, err);
    if (r == 0)
        r = writer->done(writer->context, &result, index.data, index.size, err);
    writer->failed = r < 0;
    if (r < 0)
        return r;
    writer->stored += result.size;
    writer->open_stored = 0;
    return 0;
}

/* Before the first item of a block: the places of its items follow from where it will begin. */
static int begin_block(struct treewriter *writer, struct err *err)
{
    int r = 0;

    if (writer->writer && !writer_has_room(writer->writer, BLOCK_SIZE_MAX, 0))
        r = commit_archive(writer, err);
    if (r == 0 && !writer->writer)
        r = writer_new(writer->repo, ARCHIVE_METADATA, &writer->writer, err);
    if (r == 0)
        writer->block_raw = writer_raw_end(writer->writer);
    return r;
}

static int append_table(struct treewriter *writer, struct err *err)
{
    const struct idtable *ids = writer->repo->ids;
    int r = 0;

    for (size_t i = 0; r == 0 && i < writer->refs.count; i++) {
        uint32_t archive = writer->refs.archives[i];

        r = buf_append(&writer->items, idtable_id(ids, archive)->bytes, ARCHIVE_ID_SIZE, err);
        if (r == 0)
            r = put_u8(&writer->items, (uint8_t)idtable_kind(ids, archive), err);
        if (r == 0)
            r = writer_refer(writer->writer, archive, err);
    }
    return r < 0 ? r : put_u16(&writer->items, (uint16_t)writer->refs.count, err);
}

static int flush_block(struct treewriter *writer, struct err *err)
{
    uint32_t raw, stored;

    if (writer->items.size == 0)
        return 0;
    writer->failed = true;
    int r = append_table(writer, err);
    if (r == 0)
        r = writer_append(writer->writer, writer->codec, writer->items.data, writer->items.size,
                          NULL, 0, &raw, &stored, err);
    if (r < 0)
        return r;
    assert(raw == writer->block_raw);
    writer->failed = false;
    writer->open_stored += stored;
    writer->items.size = 0;
    writer->refs.count = 0;
    return 0;
}

static int try_item(struct treewriter *writer, item_fn *encode, const void *context,
                    struct place *out, struct err *err)
{
    struct encoder encoder = {.out = &writer->items, .refs = &writer->refs};
    size_t size = writer->items.size, refs = writer->refs.count;
    int r = 0;

    if (size == 0)
        r = begin_block(writer, err);
    if (r == 0)
        r = encode(context, &encoder, err);
    if (r == 0 && (writer->items.size - size > ITEM_SIZE_MAX || writer->items.size > ITEMS_TARGET))
        r = err_set(err, ERR_TOO_LARGE, "an item of %zu bytes", writer->items.size - size);
    if (r < 0) {
        writer->items.size = size;
        writer->refs.count = refs;
        return r;
    }
    *out = (struct place){.archive = writer_archive(writer->writer),
                          .raw = writer->block_raw + (uint32_t)size};
    return 0;
}

static int has_failed(struct err *err)
{
    return err_set(err, ERR_SYSTEM, "an archive of directories could not be written");
}

int treewriter_put(struct treewriter *writer, item_fn *encode, const void *context,
                   struct place *out, struct err *err)
{
    bool was_empty = writer->items.size == 0;

    if (writer->failed)
        return has_failed(err);
    int r = try_item(writer, encode, context, out, err);
    if (r != -ERR_TOO_LARGE || was_empty)
        return r;
    r = flush_block(writer, err);
    return r < 0 ? r : try_item(writer, encode, context, out, err);
}

int treewriter_finish(struct treewriter *writer, struct err *err)
{
    if (writer->failed)
        return has_failed(err);
    int r = flush_block(writer, err);
    if (r == 0 && writer->writer)
        r = commit_archive(writer, err);
    buf_clear(&writer->items);
    return r;
}

static int encode_inode(const void *context, struct encoder *encoder, struct err *err)
{
    return entry_encode_inode(context, encoder->refs, encoder->out, err);
}

int treewriter_put_inode(struct treewriter *writer, const struct entry *entry, struct place *out,
                         struct err *err)
{
    return treewriter_put(writer, encode_inode, entry, out, err);
}

int treewriter_grow(void *array, size_t count, size_t *capacity, size_t element, struct err *err)
{
    size_t wanted = *capacity > 0 ? 2 * *capacity : 16;
    void *old;

    if (count < *capacity)
        return 0;
    memcpy(&old, array, sizeof(old));
    void *grown = realloc(old, wanted * element);
    if (!grown)
        return err_set(err, ERR_NOMEM, "no memory for a directory of this size");
    memcpy(array, &grown, sizeof(grown));
    *capacity = wanted;
    return 0;
}
