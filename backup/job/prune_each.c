/* One step for many objects, each of which does little but wait for a server. */
#include <stdlib.h>

#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/crew.h"
#include "backup/base/err.h"
#include "backup/base/progress.h"
#include "backup/job/prune_internal.h"

enum { THREADS = 16, WAITING = 16 };

struct each {
    struct prune *prune;
    prune_step_fn *step;
    struct crew crew;
};

struct job {
    struct each *each;
    size_t at;
};

static int end_early(struct err *err)
{
    return err_set(err, ERR_CANCELLED, "interrupted; the next prune goes on");
}

static void run_job(void *argument)
{
    struct job *job = argument;
    struct each *each = job->each;
    struct err err;

    if (!crew_ended(&each->crew) && each->step(each->prune, job->at, &err) < 0)
        crew_fail(&each->crew, &err);
    free(job);
}

static int submit_all(struct each *each, size_t count, prune_wanted_fn *wanted, struct err *err)
{
    for (size_t i = 0; i < count && !crew_ended(&each->crew); i++) {
        if (!wanted(each->prune, i))
            continue;
        struct job *job = malloc(sizeof(*job));
        if (!job)
            return err_set(err, ERR_NOMEM, "no memory to prune");
        *job = (struct job){each, i};
        crew_submit(&each->crew, run_job, job);
    }
    return 0;
}

static void each_clear(struct each *each)
{
    crew_close(&each->crew);
}

static int at_once(struct prune *prune, size_t count, prune_wanted_fn *wanted, prune_step_fn *step,
                   struct err *err)
{
    CLEANUP(each_clear) struct each each = {.prune = prune, .step = step};
    int r =
        crew_open(&each.crew, THREADS, WAITING, prune->options->progress, "to prune objects", err);

    if (r == 0)
        r = crew_settle(&each.crew, submit_all(&each, count, wanted, err), err);
    return r == -ERR_CANCELLED ? end_early(err) : r;
}

int prune_each(struct prune *prune, size_t count, prune_wanted_fn *wanted, prune_step_fn *step,
               struct err *err)
{
    int r = 0;

    if (repo_is_remote(prune->repo))
        return at_once(prune, count, wanted, step, err);
    for (size_t i = 0; r == 0 && i < count; i++) {
        if (!wanted(prune, i))
            continue;
        r = progress_cancelled(prune->options->progress) ? end_early(err) : step(prune, i, err);
    }
    return r;
}
