#include "fs/mount_past.h"

#include <stdlib.h>
#include <string.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "fs/merged.h"

enum { PASTS_KEPT = 16, ERAS_KEPT = 4, PATH_LIMIT = 64 * 1024 };

struct pasts {
    pthread_mutex_t lock; /* guards what follows */
    uint64_t generation, clock;
    struct era *eras[ERAS_KEPT];
    struct past *kept[PASTS_KEPT];
};

/* ---- what is kept ------------------------------------------------------------------------ */

static void era_unref(struct era *era)
{
    if (!era || atomic_fetch_sub(&era->refs, 1) > 1)
        return;
    timeline_clear(&era->timeline);
    free(era);
}

void past_unref(struct past *past)
{
    if (!past || atomic_fetch_sub(&past->refs, 1) > 1)
        return;
    merged_free(past->names);
    versions_clear(&past->versions);
    trail_clear(&past->trail);
    era_unref(past->era);
    pthread_mutex_destroy(&past->lock);
    free(past);
}

void past_unrefp(struct past **past)
{
    past_unref(*past);
}

struct pasts *pasts_new(void)
{
    struct pasts *pasts = calloc(1, sizeof(*pasts));

    if (pasts)
        pthread_mutex_init(&pasts->lock, NULL);
    return pasts;
}

/* With the lock held, or alone. */
static void drop_all(struct pasts *pasts)
{
    for (size_t i = 0; i < PASTS_KEPT; i++)
        past_unref(STEAL(pasts->kept[i]));
    for (size_t i = 0; i < ERAS_KEPT; i++)
        era_unref(STEAL(pasts->eras[i]));
}

void pasts_free(struct pasts *pasts)
{
    if (!pasts)
        return;
    drop_all(pasts);
    pthread_mutex_destroy(&pasts->lock);
    free(pasts);
}

void pasts_forget(struct pasts *pasts)
{
    pthread_mutex_lock(&pasts->lock);
    pasts->generation++;
    drop_all(pasts);
    pthread_mutex_unlock(&pasts->lock);
}

static struct era *known_era(struct pasts *pasts, uint16_t host, uint64_t *out_generation)
{
    struct era *found = NULL;

    pthread_mutex_lock(&pasts->lock);
    for (size_t i = 0; !found && i < ERAS_KEPT; i++)
        if (pasts->eras[i] && pasts->eras[i]->host == host)
            found = pasts->eras[i];
    if (found)
        atomic_fetch_add(&found->refs, 1);
    *out_generation = pasts->generation;
    pthread_mutex_unlock(&pasts->lock);
    return found;
}

/* In place of another host's. */
static void keep_era(struct pasts *pasts, struct era *era)
{
    struct era **where = &pasts->eras[era->host % ERAS_KEPT];
    struct era *old = NULL;

    pthread_mutex_lock(&pasts->lock);
    if (era->generation == pasts->generation) {
        old = *where;
        *where = era;
        atomic_fetch_add(&era->refs, 1);
    }
    pthread_mutex_unlock(&pasts->lock);
    era_unref(old);
}

static int get_era(struct mount *mount, uint16_t host, struct era **out, struct err *err)
{
    char name[HOST_NAME_MAX_SIZE + 1];
    uint64_t generation;
    struct era *era = known_era(mount->pasts, host, &generation);

    if (era) {
        *out = era;
        return 0;
    }
    if (!shots_host(mount->shots, host, name))
        return err_set(err, ERR_NOT_FOUND, "no such host");
    era = calloc(1, sizeof(*era));
    if (!era)
        return err_set(err, ERR_NOMEM, "out of memory");
    atomic_store(&era->refs, 1);
    era->generation = generation;
    era->host = host;
    int rc = timeline_load(mount->catalog, name, 0, &era->timeline, err);
    if (rc < 0) {
        era_unref(era);
        return rc;
    }
    keep_era(mount->pasts, era);
    *out = era;
    return 0;
}

