#include "backup/job/packer.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "backup/archive/codec.h"
#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/job/dedup.h"
#include "backup/job/runindex.h"

enum { DRY_CHUNKS_MAX = 1024 * 1024 };

/* An archive being filled.  The packer holds one use while it is its lane's current one. */
struct filling {
    struct writer *writer;
    unsigned uses; /* under packer->lock */
};

struct lane {
    struct filling *current; /* NULL: none open */
    size_t files;            /* that go into it and no other */
};

struct packer {
    struct packer_options options;
    _Atomic uint64_t stored, dry_chunks;
    pthread_mutex_t lock; /* guards what follows */
    struct lane lanes[PACKER_LANES];
};

int packer_new(const struct packer_options *options, struct packer **out, struct err *err)
{
    struct packer *packer = calloc(1, sizeof(*packer));
    if (!packer)
        return err_set(err, ERR_NOMEM, "no memory for a packer");
    packer->options = *options;
    pthread_mutex_init(&packer->lock, NULL);
    *out = packer;
    return 0;
}

void packer_free(struct packer *packer)
{
    if (!packer)
        return;
    for (size_t i = 0; i < PACKER_LANES; i++) {
        struct filling *filling = packer->lanes[i].current;
        if (filling)
            writer_abort(filling->writer);
        free(filling);
    }
    pthread_mutex_destroy(&packer->lock);
    free(packer);
}

size_t packer_lane_begin(struct packer *packer)
{
    size_t best = 0;

    pthread_mutex_lock(&packer->lock);
    for (size_t i = 1; i < PACKER_LANES; i++)
        if (packer->lanes[i].files < packer->lanes[best].files)
            best = i;
    packer->lanes[best].files++;
    pthread_mutex_unlock(&packer->lock);
    return best;
}

void packer_lane_end(struct packer *packer, size_t lane)
{
    pthread_mutex_lock(&packer->lock);
    assert(packer->lanes[lane].files > 0);
    packer->lanes[lane].files--;
    pthread_mutex_unlock(&packer->lock);
}

/* Full, and nobody writes into it any more. */
static int commit(struct packer *packer, struct filling *filling, struct err *err)
{
    CLEANUP(buf_clear) struct buf record = {.limit = RUNINDEX_RECORD_MAX};
    struct writer_result result;

    int r = writer_commit(filling->writer, NULL, &record, &result, err);
    free(filling);
    if (r < 0)
        return r;
    return runindex_add(packer->options.index, &result, record.data, record.size,
                        packer->options.dedup, err);
}

/* The lane's current archive, opened if there is none, with one more use. */
static int take_current(struct packer *packer, struct lane *lane, struct filling **out,
                        struct err *err)
{
    int r = 0;

    pthread_mutex_lock(&packer->lock);
    if (!lane->current) {
        struct filling *fresh = calloc(1, sizeof(*fresh));
        r = fresh ? writer_new(packer->options.repo, ARCHIVE_DATA, &fresh->writer, err)
                  : err_set(err, ERR_NOMEM, "no memory for an archive");
        if (r < 0) {
            free(fresh);
        } else {
            fresh->uses = 1;
            lane->current = fresh;
        }
    }
    if (r == 0) {
        lane->current->uses++;
        *out = lane->current;
    }
    pthread_mutex_unlock(&packer->lock);
    return r;
}

/* Ends one use; `full` takes it out of its place as the current one.  Who ends the last use
 * commits. */
static int release(struct packer *packer, struct lane *lane, struct filling *filling, bool full,
                   struct err *err)
{
    pthread_mutex_lock(&packer->lock);
    if (full && lane->current == filling) {
        lane->current = NULL;
        filling->uses--;
    }
    bool last = --filling->uses == 0;
    pthread_mutex_unlock(&packer->lock);
    return last ? commit(packer, filling, err) : 0;
}

static int put_dry(struct packer *packer, struct codec *codec, const uint8_t *raw, size_t size,
                   struct err *err)
{
    uint8_t *plain;
    size_t stored;

    int r = codec_encode(codec, raw, size, &plain, &stored, err);
    if (r == 0)
        packer->stored += stored;
    return r;
}

static int put(struct packer *packer, struct lane *lane, struct codec *codec, const uint8_t *raw,
               size_t size, struct chunk *chunks, size_t count, uint32_t *out_archive,
               struct err *err)
{
    for (;;) {
        struct filling *filling = NULL;
        uint32_t start = 0, stored = 0;
        struct err ignored;

        int r = take_current(packer, lane, &filling, err);
        if (r < 0)
            return r;
        bool full = !writer_has_room(filling->writer, size, count);
        if (!full) {
            r = writer_append(filling->writer, codec, raw, size, chunks, count, &start, &stored,
                              err);
            *out_archive = writer_archive(filling->writer);
        }
        full = full || r == -ERR_TOO_LARGE;
        bool done = !full && r == 0;
        packer->stored += stored;
        if (r < 0 && !full) {
            release(packer, lane, filling, false, &ignored);
            return r;
        }
        r = release(packer, lane, filling, full, err);
        if (r < 0 || done)
            return r;
    }
}

int packer_put(struct packer *packer, size_t lane, struct codec *codec, const uint8_t *raw,
               size_t size, struct chunk *chunks, size_t count, uint32_t *out_archive,
               struct err *err)
{
    bool dry = packer->options.dry_run;
    int r =
        dry ? put_dry(packer, codec, raw, size, err)
            : put(packer, &packer->lanes[lane], codec, raw, size, chunks, count, out_archive, err);

    if (dry)
        *out_archive = 0;
    for (size_t i = 0; i < count; i++) {
        struct place place = {r < 0 ? (uint32_t)NO_ARCHIVE : *out_archive, chunks[i].raw};
        dedup_settle(packer->options.dedup, chunks[i].id, place);
        /* No archive is ever finished in a dry run, so what is remembered is bounded here. */
        if (dry && packer->dry_chunks++ > DRY_CHUNKS_MAX)
            dedup_forget(packer->options.dedup, chunks[i].id);
    }
    return r;
}

/* Takes a lane's archive out if it has no room, though nobody has brought what would not fit;
 * returns it if nobody writes into it. */
static struct filling *take_out_old(struct packer *packer, struct lane *lane)
{
    struct filling *old = NULL;

    pthread_mutex_lock(&packer->lock);
    if (lane->current && !writer_has_room(lane->current->writer, 0, 0)) {
        struct filling *filling = STEAL(lane->current);
        old = --filling->uses == 0 ? filling : NULL;
    }
    pthread_mutex_unlock(&packer->lock);
    return old;
}

int packer_close_old(struct packer *packer, struct err *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < PACKER_LANES; i++) {
        struct filling *old = take_out_old(packer, &packer->lanes[i]);
        r = old ? commit(packer, old, err) : 0;
    }
    return r;
}

int packer_finish(struct packer *packer, struct err *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < PACKER_LANES; i++) {
        struct filling *filling = STEAL(packer->lanes[i].current);
        assert(!filling || filling->uses == 1);
        r = filling ? commit(packer, filling, err) : 0;
    }
    return r;
}

uint64_t packer_stored(const struct packer *packer)
{
    return packer->stored;
}
