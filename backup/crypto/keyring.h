/*
 * keyring — the keys of a repository: slots, epochs, and the secrets that open them.
 *
 * Knows the bytes of key slots and epochs (docs/format.md, "Keys") and nothing of stores: objects
 * come in and go out through struct key_objects, which archive/repo implements over a store.
 *
 * Ownership: the keyring owns its keys, in memory that is not swapped or dumped; keyring_free()
 * clears it. Threads:   a keyring that is open is not changed any more; keyring_add(), _rotate()
 * and _remove() give a new one's state to the store and to this keyring, by one thread while no
 * other uses it. Errors:    ERR_WRONG_KEY where no slot opens, ERR_CORRUPT for bad objects (naming
 * them), ERR_NO_REPOSITORY without any, ERR_USAGE for an unknown slot or the last one.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "backup/crypto/digest.h"
#include "backup/crypto/seal.h"

struct buf;
struct err;
struct keyring;

enum { REPO_ID_SIZE = 16, SLOT_ID_SIZE = 16, MASTER_KEY_SIZE = 32, SLOT_LABEL_MAX = 255 };
enum { SECRET_TEXT_SIZE = 45 }; /* base64 of 32 bytes, and a NUL */

enum slot_kdf { SLOT_KDF_HKDF = 1, SLOT_KDF_SCRYPT = 2 };

/* How a keyring reaches the objects below keys/ of one repository; names are whole ("keys/slot/…").
 */
struct key_objects {
    void *context;
    int (*list)(void *context, const char *prefix,
                int (*each)(void *argument, const char *name, struct err *err), void *argument,
                struct err *err);
    int (*read)(void *context, const char *name, size_t limit, struct buf *out, struct err *err);
    int (*create)(void *context, const char *name, const void *bytes, size_t count,
                  struct err *err);
    int (*remove)(void *context, const char *name, struct err *err);
};

/* What somebody typed or a key file held: 32 random bytes, or a passphrase. */
struct secret {
    enum slot_kdf kdf;
    size_t count;
    uint8_t *bytes; /* secure memory */
};

struct slot_info {
    uint8_t id[SLOT_ID_SIZE];
    enum slot_kdf kdf;
    int64_t made_ns;
    char label[SLOT_LABEL_MAX + 1];
};

/* Text as docs/format.md reads it; an empty one is ERR_USAGE. */
int secret_parse(const char *text, size_t count, struct secret *out, struct err *err);
/* 32 new bytes. */
int secret_random(struct secret *out, struct err *err);
/* The text of a secret of 32 bytes. */
void secret_text(const struct secret *secret, char out[SECRET_TEXT_SIZE]);
void secret_clear(struct secret *secret);

/* Makes the first slot and epoch 1. */
int keyring_create(const struct key_objects *objects, const uint8_t repo_id[REPO_ID_SIZE],
                   const struct secret *secret, const char *label, struct keyring **out,
                   struct err *err);
int keyring_open(const struct key_objects *objects, const uint8_t repo_id[REPO_ID_SIZE],
                 const struct secret *secret, struct keyring **out, struct err *err);
void keyring_free(struct keyring *keyring);
void keyring_freep(struct keyring **keyring);

uint32_t keyring_epoch(const struct keyring *keyring); /* the current one */
uint32_t keyring_generation(const struct keyring *keyring);
size_t keyring_older(const struct keyring *keyring); /* epochs before it that it still opens */
/* NULL: no such epoch. */
const uint8_t *keyring_master(const struct keyring *keyring, uint32_t epoch);
const struct digest_key *keyring_id_key(const struct keyring *keyring);
const struct digest_key *keyring_gear_key(const struct keyring *keyring);

size_t keyring_slots(const struct keyring *keyring);
void keyring_slot(const struct keyring *keyring, size_t index, struct slot_info *out);
/* The slot that opened this keyring. */
size_t keyring_own_slot(const struct keyring *keyring);

/* Tells each slot whose object is missing or not as it was written: it opens for nobody any more,
 * or soon will not. */
int keyring_check(const struct keyring *keyring, const struct key_objects *objects,
                  void (*damaged)(void *context, const char *name, const struct err *err),
                  void *context, struct err *err);

/* Lets one more secret in: the next generation of the current epoch. */
int keyring_add(struct keyring *keyring, const struct key_objects *objects,
                const struct secret *secret, const char *label, struct err *err);
/* The newest keys, by the slot that opened these: what another process wrote since then. */
int keyring_reopen(const struct keyring *keyring, const struct key_objects *objects,
                   struct keyring **out, struct err *err);
/* A new epoch for all slots: what is written from then on has another master key. */
int keyring_rotate(struct keyring *keyring, const struct key_objects *objects, struct err *err);
/* Ends all older epochs: a generation of the current one that does not carry their master keys, and
 * nothing of keys/epoch/ before it stays.  What is sealed in them opens no more.  ERR_BUSY: another
 * host began an epoch meanwhile. */
int keyring_drop_older(struct keyring *keyring, const struct key_objects *objects, struct err *err);
/* Takes a slot out, by id: a new epoch that its secret does not open. */
int keyring_remove(struct keyring *keyring, const struct key_objects *objects,
                   const uint8_t id[SLOT_ID_SIZE], struct err *err);
