#include "tools/relock.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/idtable.h"
#include "backup/archive/remap.h"
#include "backup/archive/repo.h"
#include "backup/archive/root.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/job/liveness.h"
#include "backup/store/store.h"
#include "tools/console.h"
#include "tools/locks.h"
#include "tools/session.h"

void relock_clear(struct relock *relock)
{
    references_clear(&relock->fresh);
}

/* ---- what came --------------------------------------------------------------------------- */

static int note_archive(struct relock *relock, const char *digits, enum archive_kind kind,
                        struct err *err)
{
    struct archive_id id;
    uint32_t number;

    if (!idtable_parse(digits, &id))
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
    relock->incomplete = relock->incomplete || r == -ERR_NOMEM;
}

/* ---- what it refers to ------------------------------------------------------------------- */

/* Damage keeps no other snapshot from being copied: it is told, and at the end once more. */
static int forgive(struct relock *relock, const char *what, int result, const struct err *err)
{
    if (result != -ERR_CORRUPT && result != -ERR_NOT_FOUND)
        return result;
    console_say("%s: not all of it is locked: %s", what, err->text);
    relock->is_partial = true;
    return 0;
}

/* "NAME/00000000" */
static bool split(const char *root, char out_name[SNAPSHOT_NAME_SIZE], uint64_t *out_revision)
{
    const char *slash = strchr(root, '/');
    size_t size = slash ? (size_t)(slash - root) : SNAPSHOT_NAME_SIZE;

    if (size >= SNAPSHOT_NAME_SIZE)
        return false;
    memcpy(out_name, root, size);
    out_name[size] = '\0';
    *out_revision = strtoull(slash + 1, NULL, 10);
    return true;
}

static int add_root(struct relock *relock, const char *name, uint64_t revision,
                    struct liveness *live, struct err *err)
{
    CLEANUP(root_clear) struct root root = {0};
    int r = root_read(relock->session->repo, name, revision, &root, err);

    for (int type = TYPE_FILES; r == 0 && type <= TYPES; type++)
        if (root.types[type].present)
            r = liveness_add(live, &root.types[type].directory, NULL, err);
    return r < 0 ? forgive(relock, name, r, err) : 0;
}

static int open_liveness(struct relock *relock, struct liveness **out, struct err *err)
{
    int r = relock->session->blocks ? 0 : session_blocks(relock->session, LOOK_CACHE, err);

    if (r == 0)
        r = remap_refresh(relock->session->repo, err);
    return r < 0 ? r : liveness_new(relock->session->blocks, NULL, out, err);
}

/* By what their directories say; of the snapshot that was made just now it is known.  *out stays
 * NULL where there is no other. */
static int look_through(struct relock *relock, const struct strings *roots, struct liveness **out,
                        struct err *err)
{
    const char *own = relock->needs ? relock->needs->snapshot : NULL;
    int r = 0;

    for (size_t i = 0; r == 0 && i < roots->count; i++) {
        char name[SNAPSHOT_NAME_SIZE];
        uint64_t revision;

        if (!split(roots->at[i], name, &revision) || (own && strcmp(name, own) == 0))
            continue;
        if (!*out)
            r = open_liveness(relock, out, err);
        if (r == 0)
            r = add_root(relock, name, revision, *out, err);
    }
    return r;
}

struct needed {
    const struct relock *relock;
    const struct liveness *live; /* NULL: there are none but the run's own */
    bool fresh_too;
};

static bool is_needed(void *context, uint32_t archive)
{
    const struct needed *needed = context;
    const struct references *fresh = &needed->relock->fresh;
    const struct lock_needs *own = needed->relock->needs;

    if (!needed->fresh_too && fresh->words && references_has(fresh, archive))
        return false;
    return (own && own->needs(own->context, archive)) ||
           (needed->live && liveness_has(needed->live, archive));
}

int relock_run(void *context, const struct strings *roots, struct err *err)
{
    struct relock *relock = context;
    CLEANUP(liveness_freep) struct liveness *live = NULL;
    struct needed needed = {.relock = relock};
    const struct lock_needs wanted = {is_needed, &needed, NULL};
    struct store *store = relock->store;

    if (!store || store->retention_ns == 0)
        return 0;
    if (relock->incomplete)
        return err_set(err, ERR_NOMEM, "no memory for what was copied");
    int r = look_through(relock, roots, &live, err);
    if (r < 0)
        return r;
    needed.live = live;
    needed.fresh_too = clock_boot_ns() - relock->began_ns > store_retention_spare(store);
    r = locks_renew(relock->app, relock->session, relock->replica, store, &wanted, err);
    return r < 0 ? forgive(relock, store->location, r, err) : 0;
}
