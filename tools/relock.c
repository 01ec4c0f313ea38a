#include "tools/relock.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/idtable.h"
#include "backup/archive/remap.h"
#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/hex.h"
#include "backup/job/liveness.h"
#include "backup/store/store.h"
#include "tools/locks.h"
#include "tools/session.h"

static const char snapshots[] = "snapshots/";

void relock_clear(struct relock *relock)
{
    references_clear(&relock->fresh);
    strings_clear(&relock->roots);
}

/* ---- what came --------------------------------------------------------------------------- */

static int note_archive(struct relock *relock, const char *digits, enum archive_kind kind,
                        struct err *err)
{
    struct archive_id id;
    uint32_t number;

    if (!hex_decode(digits, strlen(digits), id.bytes, sizeof(id.bytes)))
        return 0;
    if (!relock->fresh.words && !references_init(&relock->fresh))
        return err_set(err, ERR_NOMEM, "no memory for what was copied");
    int r = idtable_number(relock->session->repo->ids, &id, kind, &number, err);
    if (r == 0)
        references_note(&relock->fresh, number);
    return r;
}

void relock_note(void *context, const char *object)
{
    struct relock *relock = context;
    struct err err;
    int r = 0;

    if (strncmp(object, "data/", 5) == 0)
        r = note_archive(relock, object + 5, ARCHIVE_DATA, &err);
    else if (strncmp(object, "meta/", 5) == 0)
        r = note_archive(relock, object + 5, ARCHIVE_METADATA, &err);
    else if (strncmp(object, snapshots, strlen(snapshots)) == 0)
        r = strings_add(&relock->roots, object, strlen(object), &err);
    relock->incomplete = relock->incomplete || r == -ERR_NOMEM;
}

/* ---- what it refers to ------------------------------------------------------------------- */

/* "snapshots/NAME/00000000" */
static int add_root(struct relock *relock, const char *object, struct liveness *live,
                    struct err *err)
{
    CLEANUP(root_clear) struct root root = {0};
    char name[SNAPSHOT_NAME_SIZE] = "";
    const char *revision = strrchr(object, '/') + 1;
    size_t size = (size_t)(revision - 1 - object) - strlen(snapshots);

    if (size >= sizeof(name))
        return 0;
    memcpy(name, object + strlen(snapshots), size);
    int r = root_read(relock->session->repo, name, strtoull(revision, NULL, 10), &root, err);
    for (int type = TYPE_FILES; r == 0 && type <= TYPES; type++)
        if (root.types[type].present)
            r = liveness_add(live, &root.types[type].directory, NULL, err);
    return r;
}

struct needed {
    const struct relock *relock;
    const struct lock_needs *needs; /* NULL: `live` */
    const struct liveness *live;
};

static bool is_needed(void *context, uint32_t archive)
{
    const struct needed *needed = context;
    const struct references *fresh = &needed->relock->fresh;

    if (fresh->words && references_has(fresh, archive))
        return false;
    return needed->needs ? needed->needs->needs(needed->needs->context, archive)
                         : liveness_has(needed->live, archive);
}

static int look_through(struct relock *relock, struct liveness **out, struct err *err)
{
    int r = relock->session->blocks ? 0 : session_blocks(relock->session, LOOK_CACHE, err);

    if (r == 0)
        r = remap_refresh(relock->session->repo, err);
    if (r == 0)
        r = liveness_new(relock->session->blocks, NULL, out, err);
    for (size_t i = 0; r == 0 && i < relock->roots.count; i++)
        r = add_root(relock, relock->roots.at[i], *out, err);
    return r;
}

int relock_run(struct relock *relock, const struct app *app, const char *replica,
               struct store *store, const struct lock_needs *needs, struct err *err)
{
    CLEANUP(liveness_freep) struct liveness *live = NULL;
    struct needed needed = {relock, needs, NULL};
    const struct lock_needs wanted = {is_needed, &needed};

    if (store->retention_ns == 0 || (!needs && relock->roots.count == 0))
        return 0;
    if (relock->incomplete)
        return err_set(err, ERR_NOMEM, "no memory for what was copied");
    int r = needs ? 0 : look_through(relock, &live, err);
    needed.live = live;
    return r < 0 ? r : locks_renew(app, relock->session, replica, store, &wanted, err);
}
