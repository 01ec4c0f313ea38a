#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "backup/base/buf.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/memory.h"
#include "backup/base/random.h"
#include "backup/crypto/keyring_internal.h"

/* Where things are in an epoch's object, and in a box. */
enum {
    AT_VERSION = 8,
    AT_RESERVED = 10,
    AT_FLAGS = 12,
    AT_REPO = 16,
    AT_EPOCH = 32,
    AT_GENERATION = 36,
    AT_BOXES = 40,
    AT_BODY_SIZE = 44,
    AT_SALT = 48,
    AT_COMMITMENT = 80,
    SALT_SIZE = 32,
    BOX_EPHEMERAL = 16,
    BOX_SEALED = 48,
    ID_ALGORITHM = 1,
};

static const char magic[] = "YSTREPOC";
static const uint8_t zero_nonce[SEAL_NONCE_SIZE]; /* each key here seals one message */

void epoch_name(uint32_t epoch, uint32_t generation, char out[KEY_NAME_SIZE])
{
    (void)snprintf(out, KEY_NAME_SIZE, "keys/epoch/%08u.%08u", epoch, generation);
}

bool epoch_parse_name(const char *name, uint32_t *out_epoch, uint32_t *out_generation)
{
    unsigned epoch;
    unsigned generation;
    char again[KEY_NAME_SIZE];

    if (sscanf(name, "keys/epoch/%8u.%8u", &epoch, &generation) != 2 || epoch > MOST_NUMBER ||
        generation > MOST_NUMBER)
        return false;
    epoch_name(epoch, generation, again);
    if (strcmp(name, again) != 0 || epoch == 0)
        return false;
    *out_epoch = epoch;
    *out_generation = generation;
    return true;
}

/* ---- boxes */

static void box_aad(const uint8_t *header, const uint8_t *slot, uint8_t out[96])
{
    memcpy(out, header, EPOCH_BOUND);
    memcpy(out + EPOCH_BOUND, slot, SLOT_ID_SIZE);
}

/* The public half is a part of the salt: without it the key is unknown, whatever the point. */
static int box_key(const uint8_t *header, const uint8_t shared[32], const uint8_t *ephemeral,
                   const uint8_t *public_half, struct seal_derived *out, struct err *err)
{
    uint8_t salt[64];

    memcpy(salt, ephemeral, 32);
    memcpy(salt + 32, public_half, 32);
    return seal_derive(shared, salt, sizeof(salt), "yester box v1", header, EPOCH_BOUND, out, err);
}

static int write_box(const uint8_t *header, const struct member *member, const uint8_t *master,
                     uint8_t box[BOX_SIZE], struct err *err)
{
    CLEANUP(seal_derived_clear) struct seal_derived derived = {0};
    uint8_t secret[32];
    uint8_t shared[32];
    uint8_t aad[EPOCH_BOUND + SLOT_ID_SIZE];
    int r = random_bytes(secret, sizeof(secret), err);

    memcpy(box, member->info.id, SLOT_ID_SIZE);
    if (r == 0)
        r = x25519_public(secret, box + BOX_EPHEMERAL, err);
    if (r == 0)
        r = x25519_shared(secret, member->public_half, shared, err);
    if (r == 0)
        r = box_key(header, shared, box + BOX_EPHEMERAL, member->public_half, &derived, err);
    OPENSSL_cleanse(secret, sizeof(secret));
    OPENSSL_cleanse(shared, sizeof(shared));
    if (r < 0)
        return r;
    box_aad(header, member->info.id, aad);
    return seal_bytes(&derived.key, zero_nonce, aad, sizeof(aad), master, MASTER_KEY_SIZE,
                      box + BOX_SEALED, err);
}

static int open_box(const uint8_t *header, const uint8_t *box, const struct slot_pair *pair,
                    uint8_t out_master[MASTER_KEY_SIZE], struct err *err)
{
    CLEANUP(seal_derived_clear) struct seal_derived derived = {0};
    uint8_t shared[32];
    uint8_t aad[EPOCH_BOUND + SLOT_ID_SIZE];
    int r = x25519_shared(pair->private_half, box + BOX_EPHEMERAL, shared, err);

    if (r == 0)
        r = box_key(header, shared, box + BOX_EPHEMERAL, pair->public_half, &derived, err);
    OPENSSL_cleanse(shared, sizeof(shared));
    if (r < 0)
        return r;
    box_aad(header, pair->id, aad);
    return seal_open(&derived.key, zero_nonce, aad, sizeof(aad), box + BOX_SEALED,
                     BOX_SIZE - BOX_SEALED, out_master, err);
}

