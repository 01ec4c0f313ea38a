/*
 * keyring_internal — what the files of keyring share.
 *
 * keyring_secret.c reads what people type; keyring_slot.c has the bytes of key slots and the X25519
 * pairs in them; keyring_epoch.c the bytes of epochs; keyring_find.c finds the newest epoch in the
 * store; keyring.c makes and opens keyrings; keyring_change.c adds and removes slots.
 *
 * Everything from the store is hostile until a body opened with the master key.
 */
#pragma once

#include <stdbool.h>

#include "backup/crypto/keyring.h"

enum {
    SLOT_SIZE = 208,
    EPOCH_HEADER_SIZE = 112, /* plain; the first EPOCH_BOUND bytes go into each derivation */
    EPOCH_BOUND = 80,
    BOX_SIZE = 96,
    MOST_SLOTS = 1024,
    MOST_OLDER_EPOCHS = 1024,
    MOST_NUMBER = 99999999, /* eight digits of a name */
    BODY_LIMIT = 1 << 20,
    EPOCH_LIMIT = EPOCH_HEADER_SIZE + MOST_SLOTS * BOX_SIZE + BODY_LIMIT,
    KEY_NAME_SIZE = 64, /* of an object below keys/ */
};

/*
 * What is in a slot.  The public half stands nowhere in plain: who cannot open an epoch does not
 * know it, and so cannot seal an epoch of his own to this slot.
 */
struct slot_pair {
    uint8_t id[SLOT_ID_SIZE];
    uint8_t private_half[32];
    uint8_t public_half[32];
};

/* A slot, as the epoch's body lists it. */
struct member {
    uint8_t public_half[32];
    uint8_t
        object[DIGEST_SIZE]; /* of the slot's object: who cannot open it sees that it is whole */
    struct slot_info info;
};

struct epoch_key {
    uint32_t epoch;
    uint8_t master[MASTER_KEY_SIZE];
};

/* In secure memory, and both arrays too. */
struct keyring {
    uint8_t repo_id[REPO_ID_SIZE];
    uint32_t epoch;
    uint32_t generation;
    struct digest_key id_key;
    struct digest_key gear_key;
    struct slot_pair own;
    size_t keys;
    struct epoch_key *key; /* ascending; the last is the current epoch's */
    size_t members;
    struct member *member;
};

/* An epoch's object whose lengths fit together; nothing else about it is known. */
struct epoch_view {
    const uint8_t *bytes;
    size_t size;
    uint32_t epoch;
    uint32_t generation;
    size_t boxes;
    size_t body_size;
};

/* An empty keyring with room for so many. */
int keyring_new(const uint8_t repo_id[REPO_ID_SIZE], size_t keys, size_t members,
                struct keyring **out, struct err *err);
/* A copy with room for one more of each. */
int keyring_copy(const struct keyring *from, struct keyring **out, struct err *err);
const struct member *keyring_member(const struct keyring *keyring, const uint8_t *id);
void keyring_append_member(struct keyring *keyring, const struct member *member);
int keyring_append_key(struct keyring *keyring, uint32_t epoch, struct err *err);
/* The member of a slot that was just made, and its object. */
int member_init(struct member *member, const struct slot_pair *pair, enum slot_kdf kdf,
                const char *label, struct err *err);
void member_set_object(struct member *member, const struct digest_key *id_key,
                       const uint8_t object[SLOT_SIZE]);

/* Makes a slot that `secret` opens, and its object. */
int slot_make(const uint8_t repo_id[REPO_ID_SIZE], const struct secret *secret,
              struct slot_pair *out, uint8_t object[SLOT_SIZE], struct err *err);
/* ERR_WRONG_KEY if the secret does not open it, ERR_CORRUPT if no secret can. */
int slot_unlock(const uint8_t repo_id[REPO_ID_SIZE], const uint8_t id[SLOT_ID_SIZE],
                const uint8_t *object, size_t size, const struct secret *secret,
                struct slot_pair *out, struct err *err);
void slot_name(const uint8_t id[SLOT_ID_SIZE], char out[KEY_NAME_SIZE]);
/* The same in the store; an object that is not there is ERR_CORRUPT. */
int slot_read(const struct key_objects *objects, const uint8_t repo_id[REPO_ID_SIZE],
              const uint8_t id[SLOT_ID_SIZE], const struct secret *secret, struct slot_pair *out,
              struct err *err);

int x25519_public(const uint8_t private_half[32], uint8_t out[32], struct err *err);
int x25519_shared(const uint8_t private_half[32], const uint8_t public_half[32], uint8_t out[32],
                  struct err *err);

void epoch_name(uint32_t epoch, uint32_t generation, char out[KEY_NAME_SIZE]);
bool epoch_parse_name(const char *name, uint32_t *out_epoch, uint32_t *out_generation);
/* The object of the keyring's current epoch and generation. */
int epoch_encode(const struct keyring *keyring, struct buf *out, struct err *err);
int epoch_check(const uint8_t *bytes, size_t size, const uint8_t repo_id[REPO_ID_SIZE],
                uint32_t epoch, uint32_t generation, struct epoch_view *out, struct err *err);
/* The slot that box `index` is for. */
const uint8_t *epoch_slot(const struct epoch_view *view, size_t index);
bool epoch_has_slot(const struct epoch_view *view, const uint8_t id[SLOT_ID_SIZE]);
int epoch_open_box(const struct epoch_view *view, const struct slot_pair *pair,
                   uint8_t out_master[MASTER_KEY_SIZE], struct err *err);
/* A keyring without an own slot. */
int epoch_open(const struct epoch_view *view, const uint8_t master[MASTER_KEY_SIZE],
               struct keyring **out, struct err *err);

/* The highest epoch's highest generation; `below` (0: all) leaves out that epoch and later ones. */
int epoch_find(const struct key_objects *objects, uint32_t below, uint32_t *out_epoch,
               uint32_t *out_generation, struct err *err);
/* Reads one into `buf`; errors name it. */
int epoch_read(const struct key_objects *objects, const uint8_t repo_id[REPO_ID_SIZE],
               uint32_t epoch, uint32_t generation, struct buf *buf, struct epoch_view *out,
               struct err *err);
/* Finds and reads the newest, again if it goes away meanwhile. */
int epoch_read_newest(const struct key_objects *objects, const uint8_t repo_id[REPO_ID_SIZE],
                      struct buf *buf, struct epoch_view *out, struct err *err);
/* Calls with each slot's id that has an object. */
int slot_each(const struct key_objects *objects,
              int (*each)(void *context, const uint8_t id[SLOT_ID_SIZE], struct err *err),
              void *context, struct err *err);

/* Opens an epoch with a pair that has a box in it. */
int keyring_open_epoch(const struct epoch_view *view, const struct slot_pair *pair,
                       struct keyring **out, struct err *err);
