/* cmd_restore_whole — everything onto the running system, databases included. */
#include "backup/base/err.h"
#include "tools/cmd_restore_internal.h"
#include "tools/loading.h"
#include "tools/meter.h"

/* Config is in place, and the files are not yet. */
static int load_between(void *context, struct err *err)
{
    struct recovery *recovery = context;
    const struct loading_request request = {
        .selection = &recovery->selection,
        .replace = recovery->how.overwrite == OVERWRITE_ALWAYS,
        .progress = &recovery->progress,
    };

    int r = loading_run(recovery->app, &recovery->session, &request, err);
    if (r < 0)
        app_hint(recovery->app, "config is restored, files are not; --type files leaves the "
                                "database out");
    return r;
}

/* All that is needed is asked for together: one delay is long enough. */
static int thaw_whole(struct recovery *recovery, struct err *err)
{
    struct thawing *thawing = &recovery->thawing;
    struct extract_options look = recovery->how;
    struct extract_result ignored;
    bool alone = !recovery->selection.types[TYPE_FILES] && !recovery->selection.types[TYPE_CONFIG];

    int r = meter_start(&recovery->progress, recovery->app->quiet, err);
    if (r < 0)
        return r;
    r = thawing_start(thawing, &recovery->session, &recovery->progress, err);
    if (r == 0)
        r = thawing_need_databases(thawing, &recovery->selection, NULL, err);
    look.dry_run = true;
    look.delete_extra = false;
    look.note = NULL;
    look.thaw = thawing->thaw;
    if (r == 0 && thawing->thaw && !alone)
        r = extract_run(recovery->session.blocks, &recovery->selection, &look, &ignored, err);
    if (r == 0)
        r = thawing_ready(thawing, err);
    meter_stop();
    return r;
}

/* What stands against the databases is known before the first file is written. */
int restore_whole(struct recovery *recovery, struct err *err)
{
    struct app *app = recovery->app;
    struct loading_request request = {
        .selection = &recovery->selection,
        .replace = recovery->how.overwrite == OVERWRITE_ALWAYS,
        .dry_run = recovery->how.dry_run,
        .check_only = true,
        .progress = &recovery->progress,
    };

    int r = thaw_whole(recovery, err);
    if (r < 0)
        return r;
    bool frozen = thawing_is_missing(&recovery->thawing); /* in a dry run */
    if (frozen || !loading_is_possible(&recovery->session, &recovery->selection))
        return restore_files(recovery, err);
    r = loading_run(app, &recovery->session, &request, err);
    if (r < 0) {
        app_hint(app, "--type files,config leaves the database out");
        return r;
    }
    bool alone = !recovery->selection.types[TYPE_FILES] && !recovery->selection.types[TYPE_CONFIG];
    recovery->how.after_config = load_between; /* not called by a dry run */
    r = alone ? 0 : restore_files(recovery, err);
    request.check_only = false;
    return r == 0 && (alone || request.dry_run)
               ? loading_run(app, &recovery->session, &request, err)
               : r;
}
