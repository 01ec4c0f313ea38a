/*
 * repo — an open repository: its store, its keys, and the numbers of its archives.
 *
 * Ownership: owns the store and the keyring given to it, also when repo_open() fails.
 * Threads:   immutable once open, but for the idtable and the remap, which lock themselves, and
 * later keys.
 * Errors:    ERR_NO_REPOSITORY, ERR_WRONG_KEY, ERR_CORRUPT, ERR_EXISTS (repo_create over one that
 * is there), store errors.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/place.h"
#include "backup/crypto/keyring.h"

struct err;
struct header;
struct idtable;
struct part_key;
struct progress;
struct remap;
struct sealedcache;
struct store;

struct repo {
    struct store *store;
    struct keyring *keyring;
    struct idtable *ids;
    struct remap *remap;       /* where content was moved */
    struct sealedcache *cache; /* of what is fetched; NULL: none, all comes from the store */
    uint8_t id[REPO_ID_SIZE];
    pthread_mutex_t lock;
    struct keyring *later; /* what others rotated to since the keyring was opened; NULL: nothing */
};

enum { REPO_SEEN_MAX = 16, REPO_SEEN_NAME = 48 };

/* What a look at a repository finds without a key. */
struct repo_seen {
    uint8_t id[REPO_ID_SIZE];
    bool has_epoch, is_too_much;              /* more keys than there is room for */
    char keys[REPO_SEEN_MAX][REPO_SEEN_NAME]; /* below keys/ */
    size_t key_count;
};

int repo_create(struct store *store, const struct secret *secret, const char *label,
                struct repo **out, struct err *err);
/* Only whether there is one, and what was seen of it: 0, or ERR_NO_REPOSITORY (also for one whose
 * init was interrupted). */
int repo_probe(struct store *store, struct repo_seen *out, struct err *err);
/* Tries each secret in order; the first that opens it counts.  `seen`: by repo_probe() of this
 * store, and not read again but where a key is gone since; NULL: nothing. */
int repo_open(struct store *store, const struct repo_seen *seen, const struct secret *secrets,
              size_t count, struct repo **out, struct err *err);
void repo_free(struct repo *repo);
void repo_freep(struct repo **repo);

/* Before a fork; nobody uses the repository meanwhile. */
void repo_rest(struct repo *repo);
/* From now on archives are read through a cache (sealed.h), which the repo takes over.  Only for
 * who wants content, and not what the store has; before anything is read. */
void repo_use_cache(struct repo *repo, struct sealedcache *cache);

/* Where it is, as the user wrote it. */
const char *repo_location(const struct repo *repo);
/* Whether each read takes a while, and many at once take hardly longer. */
bool repo_is_remote(const struct repo *repo);
/* From now on, once this one (NULL: nobody) is cancelled, its server is not waited for any more. */
void repo_follow(const struct repo *repo, struct progress *progress);

/* "data/…", "meta/…", "index/…", "remap/…" for an archive of that kind. */
void repo_object_name(enum archive_kind kind, const struct archive_id *id,
                      char out[OBJECT_NAME_SIZE]);
/* The objects of key management of this repository's store, for keyring_add() and _remove(). */
struct key_objects repo_key_objects(struct store *store);

/* Reads the keys again: whoever waited for a lock has to, before it writes.  Nobody else may use
 * the repository meanwhile. */
int repo_refresh_keys(struct repo *repo, struct err *err);
/* The epoch that an object says it was sealed in; ERR_CORRUPT: it is no archive of this repository.
 */
int repo_object_epoch(struct repo *repo, const char *name, uint32_t *out, struct err *err);
/* The key of an archive; one of an epoch that was not there yet when the repository was opened is
 * looked for in the newest keys.  ERR_WRONG_KEY: this key has been taken out since. */
int repo_open_key(struct repo *repo, const struct header *header, struct part_key *out,
                  struct err *err);
