#include "backup/store/sealedcache.h"

#include <string.h>
#include <sys/statvfs.h>
#include <time.h>

#include "backup/base/bytes.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/base/log.h"
#include "backup/store/sealedcache_internal.h"

enum {
    TAG_SIZE = 16,
    CHECK_SIZE = 16,
    FRESH_S = 64,             /* a look is noted when the last one is older */
    STALE_S = 30 * 24 * 3600, /* metadata that nobody wanted for so long counts as data */
    LOOK_EACH = 64,           /* pages between two looks at what is free */
    FREE_PART = 20,           /* nothing comes in when less than a twentieth is free */
};

/* Of a slot, in the table. */
struct entry {
    uint8_t tag[TAG_SIZE];     /* which page; zeros: none */
    uint8_t check[CHECK_SIZE]; /* over tag, size of the object, and bytes */
    uint64_t object_size;
    uint32_t size;
    uint32_t used; /* seconds, when somebody looked last */
    uint8_t class;
};

/* Where a page is, or may be. */
struct spot {
    uint8_t tag[TAG_SIZE];
    uint64_t set;
    size_t way;
    struct entry entry;
};

/* ---- the table --------------------------------------------------------------------------- */

static void decode_entry(const uint8_t in[SEALED_ENTRY_SIZE], struct entry *out)
{
    memcpy(out->tag, in, TAG_SIZE);
    memcpy(out->check, in + 16, CHECK_SIZE);
    out->object_size = load_le64(in + 32);
    out->size = load_le32(in + 40);
    out->used = load_le32(in + 44);
    out->class = in[48];
}

static void encode_entry(const struct entry *entry, uint8_t out[SEALED_ENTRY_SIZE])
{
    memset(out, 0, SEALED_ENTRY_SIZE);
    memcpy(out, entry->tag, TAG_SIZE);
    memcpy(out + 16, entry->check, CHECK_SIZE);
    store_le64(out + 32, entry->object_size);
    store_le32(out + 40, entry->size);
    store_le32(out + 44, entry->used);
    out[48] = entry->class;
}

static bool is_free(const struct entry *entry)
{
    static const uint8_t none[TAG_SIZE];

    return memcmp(entry->tag, none, TAG_SIZE) == 0;
}

static uint64_t entry_offset(const struct spot *spot)
{
    return SEALED_HEADER_SIZE + spot->set * SEALED_SET_SIZE + spot->way * SEALED_ENTRY_SIZE;
}

static uint64_t page_offset(const struct sealedcache *cache, const struct spot *spot)
{
    return cache->pages_offset + (spot->set * SEALED_WAYS + spot->way) * SEALEDCACHE_PAGE;
}

static void locate(const struct sealedcache *cache, const struct sealedcache_key *key,
                   struct spot *out)
{
    uint8_t number[8];
    struct digest_stream stream;
    uint8_t digest[TAG_SIZE + 8];

    store_le64(number, key->page);
    digest_stream_start(&stream, &cache->key);
    digest_stream_add(&stream, number, sizeof(number));
    digest_stream_add(&stream, key->object, strlen(key->object));
    digest_stream_finish(&stream, digest, sizeof(digest));
    memcpy(out->tag, digest, TAG_SIZE);
    out->tag[0] |= 1; /* never all zeros */
    out->set = load_le64(digest + TAG_SIZE) % cache->sets;
}

static void make_check(const struct sealedcache *cache, const struct entry *entry,
                       const void *bytes, uint8_t out[CHECK_SIZE])
{
    uint8_t size[8];
    struct digest_stream stream;

    store_le64(size, entry->object_size);
    digest_stream_start(&stream, &cache->key);
    digest_stream_add(&stream, entry->tag, TAG_SIZE);
    digest_stream_add(&stream, size, sizeof(size));
    digest_stream_add(&stream, bytes, entry->size);
    digest_stream_finish(&stream, out, CHECK_SIZE);
}

static bool read_set(const struct sealedcache *cache, uint64_t set, struct entry out[SEALED_WAYS])
{
    uint8_t bytes[SEALED_SET_SIZE];
    struct err ignored;
    size_t got;

    if (io_pread_full(cache->fd, bytes, sizeof(bytes), SEALED_HEADER_SIZE + set * SEALED_SET_SIZE,
                      &got, &ignored) < 0 ||
        got != sizeof(bytes))
        return false;
    for (size_t i = 0; i < SEALED_WAYS; i++)
        decode_entry(bytes + i * SEALED_ENTRY_SIZE, &out[i]);
    return true;
}

static int write_entry(const struct sealedcache *cache, const struct spot *spot, struct err *err)
{
    uint8_t bytes[SEALED_ENTRY_SIZE];

    encode_entry(&spot->entry, bytes);
    return io_pwrite_full(cache->fd, bytes, sizeof(bytes), entry_offset(spot), err);
}

static bool find(const struct sealedcache *cache, const struct sealedcache_key *key,
                 struct entry set[SEALED_WAYS], struct spot *out)
{
    locate(cache, key, out);
    if (!read_set(cache, out->set, set))
        return false;
    for (out->way = 0; out->way < SEALED_WAYS; out->way++)
        if (memcmp(set[out->way].tag, out->tag, TAG_SIZE) == 0) {
            out->entry = set[out->way];
            return true;
        }
    return false;
}

static uint32_t now_s(void)
{
    return (uint32_t)time(NULL);
}

/* ---- looking ----------------------------------------------------------------------------- */

