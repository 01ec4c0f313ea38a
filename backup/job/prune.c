#include "backup/job/prune.h"

#include <stdlib.h>

#include "backup/archive/blocks.h"
#include "backup/archive/remap.h"
#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/progress.h"
#include "backup/job/prune_internal.h"
#include "backup/store/store.h"

static void prune_clear(struct prune *prune)
{
    pthread_mutex_destroy(&prune->lock);
    roster_clear(&prune->roster);
    free(prune->verdicts);
    liveness_free(prune->graced); /* it borrows the other one */
    liveness_free(prune->kept);
    free(prune->objects);
    free(prune->stale);
}

void prune_tell(const struct prune *prune, enum prune_action action, const char *object,
                uint64_t size)
{
    const struct prune_options *options = prune->options;

    if (options->tell)
        options->tell(options->context, action, object, size);
}

static void set_phase(const struct prune_options *options, const char *phase)
{
    if (options->progress)
        atomic_store(&options->progress->phase, phase);
}

int prune_run(const struct prune_options *options, struct prune_result *out, struct err *err)
{
    CLEANUP(prune_clear)
    struct prune prune = {.options = options, .result = out, .repo = blocks_repo(options->blocks)};

    *out = (struct prune_result){.next_ns = -1};
    pthread_mutex_init(&prune.lock, NULL);
    if (!options->dry_run)
        store_tidy(prune.repo->store);
    set_phase(options, "looking at what is needed");
    int r = remap_refresh(prune.repo, err);
    if (r == 0)
        r = liveness_new(options->blocks, NULL, &prune.kept, err);
    if (r == 0)
        r = liveness_new(options->blocks, prune.kept, &prune.graced, err);
    if (r == 0)
        r = prune_survey(&prune, err);
    set_phase(options, "deleting");
    if (r == 0)
        r = prune_delete(&prune, err);
    set_phase(options, "compacting");
    return r < 0 ? r : prune_compact(&prune, err);
}
