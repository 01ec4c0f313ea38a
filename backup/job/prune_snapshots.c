/* Which snapshots are kept, and what they need. */
#include <stdlib.h>
#include <string.h>

#include "backup/archive/idtable.h"
#include "backup/archive/repo.h"
#include "backup/archive/root.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/log.h"
#include "backup/job/prune_internal.h"
#include "backup/store/store.h"

int prune_check_known(const struct prune *prune, const struct roster *roster, struct err *err)
{
    const struct prune_options *options = prune->options;

    for (size_t i = 0; i < options->known_count; i++) {
        CLEANUP(store_object_closep) struct store_object *object = NULL;
        const struct prune_known *known = &options->known[i];
        const struct roster_snapshot *found = roster_find(roster, known->name);
        char name[OBJECT_NAME_SIZE];

        if (found && roster_revision(found) >= known->revision)
            continue;
        root_object_name(known->name, known->revision, name);
        int r = store_open(prune->repo->store, name, &object, err);
        if (r == 0)
            return err_set(err, ERR_REMOTE,
                           "%s is there, and a listing lacks it: nothing is deleted", name);
        if (r != -ERR_NOT_FOUND)
            return r;
    }
    return 0;
}

bool prune_is_dead(const struct prune *prune, const struct roster_snapshot *snapshot)
{
    const struct prune_options *options = prune->options;
    bool dead = snapshot->forgotten && !snapshot->held;

    for (size_t i = 0; dead && i < options->known_count; i++)
        if (strcmp(options->known[i].name, snapshot->name) == 0)
            dead = options->known[i].dead;
    return dead;
}

/* Nobody may take back any more that it was forgotten. */
static bool is_expired(struct prune *prune, const struct roster_snapshot *snapshot)
{
    const struct prune_options *options = prune->options;
    int64_t grace = options->grace_ns, wall;

    if (options->reseal)
        return false;
    if (options->at_once)
        return true;
    if (__builtin_sub_overflow(options->now.time_ns, snapshot->forgotten_ns, &wall) || wall < grace)
        return false;
    if (snapshot->damaged) /* it has no id, so no mark */
        return options->believed(options->context, snapshot->forgotten_ns) >= grace;
    uint32_t number = idtable_find(prune->repo->ids, &snapshot->root.id);
    return prune_object(prune, number)->flags & FLAG_MATURE;
}

int prune_need(struct prune *prune, struct liveness *live, const struct roster_snapshot *snapshot,
               struct err *err)
{
    const struct root *root = &snapshot->root;
    int r = 0;

    if (snapshot->damaged)
        return err_set(err, ERR_CORRUPT,
                       "snapshot %s: its root is damaged, so nobody knows what it needs",
                       snapshot->name);
    for (int type = TYPE_FILES; r == 0 && type <= TYPES; type++) {
        if (!root->types[type].present)
            continue;
        r = liveness_add(live, &root->types[type].directory, prune->options->progress, err);
        if (r < 0)
            r = err_context(err, "snapshot %s: %s", snapshot->name,
                            snapshot_type_name((enum snapshot_type)type));
    }
    return r;
}

static bool is_dead(const struct prune *prune, size_t at)
{
    return prune_is_dead(prune, &prune->roster.at[at]);
}

static int judge(struct prune *prune, size_t at, struct err *err)
{
    const struct roster_snapshot *snapshot = &prune->roster.at[at];
    bool locked = false;

    pthread_mutex_lock(&prune->lock);
    bool expired = is_expired(prune, snapshot);
    pthread_mutex_unlock(&prune->lock);
    int r = expired ? prune_root_is_locked(prune, snapshot, &locked, err) : 0;
    if (r == 0)
        prune->verdicts[at] = !expired ? PRUNE_GRACED : locked ? PRUNE_BARRED : PRUNE_EXPIRED;
    return r;
}

int prune_judge(struct prune *prune, struct err *err)
{
    prune->verdicts = calloc(prune->roster.count + 1, sizeof(*prune->verdicts));
    if (!prune->verdicts)
        return err_set(err, ERR_NOMEM, "no memory for %zu snapshots", prune->roster.count);
    return prune_each(prune, prune->roster.count, is_dead, judge, err);
}

/* A forgotten snapshot that is damaged keeps nobody from pruning. */
int prune_need_all(struct prune *prune, enum prune_verdict verdict, struct liveness *live,
                   struct err *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < prune->roster.count; i++) {
        if (prune->verdicts[i] != verdict)
            continue;
        r = prune_need(prune, live, &prune->roster.at[i], err);
        if (r == -ERR_CORRUPT && verdict != PRUNE_KEPT) {
            log_warn("%s; it is forgotten, so what it needs may be deleted before its time",
                     err->text);
            r = 0;
        }
    }
    return r;
}
