#include "backup/job/walseed.h"

#include <string.h>

#include "backup/archive/wal.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/log.h"
#include "backup/source/pgwal.h"
#include "backup/store/store.h"

int walseed_find(struct repo *repo, uint64_t system, uint32_t timeline, uint64_t segment_size,
                 uint64_t start, struct pgwal_open *out, struct err *err)
{
    CLEANUP(walreader_closep) struct walreader *reader = NULL;
    struct wal_meta before = {
        .what = WAL_SEGMENT, .system = system, .timeline = timeline, .segment_size = segment_size};
    char object[OBJECT_NAME_SIZE];

    out->lsn = 0;
    out->size = 0;
    if (start < segment_size)
        return 0;
    before.start = start - segment_size;
    wal_object_name(repo, &before, object);
    int r = walreader_open(repo, object, &reader, err);
    if (r == -ERR_NOT_FOUND || r == -ERR_CORRUPT || r == -ERR_WRONG_KEY)
        return 0;
    if (r < 0)
        return r;
    const struct wal_meta *meta = walreader_meta(reader);
    if (meta->open_lsn == 0 || meta->open_size > sizeof(out->bytes))
        return 0;
    out->lsn = meta->open_lsn;
    out->size = meta->open_size;
    memcpy(out->bytes, meta->open, meta->open_size);
    return 0;
}

static int pass(void *context, const uint8_t *bytes, size_t count, struct err *err)
{
    (void)context;
    (void)bytes;
    (void)count;
    (void)err;
    return 0;
}

int walseed_drop_damaged(struct repo *repo, const struct wal_meta *meta, struct err *err)
{
    CLEANUP(walreader_closep) struct walreader *reader = NULL;
    char object[OBJECT_NAME_SIZE];

    wal_object_name(repo, meta, object);
    int r = walreader_open(repo, object, &reader, err);
    if (r == 0)
        r = walreader_copy(reader, 0, walreader_meta(reader)->length, pass, NULL, err);
    if (r == 0 || r == -ERR_NOT_FOUND)
        return 0;
    if (r != -ERR_CORRUPT)
        return r;
    log_warn("damaged, and stored again: %s", err->text);
    return store_remove(repo->store, object, err);
}
