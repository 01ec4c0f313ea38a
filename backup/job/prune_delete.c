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
    prune->result->deleted++;
    prune->result->freed += size;
    prune_tell(prune, PRUNE_DELETE, name, size);
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

/* Roots before what only they need. */
static int remove_roots(struct prune *prune, struct err *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < prune->roster.count; i++) {
        const struct roster_snapshot *snapshot = &prune->roster.at[i];
        bool expired = prune->verdicts[i] == PRUNE_EXPIRED;

        if (prune->verdicts[i] == PRUNE_BARRED) /* told, and counted, already */
            continue;
        int there = expired ? is_still_there(prune, snapshot, err) : 1;
        r = there == 1 ? remove_revisions(prune, snapshot, expired, err) : there;
        if (r < 0 || !expired || !there)
            continue;
        prune->result->snapshots++;
        prune_object(prune, idtable_find(prune->repo->ids, &snapshot->root.id))->flags = 0;
    }
    return r;
}

static void object_name(const struct prune *prune, uint32_t archive, char out[OBJECT_NAME_SIZE])
{
    repo_object_name(idtable_kind(prune->repo->ids, archive), idtable_id(prune->repo->ids, archive),
                     out);
}

static int remove_archive(struct prune *prune, uint32_t archive, struct err *err)
{
    char name[OBJECT_NAME_SIZE];
    bool locked = false;

    object_name(prune, archive, name);
    int r = remove_object(prune, name, prune->objects[archive].size, &locked, err);
    if (r == 0 && !locked)
        prune->objects[archive].flags &= ~(unsigned)FLAG_THERE;
    return r;
}

static int remove_archives(struct prune *prune, struct err *err)
{
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < prune->object_room; i++)
        if (prune->objects[i].flags & FLAG_DELETE)
            r = remove_archive(prune, i, err);
    return r;
}

/* ---- marks ------------------------------------------------------------------------------- */

/* A root is known by its snapshot. */
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
    prune->result->marked++;
    prune->result->marked_bytes += prune->objects[archive].size;
    tell(prune, PRUNE_MARK, archive);
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
    *(may ? &prune->result->unmarked : &prune->result->stuck) += 1;
    if (may)
        tell(prune, PRUNE_UNMARK, archive);
    return 0;
}

static int change_marks(struct prune *prune, struct err *err)
{
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < prune->object_room; i++) {
        const struct prune_object *object = &prune->objects[i];

        if (!(object->flags & FLAG_THERE) || object->flags & FLAG_DELETE)
            continue;
        if (object->flags & FLAG_MARKED &&
            (object->flags & FLAG_LIVE || liveness_has(prune->kept, i))) {
            r = unmark_one(prune, i, err);
        } else if (object->flags & FLAG_MARK && !prune->options->at_once) {
            r = mark_one(prune, i, err);
        } else if (is_barred(object)) {
            prune_note_needed(prune, i);
        } else if (object->flags & FLAG_MARKED) {
            prune->result->waiting++;
            prune->result->waiting_bytes += object->size;
        }
    }
    for (size_t i = 0; r == 0 && i < prune->stale_count && !prune->options->dry_run; i++)
        r = marks_remove(prune->repo, &prune->stale[i], err);
    return r;
}

/* What has matured goes before anything is written: the disk may be full. */
int prune_delete(struct prune *prune, struct err *err)
{
    int r = second_look(prune, err);

    if (r == 0)
        r = remove_roots(prune, err);
    if (r == 0)
        r = remove_archives(prune, err);
    return r < 0 ? r : change_marks(prune, err);
}