const uint8_t *epoch_slot(const struct epoch_view *view, size_t index)
{
    return view->bytes + EPOCH_HEADER_SIZE + index * BOX_SIZE;
}

static const uint8_t *find_box(const struct epoch_view *view, const uint8_t *id)
{
    for (size_t i = 0; i < view->boxes; i++)
        if (memcmp(epoch_slot(view, i), id, SLOT_ID_SIZE) == 0)
            return epoch_slot(view, i);
    return NULL;
}

bool epoch_has_slot(const struct epoch_view *view, const uint8_t id[SLOT_ID_SIZE])
{
    return find_box(view, id) != NULL;
}

int epoch_open_box(const struct epoch_view *view, const struct slot_pair *pair,
                   uint8_t out_master[MASTER_KEY_SIZE], struct err *err)
{
    const uint8_t *box = find_box(view, pair->id);

    if (!box)
        return err_set(err, ERR_WRONG_KEY, "this key was removed from the repository");
    return open_box(view->bytes, box, pair, out_master, err);
}

/* ---- writing */

static size_t body_size(const struct keyring *keyring)
{
    size_t size = 1 + 2 * DIGEST_KEY_SIZE + 4 + (keyring->keys - 1) * (4 + MASTER_KEY_SIZE) + 4;

    for (size_t i = 0; i < keyring->members; i++) {
        size_t label = strlen(keyring->member[i].info.label);
        size_t prefix = label < 0x80 ? 1 : 2;
        size += SLOT_ID_SIZE + 32 + DIGEST_SIZE + 1 + 8 + 1 + prefix + label;
    }
    return size;
}

static uint8_t *put(uint8_t *at, const void *bytes, size_t count)
{
    memcpy(at, bytes, count);
    return at + count;
}

static uint8_t *put_number(uint8_t *at, uint64_t value, size_t count)
{
    uint8_t bytes[8];

    store_le64(bytes, value);
    return put(at, bytes, count);
}

static uint8_t *put_label(uint8_t *at, const char *label)
{
    size_t size = strlen(label);

    if (size >= 0x80)
        *at++ = (uint8_t)(size | 0x80);
    *at++ = (uint8_t)(size >= 0x80 ? size >> 7 : size);
    return put(at, label, size);
}

/* Straight into memory of the right size: a buffer that grows would leave copies of the keys. */
static void write_body(const struct keyring *keyring, uint8_t *at)
{
    at = put_number(at, ID_ALGORITHM, 1);
    at = put(at, keyring->id_key.bytes, DIGEST_KEY_SIZE);
    at = put(at, keyring->gear_key.bytes, DIGEST_KEY_SIZE);
    at = put_number(at, keyring->keys - 1, 4);
    for (size_t i = 0; i + 1 < keyring->keys; i++) {
        at = put_number(at, keyring->key[i].epoch, 4);
        at = put(at, keyring->key[i].master, MASTER_KEY_SIZE);
    }
    at = put_number(at, keyring->members, 4);
    for (size_t i = 0; i < keyring->members; i++) {
        const struct member *member = &keyring->member[i];
        at = put(at, member->info.id, SLOT_ID_SIZE);
        at = put(at, member->public_half, sizeof(member->public_half));
        at = put(at, member->object, sizeof(member->object));
        at = put_number(at, (uint64_t)member->info.kdf, 1);
        at = put_number(at, (uint64_t)member->info.made_ns, 8);
        at = put_number(at, 0, 1);
        at = put_label(at, member->info.label);
    }
}

static int write_header(const struct keyring *keyring, size_t body, uint8_t *header,
                        struct err *err)
{
    memset(header, 0, EPOCH_HEADER_SIZE);
    memcpy(header, magic, 8);
    store_le16(header + AT_VERSION, 1);
    memcpy(header + AT_REPO, keyring->repo_id, REPO_ID_SIZE);
    store_le32(header + AT_EPOCH, keyring->epoch);
    store_le32(header + AT_GENERATION, keyring->generation);
    store_le32(header + AT_BOXES, (uint32_t)keyring->members);
    store_le32(header + AT_BODY_SIZE, (uint32_t)(body + SEAL_TAG_SIZE));
    return random_bytes(header + AT_SALT, SALT_SIZE, err);
}

