/* backup_publish — a run's root gets its name, and nothing that it needs may be under a mark. */
#include <string.h>

#include "backup/archive/idtable.h"
#include "backup/archive/remap.h"
#include "backup/archive/repo.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/job/backup_internal.h"
#include "backup/job/marks.h"

/* So long a look at the marks counts as a fresh one. */
#define LOOK_LASTS_NS (60 * NS_PER_SECOND)

enum { NAMES_MAX = 100000 }; /* seconds ahead that a name may move */

/* Revision 0 takes the first free second from the start on; a later revision keeps its name. */
static int publish(const struct backup_options *options, struct root *root, struct err *err)
{
    uint64_t size;
    int r = -ERR_EXISTS;

    root->end_ns = clock_system()->now_ns(clock_system());
    if (root->revision > 0)
        return root_publish(options->repo, root, &size, err);
    for (int64_t later = 0; r == -ERR_EXISTS && later < NAMES_MAX; later++) {
        clock_format_name(root->start_ns + later * NS_PER_SECOND, root->name);
        r = root_publish(options->repo, root, &size, err);
    }
    return r;
}

/* What this run wrote: until the root was there, a pruner had to take it for garbage. */
static void note_own(struct attempt *attempt)
{
    const struct root *root = &attempt->result->root;

    for (size_t i = 0; i < root->archive_count; i++)
        references_note(&attempt->references,
                        idtable_find(attempt->options->repo->ids, &root->archives[i].id));
}

static bool remap_counts(void *context, uint32_t archive)
{
    const struct attempt *attempt = context;

    return !references_has(&attempt->refused, archive);
}

static bool target_holds(void *context, uint32_t archive)
{
    const struct attempt *attempt = context;

    return references_has(&attempt->references, archive) &&
           !references_has(&attempt->refused, archive) && !references_has(attempt->gone, archive);
}

/* What is referred to under the name of this archive was moved out of it: is that still said by a
 * remap without a mark? */
static bool still_leads(struct attempt *attempt, uint32_t archive)
{
    const struct remap_filter filter = {remap_counts, target_holds, attempt};

    return remap_leads(attempt->options->repo, archive, &filter);
}

static bool is_hit(struct attempt *attempt, uint32_t archive)
{
    if (references_has(&attempt->references, archive) &&
        (references_has(&attempt->refused, archive) || references_has(attempt->gone, archive)))
        return true;
    return references_has(&attempt->through, archive) && !still_leads(attempt, archive);
}

/* Whether something that the snapshot refers to is under a mark now, or gone.  First the marks: an
 * archive whose mark has been cleared away was deleted before that. */
static int look_at_marks(struct attempt *attempt, bool *out_hit, struct err *err)
{
    struct references before = attempt->refused;

    *out_hit = false;
    if (!references_init(&attempt->refused)) {
        attempt->refused = before;
        return err_set(err, ERR_NOMEM, "no memory for the marks");
    }
    references_clear(&before);
    note_own(attempt);
    int r = marks_note_and_moves(attempt->options->repo, &attempt->refused, err);
    if (r == 0)
        r = marks_find_gone(attempt->options->repo, &attempt->references, attempt->gone, err);
    uint32_t count = idtable_count(attempt->options->repo->ids);
    for (uint32_t i = 0; r == 0 && i < count; i++)
        *out_hit = *out_hit || is_hit(attempt, i);
    return r;
}

/* A look before it publishes spares the world a revision; but of a remote store it costs round
 * trips, and in so short a run hardly anybody has come. */
static bool is_look_due(const struct attempt *attempt)
{
    return !repo_is_remote(attempt->options->repo) ||
           clock_monotonic_ns() - attempt->looked_ns > LOOK_LASTS_NS;
}

int backup_publish(struct attempt *attempt, struct root *published, bool *out_hit, struct err *err)
{
    struct root *root = &attempt->result->root;
    int r = is_look_due(attempt) ? look_at_marks(attempt, out_hit, err) : 0;

    if (r < 0 || *out_hit)
        return r;
    r = publish(attempt->options, root, err);
    if (r < 0)
        return r;
    memcpy(published->name, root->name, sizeof(root->name));
    published->revision = root->revision;
    published->start_ns = root->start_ns;
    return look_at_marks(attempt, out_hit, err);
}

void backup_go_on_from(const struct root *published, struct root *root)
{
    root->start_ns = clock_system()->now_ns(clock_system());
    if (!published->name[0])
        return;
    memcpy(root->name, published->name, sizeof(root->name));
    root->start_ns = published->start_ns;
    root->revision = published->revision + 1;
}
