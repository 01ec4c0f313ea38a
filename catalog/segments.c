#include "catalog/segments.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/err.h"

struct segments {
    size_t hold_bytes;
    pthread_rwlock_t lock; /* guards what follows */
    size_t count, capacity;
    struct segment **at; /* the oldest first */
    size_t held;
};

struct segments *segments_new(size_t hold_bytes)
{
    struct segments *segments = calloc(1, sizeof(*segments));

    if (!segments)
        return NULL;
    pthread_rwlock_init(&segments->lock, NULL);
    segments->hold_bytes = hold_bytes;
    return segments;
}

void segments_free(struct segments *segments)
{
    if (!segments)
        return;
    segments_remove_all(segments);
    free(segments->at);
    pthread_rwlock_destroy(&segments->lock);
    free(segments);
}

static int append(struct segments *segments, struct segment *segment, struct err *err)
{
    if (segments->count == segments->capacity) {
        size_t capacity = segments->capacity ? 2 * segments->capacity : 16;
        struct segment **at = reallocarray(segments->at, capacity, sizeof(struct segment *));
        if (!at)
            return err_set(err, ERR_NOMEM, "out of memory");
        segments->at = at;
        segments->capacity = capacity;
    }
    segments->at[segments->count++] = segment;
    if (segments->held + segment_hot_size(segment) <= segments->hold_bytes) {
        segments->held += segment_hot_size(segment);
        segment_hold(segment);
    }
    return 0;
}

int segments_add(struct segments *segments, struct segment *segment, struct err *err)
{
    pthread_rwlock_wrlock(&segments->lock);
    int r = append(segments, segment, err);
    pthread_rwlock_unlock(&segments->lock);
    if (r < 0)
        segment_close(segment);
    return r;
}

/* What is held is counted anew: which ones were held is not kept. */
static void count_held(struct segments *segments)
{
    segments->held = 0;
    for (size_t i = 0; i < segments->count; i++) {
        size_t size = segment_hot_size(segments->at[i]);
        if (segments->held + size <= segments->hold_bytes)
            segments->held += size;
    }
}

void segments_remove(struct segments *segments, const struct segment *segment)
{
    struct segment *removed = NULL;

    pthread_rwlock_wrlock(&segments->lock);
    for (size_t i = 0; i < segments->count && !removed; i++) {
        if (segments->at[i] != segment)
            continue;
        removed = segments->at[i];
        segments->count--;
        memmove(&segments->at[i], &segments->at[i + 1],
                (segments->count - i) * sizeof(segments->at[0]));
    }
    count_held(segments);
    pthread_rwlock_unlock(&segments->lock);
    segment_close(removed);
}

void segments_remove_all(struct segments *segments)
{
    for (struct segment *last; (last = segments_at(segments, 0)) != NULL;)
        segments_remove(segments, last);
}

size_t segments_count(struct segments *segments)
{
    pthread_rwlock_rdlock(&segments->lock);
    size_t count = segments->count;
    pthread_rwlock_unlock(&segments->lock);
    return count;
}

struct segment *segments_named(struct segments *segments, const char *name)
{
    struct segment *found = NULL;

    pthread_rwlock_rdlock(&segments->lock);
    for (size_t i = 0; i < segments->count && !found; i++) {
        if (strcmp(segment_name(segments->at[i]), name) == 0)
            found = segments->at[i];
    }
    pthread_rwlock_unlock(&segments->lock);
    return found;
}

struct segment *segments_at(struct segments *segments, size_t index)
{
    pthread_rwlock_rdlock(&segments->lock);
    struct segment *segment = index < segments->count ? segments->at[index] : NULL;
    pthread_rwlock_unlock(&segments->lock);
    return segment;
}

bool segments_find(struct segments *segments, const struct states *states, const uint8_t id[32],
                   uint32_t length, struct place *out)
{
    bool found = false;

    pthread_rwlock_rdlock(&segments->lock);
    for (size_t i = segments->count; i > 0 && !found; i--)
        found = segment_find(segments->at[i - 1], states, id, length, out);
    pthread_rwlock_unlock(&segments->lock);
    return found;
}

bool segments_rotten(struct segments *segments)
{
    bool rotten = false;

    pthread_rwlock_rdlock(&segments->lock);
    for (size_t i = 0; i < segments->count && !rotten; i++)
        rotten = segment_rotten(segments->at[i]);
    pthread_rwlock_unlock(&segments->lock);
    return rotten;
}

/* Sizes of one tier differ by a factor of four at most; tier 0 is all that is small. */
static unsigned tier_of(const struct segment *segment)
{
    unsigned tier = 0;

    for (uint64_t count = segment_count(segment) / 4096; count > 0; count /= 4)
        tier++;
    return tier;
}

size_t segments_pick(struct segments *segments, struct segment *out[SEGMENTS_MERGE_AT])
{
    size_t picked = 0;

    pthread_rwlock_rdlock(&segments->lock);
    for (unsigned tier = 0; tier <= 32 && picked < SEGMENTS_MERGE_AT; tier++) {
        picked = 0;
        for (size_t i = 0; i < segments->count && picked < SEGMENTS_MERGE_AT; i++) {
            if (tier_of(segments->at[i]) == tier)
                out[picked++] = segments->at[i];
        }
    }
    pthread_rwlock_unlock(&segments->lock);
    return picked == SEGMENTS_MERGE_AT ? picked : 0;
}
