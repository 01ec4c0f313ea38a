/* cmd_restore_load — without --target: databases, or tables, into the server. */
#include <string.h>

#include "backup/base/err.h"
#include "tools/cmd_restore_internal.h"
#include "tools/loading.h"
#include "tools/meter.h"

bool restore_is_load(const struct recovery *recovery)
{
    static const char top[] = "database";
    struct app *app = recovery->app;
    const char *path = recovery->name.path ? recovery->name.path : app_argument(app, 1);
    const char *type = app_text(app, "type");
    bool below = path && strncmp(path, top, strlen(top)) == 0 &&
                 (!path[strlen(top)] || path[strlen(top)] == '/');

    if (app_text(app, "target"))
        return false;
    return app_text(app, "into") || below || (!path && type && strcmp(type, top) == 0);
}

static int check_loading(const struct recovery *recovery, struct err *err)
{
    struct app *app = recovery->app;
    static const char *const not_with[] = {"delete",     "include",   "exclude",
                                           "no-special", "no-setuid", "verify"};

    if (app->options.argument_count > (recovery->name.path ? 1 : 2))
        return err_set(err, ERR_USAGE, "one PATH at a time is loaded");
    for (size_t i = 0; i < sizeof(not_with) / sizeof(not_with[0]); i++)
        if (options_count(&app->options, not_with[i]) > 0)
            return err_set(err, ERR_USAGE, "--%s is for files: it needs --target", not_with[i]);
    return 0;
}

static int thaw_databases(struct recovery *recovery, const char *path, struct err *err)
{
    struct thawing *thawing = &recovery->thawing;
    int r = thawing_start(thawing, &recovery->session, &recovery->progress, err);

    if (r == 0)
        r = thawing_need_databases(thawing, &recovery->selection, path, err);
    return r < 0 ? r : thawing_ready(thawing, err);
}

int restore_load(struct recovery *recovery, struct err *err)
{
    struct app *app = recovery->app;
    const char *path = recovery->name.path ? recovery->name.path : app_argument(app, 1);
    struct loading_request request = {
        .selection = &recovery->selection,
        .path = path && strchr(path, '/') && *(strchr(path, '/') + 1) ? path : NULL,
        .into = app_text(app, "into"),
        .dry_run = app_flag(app, "dry-run"),
        .progress = &recovery->progress,
    };
    enum extract_overwrite overwrite;

    int r = restore_parse_overwrite(app_text(app, "overwrite"), &overwrite, err);
    if (r == 0)
        r = check_loading(recovery, err);
    request.replace = overwrite == OVERWRITE_ALWAYS;
    if (r == 0)
        r = session_open(app, SESSION_SNAPSHOTS, &recovery->session, err);
    if (r == 0)
        r = session_blocks(&recovery->session, LOOK_CACHE, err);
    if (r == 0)
        r = session_select(app, &recovery->session, recovery->name.snapshot, 1 << TYPE_DATABASE,
                           app_text(app, "before"), &recovery->selection, err);
    if (r == 0)
        r = meter_start(&recovery->progress, app->quiet, err);
    if (r < 0)
        return r;
    session_follow(&recovery->session, &recovery->progress);
    restore_name_sources(recovery);
    r = thaw_databases(recovery, request.path, err);
    if (r == 0 && !thawing_is_missing(&recovery->thawing))
        r = loading_run(app, &recovery->session, &request, err);
    meter_stop();
    return r;
}
