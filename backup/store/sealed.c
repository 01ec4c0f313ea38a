#include "backup/store/sealed.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/store/store.h"

enum { PAGE = SEALEDCACHE_PAGE };

struct sealed {
    struct store *store;
    struct sealedcache *cache; /* NULL: none */
    enum sealedcache_class class;
    char name[STORE_NAME_MAX + 1];
    uint64_t size;
    atomic_bool doubted; /* the cache is left alone */

    pthread_mutex_t lock;        /* guards what follows */
    struct store_object *object; /* NULL: not needed yet; once there it stays */
};

static void freep(uint8_t **bytes)
{
    free(*bytes);
}

static void closep_sealed(struct sealed **sealed)
{
    sealed_close(*sealed);
}

void sealed_close(struct sealed *sealed)
{
    if (!sealed)
        return;
    store_object_close(sealed->object);
    pthread_mutex_destroy(&sealed->lock);
    free(sealed);
}

uint64_t sealed_size(const struct sealed *sealed)
{
    return sealed->size;
}

static size_t tail_size(const struct sealed *sealed)
{
    return sealed->size < PAGE ? (size_t)sealed->size : PAGE;
}

static struct sealedcache_key key_of(const struct sealed *sealed, uint64_t page)
{
    return (struct sealedcache_key){.object = sealed->name, .page = page};
}

/* ---- opening ----------------------------------------------------------------------------- */

/* The cache knows its end, and so its size. */
static bool find_tail(struct sealed *sealed)
{
    const struct sealedcache_key key = key_of(sealed, SEALEDCACHE_TAIL);
    CLEANUP(freep) uint8_t *bytes = malloc(PAGE);
    uint64_t size;
    size_t got;

    if (!bytes || !sealed->cache || !sealedcache_get(sealed->cache, &key, bytes, PAGE, &got, &size))
        return false;
    sealed->size = size;
    return got == tail_size(sealed);
}

static int open_there(struct sealed *sealed, struct err *err)
{
    int r = store_open(sealed->store, sealed->name, &sealed->object, err);

    if (r == 0)
        sealed->size = store_object_size(sealed->object);
    return r;
}

int sealed_open(struct store *store, struct sealedcache *cache, enum sealedcache_class class,
                const char *name, struct sealed **out, struct err *err)
{
    CLEANUP(closep_sealed) struct sealed *sealed = calloc(1, sizeof(*sealed));

    if (!sealed)
        return err_set(err, ERR_NOMEM, "no memory to open an object");
    pthread_mutex_init(&sealed->lock, NULL);
    sealed->store = store;
    sealed->cache = cache;
    sealed->class = class;
    if (strlen(name) > STORE_NAME_MAX)
        return err_set(err, ERR_USAGE, "'%.200s' is no name for an object", name);
    strcpy(sealed->name, name);
    int r = find_tail(sealed) ? 0 : open_there(sealed, err);
    if (r < 0)
        return r;
    *out = STEAL(sealed);
    return 0;
}

static int object_of(struct sealed *sealed, struct store_object **out, struct err *err)
{
    struct store_object *mine = NULL;

    pthread_mutex_lock(&sealed->lock);
    *out = sealed->object;
    pthread_mutex_unlock(&sealed->lock);
    if (*out)
        return 0;
    int r = store_reopen(sealed->store, sealed->name, sealed->size, &mine, err);
    if (r < 0)
        return r;
    pthread_mutex_lock(&sealed->lock);
    if (!sealed->object)
        sealed->object = STEAL(mine);
    *out = sealed->object;
    pthread_mutex_unlock(&sealed->lock);
    store_object_close(mine);
    return 0;
}

static int read_there(struct sealed *sealed, uint64_t offset, void *out, size_t count,
                      struct err *err)
{
    struct store_object *object;
    const struct sealedcache_key tail = key_of(sealed, SEALEDCACHE_TAIL);
    int r = object_of(sealed, &object, err);

    if (r == 0)
        r = store_read(object, offset, out, count, err);
    if (r == -ERR_NOT_FOUND && sealed->cache) /* who opens it next is to learn it then */
        sealedcache_drop(sealed->cache, &tail);
    return r;
}

/* ---- the end ----------------------------------------------------------------------------- */

static int read_tail(struct sealed *sealed, uint64_t offset, void *out, size_t count,
                     struct err *err)
{
    const struct sealedcache_key key = key_of(sealed, SEALEDCACHE_TAIL);
    CLEANUP(freep) uint8_t *bytes = malloc(PAGE);
    size_t size = tail_size(sealed), got;
    uint64_t whole, begin = sealed->size - size;

    if (!bytes)
        return err_set(err, ERR_NOMEM, "no memory to read an object");
    if (!sealedcache_get(sealed->cache, &key, bytes, PAGE, &got, &whole) || got != size ||
        whole != sealed->size) {
        int r = read_there(sealed, begin, bytes, size, err);
        if (r < 0)
            return r;
        sealedcache_put(sealed->cache, &key, sealed->class, bytes, size, sealed->size);
    }
    memcpy(out, bytes + (offset - begin), count);
    return 0;
}

