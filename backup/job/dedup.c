#include "backup/job/dedup.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/err.h"
#include "backup/job/baseline.h"
#include "backup/job/references.h"

enum { SHARDS = 64, FIRST_BUCKETS = 64 };

struct sighting {
    struct sighting *next;
    struct place place;
    unsigned waiting; /* who waits, or is about to */
    bool settled, forgotten;
    uint8_t id[32];
};

struct shard {
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t settled;
    struct sighting **buckets;
    size_t bucket_count, count;
};

struct dedup {
    struct baseline *baseline;
    struct references *references;
    const struct references *refused;
    struct shard shards[SHARDS];
};

/* Ids are hashes: their bytes serve as they are. */
static struct shard *shard_of(struct dedup *dedup, const uint8_t id[32])
{
    return &dedup->shards[id[0] % SHARDS];
}

static struct sighting **bucket_of(const struct shard *shard, const uint8_t id[32])
{
    uint64_t hash;

    memcpy(&hash, id + 8, sizeof(hash));
    return &shard->buckets[hash % shard->bucket_count];
}

static struct sighting **find(const struct shard *shard, const uint8_t id[32])
{
    struct sighting **at = bucket_of(shard, id);

    while (*at && memcmp((*at)->id, id, 32) != 0)
        at = &(*at)->next;
    return at;
}

struct dedup *dedup_new(struct baseline *baseline, struct references *references,
                        const struct references *refused)
{
    struct dedup *dedup = calloc(1, sizeof(*dedup));
    if (!dedup)
        return NULL;
    dedup->baseline = baseline;
    dedup->references = references;
    dedup->refused = refused;
    bool complete = true;
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = &dedup->shards[i];
        pthread_mutex_init(&shard->lock, NULL);
        pthread_cond_init(&shard->settled, NULL);
        shard->bucket_count = FIRST_BUCKETS;
        shard->buckets = calloc(FIRST_BUCKETS, sizeof(*shard->buckets));
        complete = complete && shard->buckets;
    }
    if (complete)
        return dedup;
    dedup_free(dedup);
    return NULL;
}

static void free_shard(struct shard *shard)
{
    for (size_t i = 0; shard->buckets && i < shard->bucket_count; i++)
        while (shard->buckets[i]) {
            struct sighting *gone = shard->buckets[i];
            shard->buckets[i] = gone->next;
            free(gone);
        }
    free(shard->buckets);
    pthread_cond_destroy(&shard->settled);
    pthread_mutex_destroy(&shard->lock);
}

void dedup_free(struct dedup *dedup)
{
    if (!dedup)
        return;
    for (size_t i = 0; i < SHARDS; i++)
        free_shard(&dedup->shards[i]);
    free(dedup);
}

/* Twice the buckets; if there is no memory for them the chains grow instead. */
static void grow(struct shard *shard)
{
    struct shard wider = {.bucket_count = shard->bucket_count * 2};

    wider.buckets = calloc(wider.bucket_count, sizeof(*wider.buckets));
    if (!wider.buckets)
        return;
    for (size_t i = 0; i < shard->bucket_count; i++)
        while (shard->buckets[i]) {
            struct sighting *moved = shard->buckets[i];
            shard->buckets[i] = moved->next;
            struct sighting **to = bucket_of(&wider, moved->id);
            moved->next = *to;
            *to = moved;
        }
    free(shard->buckets);
    shard->buckets = wider.buckets;
    shard->bucket_count = wider.bucket_count;
}

static int claim_locked(struct shard *shard, const uint8_t id[32], struct place *out_place,
                        struct sighting **out_other, struct err *err)
{
    struct sighting **at = find(shard, id);

    if (*at && (*at)->settled) {
        *out_place = (*at)->place;
        return DEDUP_KNOWN;
    }
    if (*at) {
        (*at)->waiting++;
        *out_other = *at;
        return DEDUP_PENDING;
    }
    struct sighting *fresh = calloc(1, sizeof(*fresh));
    if (!fresh)
        return err_set(err, ERR_NOMEM, "no memory for the chunks of this run");
    memcpy(fresh->id, id, 32);
    *at = fresh;
    if (++shard->count > shard->bucket_count * 2)
        grow(shard);
    return DEDUP_CLAIMED;
}

int dedup_claim(struct dedup *dedup, const uint8_t id[32], uint32_t length, struct place *out_place,
                struct sighting **out_other, struct err *err)
{
    struct baseline *baseline = dedup->baseline;
    struct shard *shard = shard_of(dedup, id);

    if (baseline && baseline->ops->find_chunk(baseline, id, length, out_place) &&
        !references_has(dedup->refused, out_place->archive)) {
        references_note(dedup->references, out_place->archive);
        return DEDUP_KNOWN;
    }
    pthread_mutex_lock(&shard->lock);
    int r = claim_locked(shard, id, out_place, out_other, err);
    pthread_mutex_unlock(&shard->lock);
    return r;
}

static void drop(struct shard *shard, struct sighting **at)
{
    struct sighting *gone = *at;

    *at = gone->next;
    shard->count--;
    if (gone->waiting == 0)
        free(gone);
    else
        gone->forgotten = true; /* the last who waits frees it */
}

void dedup_settle(struct dedup *dedup, const uint8_t id[32], struct place place)
{
    struct shard *shard = shard_of(dedup, id);

    pthread_mutex_lock(&shard->lock);
    struct sighting **at = find(shard, id);
    if (*at) {
        (*at)->place = place;
        (*at)->settled = true;
        if (place.archive == NO_ARCHIVE)
            drop(shard, at); /* the next who meets it tries for himself */
        pthread_cond_broadcast(&shard->settled);
    }
    pthread_mutex_unlock(&shard->lock);
}

bool dedup_wait(struct dedup *dedup, const uint8_t id[32], struct sighting *other,
                struct place *out_place)
{
    struct shard *shard = shard_of(dedup, id);

    pthread_mutex_lock(&shard->lock);
    while (!other->settled)
        pthread_cond_wait(&shard->settled, &shard->lock);
    *out_place = other->place;
    if (--other->waiting == 0 && other->forgotten)
        free(other);
    pthread_mutex_unlock(&shard->lock);
    return out_place->archive != NO_ARCHIVE;
}

void dedup_forget(struct dedup *dedup, const uint8_t id[32])
{
    struct shard *shard = shard_of(dedup, id);

    pthread_mutex_lock(&shard->lock);
    struct sighting **at = find(shard, id);
    if (*at && (*at)->settled)
        drop(shard, at);
    pthread_mutex_unlock(&shard->lock);
}
