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

/* What is wanted of an object, and the pages in which it lies. */
struct span {
    uint64_t offset;
    size_t count;
    uint8_t *out;
    uint64_t first, end; /* pages */
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

    if (!bytes || !sealed->cache || !sealedcache_get(sealed->cache, &key, bytes, &got, &size))
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
    int r = object_of(sealed, &object, err);

    return r < 0 ? r : store_read(object, offset, out, count, err);
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
    if (!sealedcache_get(sealed->cache, &key, bytes, &got, &whole) || got != size ||
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

static size_t page_size(const struct sealed *sealed, uint64_t page)
{
    uint64_t left = sealed->size - page * PAGE;

    return left < PAGE ? (size_t)left : PAGE;
}

/* What of a page is wanted goes where it is wanted. */
static void copy_page(const struct span *span, uint64_t page, const uint8_t *bytes, size_t size)
{
    uint64_t begin = page * PAGE, end = begin + size;
    uint64_t from = begin > span->offset ? begin : span->offset;
    uint64_t to = end < span->offset + span->count ? end : span->offset + span->count;

    if (from < to)
        memcpy(span->out + (from - span->offset), bytes + (from - begin), (size_t)(to - from));
}

static bool take_page(struct sealed *sealed, const struct span *span, uint64_t page,
                      uint8_t *scratch)
{
    const struct sealedcache_key key = key_of(sealed, page);
    uint64_t whole;
    size_t got;

    if (!sealedcache_get(sealed->cache, &key, scratch, &got, &whole) || whole != sealed->size ||
        got != page_size(sealed, page))
        return false;
    copy_page(span, page, scratch, got);
    return true;
}

/* Those at either end that the cache has are taken; the ones between are left over, to be fetched
 * in one piece. */
static void take_ends(struct sealed *sealed, struct span *span, uint8_t *scratch)
{
    while (span->first < span->end && take_page(sealed, span, span->first, scratch))
        span->first++;
    while (span->first < span->end && take_page(sealed, span, span->end - 1, scratch))
        span->end--;
}

static int fetch_pages(struct sealed *sealed, const struct span *span, struct err *err)
{
    uint64_t begin = span->first * PAGE;
    uint64_t end = (span->end - 1) * PAGE + page_size(sealed, span->end - 1);
    CLEANUP(freep) uint8_t *bytes = malloc((size_t)(end - begin));

    if (!bytes)
        return err_set(err, ERR_NOMEM, "no memory to read an object");
    int r = read_there(sealed, begin, bytes, (size_t)(end - begin), err);
    for (uint64_t page = span->first; page < span->end && r == 0; page++) {
        const struct sealedcache_key key = key_of(sealed, page);
        const uint8_t *own = bytes + (page * PAGE - begin);
        copy_page(span, page, own, page_size(sealed, page));
        sealedcache_put(sealed->cache, &key, sealed->class, own, page_size(sealed, page),
                        sealed->size);
    }
    return r;
}

static int read_pages(struct sealed *sealed, struct span *span, struct err *err)
{
    CLEANUP(freep) uint8_t *scratch = malloc(PAGE);

    if (!scratch)
        return err_set(err, ERR_NOMEM, "no memory to read an object");
    take_ends(sealed, span, scratch);
    return span->first == span->end ? 0 : fetch_pages(sealed, span, err);
}

int sealed_read(struct sealed *sealed, uint64_t offset, void *out, size_t count, struct err *err)
{
    if (!sealed->cache || atomic_load_explicit(&sealed->doubted, memory_order_relaxed))
        return read_there(sealed, offset, out, count, err);
    if (count > sealed->size || offset > sealed->size - count)
        return err_set(err, ERR_CORRUPT, "%.90s: the object ends early", sealed->name);
    if (count == 0)
        return 0;
    if (offset >= sealed->size - tail_size(sealed))
        return read_tail(sealed, offset, out, count, err);
    struct span span = {.offset = offset,
                        .count = count,
                        .out = out,
                        .first = offset / PAGE,
                        .end = (offset + count - 1) / PAGE + 1};
    return read_pages(sealed, &span, err);
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
