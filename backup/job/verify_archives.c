#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backup/archive/idtable.h"
#include "backup/archive/reader.h"
#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/pool.h"
#include "backup/base/progress.h"
#include "backup/base/spill.h"
#include "backup/crypto/digest.h"
#include "backup/job/verify_internal.h"
#include "backup/store/store.h"

enum { FETCH_MAX = 4 * 1024 * 1024, WAITING = 4 };

/* One archive on its way through a worker. */
struct job {
    struct verify *verify;
    uint32_t archive;
    bool decode;
};

/* What a worker needs for one archive. */
struct decoding {
    struct verify *verify;
    uint32_t archive;
    const struct reader *reader;
    struct codec *codec;
    uint8_t *stored, *raw; /* FETCH_MAX and a block; a block */
    struct chunk *chunks;
    size_t chunk_count, chunk_at; /* in the order of `raw` */
};

/* ---- what the store has ------------------------------------------------------------------ */

struct listing {
    struct verify *verify;
    enum archive_kind kind;
};

static int note_object(void *context, const char *name, uint64_t size, struct err *err)
{
    const struct listing *listing = context;
    struct verify *verify = listing->verify;
    struct progress *progress = verify->options->progress;
    struct archive_id id;
    uint32_t number;

    if (!idtable_parse(name, &id))
        return 0;
    int r = idtable_number(verify->repo->ids, &id, listing->kind, &number, err);
    if (r == 0)
        r = verify_mark(verify, number, MARK_THERE, err);
    if (progress && verify->options->data)
        atomic_fetch_add(&progress->bytes_total, size);
    return r;
}

int verify_list(struct verify *verify, struct err *err)
{
    static const struct {
        const char *prefix;
        enum archive_kind kind;
    } folders[] = {{"data/", ARCHIVE_DATA},
                   {"meta/", ARCHIVE_METADATA},
                   {"index/", ARCHIVE_INDEX},
                   {"remap/", ARCHIVE_REMAP}};
    enum { FOLDERS = sizeof(folders) / sizeof(folders[0]) };
    struct listing listings[FOLDERS];
    struct store_listing stores[FOLDERS];

    for (size_t i = 0; i < FOLDERS; i++) {
        listings[i] = (struct listing){verify, folders[i].kind};
        stores[i] = (struct store_listing){folders[i].prefix, note_object, &listings[i]};
    }
    return store_list_all(verify->repo->store, stores, FOLDERS, err);
}

/* ---- blocks ------------------------------------------------------------------------------ */

static void fail(struct verify *verify, const struct err *err)
{
    pthread_mutex_lock(&verify->lock);
    if (verify->failure.code == ERR_NONE)
        verify->failure = *err;
    pthread_mutex_unlock(&verify->lock);
}

/* Damage is told and remembered; anything else ends the run. */
static void found_bad(struct decoding *decoding, size_t number, const struct err *why)
{
    struct verify *verify = decoding->verify;
    struct err err;

    if (!verify_is_damage(why)) {
        fail(verify, why);
        return;
    }
    verify_damaged(verify, decoding->archive, why);
    pthread_mutex_lock(&verify->lock);
    int r = spillmap_put(verify->bad_blocks, decoding->archive, number, 1, &err);
    pthread_mutex_unlock(&verify->lock);
    if (r < 0)
        fail(verify, &err);
}

/* The digests of the chunks in one decoded block. */
static int check_chunks(struct decoding *decoding, const struct block_info *block, size_t number,
                        struct err *err)
{
    const struct digest_key *key = keyring_id_key(decoding->verify->repo->keyring);
    uint64_t end = (uint64_t)block->raw + block->raw_size;
    uint8_t id[DIGEST_SIZE];
    uint64_t checked = 0;
    int r = 0;

    for (; decoding->chunk_at < decoding->chunk_count; decoding->chunk_at++) {
        const struct chunk *chunk = &decoding->chunks[decoding->chunk_at];

        if (chunk->raw >= end)
            break;
        if (chunk->raw < block->raw || chunk->length > end - chunk->raw) {
            r = err_set(err, ERR_CORRUPT, "a chunk lies across blocks");
            continue;
        }
        digest_bytes(key, decoding->raw + (chunk->raw - block->raw), chunk->length, id);
        checked++;
        if (memcmp(id, chunk->id, sizeof(id)) != 0)
            r = err_set(err, ERR_CORRUPT, "block %zu: a chunk is not what its name says", number);
    }
    pthread_mutex_lock(&decoding->verify->lock);
    decoding->verify->result->chunks += checked;
    decoding->verify->result->blocks++;
    decoding->verify->result->bytes += block->raw_size;
    pthread_mutex_unlock(&decoding->verify->lock);
    return r;
}

static void check_block(struct decoding *decoding, size_t number, const uint8_t *stored)
{
    const struct block_info *block = reader_block(decoding->reader, number);
    struct err err;
    int r = reader_decode_fetched(decoding->reader, decoding->codec, number, stored, decoding->raw,
                                  &err);

    if (r == 0)
        r = check_chunks(decoding, block, number, &err);
    if (r < 0)
        found_bad(decoding, number, &err);
    if (decoding->verify->options->data)
        progress_add(decoding->verify->options->progress, 0, block->stored_size);
}

/* How many blocks from `first` on are fetched in one piece. */
static size_t piece(const struct reader *reader, size_t first)
{
    uint64_t start = reader_block(reader, first)->offset;
    size_t count = 1;

    while (first + count < reader_blocks(reader)) {
        const struct block_info *next = reader_block(reader, first + count);

        if (next->offset + next->stored_size - start > FETCH_MAX)
            break;
        count++;
    }
    return count;
}

