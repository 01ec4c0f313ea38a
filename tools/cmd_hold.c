/* cmd_hold — keep a snapshot whatever the rules say, and let it go by them again. */
#include <stdio.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "catalog/catalog.h"
#include "tools/command.h"
#include "tools/session.h"
#include "tools/snapshots.h"

static const struct option_spec hold_options[] = {
    {"reason", 0, "TEXT", "shown by list"},
    OPTION_DRY_RUN,
    {0},
};

static bool is_visible(const struct snapshot_row *row)
{
    return !row->forgotten;
}

static bool is_held(const struct snapshot_row *row)
{
    return row->held;
}

static int change(struct app *app, bool hold, struct err *err)
{
    CLEANUP(session_close) struct session session = {.locked = LOCK_SHARED};
    CLEANUP(snapshot_rows_clear) struct snapshot_rows rows = {0};
    const char *host = config_text(&app->config, SET_BACKUP_HOST);
    const char *reason = app_text(app, "reason");
    bool dry_run = app_flag(app, "dry-run");
    int r = session_open(app, SESSION_SNAPSHOTS, &session, err);

    if (r == 0)
        r = catalog_all_snapshots(session.catalog, NULL, &rows, err);
    for (size_t i = 0; r == 0 && i < app->options.argument_count; i++) {
        size_t at = 0;

        r = snapshots_find(app, &session, &rows, app_argument(app, i), hold ? is_visible : is_held,
                           &at, err);
        if (r == 0 && !dry_run)
            r = hold ? catalog_hold(session.catalog, &rows.at[at], host, reason, err)
                     : catalog_release(session.catalog, &rows.at[at], host, reason, NULL, err);
        if (r == 0)
            snapshots_tell(app, &rows.at[at],
                           hold ? (dry_run ? "would hold" : "held")
                                : (dry_run ? "would release" : "released"));
    }
    return r;
}

static int run_hold(struct app *app, struct err *err)
{
    return change(app, true, err);
}

static int run_release(struct app *app, struct err *err)
{
    return change(app, false, err);
}

const struct command command_hold = {
    .name = "hold",
    .arguments = "SNAP…",
    .summary = "keep snapshots whatever the rules say",
    .examples = "  yester hold 20260204_120000 --reason \"audit 2026\"\n",
    .details = "What is held is neither forgotten nor pruned.  Several holds may be on one "
               "snapshot.\n",
    .options = hold_options,
    .least = 1,
    .most = ANY_NUMBER,
    .run = run_hold,
};

const struct command command_release = {
    .name = "release",
    .arguments = "SNAP…",
    .summary = "end all holds of snapshots",
    .examples = "  yester release 20260204_120000\n",
    .options = hold_options,
    .least = 1,
    .most = ANY_NUMBER,
    .run = run_release,
};