static int seal_body(const struct keyring *keyring, const struct seal_derived *derived,
                     uint8_t *object, size_t before, size_t size, struct err *err)
{
    CLEANUP(secure_freep) uint8_t *body = secure_alloc(size);

    if (!body)
        return err_set(err, ERR_NOMEM, "no memory for an epoch");
    write_body(keyring, body);
    return seal_bytes(&derived->key, zero_nonce, object, before, body, size, object + before, err);
}

int epoch_encode(const struct keyring *keyring, struct buf *out, struct err *err)
{
    CLEANUP(seal_derived_clear) struct seal_derived derived = {0};
    const uint8_t *master = keyring->key[keyring->keys - 1].master;
    size_t before = EPOCH_HEADER_SIZE + keyring->members * BOX_SIZE;
    size_t size = body_size(keyring);
    int r = buf_reserve(out, before + size + SEAL_TAG_SIZE, err);
    if (r < 0)
        return r;

    uint8_t *object = out->data + out->size;
    r = write_header(keyring, size, object, err);
    if (r == 0)
        r = seal_derive(master, object + AT_SALT, SALT_SIZE, "yester epoch v1", object, EPOCH_BOUND,
                        &derived, err);
    if (r < 0)
        return r;
    memcpy(object + AT_COMMITMENT, derived.commitment, sizeof(derived.commitment));
    for (size_t i = 0; r == 0 && i < keyring->members; i++)
        r = write_box(object, &keyring->member[i], master,
                      object + EPOCH_HEADER_SIZE + i * BOX_SIZE, err);
    if (r == 0)
        r = seal_body(keyring, &derived, object, before, size, err);
    if (r == 0)
        out->size += before + size + SEAL_TAG_SIZE;
    return r;
}

/* ---- reading */

int epoch_check(const uint8_t *bytes, size_t size, const uint8_t repo_id[REPO_ID_SIZE],
                uint32_t epoch, uint32_t generation, struct epoch_view *out, struct err *err)
{
    if (size < EPOCH_HEADER_SIZE || memcmp(bytes, magic, 8) != 0)
        return err_set(err, ERR_CORRUPT, "not an epoch of keys");
    if (load_le16(bytes + AT_VERSION) != 1 || load_le32(bytes + AT_FLAGS) != 0)
        return err_set(err, ERR_CORRUPT, "damaged, or made by a newer version of yester");
    if (memcmp(bytes + AT_REPO, repo_id, REPO_ID_SIZE) != 0)
        return err_set(err, ERR_CORRUPT, "belongs to another repository");
    if (load_le32(bytes + AT_EPOCH) != epoch || load_le32(bytes + AT_GENERATION) != generation)
        return err_set(err, ERR_CORRUPT, "is another epoch under this name");

    size_t boxes = load_le32(bytes + AT_BOXES);
    size_t body = load_le32(bytes + AT_BODY_SIZE);
    if (load_le16(bytes + AT_RESERVED) != 0 || boxes < 1 || boxes > MOST_SLOTS ||
        body < SEAL_TAG_SIZE || body > BODY_LIMIT ||
        size != EPOCH_HEADER_SIZE + boxes * BOX_SIZE + body)
        return err_set(err, ERR_CORRUPT, "its lengths do not fit together");
    *out = (struct epoch_view){bytes, size, epoch, generation, boxes, body};
    return 0;
}

static void read_key(struct cursor *in, uint8_t *out, size_t count)
{
    const uint8_t *bytes = read_bytes(in, count);

    if (bytes)
        memcpy(out, bytes, count);
}

static bool read_older(struct cursor *in, size_t count, struct keyring *out)
{
    for (size_t i = 0; i < count && !in->failed; i++) {
        struct epoch_key *key = &out->key[out->keys];
        uint32_t before = i > 0 ? key[-1].epoch : 0;
        key->epoch = read_u32(in);
        read_key(in, key->master, MASTER_KEY_SIZE);
        if (key->epoch <= before || key->epoch >= out->epoch)
            return false;
        out->keys++;
    }
    return !in->failed;
}

