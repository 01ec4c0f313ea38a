#include "backup/job/waltails.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/wal.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/log.h"
#include "backup/store/store.h"

enum { TAILS_MAX = 1024 * 1024, FIRST_CAPACITY = 64 };

struct names {
    struct waltail *at;
    size_t count, capacity;
};

static void names_clear(struct names *names)
{
    free(names->at);
}

static int note_name(void *context, const char *name, uint64_t size, struct err *err)
{
    struct names *names = context;
    char object[OBJECT_NAME_SIZE];

    (void)size;
    int length = snprintf(object, sizeof(object), "tails/%s", name);
    if (length >= (int)sizeof(object) || !wal_is_name(object))
        return 0; /* not the repository's */
    if (names->count == names->capacity) {
        size_t capacity = names->capacity > 0 ? 2 * names->capacity : FIRST_CAPACITY;
        void *grown =
            capacity > TAILS_MAX ? NULL : reallocarray(names->at, capacity, sizeof(*names->at));
        if (!grown)
            return err_set(err, ERR_NOMEM, "no memory to list pieces of segments");
        names->at = grown;
        names->capacity = capacity;
    }
    struct waltail *tail = &names->at[names->count++];
    *tail = (struct waltail){0};
    memcpy(tail->object, object, sizeof(object));
    return 0;
}

/* *out_good: it is there and opens. */
static int read_tail(struct repo *repo, struct waltail *tail, bool *out_good, bool *out_damaged,
                     struct err *err)
{
    CLEANUP(walreader_closep) struct walreader *reader = NULL;
    int r = walreader_open(repo, tail->object, &reader, err);

    *out_good = r == 0;
    *out_damaged = r == -ERR_CORRUPT || r == -ERR_WRONG_KEY;
    if (*out_damaged)
        log_warn("damaged: %s", err->text);
    if (*out_damaged || r == -ERR_NOT_FOUND)
        return 0;
    if (r < 0)
        return r;
    const struct wal_meta *meta = walreader_meta(reader);
    tail->system = meta->system;
    tail->timeline = meta->timeline;
    tail->segment_size = meta->segment_size;
    tail->start = meta->start;
    tail->length = meta->length;
    return 0;
}

static int compare(const void *a, const void *b)
{
    const struct waltail *x = a, *y = b;

    if (x->start != y->start)
        return x->start < y->start ? -1 : 1;
    return x->length > y->length ? -1 : x->length < y->length;
}

int waltails_find(struct repo *repo, uint64_t system, uint32_t timeline, struct waltails *out,
                  struct err *err)
{
    CLEANUP(names_clear) struct names names = {0};
    size_t kept = 0, damaged = 0;
    int r = store_list(repo->store, "tails/", note_name, &names, err);

    for (size_t i = 0; r == 0 && i < names.count; i++) {
        bool good = false, bad = false;
        struct waltail tail = names.at[i];
        r = read_tail(repo, &tail, &good, &bad, err);
        damaged += bad;
        if (good && tail.system == system && tail.timeline == timeline)
            names.at[kept++] = tail;
    }
    if (r < 0)
        return r;
    if (kept > 0)
        qsort(names.at, kept, sizeof(*names.at), compare);
    *out = (struct waltails){STEAL(names.at), kept, damaged};
    return 0;
}

void waltails_clear(struct waltails *tails)
{
    free(tails->at);
    *tails = (struct waltails){0};
}

uint64_t waltails_end(const struct waltails *tails, uint64_t start, uint64_t segment_size)
{
    uint64_t end = start;

    for (size_t i = 0; i < tails->count; i++) {
        const struct waltail *tail = &tails->at[i];
        if (tail->start >= start && tail->start < start + segment_size && tail->start <= end &&
            tail->start + tail->length > end)
            end = tail->start + tail->length;
    }
    return end;
}

static int remove_if_whole(struct repo *repo, const struct waltail *tail, struct err *err)
{
    CLEANUP(walreader_closep) struct walreader *reader = NULL;
    const struct wal_meta meta = {.what = WAL_SEGMENT,
                                  .system = tail->system,
                                  .timeline = tail->timeline,
                                  .segment_size = tail->segment_size,
                                  .start = tail->start - tail->start % tail->segment_size};
    char object[OBJECT_NAME_SIZE];

    wal_object_name(repo, &meta, object);
    int r = walreader_open(repo, object, &reader, err);
    if (r == -ERR_NOT_FOUND || r == -ERR_CORRUPT || r == -ERR_WRONG_KEY)
        return 0; /* then these pieces are all there is */
    if (r == 0)
        r = store_remove(repo->store, tail->object, err);
    return r == -ERR_NOT_FOUND ? 0 : r;
}

int waltails_sweep(struct repo *repo, const struct waltails *tails, struct err *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < tails->count; i++)
        r = remove_if_whole(repo, &tails->at[i], err);
    return r;
}
