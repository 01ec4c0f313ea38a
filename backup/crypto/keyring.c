#include "backup/crypto/keyring.h"

#include <openssl/crypto.h>
#include <string.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/memory.h"
#include "backup/base/random.h"
#include "backup/crypto/keyring_internal.h"

/* Slots without a box in the newest epoch, to say why a key that opens one of them is refused. */
struct strays {
    const struct epoch_view *view;
    size_t count;
    uint8_t ids[64][SLOT_ID_SIZE];
};

int keyring_new(const uint8_t repo_id[REPO_ID_SIZE], size_t keys, size_t members,
                struct keyring **out, struct err *err)
{
    CLEANUP(keyring_freep) struct keyring *keyring = secure_alloc(sizeof(*keyring));

    if (keyring) {
        keyring->key = secure_alloc(keys * sizeof(*keyring->key));
        keyring->member = secure_alloc(members * sizeof(*keyring->member));
    }
    if (!keyring || !keyring->key || !keyring->member)
        return err_set(err, ERR_NOMEM, "no memory for keys");
    memcpy(keyring->repo_id, repo_id, REPO_ID_SIZE);
    *out = STEAL(keyring);
    return 0;
}

int keyring_copy(const struct keyring *from, struct keyring **out, struct err *err)
{
    struct keyring *copy;
    int r = keyring_new(from->repo_id, from->keys + 1, from->members + 1, &copy, err);
    if (r < 0)
        return r;

    struct epoch_key *key = copy->key;
    struct member *member = copy->member;
    *copy = *from;
    copy->key = key;
    copy->member = member;
    memcpy(key, from->key, from->keys * sizeof(*key));
    memcpy(member, from->member, from->members * sizeof(*member));
    *out = copy;
    return 0;
}

void keyring_free(struct keyring *keyring)
{
    if (!keyring)
        return;
    secure_free(keyring->key);
    secure_free(keyring->member);
    secure_free(keyring);
}

void keyring_freep(struct keyring **keyring)
{
    keyring_free(*keyring);
}

const struct member *keyring_member(const struct keyring *keyring, const uint8_t *id)
{
    for (size_t i = 0; i < keyring->members; i++)
        if (memcmp(keyring->member[i].info.id, id, SLOT_ID_SIZE) == 0)
            return &keyring->member[i];
    return NULL;
}

void keyring_append_member(struct keyring *keyring, const struct member *member)
{
    keyring->member[keyring->members++] = *member;
}

int keyring_append_key(struct keyring *keyring, uint32_t epoch, struct err *err)
{
    struct epoch_key *key = &keyring->key[keyring->keys];
    int r = random_bytes(key->master, sizeof(key->master), err);

    if (r < 0)
        return r;
    key->epoch = epoch;
    keyring->keys++;
    keyring->epoch = epoch;
    keyring->generation = 0;
    return 0;
}

int member_init(struct member *member, const struct slot_pair *pair, enum slot_kdf kdf,
                const char *label, struct err *err)
{
    struct clock *clock = clock_system();
    int64_t now = clock->now_ns(clock);

    if (strlen(label) > SLOT_LABEL_MAX)
        return err_set(err, ERR_USAGE, "the label of a key has at most %d bytes", SLOT_LABEL_MAX);
    *member = (struct member){.info = {.kdf = kdf, .made_ns = now > 0 ? now : 0}};
    memcpy(member->info.id, pair->id, SLOT_ID_SIZE);
    memcpy(member->public_half, pair->public_half, sizeof(member->public_half));
    strcpy(member->info.label, label);
    return 0;
}

void member_set_object(struct member *member, const struct digest_key *id_key,
                       const uint8_t object[SLOT_SIZE])
{
    digest_bytes(id_key, object, SLOT_SIZE, member->object);
}

/* ---- making */

static int store_first(const struct key_objects *objects, const struct keyring *keyring,
                       const uint8_t object[SLOT_SIZE], struct err *err)
{
    CLEANUP(buf_clear) struct buf buf = {.limit = EPOCH_LIMIT};
    char slot[KEY_NAME_SIZE];
    char epoch[KEY_NAME_SIZE];
    struct err ignored;
    int r = epoch_encode(keyring, &buf, err);
    if (r < 0)
        return r;

    slot_name(keyring->own.id, slot);
    epoch_name(keyring->epoch, keyring->generation, epoch);
    r = objects->create(objects->context, slot, object, SLOT_SIZE, err);
    if (r < 0)
        return r;
    r = objects->create(objects->context, epoch, buf.data, buf.size, err);
    if (r < 0)
        (void)objects->remove(objects->context, slot, &ignored);
    return r;
}

