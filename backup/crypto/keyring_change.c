#include <string.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/hex.h"
#include "backup/base/memory.h"
#include "backup/crypto/keyring_internal.h"

/*
 * Several hosts may change the keys at once.  An object of an epoch is created without overwriting,
 * and whoever loses that reads again.  One pair of changes does not meet there: a slot is added to
 * epoch E while another is taken out, which makes E + 1.  Each looks again after it created its own
 * object, so at least one of them sees the other's, and the slot is carried over.
 */

enum { MOST_TRIES = 16, MOST_OLD_OBJECTS = 10000 };

/* Takes over what `fresh` holds. */
static void adopt(struct keyring *keyring, struct keyring *fresh)
{
    secure_free(keyring->key);
    secure_free(keyring->member);
    *keyring = *fresh;
    fresh->key = NULL;
    fresh->member = NULL;
    keyring_free(fresh);
}

static int refresh(struct keyring *keyring, const struct key_objects *objects, struct err *err)
{
    CLEANUP(buf_clear) struct buf buf = {.limit = EPOCH_LIMIT};
    struct epoch_view view;
    struct keyring *fresh;
    int r = epoch_read_newest(objects, keyring->repo_id, &buf, &view, err);

    if (r < 0)
        return r;
    if (view.epoch == keyring->epoch && view.generation == keyring->generation)
        return 0;
    if (view.epoch < keyring->epoch ||
        (view.epoch == keyring->epoch && view.generation < keyring->generation))
        return err_set(err, ERR_CORRUPT,
                       "the newest keys were taken away from keys/epoch/; restore them from a "
                       "replica before changing any");
    r = keyring_open_epoch(&view, &keyring->own, &fresh, err);
    if (r == 0)
        adopt(keyring, fresh);
    return r;
}

/* Stores `next` as a new object and makes it the keyring's state. */
static int publish(struct keyring *keyring, const struct key_objects *objects,
                   struct keyring **next, struct err *err)
{
    CLEANUP(buf_clear) struct buf buf = {.limit = EPOCH_LIMIT};
    char name[KEY_NAME_SIZE];
    int r = epoch_encode(*next, &buf, err);

    if (r < 0)
        return r;
    epoch_name((*next)->epoch, (*next)->generation, name);
    r = objects->create(objects->context, name, buf.data, buf.size, err);
    if (r == 0)
        adopt(keyring, STEAL(*next));
    return r;
}

static int try_add(struct keyring *keyring, const struct key_objects *objects,
                   const struct member *member, struct err *err)
{
    CLEANUP(keyring_freep) struct keyring *next = NULL;

    if (keyring->members == MOST_SLOTS)
        return err_set(err, ERR_USAGE, "there are %d keys already; remove one first", MOST_SLOTS);
    if (keyring->generation == MOST_NUMBER)
        return err_set(err, ERR_USAGE, "the keys were changed too often; remove one first");
    int r = keyring_copy(keyring, &next, err);
    if (r < 0)
        return r;
    keyring_append_member(next, member);
    next->generation++;
    return publish(keyring, objects, &next, err);
}

/* Whether a later epoch was made while this one's object was; then the object is of no use. */
static int was_overtaken(const struct keyring *keyring, const struct key_objects *objects,
                         bool *out, struct err *err)
{
    char name[KEY_NAME_SIZE];
    struct err ignored;
    uint32_t epoch;
    uint32_t generation;
    int r = epoch_find(objects, 0, &epoch, &generation, err);

    if (r < 0)
        return r;
    *out = epoch > keyring->epoch;
    epoch_name(keyring->epoch, keyring->generation, name);
    if (*out)
        (void)objects->remove(objects->context, name, &ignored);
    return 0;
}

static int add_member(struct keyring *keyring, const struct key_objects *objects,
                      const struct member *member, struct err *err)
{
    for (int tries = 0; tries < MOST_TRIES; tries++) {
        bool overtaken = false;
        int r = refresh(keyring, objects, err);
        if (r == 0 && keyring_member(keyring, member->info.id))
            return 0;
        if (r == 0)
            r = try_add(keyring, objects, member, err);
        if (r == 0)
            r = was_overtaken(keyring, objects, &overtaken, err);
        if (r == 0 && !overtaken)
            return 0;
        if (r < 0 && r != -ERR_EXISTS)
            return r;
    }
    return err_set(err, ERR_BUSY, "other hosts are changing the keys; try again");
}