static void check_blocks(struct decoding *decoding)
{
    size_t total = reader_blocks(decoding->reader);
    size_t count = 0;
    struct err err;

    for (size_t first = 0; first < total && !verify_stopped(decoding->verify); first += count) {
        count = piece(decoding->reader, first);
        int r = reader_fetch(decoding->reader, first, count, decoding->stored, &err);
        uint64_t start = reader_block(decoding->reader, first)->offset;

        for (size_t i = 0; i < count; i++) {
            if (r < 0)
                found_bad(decoding, first + i, &err);
            else
                check_block(decoding, first + i,
                            decoding->stored +
                                (reader_block(decoding->reader, first + i)->offset - start));
        }
    }
}

static int by_raw(const void *a, const void *b)
{
    uint32_t left = ((const struct chunk *)a)->raw, right = ((const struct chunk *)b)->raw;

    return left < right ? -1 : left > right;
}

static int decode_archive(struct decoding *decoding, struct err *err)
{
    enum archive_kind kind = idtable_kind(decoding->verify->repo->ids, decoding->archive);
    int r = 0;

    decoding->codec = codec_new(1);
    decoding->stored = malloc(FETCH_MAX + 2 * BLOCK_RAW_MAX);
    decoding->raw = malloc(BLOCK_RAW_MAX);
    if (!decoding->codec || !decoding->stored || !decoding->raw)
        return err_set(err, ERR_NOMEM, "no memory to decode an archive");
    if (kind == ARCHIVE_DATA)
        r = reader_chunks(decoding->reader, &decoding->chunks, &decoding->chunk_count, err);
    if (r < 0)
        return r;
    if (decoding->chunk_count > 0)
        qsort(decoding->chunks, decoding->chunk_count, sizeof(*decoding->chunks), by_raw);
    check_blocks(decoding);
    if (!verify_stopped(decoding->verify))
        verify_whole(decoding->verify, decoding->archive);
    return 0;
}

/* ---- archives ---------------------------------------------------------------------------- */

static void decoding_clear(struct decoding *decoding)
{
    codec_free(decoding->codec);
    free(decoding->stored);
    free(decoding->raw);
    free(decoding->chunks);
    if (decoding->reader)
        blocks_release(decoding->verify->blocks, decoding->archive, decoding->reader);
}

/* Parts that are not content: header, padding, and the list of archives that metadata refers to. */
static int check_rest(struct verify *verify, uint32_t archive, const struct reader *reader,
                      struct err *err)
{
    struct archive_id *references = NULL;
    size_t count;
    int r = reader_check_header(reader, err);

    if (r == 0)
        r = reader_check_padding(reader, err);
    if (r == 0 && idtable_kind(verify->repo->ids, archive) == ARCHIVE_METADATA)
        r = reader_references(reader, &references, &count, err);
    free(references);
    return r;
}

static int check_archive(struct verify *verify, uint32_t archive, bool decode, struct err *err)
{
    CLEANUP(decoding_clear) struct decoding decoding = {.verify = verify, .archive = archive};
    int r = verify_marks(verify, archive) & MARK_COLD
                ? 0
                : blocks_acquire(verify->blocks, archive, &decoding.reader, err);

    if (r == -ERR_COLD)
        verify_cold(verify, archive);
    if (verify_marks(verify, archive) & MARK_COLD) {
        decoding.reader = NULL;
        return 0;
    }
    if (r < 0) {
        struct err ignored;

        decoding.reader = NULL;
        if (verify_is_damage(err))
            (void)verify_mark(verify, archive, MARK_CLOSED, &ignored);
        return r;
    }
    r = check_rest(verify, archive, decoding.reader, err);
    /* What is wrong there hurts no content, which is looked at all the same. */
    if (r < 0 && verify_is_damage(err)) {
        verify_damaged(verify, archive, err);
        r = 0;
    }
    if (r == 0 && decode)
        r = decode_archive(&decoding, err);
    return r;
}

static void run(void *argument)
{
    struct job *job = argument;
    struct verify *verify = job->verify;
    struct err err;

    if (!verify_stopped(verify) && check_archive(verify, job->archive, job->decode, &err) < 0) {
        if (verify_is_damage(&err))
            verify_damaged(verify, job->archive, &err);
        else
            fail(verify, &err);
    }
    free(job);
}

static int submit(struct verify *verify, struct pool *pool, uint32_t archive, bool decode,
                  struct err *err)
{
    struct job *job = malloc(sizeof(*job));

    if (!job)
        return err_set(err, ERR_NOMEM, "no memory for a job");
    *job = (struct job){.verify = verify, .archive = archive, .decode = decode};
    verify->result->archives++;
    pool_submit(pool, run, job);
    return 0;
}

int verify_archives(struct verify *verify, uint8_t marks, bool metadata_blocks, struct err *err)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t count = idtable_count(verify->repo->ids);
    struct pool *pool = pool_new(cores > 0 ? (size_t)cores : 1, WAITING);
    int r = pool ? 0 : err_set(err, ERR_NOMEM, "no memory, or no threads, to check archives");

    for (uint32_t archive = 0; archive < count && r == 0 && !verify_stopped(verify); archive++) {
        bool metadata = idtable_kind(verify->repo->ids, archive) == ARCHIVE_METADATA;

        if (!(verify_marks(verify, archive) & marks))
            continue;
        r = submit(verify, pool, archive, verify->options->data || (metadata && metadata_blocks),
                   err);
    }
    pool_free(pool);
    if (r == 0 && verify_stopped(verify))
        r = err_set(err, ERR_CANCELLED, "interrupted");
    if (r == 0 && verify->failure.code != ERR_NONE) {
        *err = verify->failure;
        r = -(int)err->code;
    }
    return r;
}
