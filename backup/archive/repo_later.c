/* Epochs that came after the repository was opened: a mount goes on through a rotation. */
#include <pthread.h>

#include "backup/archive/format.h"
#include "backup/archive/repo.h"
#include "backup/base/err.h"

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