int keyring_add(struct keyring *keyring, const struct key_objects *objects,
                const struct secret *secret, const char *label, struct err *err)
{
    CLEANUP(secure_freep) struct slot_pair *pair = secure_alloc(sizeof(*pair));
    uint8_t object[SLOT_SIZE];
    char name[KEY_NAME_SIZE];
    struct member member;
    struct err ignored;

    if (!pair)
        return err_set(err, ERR_NOMEM, "no memory for keys");
    int r = slot_make(keyring->repo_id, secret, pair, object, err);
    if (r == 0)
        r = member_init(&member, pair, secret->kdf, label, err);
    if (r < 0)
        return r;
    member_set_object(&member, &keyring->id_key, object);
    slot_name(pair->id, name);
    r = objects->create(objects->context, name, object, SLOT_SIZE, err);
    if (r < 0)
        return r;
    r = add_member(keyring, objects, &member, err);
    if (r < 0)
        (void)objects->remove(objects->context, name, &ignored);
    return r;
}

static int check_room(const struct keyring *keyring, struct err *err)
{
    if (keyring->keys > MOST_OLDER_EPOCHS)
        return err_set(
            err, ERR_USAGE,
            "there are %d older epochs already; `yester key rotate --reencrypt` ends them",
            MOST_OLDER_EPOCHS);
    if (keyring->epoch == MOST_NUMBER)
        return err_set(err, ERR_USAGE, "this repository can have no more epochs");
    return 0;
}

static int check_removal(const struct keyring *keyring, const uint8_t *id, struct err *err)
{
    if (!keyring_member(keyring, id))
        return err_set(err, ERR_USAGE, "the repository has no such key");
    if (keyring->members == 1)
        return err_set(err, ERR_USAGE, "this is the last key; add another one first");
    if (memcmp(keyring->own.id, id, SLOT_ID_SIZE) == 0)
        return err_set(err, ERR_USAGE,
                       "this key opened the repository; open it with another one to remove this");
    return 0;
}

static void drop_member(struct keyring *keyring, const uint8_t *id)
{
    size_t index = (size_t)(keyring_member(keyring, id) - keyring->member);

    keyring->members--;
    memmove(&keyring->member[index], &keyring->member[index + 1],
            (keyring->members - index) * sizeof(*keyring->member));
}

/* The next epoch; `removed` (NULL: none) is left out of it. */
static int try_epoch(struct keyring *keyring, const struct key_objects *objects,
                     const uint8_t *removed, struct err *err)
{
    CLEANUP(keyring_freep) struct keyring *next = NULL;
    int r = removed ? check_removal(keyring, removed, err) : 0;

    if (r == 0)
        r = check_room(keyring, err);
    if (r == 0)
        r = keyring_copy(keyring, &next, err);
    if (r < 0)
        return r;
    if (removed)
        drop_member(next, removed);
    r = keyring_append_key(next, keyring->epoch + 1, err);
    return r < 0 ? r : publish(keyring, objects, &next, err);
}

static int make_epoch(struct keyring *keyring, const struct key_objects *objects,
                      const uint8_t *removed, struct err *err)
{
    for (int tries = 0; tries < MOST_TRIES; tries++) {
        int r = refresh(keyring, objects, err);
        if (r == 0)
            r = try_epoch(keyring, objects, removed, err);
        if (r != -ERR_EXISTS)
            return r;
    }
    return err_set(err, ERR_BUSY, "other hosts are changing the keys; try again");
}

/* Leaves the slots that the keyring did not know of when it made its epoch. */
static void keep_late(struct keyring *late, const struct keyring *keyring, const uint8_t *removed)
{
    for (size_t i = late->members; i-- > 0;) {
        const uint8_t *id = late->member[i].info.id;
        if (keyring_member(keyring, id) || (removed && memcmp(id, removed, SLOT_ID_SIZE) == 0))
            drop_member(late, id);
    }
}

/* The newest state of the epoch that the keyring's was made from; NULL when nothing is left of it.
 */
static int read_before(const struct keyring *keyring, const struct key_objects *objects,
                       struct keyring **out, struct err *err)
{
    CLEANUP(buf_clear) struct buf buf = {.limit = EPOCH_LIMIT};
    const uint8_t *master = keyring_master(keyring, keyring->epoch - 1);
    struct epoch_view view;
    uint32_t epoch = 0;
    uint32_t generation;
    int r = epoch_find(objects, keyring->epoch, &epoch, &generation, err);

    if (r == 0 && epoch == keyring->epoch - 1 && master)
        r = epoch_read(objects, keyring->repo_id, epoch, generation, &buf, &view, err);
    else if (r == 0)
        r = -ERR_NOT_FOUND;
    *out = NULL;
    if (r == -ERR_NO_REPOSITORY || r == -ERR_NOT_FOUND)
        return 0;
    return r < 0 ? r : epoch_open(&view, master, out, err);
}

