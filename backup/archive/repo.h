/*
 * repo — an open repository: its store, its keys, and the numbers of its archives.
 *
 * Ownership: owns the store and the keyring given to it, also when repo_open() fails.
 * Threads:   immutable once open, but for the idtable, which locks itself.
 * Errors:    ERR_NO_REPOSITORY, ERR_WRONG_KEY, ERR_CORRUPT, ERR_EXISTS (repo_create over one that
 * is there), store errors.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "backup/archive/place.h"
#include "backup/crypto/keyring.h"

struct err;
struct idtable;
struct store;

enum { OBJECT_NAME_SIZE = 80 };

struct repo {
    struct store *store;
    struct keyring *keyring;
    struct idtable *ids;
    uint8_t id[REPO_ID_SIZE];
};

int repo_create(struct store *store, const struct secret *secret, const char *label,
                struct repo **out, struct err *err);
/* Only whether there is one: 0, or ERR_NO_REPOSITORY (also for one whose init was interrupted). */
int repo_probe(struct store *store, struct err *err);
/* Tries each secret in order; the first that opens it counts. */
int repo_open(struct store *store, const struct secret *secrets, size_t count, struct repo **out,
              struct err *err);
void repo_free(struct repo *repo);
void repo_freep(struct repo **repo);

/* Where it is, as the user wrote it. */
const char *repo_location(const struct repo *repo);

/* "data/…", "meta/…", "index/…" for an archive of that kind. */
void repo_object_name(enum archive_kind kind, const struct archive_id *id,
                      char out[OBJECT_NAME_SIZE]);
/* The objects of key management of this repository's store, for keyring_add() and _remove(). */
struct key_objects repo_key_objects(struct store *store);
