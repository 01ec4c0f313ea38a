#include "backup/archive/repo.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/idtable.h"
#include "backup/archive/remap.h"
#include "backup/archive/repo_internal.h"
#include "backup/base/buf.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/hex.h"
#include "backup/base/random.h"
#include "backup/base/together.h"
#include "backup/store/sealedcache.h"
#include "backup/store/store.h"

enum { VERSION = 1, REPOSITORY_SIZE = 64, ID_ALGORITHM_BLAKE3 = 1 };

static const char repository_name[] = "repository";
static const uint8_t magic[8] = "YSTRREPO";

int repo_read_object(struct store *store, const char *name, size_t limit, struct buf *out,
                     struct err *err)
{
    CLEANUP(store_object_closep) struct store_object *object = NULL;
    int r = store_open(store, name, &object, err);

    if (r < 0)
        return r;
    uint64_t size = store_object_size(object);
    if (size > limit)
        return err_set(err, ERR_CORRUPT, "%s: larger than %zu bytes", name, limit);
    r = buf_reserve(out, (size_t)size, err);
    if (r == 0 && size > 0)
        r = store_read(object, 0, out->data + out->size, (size_t)size, err);
    if (r == 0)
        out->size += (size_t)size;
    return r;
}

static void encode_header(const uint8_t id[REPO_ID_SIZE], uint8_t out[REPOSITORY_SIZE])
{
    memset(out, 0, REPOSITORY_SIZE);
    memcpy(out, magic, sizeof(magic));
    store_le16(out + 8, VERSION);
    out[10] = ID_ALGORITHM_BLAKE3;
    memcpy(out + 16, id, REPO_ID_SIZE);
    store_le64(out + 32, (uint64_t)clock_system()->now_ns(clock_system()));
}

static bool reserved_are_zero(const uint8_t in[REPOSITORY_SIZE])
{
    static const uint8_t zeros[24];

    return memcmp(in + 11, zeros, 5) == 0 && memcmp(in + 40, zeros, 24) == 0;
}

static int decode_header(const struct buf *bytes, uint8_t out_id[REPO_ID_SIZE], struct err *err)
{
    const uint8_t *in = bytes->data;

    if (bytes->size != REPOSITORY_SIZE || memcmp(in, magic, sizeof(magic)) != 0)
        return err_set(err, ERR_CORRUPT, "repository: not the header of a repository");
    if (load_le16(in + 8) != VERSION || in[10] != ID_ALGORITHM_BLAKE3 || !reserved_are_zero(in))
        return err_set(err, ERR_CORRUPT, "repository: damaged, or of a newer yester");
    memcpy(out_id, in + 16, REPO_ID_SIZE);
    return 0;
}

static int read_header(struct store *store, uint8_t out_id[REPO_ID_SIZE], struct err *err)
{
    CLEANUP(buf_clear) struct buf bytes = {.limit = REPOSITORY_SIZE};
    int r = repo_read_object(store, repository_name, REPOSITORY_SIZE, &bytes, err);

    if (r == -ERR_NOT_FOUND)
        return err_set(err, ERR_NO_REPOSITORY, "%s: no repository there", store->location);
    return r < 0 ? r : decode_header(&bytes, out_id, err);
}

static int found_one(void *context, const char *name, uint64_t size, struct err *err)
{
    (void)name;
    (void)size;
    (void)err;
    *(bool *)context = true;
    return 0;
}

/* A header and nothing else is what an init that was killed leaves.  One that has lost its keys is
 * something else. */
static int is_unfinished(struct store *store, bool *out, struct err *err)
{
    bool has_epoch = false, has_data = false;
    int r = store_list(store, "keys/epoch/", found_one, &has_epoch, err);

    for (const char *const *prefix = (const char *const[]){"data/", "meta/", "snapshots/", NULL};
         *prefix && r == 0 && !has_epoch; prefix++)
        r = store_list(store, *prefix, found_one, &has_data, err);
    *out = !has_epoch && !has_data;
    return r;
}

struct probe {
    struct store *store;
    struct repo_seen *out;
};

static int probe_header(void *context, struct err *err)
{
    const struct probe *probe = context;

    return read_header(probe->store, probe->out->id, err);
}

static int probe_keys(void *context, struct err *err)
{
    const struct probe *probe = context;

    return store_list(probe->store, "keys/", repo_see_key, probe->out, err);
}

int repo_probe(struct store *store, struct repo_seen *out, struct err *err)
{
    struct probe probe = {store, out};
    struct together_call calls[] = {{.run = probe_header, .context = &probe},
                                    {.run = probe_keys, .context = &probe}};
    bool unfinished = false;

    *out = (struct repo_seen){0};
    int r = together(calls, sizeof(calls) / sizeof(calls[0]), store->is_remote, err);
    if (r == 0 && !out->has_epoch)
        r = is_unfinished(store, &unfinished, err);
    if (r == 0 && unfinished)
        return err_set(err, ERR_NO_REPOSITORY, "%s: only begun: its init was interrupted",
                       store->location);
    return r;
}

