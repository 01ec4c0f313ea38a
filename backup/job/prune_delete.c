/* The second look, and what follows from both. */
#include <string.h>

#include "backup/archive/idtable.h"
#include "backup/archive/repo.h"
#include "backup/archive/root.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/progress.h"
#include "backup/job/prune_internal.h"
#include "backup/job/references.h"
#include "backup/store/store.h"

static bool is_same(const struct roster_snapshot *a, const struct roster_snapshot *b)
{
    return roster_revision(a) == roster_revision(b) && a->damaged == b->damaged &&
           archive_id_equal(&a->root.id, &b->root.id);
}

static const enum prune_verdict *verdict_of(const struct prune *prune,
                                            const struct roster_snapshot *snapshot)
{
    return &prune->verdicts[snapshot - prune->roster.at];
}

/* ---- the second look --------------------------------------------------------------------- */

/* Who came since, or lives again, is kept as well.  Only what was dead before and still is may go.
 */
static int compare(struct prune *prune, const struct roster *now, bool *out_more, struct err *err)
{
    int r = 0;

    *out_more = false;
    for (size_t i = 0; r == 0 && i < now->count; i++) {
        const struct roster_snapshot *snapshot = &now->at[i];
        const struct roster_snapshot *before = roster_find(&prune->roster, snapshot->name);
        bool same = before && is_same(before, snapshot);

        if (same && (*verdict_of(prune, before) == PRUNE_KEPT || prune_is_dead(prune, snapshot)))
            continue;
        if (before)
            prune->verdicts[before - prune->roster.at] = PRUNE_KEPT;
        *out_more = true;
        r = prune_need(prune, prune->kept, snapshot, err);
    }
    return r;
}

static int check_marks(struct prune *prune, struct err *err)
{
    CLEANUP(references_clear) struct references marked = {0};
    int r = references_init(&marked) ? 0 : err_set(err, ERR_NOMEM, "no memory for the marks");

    if (r == 0)
        r = marks_note(prune->repo, &marked, err);
    for (uint32_t i = 0; r == 0 && i < prune->object_room; i++)
        if (!references_has(&marked, i))
            prune->objects[i].flags &= ~(unsigned)FLAG_DELETE;
    return r;
}

/* Whose index archives those of a root that came are, the next prune will see. */
static bool is_needed(const struct prune *prune, uint32_t archive, bool more)
{
    return liveness_has(prune->kept, archive) ||
           (more && archive < idtable_count(prune->repo->ids) &&
            idtable_kind(prune->repo->ids, archive) == ARCHIVE_INDEX);
}

static int second_look(struct prune *prune, struct err *err)
{
    CLEANUP(roster_clear) struct roster now = {0};
    bool more = false;
    int r = roster_load(prune->repo, &now, err);

    if (r == 0)
        r = prune_check_known(prune, &now, err);
    if (r == 0)
        r = compare(prune, &now, &more, err);
    if (r == 0 && !prune->options->at_once)
        r = check_marks(prune, err);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < prune->object_room; i++)
        if (is_needed(prune, i, more))
            prune->objects[i].flags &= ~(unsigned)(FLAG_DELETE | FLAG_MARK);
    return 0;
}

/* ---- deleting ---------------------------------------------------------------------------- */

/* Another pruner may have been faster; then it has told.  *out_locked: it stays. */
static int remove_object(struct prune *prune, const char *name, uint64_t size, bool *out_locked,
                         struct err *err)
{
    if (progress_cancelled(prune->options->progress))
        return err_set(err, ERR_CANCELLED, "interrupted; the next prune goes on");
    int r = prune_is_locked(prune, name, size, out_locked, err);
    if (r == 0 && *out_locked)
        return 0;
    if (r == 0 && !prune->options->dry_run)
        r = store_remove(prune->repo->store, name, err);
    if (r == -ERR_NOT_FOUND)
        return 0;
    if (r < 0)
        return r;
    pthread_mutex_lock(&prune->lock);
    prune->result->deleted++;
    prune->result->freed += size;
    prune_tell(prune, PRUNE_DELETE, name, size);
    pthread_mutex_unlock(&prune->lock);
    return 0;
}

