/*
 * Sparse archives: what is needed of them is moved into new ones, a batch at a time.
 *
 * A batch is the new archives, their index, the remap; only then are the old ones marked (or
 * deleted, by who works alone).  What an interrupted one leaves are archives that no remap leads
 * to.
 */
#include <stdlib.h>

#include "backup/archive/blocks.h"
#include "backup/archive/idtable.h"
#include "backup/archive/move.h"
#include "backup/archive/reader.h"
#include "backup/archive/repo.h"
#include "backup/archive/writer.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/log.h"
#include "backup/base/progress.h"
#include "backup/job/prune_internal.h"
#include "backup/job/runindex.h"
#include "backup/store/cold.h"
#include "backup/store/store.h"

enum {
    BATCH_ARCHIVES = 4096,
    LEAST_DEAD = 4096, /* less is not worth an archive, its index and its remap */
};

static const uint64_t batch_bytes = UINT64_C(1) << 30; /* needed bytes moved before they count */

/* Some archives of one kind. */
struct batch {
    struct prune *prune;
    struct mover *mover;
    struct runindex *index;
    uint32_t *moved;
    size_t count;
    uint64_t bytes;
};

static void batch_clear(struct batch *batch)
{
    mover_free(batch->mover);
    runindex_free(batch->index);
    free(batch->moved);
    *batch = (struct batch){.prune = batch->prune};
}

/* ---- which are sparse -------------------------------------------------------------------- */

static bool is_needed_block(const struct prune *prune, uint32_t archive, size_t number)
{
    return liveness_has_block(prune->kept, archive, number) ||
           liveness_has_block(prune->graced, archive, number);
}

/* The stored bytes that are needed, and whether that is too little: of the blocks, since a small
 * archive is more than those. */
static bool is_sparse(const struct prune *prune, uint32_t archive, const struct reader *reader,
                      uint64_t *out_needed)
{
    uint64_t all = 0, needed = 0;

    for (size_t i = 0; i < reader_blocks(reader); i++) {
        uint64_t size = reader_block(reader, i)->stored_size;

        all += size;
        needed += is_needed_block(prune, archive, i) ? size : 0;
    }
    *out_needed = needed;
    return all - needed >= LEAST_DEAD && needed < all * prune->options->compact_percent / 100;
}

/* Whether it is to be moved. */
static bool is_wanted(const struct prune *prune, uint32_t archive, const struct reader *reader,
                      uint64_t *out_needed)
{
    bool sparse = is_sparse(prune, archive, reader, out_needed);

    if (!prune->options->reseal)
        return sparse;
    return *out_needed > 0 && reader_epoch(reader) < keyring_epoch(prune->repo->keyring);
}

static bool may_be_of_older_epoch(struct prune *prune, uint32_t archive)
{
    const struct prune_object *object = prune_object(prune, archive);
    enum archive_kind kind = idtable_kind(prune->repo->ids, archive);

    return object->flags & FLAG_THERE && !(object->flags & FLAG_DELETE) &&
           (kind == ARCHIVE_DATA || kind == ARCHIVE_METADATA) &&
           (liveness_has(prune->kept, archive) || liveness_has(prune->graced, archive));
}

/* By what is known without opening it; what a forgotten snapshot needs comes on top of that. */
static bool may_be_sparse(struct prune *prune, uint32_t archive)
{
    const struct prune_object *object = prune_object(prune, archive);
    enum archive_kind kind = idtable_kind(prune->repo->ids, archive);
    const unsigned refused = FLAG_MARKED | FLAG_MARK | FLAG_DELETE | FLAG_COLD;
    uint64_t stored = liveness_stored(prune->kept, archive);

    if (prune->options->reseal)
        return may_be_of_older_epoch(prune, archive);
    return object->flags & FLAG_THERE && !(object->flags & refused) &&
           (kind == ARCHIVE_DATA || kind == ARCHIVE_METADATA) &&
           liveness_has(prune->kept, archive) && stored < object->size &&
           object->size - stored >= LEAST_DEAD &&
           stored / prune->options->compact_percent < object->size / 100 + 1;
}

/* ---- moving ------------------------------------------------------------------------------ */

static int archive_done(void *context, const struct writer_result *archive, const void *record,
                        size_t size, struct err *err)
{
    struct batch *batch = context;

    return runindex_add(batch->index, archive, record, size, NULL, err);
}

static int batch_open(struct batch *batch, enum archive_kind kind, struct err *err)
{
    struct repo *repo = batch->prune->repo;
    int r = mover_new(repo, kind, archive_done, batch, &batch->mover, err);

    if (r == 0)
        r = runindex_new(repo, NULL, &batch->index, err);
    batch->moved = calloc(BATCH_ARCHIVES, sizeof(*batch->moved));
    if (r == 0 && !batch->moved)
        return err_set(err, ERR_NOMEM, "no memory to move archives");
    return r;
}

static int move_one(struct batch *batch, uint32_t archive, const struct reader *reader,
                    struct err *err)
{
    uint8_t needed[ARCHIVE_BLOCKS_MAX / 8] = {0};

    for (size_t i = 0; i < reader_blocks(reader) && i < ARCHIVE_BLOCKS_MAX; i++)
        if (is_needed_block(batch->prune, archive, i))
            needed[i / 8] = (uint8_t)(needed[i / 8] | 1U << i % 8);
    return mover_add(batch->mover, reader, needed, err);
}