/* ---- pages ------------------------------------------------------------------------------- */

/* Whole pages, as a buffer of them begins at a page. */
struct span {
    uint8_t *bytes;
    uint64_t begin;      /* of the buffer, in the object */
    uint64_t first, end; /* pages that are still to be fetched */
};

static size_t page_size(const struct sealed *sealed, uint64_t page)
{
    uint64_t left = sealed->size - page * PAGE;

    return left < PAGE ? (size_t)left : PAGE;
}

static uint8_t *page_in(const struct span *span, uint64_t page)
{
    return span->bytes + (page * PAGE - span->begin);
}

static bool take_page(struct sealed *sealed, const struct span *span, uint64_t page)
{
    const struct sealedcache_key key = key_of(sealed, page);
    size_t size = page_size(sealed, page), got;
    uint64_t whole;

    return sealedcache_get(sealed->cache, &key, page_in(span, page), size, &got, &whole) &&
           got == size && whole == sealed->size;
}

/* Those at either end that the cache has are taken; the ones between are left over, to be fetched
 * in one piece. */
static void take_ends(struct sealed *sealed, struct span *span)
{
    while (span->first < span->end && take_page(sealed, span, span->first))
        span->first++;
    while (span->first < span->end && take_page(sealed, span, span->end - 1))
        span->end--;
}

static void keep_pages(struct sealed *sealed, const struct span *span)
{
    for (uint64_t page = span->first; page < span->end; page++) {
        const struct sealedcache_key key = key_of(sealed, page);
        sealedcache_put(sealed->cache, &key, sealed->class, page_in(span, page),
                        page_size(sealed, page), sealed->size);
    }
}

static int fill_span(struct sealed *sealed, struct span *span, struct err *err)
{
    bool cached = sealed->cache && !atomic_load_explicit(&sealed->doubted, memory_order_relaxed);

    if (cached)
        take_ends(sealed, span);
    if (span->first == span->end)
        return 0;
    size_t size = (size_t)((span->end - 1) * PAGE - span->first * PAGE);
    int r = read_there(sealed, span->first * PAGE, page_in(span, span->first),
                       size + page_size(sealed, span->end - 1), err);
    if (r == 0 && cached)
        keep_pages(sealed, span);
    return r;
}

int sealed_fetch_into(struct sealed *sealed, uint64_t offset, size_t count, uint8_t *room,
                      size_t *out_skip, struct err *err)
{
    if (count == 0 || count > sealed->size || offset > sealed->size - count)
        return err_set(err, ERR_CORRUPT, "%.90s: the object ends early", sealed->name);
    *out_skip = 0;
    if (!sealed->cache && !sealed->store->is_remote)
        return read_there(sealed, offset, room, count, err);
    struct span span = {
        .bytes = room, .first = offset / PAGE, .end = (offset + count - 1) / PAGE + 1};
    span.begin = span.first * PAGE;
    *out_skip = (size_t)(offset - span.begin);
    return fill_span(sealed, &span, err);
}

int sealed_fetch(struct sealed *sealed, uint64_t offset, size_t count, uint8_t **out,
                 size_t *out_skip, struct err *err)
{
    CLEANUP(freep) uint8_t *bytes = count < SIZE_MAX / 2 ? malloc(count + SEALED_AROUND) : NULL;

    if (!bytes)
        return err_set(err, ERR_NOMEM, "no memory to read an object");
    int r = sealed_fetch_into(sealed, offset, count, bytes, out_skip, err);
    if (r == 0)
        *out = STEAL(bytes);
    return r;
}

/* ---- reading ----------------------------------------------------------------------------- */

int sealed_read(struct sealed *sealed, uint64_t offset, void *out, size_t count, struct err *err)
{
    CLEANUP(freep) uint8_t *bytes = NULL;
    size_t skip;

    if (count > sealed->size || offset > sealed->size - count)
        return err_set(err, ERR_CORRUPT, "%.90s: the object ends early", sealed->name);
    if (!sealed->cache || count == 0 ||
        atomic_load_explicit(&sealed->doubted, memory_order_relaxed))
        return read_there(sealed, offset, out, count, err);
    if (offset >= sealed->size - tail_size(sealed))
        return read_tail(sealed, offset, out, count, err);
    int r = sealed_fetch(sealed, offset, count, &bytes, &skip, err);
    if (r == 0)
        memcpy(out, bytes + skip, count);
    return r;
}

bool sealed_doubt(struct sealed *sealed, uint64_t offset, size_t count)
{
    struct sealedcache_key key = key_of(sealed, SEALEDCACHE_TAIL);

    if (!sealed->cache || count == 0)
        return false;
    atomic_store(&sealed->doubted, true);
    sealedcache_drop(sealed->cache, &key);
    for (key.page = offset / PAGE; key.page <= (offset + count - 1) / PAGE; key.page++)
        sealedcache_drop(sealed->cache, &key);
    return true;
}
