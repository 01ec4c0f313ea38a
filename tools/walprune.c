#include "tools/walprune.h"

#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/store/store.h"
#include "catalog/catalog.h"
#include "catalog/wal.h"
#include "tools/console.h"
#include "tools/session.h"
#include "tools/walbackups.h"

struct walprune {
    struct session *session;
    bool dry_run;
    void (*tell)(void *context, const char *object, uint64_t size, int64_t locked_ns);
    void *context;
};

static int object_size(struct store *store, const char *name, uint64_t *out, struct err *err)
{
    CLEANUP(store_object_closep) struct store_object *object = NULL;
    int r = store_open(store, name, &object, err);

    *out = r == 0 ? store_object_size(object) : 0;
    return r;
}

/* A receiver may have been faster with a piece. */
static int remove_one(struct walprune *prune, const char *object, struct err *err)
{
    struct store *store = prune->session->repo->store;
    uint64_t size;
    int64_t locked_ns = 0;
    int r = object_size(store, object, &size, err);

    if (r == 0)
        r = store_retained(store, object, &locked_ns, err);
    if (r == 0 && locked_ns == 0 && !prune->dry_run)
        r = store_remove(store, object, err);
    if (r == 0)
        prune->tell(prune->context, object, size, locked_ns);
    return r == -ERR_NOT_FOUND ? 0 : r;
}

static int prune_system(struct walprune *prune, uint64_t system, uint64_t oldest, struct err *err)
{
    CLEANUP(strings_clear) struct strings expired = {0};
    int r = wal_expired(prune->session->catalog, system, oldest, &expired, err);

    for (size_t i = 0; r == 0 && i < expired.count; i++)
        r = remove_one(prune, expired.at[i], err);
    return r;
}

/* Whether the backup is the first of its server among all, and then where the oldest begins. */
static bool oldest_start(const struct walbackups *backups, size_t first, uint64_t *out)
{
    uint64_t system = backups->at[first].system;

    *out = UINT64_MAX;
    for (size_t i = 0; i < backups->count; i++) {
        if (backups->at[i].system != system)
            continue;
        if (i < first)
            return false;
        if (backups->at[i].start < *out)
            *out = backups->at[i].start;
    }
    return true;
}

int walprune_run(struct session *session, bool dry_run,
                 void (*tell)(void *context, const char *object, uint64_t size, int64_t locked_ns),
                 void *context, struct err *err)
{
    CLEANUP(wal_ranges_clear) struct wal_ranges ranges = {0};
    CLEANUP(walbackups_clear) struct walbackups backups = {0};
    struct walprune prune = {session, dry_run, tell, context};
    int r = wal_sync(session->catalog, err);

    if (r == 0)
        r = wal_ranges_find(session->catalog, 0, &ranges, err);
    if (r < 0 || ranges.count == 0)
        return r;
    r = walbackups_find(session, true, &backups, err);
    if (r == 0 && backups.unreadable > 0) {
        console_say("no server's log is deleted: a backup that may need it cannot be read");
        return 0;
    }
    for (size_t i = 0; r == 0 && i < backups.count; i++) {
        uint64_t oldest;
        if (oldest_start(&backups, i, &oldest))
            r = prune_system(&prune, backups.at[i].system, oldest, err);
    }
    return r;
}