void repo_free(struct repo *repo)
{
    if (!repo)
        return;
    remap_free(repo->remap);
    idtable_free(repo->ids);
    keyring_free(repo->keyring);
    keyring_free(repo->later);
    pthread_mutex_destroy(&repo->lock);
    sealedcache_close(repo->cache);
    store_close(repo->store);
    free(repo);
}

void repo_rest(struct repo *repo)
{
    store_rest(repo->store);
}

void repo_use_cache(struct repo *repo, struct sealedcache *cache)
{
    sealedcache_close(repo->cache);
    repo->cache = cache;
}

bool repo_is_remote(const struct repo *repo)
{
    return repo->store->is_remote;
}

void repo_follow(const struct repo *repo, struct progress *progress)
{
    store_follow(repo->store, progress);
}

const char *repo_location(const struct repo *repo)
{
    return repo->store->location;
}

void repo_freep(struct repo **repo)
{
    repo_free(*repo);
}

/* Takes the store over, in any case. */
static int repo_alloc(struct store *store, struct repo **out, struct err *err)
{
    struct repo *repo = calloc(1, sizeof(*repo));

    if (!repo) {
        store_close(store);
        return err_set(err, ERR_NOMEM, "no memory for a repository");
    }
    repo->store = store;
    pthread_mutex_init(&repo->lock, NULL);
    repo->ids = idtable_new();
    repo->remap = remap_new();
    if (!repo->ids || !repo->remap) {
        repo_free(repo);
        return err_set(err, ERR_NOMEM, "no memory for a repository");
    }
    *out = repo;
    return 0;
}

/* Completes what an init that was killed has begun. */
static int adopt_header(struct repo *repo, struct err *err)
{
    bool unfinished;
    int r = is_unfinished(repo->store, &unfinished, err);

    if (r == 0 && !unfinished)
        return err_set(err, ERR_EXISTS, "%s: there is a repository already", repo->store->location);
    return r < 0 ? r : read_header(repo->store, repo->id, err);
}

static int create_header(struct repo *repo, struct err *err)
{
    uint8_t bytes[REPOSITORY_SIZE];
    int r = random_bytes(repo->id, REPO_ID_SIZE, err);

    if (r < 0)
        return r;
    encode_header(repo->id, bytes);
    r = store_create(repo->store, repository_name, bytes, sizeof(bytes), err);
    return r == -ERR_EXISTS ? adopt_header(repo, err) : r;
}

int repo_create(struct store *store, const struct secret *secret, const char *label,
                struct repo **out, struct err *err)
{
    CLEANUP(repo_freep) struct repo *repo = NULL;
    struct key_objects objects = repo_key_objects(store);
    int r = repo_alloc(store, &repo, err);

    if (r == 0)
        r = create_header(repo, err);
    if (r == 0)
        r = keyring_create(&objects, repo->id, secret, label, &repo->keyring, err);
    if (r < 0)
        return r;
    *out = STEAL(repo);
    return 0;
}

int repo_open(struct store *store, const struct repo_seen *seen, const struct secret *secrets,
              size_t count, struct repo **out, struct err *err)
{
    CLEANUP(repo_freep) struct repo *repo = NULL;
    int r = repo_alloc(store, &repo, err);

    if (r == 0 && seen)
        memcpy(repo->id, seen->id, REPO_ID_SIZE);
    else if (r == 0)
        r = read_header(store, repo->id, err);
    if (r == 0)
        r = repo_open_keyring(repo, seen, secrets, count, err);
    if (r < 0)
        return r;
    *out = STEAL(repo);
    return 0;
}

void repo_object_name(enum archive_kind kind, const struct archive_id *id,
                      char out[OBJECT_NAME_SIZE])
{
    const char *folder = kind == ARCHIVE_METADATA ? "meta"
                         : kind == ARCHIVE_INDEX  ? "index"
                         : kind == ARCHIVE_ROOT   ? "snapshots"
                         : kind == ARCHIVE_REMAP  ? "remap"
                         : kind == ARCHIVE_NOTE   ? "notes"
                         : kind == ARCHIVE_WAL    ? "tails"
                                                  : "data";
    char hex[2 * ARCHIVE_ID_SIZE + 1];

    hex_encode(id->bytes, ARCHIVE_ID_SIZE, hex);
    snprintf(out, OBJECT_NAME_SIZE, "%s/%s", folder, hex);
}