static struct past *known_past(struct pasts *pasts, uint64_t id)
{
    struct past *found = NULL;

    pthread_mutex_lock(&pasts->lock);
    for (size_t i = 0; !found && i < PASTS_KEPT; i++)
        if (pasts->kept[i] && pasts->kept[i]->id == id)
            found = pasts->kept[i];
    if (found) {
        atomic_fetch_add(&found->refs, 1);
        found->used = ++pasts->clock;
    }
    pthread_mutex_unlock(&pasts->lock);
    return found;
}

/* In place of the one that was used longest ago. */
static void keep_past(struct pasts *pasts, struct past *past)
{
    struct past **where = &pasts->kept[0];
    struct past *old = NULL;

    pthread_mutex_lock(&pasts->lock);
    for (size_t i = 0; *where && i < PASTS_KEPT; i++)
        if (!pasts->kept[i] || pasts->kept[i]->used < (*where)->used)
            where = &pasts->kept[i];
    if (past->era->generation == pasts->generation) {
        old = *where;
        *where = past;
        past->used = ++pasts->clock;
        atomic_fetch_add(&past->refs, 1);
    }
    pthread_mutex_unlock(&pasts->lock);
    past_unref(old);
}

/* ---- what a node leads to ---------------------------------------------------------------- */

int past_path(struct mount *mount, uint64_t id, struct buf *out, struct err *err)
{
    char name[NODE_NAME_SIZE];
    struct node node;

    int rc = buf_append(out, "", 1, err);
    while (rc == 0 && nodes_get(mount->nodes, id, &node) && history_is(&node)) {
        nodes_name(mount->nodes, id, name);
        size_t size = strlen(name);
        if (size > 0) {
            rc = buf_reserve(out, size + 1, err);
            if (rc < 0)
                break;
            memmove(out->data + size + 1, out->data, out->size);
            out->data[0] = '/';
            memcpy(out->data + 1, name, size);
            out->size += size + 1;
        }
        id = node.parent;
    }
    return rc;
}

static void leave_out_directories(struct trail *trail)
{
    size_t count = 0;

    for (size_t i = 0; i < trail->count; i++)
        if (trail->at[i].type != ENTRY_DIRECTORY)
            trail->at[count++] = trail->at[i];
    trail->count = count;
}

int past_make(struct mount *mount, uint64_t id, enum node_kind kind, struct era *era,
              struct trail *trail, struct past **out, struct err *err)
{
    struct past *past = calloc(1, sizeof(*past));

    if (!past) {
        trail_clear(trail);
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    atomic_store(&past->refs, 1);
    pthread_mutex_init(&past->lock, NULL);
    past->id = id;
    past->trail = *trail;
    *trail = (struct trail){0};
    past->era = era;
    atomic_fetch_add(&era->refs, 1);
    int rc = 0;
    if (kind == NODE_VERSIONS) {
        leave_out_directories(&past->trail);
        rc = history_versions(mount->blocks, &past->trail, &past->versions, err);
    }
    if (rc < 0) {
        past_unref(past);
        return rc;
    }
    keep_past(mount->pasts, past);
    *out = past;
    return 0;
}

int past_get(struct mount *mount, uint64_t id, const struct node *node, struct past **out,
             struct err *err)
{
    CLEANUP(buf_clear) struct buf path = {.limit = PATH_LIMIT};
    struct trail trail = {0};
    struct era *era = NULL;

    *out = known_past(mount->pasts, id);
    if (*out)
        return 0;
    int rc = get_era(mount, node->host, &era, err);
    if (rc == 0)
        rc = past_path(mount, id, &path, err);
    if (rc == 0)
        rc = trail_follow(mount->blocks, &era->timeline, (enum snapshot_type)node->type,
                          (const char *)path.data, &trail, err);
    if (rc == 0)
        rc = past_make(mount, id, (enum node_kind)node->kind, era, &trail, out, err);
    era_unref(era);
    return rc;
}