static int remove_revision(struct prune *prune, const struct roster_snapshot *snapshot, size_t at,
                           struct err *err)
{
    const struct roster_revision *revision = &snapshot->revisions[at];
    char name[OBJECT_NAME_SIZE];
    bool locked = false;

    root_object_name(snapshot->name, revision->number, name);
    return remove_object(prune, name, revision->size, &locked, err);
}

/* The first goes last: as long as it is there, nobody else takes the name.  The others from below,
 * so that no older one ever counts. */
static int remove_revisions(struct prune *prune, const struct roster_snapshot *snapshot,
                            bool expired, struct err *err)
{
    size_t end = snapshot->revision_count - !expired;
    int r = 0;

    for (size_t i = 1; r == 0 && i < end; i++)
        r = remove_revision(prune, snapshot, i, err);
    return r < 0 || !expired ? r : remove_revision(prune, snapshot, 0, err);
}

/* 1: it is still the one that was looked at.  Another pruner may have been faster, and a writer
 * whose clock went back have taken the name since. */
static int is_still_there(struct prune *prune, const struct roster_snapshot *snapshot,
                          struct err *err)
{
    CLEANUP(root_clear) struct root root = {0};

    if (snapshot->damaged)
        return 1;
    int r = root_read(prune->repo, snapshot->name, roster_revision(snapshot), &root, err);
    if (r == -ERR_NOT_FOUND)
        return 0;
    return r < 0 ? r : archive_id_equal(&root.id, &snapshot->root.id);
}

/* What is barred was told, and counted, already. */
static bool has_old_revisions(const struct prune *prune, size_t at)
{
    return prune->verdicts[at] == PRUNE_EXPIRED ||
           (prune->verdicts[at] != PRUNE_BARRED && prune->roster.at[at].revision_count > 2);
}

static int remove_root(struct prune *prune, size_t at, struct err *err)
{
    const struct roster_snapshot *snapshot = &prune->roster.at[at];
    bool expired = prune->verdicts[at] == PRUNE_EXPIRED;
    int there = expired ? is_still_there(prune, snapshot, err) : 1;
    int r = there == 1 ? remove_revisions(prune, snapshot, expired, err) : there;

    if (r < 0 || !expired || !there)
        return r < 0 ? r : 0;
    pthread_mutex_lock(&prune->lock);
    prune->result->snapshots++;
    prune_object(prune, idtable_find(prune->repo->ids, &snapshot->root.id))->flags = 0;
    pthread_mutex_unlock(&prune->lock);
    return 0;
}

static void object_name(const struct prune *prune, uint32_t archive, char out[OBJECT_NAME_SIZE])
{
    repo_object_name(idtable_kind(prune->repo->ids, archive), idtable_id(prune->repo->ids, archive),
                     out);
}

static int remove_archive(struct prune *prune, size_t archive, struct err *err)
{
    char name[OBJECT_NAME_SIZE];
    bool locked = false;

    object_name(prune, (uint32_t)archive, name);
    int r = remove_object(prune, name, prune->objects[archive].size, &locked, err);
    if (r == 0 && !locked)
        prune->objects[archive].flags &= ~(unsigned)FLAG_THERE;
    return r;
}

static bool is_to_be_deleted(const struct prune *prune, size_t archive)
{
    return prune->objects[archive].flags & FLAG_DELETE;
}

/* ---- marks ------------------------------------------------------------------------------- */

/* Under the lock.  A root is known by its snapshot. */
static void tell(struct prune *prune, enum prune_action action, uint32_t archive)
{
    char name[OBJECT_NAME_SIZE];

    object_name(prune, archive, name);
    for (size_t i = 0; i < prune->roster.count; i++)
        if (archive_id_equal(&prune->roster.at[i].root.id, idtable_id(prune->repo->ids, archive)))
            root_object_name(prune->roster.at[i].name, roster_revision(&prune->roster.at[i]), name);
    prune_tell(prune, action, name, prune->objects[archive].size);
}

