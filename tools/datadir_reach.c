#include <stdlib.h>
#include <string.h>

#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/lsn.h"
#include "catalog/wal.h"
#include "catalog/wal_path.h"
#include "tools/console.h"
#include "tools/datadir_internal.h"
#include "tools/output.h"
#include "tools/wal.h"

enum { NS_PER_US = 1000 };

struct commit_wanted {
    uint32_t xid;
    bool found;
    struct wal_mark mark;
};

/* What is lost when something happens now: all that came after this moment. */
static void say_window(const struct datadir *run, const char *up_to, int64_t time_us)
{
    int64_t now_us = clock_system()->now_ns(clock_system()) / NS_PER_US;
    char when[CLOCK_TEXT_SIZE], ago[OUTPUT_SIZE];

    if (run->app->quiet)
        return;
    wal_format_time(time_us, when);
    console_line("recovers to %s, %s; what was committed in the %s since then is not in it", up_to,
                 when, output_duration((now_us - time_us) * NS_PER_US, ago));
}

static const struct root *snapshot_of(const struct datadir *run)
{
    return run->selection.types[TYPE_DATABASE];
}

static int too_early(const struct datadir *run, struct err *err)
{
    char end[LSN_TEXT_SIZE];

    lsn_format(pgdata_facts(run->data)->end_lsn, end);
    app_hint(run->app, "take an earlier snapshot, or the position %s or later", end);
    return err_set(err, ERR_NOT_FOUND, "the target is before the end of the backup %s",
                   snapshot_of(run)->name);
}

static int too_late(const struct wal_path *path, const struct datadir *run, struct err *err)
{
    uint64_t end = path->count > 0 ? wal_path_end(path) : pgdata_facts(run->data)->end_lsn;
    char shown[LSN_TEXT_SIZE];

    lsn_format(end, shown);
    return err_set(err, ERR_NOT_FOUND, "the server's log is stored only up to %s%s", shown,
                   path->gap ? ", where there is a gap" : "");
}

static int reach_lsn(struct datadir *run, const struct wal_path *path, struct err *err)
{
    uint64_t backup_end = pgdata_facts(run->data)->end_lsn;

    if (run->lsn < backup_end)
        return too_early(run, err);
    if (run->lsn > backup_end && (path->count == 0 || run->lsn > wal_path_end(path)))
        return too_late(path, run, err);
    return 0;
}

/* The server finds a moment only when there is a commit behind it; else the last commit before it
 * is what is meant. */
static int reach_time(struct datadir *run, const struct wal_path *path, struct err *err)
{
    struct pgdata_recovery *recovery = &run->how.recovery;
    struct wal_mark mark;
    bool later = false;

    if (run->time_us < snapshot_of(run)->start_ns / NS_PER_US)
        return too_early(run, err);
    int r = path->count > 0
                ? wal_path_at_time(run->session.catalog, path, run->time_us, &mark, &later, err)
                : 0;
    if (r < 0)
        return r;
    if (r > 0)
        say_window(run, "the commit", mark.time_us);
    if (later)
        return 0;
    if (r == 0) { /* nothing was committed between the backup and the moment */
        recovery->until = UNTIL_IMMEDIATE;
        recovery->value = NULL;
        return 0;
    }
    recovery->until = UNTIL_LSN;
    lsn_format(mark.lsn, run->value);
    return 0;
}

static int reach_name(struct datadir *run, const struct wal_path *path, struct err *err)
{
    bool found = false;
    int r = 0;

    for (size_t i = 0; r == 0 && i < path->count && !found; i++) {
        const struct wal_stretch *at = &path->at[i];
        struct wal_points points = {0};

        r = wal_points_find(run->session.catalog, path->system, at->timeline, at->from, at->to,
                            &points, err);
        for (size_t k = 0; r == 0 && k < points.count; k++)
            found = found || strcmp(points.at[k].name, run->value) == 0;
        wal_points_clear(&points);
    }
    if (r == 0 && !found)
        r = err_set(err, ERR_NOT_FOUND, "no restore point \"%s\" is in the stored log behind %s",
                    run->value, snapshot_of(run)->name);
    return r;
}

static int is_commit_of(void *context, uint32_t timeline, const struct wal_mark *mark,
                        struct err *err)
{
    struct commit_wanted *wanted = context;

    (void)timeline;
    (void)err;
    if (mark->xid == wanted->xid) {
        wanted->mark = *mark;
        wanted->found = true;
    }
    return wanted->found;
}

/* The server compares only the number's lower half, as its log has no more of it. */
static int reach_xid(struct datadir *run, const struct wal_path *path, struct err *err)
{
    struct commit_wanted wanted = {.xid = (uint32_t)strtoull(run->value, NULL, 10)};
    int r = wal_path_marks(run->session.catalog, path, is_commit_of, &wanted, err);

    if (r < 0)
        return r;
    if (wanted.found) {
        say_window(run, "the commit", wanted.mark.time_us);
        return 0;
    }
    app_hint(run->app, "yester points --commits lists what there is");
    return err_set(err, ERR_NOT_FOUND,
                   "no commit of the transaction %s is in the stored log behind %s", run->value,
                   snapshot_of(run)->name);
}

static int reach_latest(struct datadir *run, const struct wal_path *path, struct err *err)
{
    struct wal_mark mark;
    int r = path->count > 0 ? wal_path_last(run->session.catalog, path, &mark, err) : 0;

    if (r < 0)
        return r;
    if (r > 0)
        say_window(run, "the last commit that is stored", mark.time_us);
    else
        say_window(run, "the end of the backup, as no later commit is stored",
                   snapshot_of(run)->end_ns / NS_PER_US);
    if (path->gap && !run->app->quiet)
        console_say("the server's log has a gap: what is stored behind it cannot be recovered");
    return 0;
}

int datadir_reach(struct datadir *run, struct err *err)
{
    const struct pgdata_facts *facts = pgdata_facts(run->data);
    struct wal_path path = {0};

    int r = wal_sync(run->session.catalog, err);
    if (r == 0)
        r = wal_path_find(run->session.catalog, facts->system, facts->timeline, facts->end_lsn,
                          run->timeline, &path, err);
    if (r < 0)
        return r;
    switch (run->how.recovery.until) {
    case UNTIL_IMMEDIATE:
        say_window(run, "the end of the backup", snapshot_of(run)->end_ns / NS_PER_US);
        return 0;
    case UNTIL_LATEST:
        return reach_latest(run, &path, err);
    case UNTIL_LSN:
        return reach_lsn(run, &path, err);
    case UNTIL_TIME:
        return reach_time(run, &path, err);
    case UNTIL_NAME:
        return reach_name(run, &path, err);
    case UNTIL_XID:
        return reach_xid(run, &path, err);
    }
    return 0;
}
