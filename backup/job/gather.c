/* A gather, its lanes, and its end. */
#include "backup/job/gather.h"

#include <stdlib.h>
#include <unistd.h>

#include "backup/archive/repo.h"
#include "backup/archive/treewriter.h"
#include "backup/base/cleanup.h"
#include "backup/base/progress.h"
#include "backup/base/sorter.h"
#include "backup/job/backup.h"
#include "backup/job/gather_internal.h"

struct progress *gather_progress(struct gather *gather)
{
    return gather->options.backup->progress;
}

bool gather_is_dry(const struct gather *gather)
{
    return !gather->options.treewriter;
}

int64_t gather_start_ns(const struct gather *gather)
{
    return gather->options.start_ns;
}

int gather_new(const struct gather_options *options, struct gather **out, struct err *err)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    const char *tmp = getenv("TMPDIR");
    struct gather *gather = calloc(1, sizeof(*gather));

    if (!gather)
        return err_set(err, ERR_NOMEM, "no memory to gather streams");
    gather->options = *options;
    gather->inbox_tail = &gather->inbox;
    gather->under_way_max = 2 * (cores > 0 ? (size_t)cores : 1) + 2;
    gather->record.limit = GATHER_RECORD_MAX;
    pthread_mutex_init(&gather->lock, NULL);
    pthread_cond_init(&gather->changed, NULL);
    int r = sorter_new(tmp && *tmp ? tmp : "/var/tmp", GATHER_SORT_MEMORY, &gather->sorter, err);
    if (r == 0)
        r = gather_collect_start(gather, err);
    if (r < 0) {
        gather_free(gather);
        return r;
    }
    *out = gather;
    return 0;
}

static void lane_free(struct gather_lane *lane)
{
    if (lane->part)
        gather_part_abandon(lane->part);
    free(lane);
}

void gather_free(struct gather *gather)
{
    if (!gather)
        return;
    while (gather->idle) {
        struct gather_lane *gone = gather->idle;
        gather->idle = gone->next;
        lane_free(gone);
    }
    gather_wait_stored(gather);
    gather_collect_end(gather);
    gather_free_spare(gather);
    sorter_free(gather->sorter);
    buf_clear(&gather->record);
    pthread_cond_destroy(&gather->changed);
    pthread_mutex_destroy(&gather->lock);
    free(gather);
}

int gather_take_lane(struct gather *gather, struct gather_lane **out, struct err *err)
{
    pthread_mutex_lock(&gather->lock);
    struct gather_lane *lane = gather->idle;
    if (lane)
        gather->idle = lane->next;
    pthread_mutex_unlock(&gather->lock);
    if (!lane && !(lane = calloc(1, sizeof(*lane))))
        return err_set(err, ERR_NOMEM, "no memory for a stream");
    *out = lane;
    return 0;
}

void gather_give_lane(struct gather *gather, struct gather_lane *lane)
{
    pthread_mutex_lock(&gather->lock);
    lane->next = gather->idle;
    gather->idle = lane;
    pthread_mutex_unlock(&gather->lock);
}

/* What lies in lanes that nobody pushes into. */
static int flush_lanes(struct gather *gather, struct err *err)
{
    int r = 0;

    for (struct gather_lane *lane = gather->idle; r == 0 && lane; lane = lane->next)
        if (lane->part)
            r = gather_send(gather, lane, err);
    return r;
}

int gather_finish(struct gather *gather, struct root_type *out, struct err *err)
{
    int r = flush_lanes(gather, err);

    gather_wait_stored(gather);
    gather_collect_end(gather);
    if (r == 0)
        r = units_error(gather->options.units, err);
    if (r == 0 && progress_cancelled(gather_progress(gather)))
        r = err_set(err, ERR_CANCELLED, "interrupted");
    if (r == 0)
        r = sorter_finish(gather->sorter, err);
    if (r == 0)
        r = gather_tree(gather, out, err);
    out->unreadable += gather->unreadable;
    return r;
}