/* An unsound mark is made anew. */
static int mark_one(struct prune *prune, uint32_t archive, struct err *err)
{
    const struct prune_options *options = prune->options;
    int r = options->dry_run ? 0
                             : marks_put(prune->repo, idtable_id(prune->repo->ids, archive),
                                         &options->now, options->grace_ns, err);

    if (r == -ERR_EXISTS) /* the other pruner makes it, or the next one */
        return 0;
    if (r < 0)
        return r;
    pthread_mutex_lock(&prune->lock);
    prune->result->marked++;
    prune->result->marked_bytes += prune->objects[archive].size;
    tell(prune, PRUNE_MARK, archive);
    pthread_mutex_unlock(&prune->lock);
    return 0;
}

int prune_retire(struct prune *prune, uint32_t archive, struct err *err)
{
    return prune->options->at_once ? remove_archive(prune, archive, err)
                                   : mark_one(prune, archive, err);
}

/* It would go, but for a snapshot that is locked. */
static bool is_barred(const struct prune_object *object)
{
    return object->flags & FLAG_MATURE && object->flags & FLAG_GRACED &&
           !(object->flags & FLAG_RETURNS);
}

/* Needed again.  A mark that another pruner might be acting on this moment stays: nothing refers to
 * the archive anew, and it is not deleted either. */
static int unmark_one(struct prune *prune, uint32_t archive, struct err *err)
{
    const struct prune_object *object = &prune->objects[archive];
    bool may = prune->options->at_once || object->flags & FLAG_YOUNG;
    int r = may && !prune->options->dry_run
                ? marks_remove(prune->repo, idtable_id(prune->repo->ids, archive), err)
                : 0;

    if (r < 0)
        return r;
    pthread_mutex_lock(&prune->lock);
    *(may ? &prune->result->unmarked : &prune->result->stuck) += 1;
    if (may)
        tell(prune, PRUNE_UNMARK, archive);
    pthread_mutex_unlock(&prune->lock);
    return 0;
}

enum change { CHANGE_NONE, CHANGE_UNMARK, CHANGE_MARK };

static enum change change_of(const struct prune *prune, size_t archive)
{
    const struct prune_object *object = &prune->objects[archive];

    if (!(object->flags & FLAG_THERE) || object->flags & FLAG_DELETE)
        return CHANGE_NONE;
    if (object->flags & FLAG_MARKED &&
        (object->flags & FLAG_LIVE || liveness_has(prune->kept, (uint32_t)archive)))
        return CHANGE_UNMARK;
    return object->flags & FLAG_MARK && !prune->options->at_once ? CHANGE_MARK : CHANGE_NONE;
}

static bool is_to_change(const struct prune *prune, size_t archive)
{
    return change_of(prune, archive) != CHANGE_NONE;
}

static int change_mark(struct prune *prune, size_t archive, struct err *err)
{
    return change_of(prune, archive) == CHANGE_MARK ? mark_one(prune, (uint32_t)archive, err)
                                                    : unmark_one(prune, (uint32_t)archive, err);
}

static void count_waiting(struct prune *prune)
{
    for (uint32_t i = 0; i < prune->object_room; i++) {
        const struct prune_object *object = &prune->objects[i];

        if (!(object->flags & FLAG_THERE) || object->flags & FLAG_DELETE || is_to_change(prune, i))
            continue;
        if (is_barred(object)) {
            prune_note_needed(prune, i);
        } else if (object->flags & FLAG_MARKED) {
            prune->result->waiting++;
            prune->result->waiting_bytes += object->size;
        }
    }
}

static bool is_stale(const struct prune *prune, size_t at)
{
    return prune->stale[at].goes && !prune->options->dry_run;
}

static int remove_stale(struct prune *prune, size_t at, struct err *err)
{
    return marks_remove(prune->repo, &prune->stale[at].id, err);
}

/* What has matured goes before anything is written: the disk may be full.  Roots go before what
 * only they need. */
int prune_delete(struct prune *prune, struct err *err)
{
    int r = second_look(prune, err);

    if (r == 0)
        r = prune_each(prune, prune->roster.count, has_old_revisions, remove_root, err);
    if (r == 0)
        r = prune_each(prune, prune->object_room, is_to_be_deleted, remove_archive, err);
    if (r == 0)
        r = prune_each(prune, prune->object_room, is_to_change, change_mark, err);
    if (r < 0)
        return r;
    count_waiting(prune);
    return prune_each(prune, prune->stale_count, is_stale, remove_stale, err);
}
