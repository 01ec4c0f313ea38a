/* Epochs that came after the repository was opened: a mount goes on through a rotation. */
#include <pthread.h>

#include <string.h>

#include "backup/archive/format.h"
#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/store/store.h"

static int try_later(struct repo *repo, const struct header *header, struct part_key *out,
                     struct err *err)
{
    int r = -ERR_NOT_FOUND;

    pthread_mutex_lock(&repo->lock);
    if (repo->later && keyring_master(repo->later, header->epoch))
        r = part_key_open(header, repo->later, out, err);
    pthread_mutex_unlock(&repo->lock);
    return r;
}

/* Reads without the lock; of two threads that do so the last one's keys stay. */
static int read_later(struct repo *repo, struct err *err)
{
    struct key_objects objects = repo_key_objects(repo->store);
    struct keyring *fresh = NULL;
    int r = keyring_reopen(repo->keyring, &objects, &fresh, err);
    if (r < 0)
        return r;

    pthread_mutex_lock(&repo->lock);
    struct keyring *before = repo->later;
    repo->later = fresh;
    pthread_mutex_unlock(&repo->lock);
    keyring_free(before);
    return 0;
}

int repo_open_key(struct repo *repo, const struct header *header, struct part_key *out,
                  struct err *err)
{
    if (header->epoch <= keyring_epoch(repo->keyring))
        return part_key_open(header, repo->keyring, out, err);

    int r = try_later(repo, header, out, err);
    if (r != -ERR_NOT_FOUND)
        return r;
    r = read_later(repo, err);
    if (r < 0)
        return r;
    r = try_later(repo, header, out, err);
    /* The newest keys do not have it either: its header is damaged, and this says so. */
    return r == -ERR_NOT_FOUND ? part_key_open(header, repo->keyring, out, err) : r;
}

int repo_refresh_keys(struct repo *repo, struct err *err)
{
    struct key_objects objects = repo_key_objects(repo->store);
    CLEANUP(keyring_freep) struct keyring *fresh = NULL;
    int r = keyring_reopen(repo->keyring, &objects, &fresh, err);

    if (r < 0 || (keyring_epoch(fresh) == keyring_epoch(repo->keyring) &&
                  keyring_generation(fresh) == keyring_generation(repo->keyring)))
        return r;
    keyring_free(repo->keyring);
    repo->keyring = STEAL(fresh);
    return 0;
}

int repo_object_epoch(struct repo *repo, const char *name, uint32_t *out, struct err *err)
{
    CLEANUP(store_object_closep) struct store_object *object = NULL;
    uint8_t bytes[HEADER_SIZE];
    struct header header;
    int r = store_open(repo->store, name, &object, err);

    if (r < 0)
        return r;
    if (store_object_size(object) < HEADER_SIZE + TRAILER_SIZE)
        return err_set(err, ERR_CORRUPT, "%s: too short for an archive", name);
    /* The copy in the trailer, which readers go by. */
    r = store_read(object, store_object_size(object) - TRAILER_SIZE, bytes, sizeof(bytes), err);
    if (r == 0)
        r = header_decode(bytes, &header, err);
    if (r == 0 && memcmp(header.repo_id, repo->id, REPO_ID_SIZE) != 0)
        r = err_set(err, ERR_CORRUPT, "an archive of another repository");
    if (r < 0)
        return err_context(err, "%s", name);
    *out = header.epoch;
    return 0;
}