int keyring_create(const struct key_objects *objects, const uint8_t repo_id[REPO_ID_SIZE],
                   const struct secret *secret, const char *label, struct keyring **out,
                   struct err *err)
{
    CLEANUP(keyring_freep) struct keyring *keyring = NULL;
    uint8_t object[SLOT_SIZE];
    struct member member;
    int r = keyring_new(repo_id, 1, 1, &keyring, err);

    if (r == 0)
        r = slot_make(repo_id, secret, &keyring->own, object, err);
    if (r == 0)
        r = member_init(&member, &keyring->own, secret->kdf, label, err);
    if (r == 0)
        r = random_bytes(keyring->id_key.bytes, DIGEST_KEY_SIZE, err);
    if (r == 0)
        r = random_bytes(keyring->gear_key.bytes, DIGEST_KEY_SIZE, err);
    if (r == 0)
        r = keyring_append_key(keyring, 1, err);
    if (r < 0)
        return r;
    member_set_object(&member, &keyring->id_key, object);
    keyring_append_member(keyring, &member);
    r = store_first(objects, keyring, object, err);
    if (r == 0)
        *out = STEAL(keyring);
    return r;
}

/* ---- opening */

int keyring_open_epoch(const struct epoch_view *view, const struct slot_pair *pair,
                       struct keyring **out, struct err *err)
{
    CLEANUP(keyring_freep) struct keyring *keyring = NULL;
    CLEANUP(secure_freep) uint8_t *master = secure_alloc(MASTER_KEY_SIZE);
    char name[KEY_NAME_SIZE];

    if (!master)
        return err_set(err, ERR_NOMEM, "no memory for keys");
    epoch_name(view->epoch, view->generation, name);
    int r = epoch_open_box(view, pair, master, err);
    if (r == 0)
        r = epoch_open(view, master, &keyring, err);
    if (r < 0)
        return err_context(err, "%s", name);
    const struct member *member = keyring_member(keyring, pair->id);
    if (!member || CRYPTO_memcmp(member->public_half, pair->public_half, 32) != 0)
        return err_set(err, ERR_CORRUPT, "%s: lists another public key for this slot", name);
    keyring->own = *pair;
    *out = STEAL(keyring);
    return 0;
}

/* The first slot of the epoch that the secret opens.  One slot's damage does not keep the others
 * from opening, and is told only if none does. */
static int unlock_member(const struct key_objects *objects, const uint8_t *repo_id,
                         const struct secret *secret, const struct epoch_view *view,
                         struct slot_pair *out, struct err *err)
{
    struct err failure = {0};

    for (size_t i = 0; i < view->boxes; i++) {
        struct err found;
        if (slot_read(objects, repo_id, epoch_slot(view, i), secret, out, &found) == 0)
            return 0;
        if (failure.code == ERR_NONE && found.code != ERR_WRONG_KEY)
            failure = found;
    }
    if (failure.code == ERR_NONE)
        return err_set(err, ERR_WRONG_KEY, "no key slot of this repository opens with this key");
    *err = failure;
    return -(int)failure.code;
}

static int note_stray(void *context, const uint8_t id[SLOT_ID_SIZE], struct err *err)
{
    struct strays *strays = context;

    (void)err;
    if (strays->count < sizeof(strays->ids) / sizeof(strays->ids[0]) &&
        !epoch_has_slot(strays->view, id))
        memcpy(strays->ids[strays->count++], id, SLOT_ID_SIZE);
    return 0;
}

static int tell_stray(const struct key_objects *objects, const uint8_t *repo_id,
                      const struct epoch_view *view, const uint8_t *slot, struct err *err)
{
    CLEANUP(buf_clear) struct buf buf = {.limit = EPOCH_LIMIT};
    struct epoch_view older;
    struct err ignored;
    uint32_t epoch;
    uint32_t generation;

    if (epoch_find(objects, view->epoch, &epoch, &generation, &ignored) == 0 &&
        epoch_read(objects, repo_id, epoch, generation, &buf, &older, &ignored) == 0 &&
        epoch_has_slot(&older, slot))
        return err_set(err, ERR_WRONG_KEY,
                       "this key was removed from the repository; use one that is still in it");
    return err_set(err, ERR_WRONG_KEY,
                   "this key was removed from the repository, or its adding was not finished; use "
                   "one that is in it");
}

