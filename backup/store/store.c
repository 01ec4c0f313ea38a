#include "backup/store/store.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/pace.h"
#include "backup/base/together.h"

enum { MOST_COMPONENTS = 8 };

static bool is_safe(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

/* Not empty, no "." or "..", and nothing that hides or starts like an option. */
static bool is_component(const char *text, size_t size)
{
    bool safe = size > 0 && text[0] != '.' && text[0] != '-';

    for (size_t i = 0; safe && i < size; i++)
        safe = is_safe(text[i]);
    return safe;
}

bool store_is_name(const char *name)
{
    size_t components = 0;

    if (strlen(name) > STORE_NAME_MAX || strcmp(name, "tmp") == 0 || strncmp(name, "tmp/", 4) == 0)
        return false;
    for (const char *at = name;; at++) {
        size_t size = strcspn(at, "/");
        if (!is_component(at, size) || ++components > MOST_COMPONENTS)
            return false;
        at += size;
        if (*at == '\0')
            return true;
    }
}

static int check_name(const char *name, struct err *err)
{
    if (store_is_name(name))
        return 0;
    return err_set(err, ERR_USAGE, "'%.200s' is no name for an object", name);
}

static int check_prefix(const char *prefix, struct err *err)
{
    char name[STORE_NAME_MAX + 1] = "";
    size_t size = strlen(prefix);

    if (size == 0)
        return 0;
    if (size < 2 || size > sizeof(name) || prefix[size - 1] != '/')
        return err_set(err, ERR_USAGE, "'%.200s' is no prefix of objects", prefix);
    memcpy(name, prefix, size - 1);
    return check_name(name, err);
}

int store_list(struct store *store, const char *prefix, store_list_fn *each, void *context,
               struct err *err)
{
    int r = check_prefix(prefix, err);

    return r < 0 ? r : store->ops->list(store, prefix, each, context, err);
}

/* One of several listings, whose objects are handed over one at a time. */
struct own_listing {
    struct store *store;
    const struct store_listing *listing;
    pthread_mutex_t *turn;
};

static int give_alone(void *context, const char *name, uint64_t size, struct err *err)
{
    const struct own_listing *own = context;

    pthread_mutex_lock(own->turn);
    int r = own->listing->each(own->listing->context, name, size, err);
    pthread_mutex_unlock(own->turn);
    return r;
}

static int list_one(void *context, struct err *err)
{
    const struct own_listing *own = context;

    return store_list(own->store, own->listing->prefix, give_alone, context, err);
}

int store_list_all(struct store *store, const struct store_listing *listings, size_t count,
                   struct err *err)
{
    struct together_call calls[TOGETHER_MAX];
    struct own_listing own[TOGETHER_MAX];
    pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

    assert(count <= TOGETHER_MAX);
    for (size_t i = 0; i < count; i++) {
        own[i] = (struct own_listing){store, &listings[i], &turn};
        calls[i] = (struct together_call){.run = list_one, .context = &own[i]};
    }
    int r = together(calls, count, store->is_remote, err);
    pthread_mutex_destroy(&turn);
    return r;
}

int store_open(struct store *store, const char *name, struct store_object **out, struct err *err)
{
    int r = check_name(name, err);

    return r < 0 ? r : store->ops->open(store, name, out, err);
}

int store_reopen(struct store *store, const char *name, uint64_t size, struct store_object **out,
                 struct err *err)
{
    int r = check_name(name, err);

    if (r < 0)
        return r;
    return store->ops->reopen ? store->ops->reopen(store, name, size, out, err)
                              : store->ops->open(store, name, out, err);
}

uint64_t store_object_size(const struct store_object *object)
{
    return object->size;
}

int store_read(struct store_object *object, uint64_t offset, void *out, size_t count,
               struct err *err)
{
    return object->store->ops->read(object, offset, out, count, err);
}

void store_object_close(struct store_object *object)
{
    if (object)
        object->store->ops->close_object(object);
}

void store_object_closep(struct store_object **object)
{
    store_object_close(*object);
}

int store_put_begin(struct store *store, struct store_put **out, struct err *err)
{
    int r = store->ops->begin(store, out, err);

    if (r == 0)
        (*out)->stays_warm = false;
    return r;
}

void store_put_keep_warm(struct store_put *put)
{
    put->stays_warm = true;
}

void store_put_expect(struct store_put *put, const char *name)
{
    if (put->store->ops->expect && store_is_name(name))
        put->store->ops->expect(put, name);
}

int store_put_write(struct store_put *put, uint64_t offset, const void *bytes, size_t count,
                    struct err *err)
{
    if (put->store->pace)
        pace_take(put->store->pace, count, atomic_load(&put->store->progress));
    return put->store->ops->write(put, offset, bytes, count, err);
}

int store_put_commit(struct store_put *put, const char *name, struct err *err)
{
    int r = check_name(name, err);
    if (r < 0) {
        store_put_abort(put);
        return r;
    }
    return put->store->ops->commit(put, name, err);
}

void store_put_abort(struct store_put *put)
{
    if (put)
        put->store->ops->abort(put);
}

int store_create(struct store *store, const char *name, const void *bytes, size_t count,
                 struct err *err)
{
    struct store_put *put;
    int r = store_put_begin(store, &put, err);
    if (r < 0)
        return r;

    r = store_put_write(put, 0, bytes, count, err);
    if (r < 0) {
        store_put_abort(put);
        return r;
    }
    return store_put_commit(put, name, err);
}

int store_remove(struct store *store, const char *name, struct err *err)
{
    int r = check_name(name, err);

    return r < 0 ? r : store->ops->remove(store, name, err);
}

int store_room(struct store *store, uint64_t *out_free, struct err *err)
{
    return store->ops->room(store, out_free, err);
}

void store_set_pace(struct store *store, struct pace *pace)
{
    pace_free(store->pace);
    store->pace = pace;
}

void store_rest(struct store *store)
{
    if (store->ops->rest)
        store->ops->rest(store);
}

void store_follow(struct store *store, struct progress *progress)
{
    atomic_store(&store->progress, progress);
    if (store->ops->follow)
        store->ops->follow(store, progress);
}

int store_modified(struct store *store, const char *name, int64_t *out_ns, struct err *err)
{
    int r = check_name(name, err);

    *out_ns = INT64_MAX;
    return r < 0 || !store->ops->modified ? r : store->ops->modified(store, name, out_ns, err);
}

int store_retained(struct store *store, const char *name, int64_t *out_ns, struct err *err)
{
    int r = check_name(name, err);

    *out_ns = 0;
    return r < 0 || !store->ops->retained ? r : store->ops->retained(store, name, out_ns, err);
}

int store_retain(struct store *store, const char *name, int64_t until_ns, struct err *err)
{
    int r = check_name(name, err);

    if (r == 0 && !store->ops->retain)
        r = err_set(err, ERR_USAGE, "%.150s: only objects in a bucket can be locked",
                    store->location);
    return r < 0 ? r : store->ops->retain(store, name, until_ns, err);
}

void store_tidy(struct store *store)
{
    if (store->ops->tidy)
        store->ops->tidy(store);
}

int store_try_lock(struct store *store, bool exclusive, struct store_lock **out, struct err *err)
{
    *out = NULL;
    if (store->ops->lock)
        return store->ops->lock(store, exclusive, out, err);
    return exclusive ? err_set(err, ERR_USAGE, "%.150s: only a local directory can be locked",
                               store->location)
                     : 0;
}

void store_unlock(struct store_lock *lock)
{
    if (lock)
        lock->store->ops->unlock(lock);
}

void store_close(struct store *store)
{
    if (!store)
        return;
    store_set_pace(store, NULL);
    store->ops->close(store);
}

void store_closep(struct store **store)
{
    store_close(*store);
}