static bool read_page(const struct sealedcache *cache, const struct spot *spot, void *out,
                      size_t room)
{
    uint8_t check[CHECK_SIZE];
    struct err ignored;
    size_t got;

    if (spot->entry.size > room ||
        io_pread_full(cache->fd, out, spot->entry.size, page_offset(cache, spot), &got, &ignored) <
            0 ||
        got != spot->entry.size)
        return false;
    make_check(cache, &spot->entry, out, check);
    return memcmp(check, spot->entry.check, CHECK_SIZE) == 0;
}

bool sealedcache_get(struct sealedcache *cache, const struct sealedcache_key *key, void *out,
                     size_t room, size_t *out_size, uint64_t *out_object_size)
{
    struct entry set[SEALED_WAYS];
    struct spot spot;
    struct err ignored;
    uint32_t now = now_s();

    bool found = find(cache, key, set, &spot);
    if (found && !read_page(cache, &spot, out, room)) {
        found = false; /* what is fetched instead takes its place */
        spot.entry = (struct entry){0};
        (void)write_entry(cache, &spot, &ignored);
    }
    if (!found) {
        atomic_fetch_add_explicit(&cache->misses, 1, memory_order_relaxed);
        return false;
    }
    atomic_fetch_add_explicit(&cache->hits, 1, memory_order_relaxed);
    *out_size = spot.entry.size;
    *out_object_size = spot.entry.object_size;
    if (now - spot.entry.used > FRESH_S) {
        spot.entry.used = now;
        (void)write_entry(cache, &spot, &ignored);
    }
    return true;
}

/* ---- keeping ----------------------------------------------------------------------------- */

/* The disk is others' as well. */
static bool has_room(struct sealedcache *cache)
{
    struct statvfs found;

    if (atomic_load_explicit(&cache->full, memory_order_relaxed))
        return false;
    if (atomic_fetch_add_explicit(&cache->writes, 1, memory_order_relaxed) % LOOK_EACH != 0)
        return true;
    if (fstatvfs(cache->fd, &found) == 0 && found.f_bavail >= found.f_blocks / FREE_PART)
        return true;
    if (!atomic_exchange(&cache->full, true))
        log_debug("the cache of sealed bytes takes in no more: the disk is nearly full");
    return false;
}

/* How much a slot may be given away: free ones first, then data, the one used longest ago first; 0:
 * not for this class. */
static uint64_t rank(const struct entry *entry, enum sealedcache_class class, uint32_t now)
{
    uint32_t age = entry->used <= now ? now - entry->used : 0; /* a clock was set back: fresh */

    if (is_free(entry))
        return UINT64_MAX;
    if (entry->class == SEALED_METADATA && age < STALE_S)
        return class == SEALED_METADATA ? UINT64_C(1) + age : 0;
    return (UINT64_C(1) << 32) + age;
}

static bool choose(const struct entry set[SEALED_WAYS], enum sealedcache_class class,
                   struct spot *spot)
{
    uint32_t now = now_s();
    uint64_t best = 0;
    size_t first = spot->tag[1] % SEALED_WAYS; /* of equals, now one and now another */

    for (size_t i = 0; i < SEALED_WAYS; i++) {
        size_t way = (first + i) % SEALED_WAYS;
        uint64_t own = rank(&set[way], class, now);
        if (own <= best)
            continue;
        best = own;
        spot->way = way;
    }
    return best > 0;
}

/* The entry says nothing while the page is written: who dies in between leaves a free slot, and
 * who loses a race, or its power, a page with a wrong check. */
static int write_page(const struct sealedcache *cache, struct spot *spot, const struct entry *entry,
                      const void *bytes, struct err *err)
{
    spot->entry = (struct entry){.used = entry->used};
    int r = write_entry(cache, spot, err);
    if (r == 0)
        r = io_pwrite_full(cache->fd, bytes, entry->size, page_offset(cache, spot), err);
    spot->entry = *entry;
    return r < 0 ? r : write_entry(cache, spot, err);
}

void sealedcache_put(struct sealedcache *cache, const struct sealedcache_key *key,
                     enum sealedcache_class class, const void *bytes, size_t size,
                     uint64_t object_size)
{
    struct entry set[SEALED_WAYS];
    struct spot spot;
    struct err err;

    if ((class == SEALED_DATA && !cache->keeps_data) || size > SEALEDCACHE_PAGE ||
        !has_room(cache) || find(cache, key, set, &spot) || !choose(set, class, &spot))
        return;
    struct entry entry = {.object_size = object_size,
                          .size = (uint32_t)size,
                          .used = now_s(),
                          .class = (uint8_t) class};
    memcpy(entry.tag, spot.tag, TAG_SIZE);
    make_check(cache, &entry, bytes, entry.check);
    if (write_page(cache, &spot, &entry, bytes, &err) == 0) {
        atomic_fetch_add_explicit(&cache->kept, 1, memory_order_relaxed);
        return;
    }
    if (!atomic_exchange(&cache->full, true))
        log_debug("the cache of sealed bytes takes in no more: %s", err.text);
}

void sealedcache_drop(struct sealedcache *cache, const struct sealedcache_key *key)
{
    struct entry set[SEALED_WAYS];
    struct spot spot;
    struct err ignored;

    if (!find(cache, key, set, &spot))
        return;
    spot.entry = (struct entry){0};
    (void)write_entry(cache, &spot, &ignored);
}

void sealedcache_stats(struct sealedcache *cache, struct sealedcache_stats *out)
{
    *out = (struct sealedcache_stats){
        .hits = atomic_load(&cache->hits),
        .misses = atomic_load(&cache->misses),
        .kept = atomic_load(&cache->kept),
    };
}