static bool read_member(struct cursor *in, const uint8_t *id, struct member *out)
{
    read_key(in, out->info.id, SLOT_ID_SIZE);
    read_key(in, out->public_half, sizeof(out->public_half));
    read_key(in, out->object, sizeof(out->object));
    uint8_t kdf = read_u8(in);
    uint64_t made = read_u64(in);
    uint8_t flags = read_u8(in);
    uint64_t size = read_varint(in);
    const uint8_t *label = size <= SLOT_LABEL_MAX ? read_bytes(in, (size_t)size) : NULL;

    if (in->failed || !label || memchr(label, '\0', (size_t)size) || made > INT64_MAX ||
        flags != 0 || (kdf != SLOT_KDF_HKDF && kdf != SLOT_KDF_SCRYPT) ||
        memcmp(out->info.id, id, SLOT_ID_SIZE) != 0)
        return false;
    out->info.kdf = kdf;
    out->info.made_ns = (int64_t)made;
    memcpy(out->info.label, label, (size_t)size);
    out->info.label[size] = '\0';
    return true;
}

static bool read_members(struct cursor *in, const struct epoch_view *view, struct keyring *out)
{
    for (size_t i = 0; i < view->boxes; i++) {
        const uint8_t *id = epoch_slot(view, i);
        if (keyring_member(out, id) || !read_member(in, id, &out->member[out->members]))
            return false;
        out->members++;
    }
    return true;
}

/* The counts were looked at before there was room made for so many. */
static int read_body(const struct epoch_view *view, const uint8_t *body, size_t size,
                     struct keyring **out, struct err *err)
{
    CLEANUP(keyring_freep) struct keyring *keyring = NULL;
    struct cursor in = cursor_of(body, size);
    uint8_t id_algorithm = read_u8(&in);
    const uint8_t *id_key = read_bytes(&in, DIGEST_KEY_SIZE);
    const uint8_t *gear_key = read_bytes(&in, DIGEST_KEY_SIZE);
    uint32_t older = read_u32(&in);

    if (in.failed || id_algorithm != ID_ALGORITHM || older > MOST_OLDER_EPOCHS)
        return err_set(err, ERR_CORRUPT, "its body has no known form");
    int r = keyring_new(view->bytes + AT_REPO, older + 1, view->boxes, &keyring, err);
    if (r < 0)
        return r;
    keyring->epoch = view->epoch;
    keyring->generation = view->generation;
    memcpy(keyring->id_key.bytes, id_key, DIGEST_KEY_SIZE);
    memcpy(keyring->gear_key.bytes, gear_key, DIGEST_KEY_SIZE);
    if (!read_older(&in, older, keyring) || read_u32(&in) != view->boxes ||
        !read_members(&in, view, keyring) || cursor_left(&in) != 0)
        return err_set(err, ERR_CORRUPT, "its body has no known form");
    *out = STEAL(keyring);
    return 0;
}

int epoch_open(const struct epoch_view *view, const uint8_t master[MASTER_KEY_SIZE],
               struct keyring **out, struct err *err)
{
    CLEANUP(seal_derived_clear) struct seal_derived derived = {0};
    CLEANUP(keyring_freep) struct keyring *keyring = NULL;
    CLEANUP(secure_freep) uint8_t *body = secure_alloc(view->body_size);
    size_t before = view->size - view->body_size;

    if (!body)
        return err_set(err, ERR_NOMEM, "no memory for an epoch");
    int r = seal_derive(master, view->bytes + AT_SALT, SALT_SIZE, "yester epoch v1", view->bytes,
                        EPOCH_BOUND, &derived, err);
    if (r < 0)
        return r;
    if (CRYPTO_memcmp(derived.commitment, view->bytes + AT_COMMITMENT,
                      sizeof(derived.commitment)) != 0)
        return err_set(err, ERR_CORRUPT, "its body is sealed with another key");
    r = seal_open(&derived.key, zero_nonce, view->bytes, before, view->bytes + before,
                  view->body_size, body, err);
    if (r == 0)
        r = read_body(view, body, view->body_size - SEAL_TAG_SIZE, &keyring, err);
    if (r < 0)
        return r;
    keyring->key[keyring->keys++] = (struct epoch_key){.epoch = view->epoch};
    memcpy(keyring->key[keyring->keys - 1].master, master, MASTER_KEY_SIZE);
    *out = STEAL(keyring);
    return 0;
}
