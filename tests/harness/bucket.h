/*
 * bucket — a local store that is dressed as a bucket with storage classes and locks: for tests of
 * who asks for many objects at once.  What a real server makes of it is in tests/e2e.
 *
 * Each object that is asked for is counted.  Each question may be made to fail, or to be the moment
 * at which somebody interrupts: since a thread that was refused asks for nothing more, there are
 * then no more questions than threads.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/place.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/hex.h"
#include "backup/base/progress.h"
#include "backup/store/cold.h"
#include "backup/store/store.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/temprepo.h"

enum { BUCKET_MAX = 1024, BUCKET_NAME_SIZE = 96 };

struct bucket_object {
    char name[BUCKET_NAME_SIZE];
    const char *class;
    enum cold_state state;
    int64_t age_ns, until_ns;
    bool is_gone; /* listed, and then not there */
    unsigned looks, thaws, moves, renewals;
};

static struct {
    struct store_ops ops;
    const struct store_ops *plain;
    struct err fails;         /* what every question gets; code ERR_NONE: its answer */
    const char *fails_at;     /* … of this object alone */
    struct progress *cancels; /* by the first question */

    pthread_mutex_t lock; /* guards what follows */
    struct bucket_object objects[BUCKET_MAX];
    size_t count;
    unsigned questions;
} bucket = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* What is known of it; of one that was never named: that it was written just now. */
static inline struct bucket_object *bucket_at(const char *name)
{
    for (size_t i = 0; i < bucket.count; i++)
        if (strcmp(bucket.objects[i].name, name) == 0)
            return &bucket.objects[i];
    assert_true(bucket.count < BUCKET_MAX && strlen(name) < BUCKET_NAME_SIZE);
    struct bucket_object *object = &bucket.objects[bucket.count++];
    *object = (struct bucket_object){.class = "STANDARD"};
    strcpy(object->name, name);
    return object;
}

/* Takes the lock; negative: refused. */
static inline int bucket_ask(const char *name, struct bucket_object **out, struct err *err)
{
    pthread_mutex_lock(&bucket.lock);
    bucket.questions++;
    *out = bucket_at(name);
    if (bucket.cancels)
        atomic_store(&bucket.cancels->cancelled, 1);
    if (bucket.fails.code != ERR_NONE && (!bucket.fails_at || strcmp(bucket.fails_at, name) == 0)) {
        *err = bucket.fails;
        return -(int)err->code;
    }
    return (*out)->is_gone ? err_set(err, ERR_NOT_FOUND, "%s is not there", name) : 0;
}

struct bucket_listing {
    const char *prefix;
    cold_list_fn *each;
    void *context;
};

static inline int bucket_list_one(void *context, const char *rest, uint64_t size, struct err *err)
{
    const struct bucket_listing *listing = context;
    char name[BUCKET_NAME_SIZE];

    (void)snprintf(name, sizeof(name), "%s%s", listing->prefix, rest);
    pthread_mutex_lock(&bucket.lock);
    const struct bucket_object *object = bucket_at(name);
    const struct cold_listed listed = {rest, size, object->class, object->age_ns};
    pthread_mutex_unlock(&bucket.lock);
    return listing->each(listing->context, &listed, err);
}

static inline int bucket_list(struct store *store, const char *prefix, cold_list_fn *each,
                              void *context, struct err *err)
{
    struct bucket_listing listing = {prefix, each, context};

    return store_list(store, prefix, bucket_list_one, &listing, err);
}

static inline int bucket_look(struct store *store, const char *name, struct cold_object *out,
                              struct err *err)
{
    struct bucket_object *object;
    int r = bucket_ask(name, &object, err);

    (void)store;
    object->looks++;
    if (r == 0) {
        out->state = object->state;
        strcpy(out->class, object->class);
    }
    pthread_mutex_unlock(&bucket.lock);
    return r;
}

static inline int bucket_thaw(struct store *store, const char *name,
                              const struct cold_object *object, enum cold_tier tier, unsigned days,
                              struct err *err)
{
    struct bucket_object *found;
    int r = bucket_ask(name, &found, err);

    (void)store;
    (void)object;
    (void)tier;
    (void)days;
    if (r == 0) {
        found->thaws++;
        found->state = COLD_THAWING;
    }
    pthread_mutex_unlock(&bucket.lock);
    return r;
}

static inline int bucket_move(struct store *store, const char *name, const char *class,
                              struct err *err)
{
    struct bucket_object *object;
    int r = bucket_ask(name, &object, err);

    (void)store;
    if (r == 0) {
        object->moves++;
        object->class = class;
    }
    pthread_mutex_unlock(&bucket.lock);
    return r;
}

static inline int bucket_retain(struct store *store, const char *name, int64_t until_ns,
                                struct err *err)
{
    struct bucket_object *object;
    int r = bucket_ask(name, &object, err);

    (void)store;
    if (r == 0) {
        object->renewals++;
        object->until_ns = until_ns > object->until_ns ? until_ns : object->until_ns;
    }
    pthread_mutex_unlock(&bucket.lock);
    return r;
}

static inline void bucket_dress(struct store *store, int64_t retention_ns)
{
    static const struct cold_ops cold = {bucket_list, bucket_look, bucket_thaw, bucket_move};

    bucket.plain = store->ops;
    bucket.ops = *store->ops;
    bucket.ops.cold = &cold;
    bucket.ops.retain = bucket_retain;
    bucket.fails = (struct err){0};
    bucket.fails_at = NULL;
    bucket.cancels = NULL;
    bucket.count = bucket.questions = 0;
    store->ops = &bucket.ops;
    store->retention_ns = retention_ns;
}

static inline void bucket_undress(struct store *store)
{
    store->ops = bucket.plain;
    store->retention_ns = 0;
}

/* For a group's set-up and tear-down: a repository in such a bucket, as *state. */
static inline int bucket_set_up(void **state, int64_t retention_ns)
{
    struct temprepo *temp = malloc(sizeof(*temp));

    assert_non_null(temp);
    *temp = temprepo_make();
    bucket_dress(temp->repo->store, retention_ns);
    *state = temp;
    return 0;
}

static inline int bucket_tear_down(void **state)
{
    struct temprepo *temp = *state;

    bucket_undress(temp->repo->store);
    temprepo_clear(temp);
    free(temp);
    return 0;
}

/* "data/…" of the archive with this number. */
static inline struct archive_id bucket_name(const char *prefix, unsigned number,
                                            char out[BUCKET_NAME_SIZE])
{
    struct archive_id id = {{(uint8_t)number, (uint8_t)(number >> 8), 1}};
    char digits[2 * ARCHIVE_ID_SIZE + 1];

    hex_encode(id.bytes, ARCHIVE_ID_SIZE, digits);
    (void)snprintf(out, BUCKET_NAME_SIZE, "%s%s", prefix, digits);
    return id;
}

/* Puts one of so many bytes there. */
static inline struct bucket_object *bucket_put(struct store *store, const char *name, size_t size)
{
    static const char bytes[4096];
    struct err err;

    assert_true(size <= sizeof(bytes));
    assert_int_equal(store_create(store, name, bytes, size, &err), 0);
    return bucket_at(name);
}