/* Keeps the plain refusal unless there is more to say. */
static int explain_refusal(const struct key_objects *objects, const uint8_t *repo_id,
                           const struct secret *secret, const struct epoch_view *view,
                           struct err *err)
{
    CLEANUP(secure_freep) struct slot_pair *pair = secure_alloc(sizeof(*pair));
    struct strays strays = {.view = view};
    struct err ignored;

    if (!pair || slot_each(objects, note_stray, &strays, &ignored) < 0)
        return -(int)err->code;
    for (size_t i = 0; i < strays.count; i++)
        if (slot_read(objects, repo_id, strays.ids[i], secret, pair, &ignored) == 0)
            return tell_stray(objects, repo_id, view, strays.ids[i], err);
    return -(int)err->code;
}

int keyring_open(const struct key_objects *objects, const uint8_t repo_id[REPO_ID_SIZE],
                 const struct secret *secret, struct keyring **out, struct err *err)
{
    CLEANUP(buf_clear) struct buf buf = {.limit = EPOCH_LIMIT};
    CLEANUP(secure_freep) struct slot_pair *pair = secure_alloc(sizeof(*pair));
    struct epoch_view view;

    if (!pair)
        return err_set(err, ERR_NOMEM, "no memory for keys");
    int r = epoch_read_newest(objects, repo_id, &buf, &view, err);
    if (r < 0)
        return r;
    r = unlock_member(objects, repo_id, secret, &view, pair, err);
    if (r == -ERR_WRONG_KEY)
        return explain_refusal(objects, repo_id, secret, &view, err);
    return r < 0 ? r : keyring_open_epoch(&view, pair, out, err);
}

/* ---- looking */

uint32_t keyring_epoch(const struct keyring *keyring)
{
    return keyring->epoch;
}

uint32_t keyring_generation(const struct keyring *keyring)
{
    return keyring->generation;
}

size_t keyring_older(const struct keyring *keyring)
{
    return keyring->keys - 1;
}

const uint8_t *keyring_master(const struct keyring *keyring, uint32_t epoch)
{
    for (size_t i = keyring->keys; i-- > 0;)
        if (keyring->key[i].epoch == epoch)
            return keyring->key[i].master;
    return NULL;
}

const struct digest_key *keyring_id_key(const struct keyring *keyring)
{
    return &keyring->id_key;
}

const struct digest_key *keyring_gear_key(const struct keyring *keyring)
{
    return &keyring->gear_key;
}

size_t keyring_slots(const struct keyring *keyring)
{
    return keyring->members;
}

void keyring_slot(const struct keyring *keyring, size_t index, struct slot_info *out)
{
    *out = keyring->member[index].info;
}

size_t keyring_own_slot(const struct keyring *keyring)
{
    return (size_t)(keyring_member(keyring, keyring->own.id) - keyring->member);
}

static int check_slot(const struct keyring *keyring, const struct member *member,
                      const struct key_objects *objects, const char *name, struct err *err)
{
    CLEANUP(buf_clear) struct buf buf = {.limit = SLOT_SIZE};
    uint8_t digest[DIGEST_SIZE];
    int r = objects->read(objects->context, name, SLOT_SIZE, &buf, err);

    if (r == -ERR_NOT_FOUND)
        return err_set(err, ERR_CORRUPT, "missing");
    if (r < 0)
        return r;
    digest_bytes(&keyring->id_key, buf.data, buf.size, digest);
    if (buf.size != SLOT_SIZE || memcmp(digest, member->object, sizeof(digest)) != 0)
        return err_set(err, ERR_CORRUPT, "not as it was written");
    return 0;
}

int keyring_check(const struct keyring *keyring, const struct key_objects *objects,
                  void (*damaged)(void *context, const char *name, const struct err *err),
                  void *context, struct err *err)
{
    for (size_t i = 0; i < keyring->members; i++) {
        char name[KEY_NAME_SIZE];

        slot_name(keyring->member[i].info.id, name);
        int r = check_slot(keyring, &keyring->member[i], objects, name, err);
        if (r < 0 && r != -ERR_CORRUPT && r != -ERR_TOO_LARGE)
            return err_context(err, "%s", name);
        if (r < 0)
            damaged(context, name, err);
    }
    return 0;
}
