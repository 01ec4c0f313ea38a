#include "backup/job/runindex.h"

#include <pthread.h>
#include <stdlib.h>

#include "backup/archive/reader.h"
#include "backup/archive/repo.h"
#include "backup/archive/writer.h"
#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/log.h"
#include "backup/job/baseline.h"
#include "backup/job/dedup.h"

struct runindex {
    struct repo *repo;
    struct baseline *baseline;
    pthread_mutex_t lock; /* guards what follows */
    struct codec *codec;
    struct writer *writer; /* NULL: none open */
    struct buf pending;    /* records that are not yet in a block */
    struct root_archive *archives;
    size_t count, capacity;
    uint64_t bytes;
};

int runindex_new(struct repo *repo, struct baseline *baseline, struct runindex **out,
                 struct err *err)
{
    struct runindex *index = calloc(1, sizeof(*index));
    if (!index)
        return err_set(err, ERR_NOMEM, "no memory for an index");
    index->repo = repo;
    index->baseline = baseline;
    index->pending.limit = 2 * (size_t)RUNINDEX_RECORD_MAX;
    index->codec = codec_new(TABLE_LEVEL);
    pthread_mutex_init(&index->lock, NULL);
    if (!index->codec) {
        runindex_free(index);
        return err_set(err, ERR_NOMEM, "no memory for an encoder");
    }
    *out = index;
    return 0;
}

void runindex_free(struct runindex *index)
{
    if (!index)
        return;
    writer_abort(index->writer);
    codec_free(index->codec);
    buf_clear(&index->pending);
    free(index->archives);
    pthread_mutex_destroy(&index->lock);
    free(index);
}

static int list_archive(struct runindex *index, const struct writer_result *archive,
                        struct err *err)
{
    if (index->count == index->capacity) {
        size_t capacity = index->capacity > 0 ? index->capacity * 2 : 64;
        struct root_archive *archives = realloc(index->archives, capacity * sizeof(*archives));
        if (!archives)
            return err_set(err, ERR_NOMEM, "no memory for %zu archives", capacity);
        index->archives = archives;
        index->capacity = capacity;
    }
    index->archives[index->count++] = (struct root_archive){
        .id = archive->id, .kind = (uint8_t)archive->kind, .size = archive->size};
    index->bytes += archive->size;
    return 0;
}

/* All that is pending goes into blocks of the open index archive. */
static int flush(struct runindex *index, struct err *err)
{
    uint32_t raw, stored;
    int r = 0;

    for (size_t at = 0; r == 0 && at < index->pending.size;) {
        size_t left = index->pending.size - at;
        size_t size = left < BLOCK_RAW_TARGET ? left : BLOCK_RAW_TARGET;
        r = writer_append(index->writer, index->codec, index->pending.data + at, size, NULL, 0,
                          &raw, &stored, err);
        at += size;
    }
    index->pending.size = 0;
    return r;
}

static int close_archive(struct runindex *index, struct err *err)
{
    struct writer_result result;

    if (!index->writer)
        return 0;
    int r = flush(index, err);
    if (r < 0)
        return r;
    r = writer_commit(STEAL(index->writer), NULL, NULL, &result, err);
    return r < 0 ? r : list_archive(index, &result, err);
}

/* Records stay whole: one that does not fit begins the next index archive. */
static int put_record(struct runindex *index, const void *record, size_t size, struct err *err)
{
    int r = 0;

    if (index->writer && !writer_has_room(index->writer, index->pending.size + size, 0))
        r = close_archive(index, err);
    if (r == 0 && !index->writer)
        r = writer_new(index->repo, ARCHIVE_INDEX, &index->writer, err);
    if (r == 0)
        r = buf_append(&index->pending, record, size, err);
    if (r == 0 && index->pending.size >= BLOCK_RAW_TARGET)
        r = flush(index, err);
    return r;
}

/* What the baseline knows, dedup need not. */
static void hand_over(struct runindex *index, const struct writer_result *archive,
                      const void *record, size_t size, struct dedup *dedup)
{
    const uint8_t *at = record;
    struct index_record parsed;
    struct chunk *chunks = NULL;
    size_t need = 0, count = 0;
    struct err err;

    if (!index->baseline)
        return;
    if (index->baseline->ops->add_archive(index->baseline, archive, record, size, &err) < 0) {
        log_debug("the catalog did not take an archive in: %s", err.text);
        return;
    }
    if (!dedup || archive->kind != ARCHIVE_DATA)
        return;
    if (index_record_parse(&at, at + size, &parsed, &need, &err) == 0 && need == 0 &&
        index_record_chunks(&parsed, &chunks, &count, &err) == 0)
        for (size_t i = 0; i < count; i++)
            dedup_forget(dedup, chunks[i].id);
    free(chunks);
}

int runindex_add(struct runindex *index, const struct writer_result *archive, const void *record,
                 size_t size, struct dedup *dedup, struct err *err)
{
    hand_over(index, archive, record, size, dedup);
    pthread_mutex_lock(&index->lock);
    int r = list_archive(index, archive, err);
    if (r == 0)
        r = put_record(index, record, size, err);
    pthread_mutex_unlock(&index->lock);
    return r;
}

int runindex_finish(struct runindex *index, struct err *err)
{
    return close_archive(index, err);
}

void runindex_take(struct runindex *index, struct root_archive **out, size_t *out_count)
{
    *out = STEAL(index->archives);
    *out_count = index->count;
    index->count = index->capacity = 0;
}

uint64_t runindex_bytes(const struct runindex *index)
{
    return index->bytes;
}
