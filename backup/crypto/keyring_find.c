#include <string.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/hex.h"
#include "backup/crypto/keyring_internal.h"

enum { MOST_TRIES = 8 };

struct newest {
    uint32_t below;
    uint32_t epoch; /* 0: none yet */
    uint32_t generation;
};

struct slots {
    int (*each)(void *context, const uint8_t id[SLOT_ID_SIZE], struct err *err);
    void *context;
};

static int see_epoch(void *argument, const char *name, struct err *err)
{
    struct newest *newest = argument;
    uint32_t epoch;
    uint32_t generation;

    (void)err;
    if (!epoch_parse_name(name, &epoch, &generation))
        return 0;
    if (newest->below > 0 && epoch >= newest->below)
        return 0;
    if (epoch > newest->epoch || (epoch == newest->epoch && generation > newest->generation)) {
        newest->epoch = epoch;
        newest->generation = generation;
    }
    return 0;
}

int epoch_find(const struct key_objects *objects, uint32_t below, uint32_t *out_epoch,
               uint32_t *out_generation, struct err *err)
{
    struct newest newest = {.below = below};
    int r = objects->list(objects->context, "keys/epoch/", see_epoch, &newest, err);

    if (r == 0 && newest.epoch == 0)
        r = err_set(err, ERR_NO_REPOSITORY, "there are no keys below keys/epoch/");
    if (r < 0)
        return r;
    *out_epoch = newest.epoch;
    *out_generation = newest.generation;
    return 0;
}

int epoch_read(const struct key_objects *objects, const uint8_t repo_id[REPO_ID_SIZE],
               uint32_t epoch, uint32_t generation, struct buf *buf, struct epoch_view *out,
               struct err *err)
{
    char name[KEY_NAME_SIZE];

    buf->size = 0;
    epoch_name(epoch, generation, name);
    int r = objects->read(objects->context, name, EPOCH_LIMIT, buf, err);
    if (r == -ERR_TOO_LARGE)
        return err_set(err, ERR_CORRUPT, "%s: too long for an epoch of keys", name);
    if (r < 0)
        return r;
    r = epoch_check(buf->data, buf->size, repo_id, epoch, generation, out, err);
    return r < 0 ? err_context(err, "%s", name) : 0;
}

int epoch_read_newest(const struct key_objects *objects, const uint8_t repo_id[REPO_ID_SIZE],
                      struct buf *buf, struct epoch_view *out, struct err *err)
{
    int r = 0;

    for (int tries = 0; tries < MOST_TRIES; tries++) {
        uint32_t epoch;
        uint32_t generation;
        r = epoch_find(objects, 0, &epoch, &generation, err);
        if (r == 0)
            r = epoch_read(objects, repo_id, epoch, generation, buf, out, err);
        if (r != -ERR_NOT_FOUND)
            break;
    }
    return r;
}

static int see_slot(void *argument, const char *name, struct err *err)
{
    struct slots *slots = argument;
    uint8_t id[SLOT_ID_SIZE];
    const char *text = name + strlen("keys/slot/");

    if (strncmp(name, "keys/slot/", strlen("keys/slot/")) != 0 ||
        !hex_decode(text, strlen(text), id, sizeof(id)))
        return 0;
    return slots->each(slots->context, id, err);
}

int slot_each(const struct key_objects *objects,
              int (*each)(void *context, const uint8_t id[SLOT_ID_SIZE], struct err *err),
              void *context, struct err *err)
{
    struct slots slots = {each, context};

    return objects->list(objects->context, "keys/slot/", see_slot, &slots, err);
}