/* Slots that came into the epoch before, after it was read. */
static int carry_over(struct keyring *keyring, const struct key_objects *objects,
                      const uint8_t *removed, struct err *err)
{
    CLEANUP(keyring_freep) struct keyring *late = NULL;
    int r = read_before(keyring, objects, &late, err);

    if (r < 0 || !late)
        return r;
    keep_late(late, keyring, removed);
    for (size_t i = 0; r == 0 && i < late->members; i++)
        r = add_member(keyring, objects, &late->member[i], err);
    return r;
}

static int remove_object(const struct key_objects *objects, const char *name, struct err *err)
{
    int r = objects->remove(objects->context, name, err);

    return r == -ERR_NOT_FOUND ? 0 : r;
}

/* What is before the keyring's own object: earlier epochs, and earlier generations of its own. */
struct earlier {
    const struct keyring *keyring;
    bool generations;
    char name[KEY_NAME_SIZE]; /* one of them; empty: there is none */
};

static int see_earlier(void *argument, const char *name, struct err *err)
{
    struct earlier *earlier = argument;
    const struct keyring *keyring = earlier->keyring;
    uint32_t epoch, generation;

    (void)err;
    if (!epoch_parse_name(name, &epoch, &generation))
        return 0;
    if (epoch < keyring->epoch ||
        (earlier->generations && epoch == keyring->epoch && generation < keyring->generation))
        epoch_name(epoch, generation, earlier->name);
    return 0;
}

static int remove_earlier(const struct keyring *keyring, const struct key_objects *objects,
                          bool generations, struct err *err)
{
    for (int i = 0; i < MOST_OLD_OBJECTS; i++) {
        struct earlier earlier = {keyring, generations, ""};
        int r = objects->list(objects->context, "keys/epoch/", see_earlier, &earlier, err);

        if (r < 0 || !earlier.name[0])
            return r;
        r = remove_object(objects, earlier.name, err);
        if (r < 0)
            return r;
    }
    return 0;
}

int keyring_remove(struct keyring *keyring, const struct key_objects *objects,
                   const uint8_t id[SLOT_ID_SIZE], struct err *err)
{
    char name[KEY_NAME_SIZE];
    uint8_t removed[SLOT_ID_SIZE];

    memcpy(removed, id, sizeof(removed)); /* the caller's may lie in what is about to change */
    slot_name(removed, name);
    int r = make_epoch(keyring, objects, removed, err);
    if (r < 0)
        return r;
    r = carry_over(keyring, objects, removed, err);
    if (r == 0)
        r = remove_object(objects, name, err);
    if (r == 0)
        r = remove_earlier(keyring, objects, false, err);
    return r < 0 ? err_context(err, "the key is out, but not all is cleared away") : 0;
}

int keyring_rotate(struct keyring *keyring, const struct key_objects *objects, struct err *err)
{
    int r = make_epoch(keyring, objects, NULL, err);
    if (r < 0)
        return r;
    r = carry_over(keyring, objects, NULL, err);
    if (r == 0)
        r = remove_earlier(keyring, objects, false, err);
    return r < 0 ? err_context(err, "the new epoch is there, but not all is cleared away") : 0;
}

int keyring_reopen(const struct keyring *keyring, const struct key_objects *objects,
                   struct keyring **out, struct err *err)
{
    CLEANUP(buf_clear) struct buf buf = {.limit = EPOCH_LIMIT};
    struct epoch_view view;
    int r = epoch_read_newest(objects, keyring->repo_id, &buf, &view, err);

    return r < 0 ? r : keyring_open_epoch(&view, &keyring->own, out, err);
}

static int try_drop(struct keyring *keyring, const struct key_objects *objects, struct err *err)
{
    CLEANUP(keyring_freep) struct keyring *next = NULL;

    if (keyring->keys == 1)
        return 0;
    if (keyring->generation == MOST_NUMBER)
        return err_set(err, ERR_USAGE, "the keys were changed too often; rotate them first");
    int r = keyring_copy(keyring, &next, err);
    if (r < 0)
        return r;
    next->key[0] = next->key[next->keys - 1];
    next->keys = 1;
    next->generation++;
    return publish(keyring, objects, &next, err);
}

int keyring_drop_older(struct keyring *keyring, const struct key_objects *objects, struct err *err)
{
    uint32_t epoch = keyring->epoch;
    bool overtaken = false;
    int r = -ERR_EXISTS;

    for (int tries = 0; r == -ERR_EXISTS && tries < MOST_TRIES; tries++) {
        r = refresh(keyring, objects, err);
        if (r == 0 && keyring->epoch != epoch)
            break;
        if (r == 0)
            r = try_drop(keyring, objects, err);
    }
    if (r == 0)
        r = was_overtaken(keyring, objects, &overtaken, err);
    if (r == -ERR_EXISTS || (r == 0 && (overtaken || keyring->epoch != epoch)))
        return err_set(err, ERR_BUSY, "other hosts are changing the keys; try again");
    return r < 0 ? r : remove_earlier(keyring, objects, true, err);
}
