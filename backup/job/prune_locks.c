/* What is locked stays, and is told. */

#include "backup/archive/idtable.h"
#include "backup/archive/repo.h"
#include "backup/archive/root.h"
#include "backup/base/err.h"
#include "backup/job/prune_internal.h"
#include "backup/store/store.h"

void prune_note_locked(struct prune_result *result, uint64_t size, int64_t until_ns)
{
    result->locked_first_ns = result->locked == 0 || until_ns < result->locked_first_ns
                                  ? until_ns
                                  : result->locked_first_ns;
    result->locked_last_ns = until_ns > result->locked_last_ns ? until_ns : result->locked_last_ns;
    result->locked_ns = until_ns;
    result->locked++;
    result->locked_bytes += size;
}

int prune_is_locked(struct prune *prune, const char *name, uint64_t size, bool *out,
                    struct err *err)
{
    int64_t until = 0;
    int r = store_retained(prune->repo->store, name, &until, err);

    if (r < 0)
        return r;
    *out = until > 0;
    if (!*out)
        return 0;
    pthread_mutex_lock(&prune->lock);
    prune_note_locked(prune->result, size, until);
    prune_tell(prune, PRUNE_LOCKED, name, size);
    pthread_mutex_unlock(&prune->lock);
    return 0;
}

/* Roots are counted already. */
void prune_note_needed(struct prune *prune, uint32_t archive)
{
    if (idtable_kind(prune->repo->ids, archive) == ARCHIVE_ROOT)
        return;
    prune->result->locked++;
    prune->result->locked_bytes += prune->objects[archive].size;
}

/* All of them go at the same time, or none. */
int prune_root_is_locked(struct prune *prune, const struct roster_snapshot *snapshot, bool *out,
                         struct err *err)
{
    char name[OBJECT_NAME_SIZE];
    int r = 0;

    for (size_t i = 0; r == 0 && i < snapshot->revision_count; i++) {
        const struct roster_revision *revision = &snapshot->revisions[i];
        bool locked = false;

        root_object_name(snapshot->name, revision->number, name);
        r = prune_is_locked(prune, name, revision->size, &locked, err);
        if (r == -ERR_NOT_FOUND) /* another pruner was faster */
            r = 0;
        *out = *out || locked;
    }
    pthread_mutex_lock(&prune->lock);
    prune->result->locked_snapshots += *out;
    pthread_mutex_unlock(&prune->lock);
    return r;
}