/* What cannot be read stays where it is, for verify to tell. */
static int consider(struct batch *batch, uint32_t archive, struct err *err)
{
    struct prune *prune = batch->prune;
    struct blocks *blocks = prune->options->blocks;
    const struct reader *reader;
    uint64_t needed = 0;
    int r = blocks_acquire(blocks, archive, &reader, err);

    if (r < 0)
        return r == -ERR_CORRUPT || r == -ERR_NOT_FOUND || r == -ERR_COLD ? 0 : r;
    bool wanted = is_wanted(prune, archive, reader, &needed);
    if (wanted && !prune->options->dry_run)
        r = move_one(batch, archive, reader, err);
    blocks_release(blocks, archive, reader);
    bool stays = r == -ERR_CORRUPT || r == -ERR_COLD;
    if (stays)
        log_warn("not compacted: %s", err->text);
    if (r < 0 || !wanted)
        return stays ? 0 : r;
    batch->moved[batch->count++] = archive;
    batch->bytes += needed;
    return 0;
}

/* ---- what follows ------------------------------------------------------------------------ */

static bool is_named(void *context, const struct remap_entry *entry)
{
    const struct prune *prune = context;
    uint32_t old = idtable_find(prune->repo->ids, &entry->old);

    return liveness_names(prune->kept, old) || liveness_names(prune->graced, old);
}

static int publish(struct batch *batch, struct err *err)
{
    struct prune *prune = batch->prune;
    struct writer_result remap = {0};
    size_t count = 0;
    int r = mover_finish(batch->mover, err);

    if (r == 0)
        r = runindex_finish(batch->index, err);
    if (r < 0)
        return r;
    const struct remap_entry *entries = mover_entries(batch->mover, &count);
    r = remap_publish(prune->repo, entries, count, is_named, prune, &remap, err);
    if (r == 0)
        prune->result->moved_bytes += runindex_bytes(batch->index) + remap.size;
    return r;
}

static int finish(struct batch *batch, struct err *err)
{
    struct prune *prune = batch->prune;
    bool dry = prune->options->dry_run;
    int r = batch->count > 0 && !dry ? publish(batch, err) : 0;

    for (size_t i = 0; r == 0 && i < batch->count; i++) {
        uint32_t archive = batch->moved[i];
        char name[OBJECT_NAME_SIZE];

        repo_object_name(idtable_kind(prune->repo->ids, archive),
                         idtable_id(prune->repo->ids, archive), name);
        prune->result->compacted++;
        prune->result->compacted_bytes += prune_object(prune, archive)->size;
        prune_tell(prune, PRUNE_COMPACT, name, prune_object(prune, archive)->size);
        r = prune_retire(prune, archive, err);
    }
    if (dry)
        prune->result->moved_bytes += batch->bytes + batch->bytes / 64; /* tables and padding */
    return r;
}

static int compact_kind(struct prune *prune, enum archive_kind kind, uint32_t *next,
                        struct err *err)
{
    CLEANUP(batch_clear) struct batch batch = {.prune = prune};
    int r = batch_open(&batch, kind, err);

    for (; r == 0 && *next < prune->object_room; ++*next) {
        if (batch.bytes >= batch_bytes || batch.count == BATCH_ARCHIVES)
            break;
        if (progress_cancelled(prune->options->progress))
            return err_set(err, ERR_CANCELLED, "interrupted; the next prune goes on");
        if (idtable_count(prune->repo->ids) > *next &&
            idtable_kind(prune->repo->ids, *next) == kind && may_be_sparse(prune, *next))
            r = consider(&batch, *next, err);
    }
    return r < 0 ? r : finish(&batch, err);
}

/* To move what is needed would take a thaw; so it stays, and is told. */
static void count_cold(struct prune *prune)
{
    for (uint32_t i = 0; i < prune->object_room; i++) {
        if (!liveness_is_cold(prune->kept, i))
            continue;
        prune->result->cold++;
        prune->result->cold_bytes += prune_object(prune, i)->size;
    }
}

static int note_cold(void *context, const struct cold_listed *listed, struct err *err)
{
    struct prune *prune = context;
    struct archive_id id;
    struct err ignored;
    uint32_t number;

    (void)err;
    if (cold_freezes(listed->class) && idtable_parse(listed->name, &id) &&
        idtable_number(prune->repo->ids, &id, ARCHIVE_DATA, &number, &ignored) == 0 &&
        number < prune->object_room)
        prune->objects[number].flags |= FLAG_COLD;
    return 0;
}

/* A disk that is full is no failure: what was freed is freed. */
int prune_compact(struct prune *prune, struct err *err)
{
    static const enum archive_kind kinds[] = {ARCHIVE_DATA, ARCHIVE_METADATA};
    int r = 0;

    bool wanted = prune->options->compact_percent > 0 || prune->options->reseal;

    if (wanted) {
        count_cold(prune);
        r = cold_list(prune->repo->store, "data/", note_cold, prune, err);
    }

    for (size_t i = 0; r == 0 && i < 2 && wanted; i++)
        for (uint32_t next = 0; r == 0 && next < prune->object_room;)
            r = compact_kind(prune, kinds[i], &next, err);
    if (r < 0 && (err->cause == ENOSPC || err->cause == EDQUOT)) {
        prune->result->no_room = true;
        return 0;
    }
    return r;
}
