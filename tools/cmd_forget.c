/* cmd_forget — let snapshots go, and take that back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/job/verify.h"
#include "catalog/catalog.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/locks.h"
#include "tools/output.h"
#include "tools/retain.h"
#include "tools/session.h"
#include "tools/snapshots.h"

static const struct option_spec forget_options[] = {
    {"keep-within", 0, "TIME", "keep what is not older: 36h, 30d, 8w, 2y"},
    {"keep-last", 0, "N", "keep the newest N"},
    {"keep-hourly", 0, "N|TIME", "keep the newest of each hour: of N hours, or so long"},
    {"keep-daily", 0, "N|TIME", "… of each day"},
    {"keep-weekly", 0, "N|TIME", "… of each week"},
    {"keep-monthly", 0, "N|TIME", "… of each month"},
    {"keep-yearly", 0, "N|TIME", "… of each year"},
    {"keep-tag", 0, "TEXT", "keep what has this tag; repeatable"},
    {"type", 't', "TYPE,…", "only for these types; others keep their snapshots"},
    {"tag", 0, "TEXT", "only among snapshots with this tag"},
    {"reason", 0, "TEXT", "written beside SNAP…"},
    OPTION_DRY_RUN,
    {0},
};

static const struct option_spec unforget_options[] = {
    {"reason", 0, "TEXT", "written beside it"},
    OPTION_DRY_RUN,
    {0},
};

static void freep(void *pointer)
{
    free(*(void **)pointer);
}

/* ---- SNAP… ---- */

static bool is_visible(const struct snapshot_row *row)
{
    return !row->forgotten;
}

static bool is_forgotten(const struct snapshot_row *row)
{
    return row->forgotten;
}

/* One that was taken away is forgotten as well: then nobody misses it any more. */
static int forget_lost(struct app *app, struct session *session, const char *name, bool *out_found,
                       struct err *err)
{
    CLEANUP(snapshot_rows_clear) struct snapshot_rows lost = {0};
    int r = catalog_lost_snapshots(session->catalog, &lost, err);

    *out_found = false;
    for (size_t i = 0; r == 0 && i < lost.count && !*out_found; i++) {
        if (strcmp(lost.at[i].name, name) != 0)
            continue;
        *out_found = true;
        console_say("%s is gone already; it is not missed any more", name);
        if (!app_flag(app, "dry-run"))
            r = catalog_forget(session->catalog, &lost.at[i],
                               config_text(&app->config, SET_BACKUP_HOST), app_text(app, "reason"),
                               err);
    }
    return r;
}

static int choose(struct app *app, struct session *session, const struct snapshot_rows *rows,
                  bool *drop, struct err *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < app->options.argument_count; i++) {
        const char *text = app_argument(app, i);
        bool found = false;
        size_t at = 0;

        r = forget_lost(app, session, text, &found, err);
        if (r < 0 || found)
            continue;
        r = snapshots_find(app, session, rows, text, is_visible, &at, err);
        if (r == 0 && rows->at[at].held)
            r = err_set(err, ERR_USAGE, "%s is held: `yester release %s` first", rows->at[at].name,
                        rows->at[at].name);
        if (r == 0)
            drop[at] = true;
    }
    return r < 0 ? r : retention_check_last(rows->at, rows->count, drop, err);
}

static int forget_named(struct app *app, struct session *session, struct err *err)
{
    CLEANUP(snapshot_rows_clear) struct snapshot_rows rows = {0};
    bool dry_run = app_flag(app, "dry-run");
    int r = catalog_all_snapshots(session->catalog, NULL, &rows, err);

    if (r < 0)
        return r;
    CLEANUP(freep) bool *drop = calloc(rows.count + 1, sizeof(*drop));
    if (!drop)
        return err_set(err, ERR_NOMEM, "out of memory");
    r = choose(app, session, &rows, drop, err);
    if (r == 0 && !dry_run)
        r = retain_forget(app, session, rows.at, rows.count, drop, app_text(app, "reason"), err);
    for (size_t i = 0; r == 0 && i < rows.count; i++)
        if (drop[i])
            snapshots_tell(app, &rows.at[i], dry_run ? "would forget" : "forgotten");
    if (r == 0)
        locks_tell_dropped(app, session, rows.at, drop, rows.count);
    return r;
}

/* ---- rules ---- */

static int forget_by_rules(struct app *app, struct session *session, uint8_t types, struct err *err)
{
    CLEANUP(retention_rules_clear) struct retention_rules rules = {0};
    struct clock *clock = clock_system();
    struct retention_scope scope = {config_text(&app->config, SET_BACKUP_HOST),
                                    app_text(app, "tag"), clock->now_ns(clock)};
    struct retain_result result = {0};
    bool given = false, dry_run = app_flag(app, "dry-run");
    char kept[OUTPUT_SIZE];
    int r = retain_rules_given(app, types, &rules, &given, err);

    if (r == 0 && !given)
        r = retain_rules_set(app, types, &rules, err);
    if (r == 0)
        r = retain_run(app, session, &rules, &scope,
                       dry_run                    ? RETAIN_DRY | RETAIN_EXPLAIN
                       : app_flag(app, "verbose") ? RETAIN_EXPLAIN
                                                  : RETAIN_FORGET,
                       &result, err);
    if (r == 0 && !app->quiet)
        console_line("%s of %s kept, %zu %s", output_count(result.kept, "snapshot", kept),
                     scope.host, result.forgotten, dry_run ? "would be forgotten" : "forgotten");
    return r;
}

static bool has_rules(const struct app *app)
{
    for (const struct option_spec *spec = forget_options; spec->name; spec++)
        if (strncmp(spec->name, "keep-", 5) == 0 && app_flag(app, spec->name))
            return true;
    return app_flag(app, "tag") || app_flag(app, "type");
}

static int run_forget(struct app *app, struct err *err)
{
    CLEANUP(session_close) struct session session = {.locked = LOCK_SHARED};
    bool named = app->options.argument_count > 0;
    uint8_t types;
    int r = types_parse(app_text(app, "type"), &types, err);

    if (r == 0 && named && has_rules(app))
        r = err_set(err, ERR_USAGE, "either SNAP or rules (--keep-…, --type, --tag), not both");
    if (r == 0)
        r = session_open(app, SESSION_SNAPSHOTS, &session, err);
    if (r < 0)
        return r;
    return named ? forget_named(app, &session, err) : forget_by_rules(app, &session, types, err);
}

/* In the last eighth of the grace a prune on another host, whose clock differs, may be at it. */
static int check_grace(const struct app *app, const struct snapshot_row *row, struct err *err)
{
    struct clock *clock = clock_system();
    int64_t grace = (int64_t)config_number(&app->config, SET_PRUNE_GRACE), ago;

    if (__builtin_sub_overflow(clock->now_ns(clock), row->forgotten_ns, &ago) ||
        ago >= grace - grace / 8)
        return err_set(err, ERR_NOT_FOUND,
                       "%s was forgotten too long ago: prune may be deleting it; what is still "
                       "there can be restored by its name",
                       row->name);
    return 0;
}

static void tell_damaged(void *context, const char *object, uint32_t archive, const struct err *err)
{
    (void)context;
    (void)archive;
    console_say("damaged: %s: %s", object, err->text);
}

static void tell_hurt(void *context, const char *snapshot, const char *path, const struct err *err)
{
    (void)context;
    console_say("hurt: %s %s: %s", snapshot, path, err->text);
}

/* That what was taken back is all there. */
static int check_whole(struct session *session, const char *name, struct err *err)
{
    const struct verify_options how = {
        .snapshots = &name, .snapshot_count = 1, .damaged = tell_damaged, .hurt = tell_hurt};
    struct verify_result result;
    int r = session->blocks ? 0 : session_blocks(session, LOOK_CACHE, err);

    return r < 0 ? r : verify_run(session->blocks, &how, &result, err);
}

static int take_back(struct app *app, struct session *session, const struct snapshot_row *row,
                     struct err *err)
{
    const char *host = config_text(&app->config, SET_BACKUP_HOST);
    int r = check_grace(app, row, err);

    if (r == 0 && !app_flag(app, "dry-run")) {
        r = catalog_unforget(session->catalog, row, host, app_text(app, "reason"), err);
        if (r == 0)
            r = check_whole(session, row->name, err);
    }
    return r;
}

static int run_unforget(struct app *app, struct err *err)
{
    CLEANUP(session_close) struct session session = {.locked = LOCK_SHARED};
    CLEANUP(snapshot_rows_clear) struct snapshot_rows rows = {0};
    bool dry_run = app_flag(app, "dry-run");
    int r = session_open(app, SESSION_SNAPSHOTS, &session, err);

    if (r == 0)
        r = catalog_all_snapshots(session.catalog, NULL, &rows, err);
    for (size_t i = 0; r == 0 && i < app->options.argument_count; i++) {
        size_t at = 0;

        r = snapshots_find(app, &session, &rows, app_argument(app, i), is_forgotten, &at, err);
        if (r == 0)
            r = take_back(app, &session, &rows.at[at], err);
        if (r == 0)
            snapshots_tell(app, &rows.at[at], dry_run ? "would take back" : "back");
    }
    return r;
}

const struct command command_forget = {
    .name = "forget",
    .arguments = "[SNAP…]",
    .summary = "let snapshots go, by name or by rules",
    .examples = "  yester forget --dry-run                      what the settings let go, and why\n"
                "  yester forget --keep-daily 7 --keep-weekly 90d --type files\n"
                "  yester forget 20260204_120000\n",
    .details =
        "Without SNAP, the rules of the settings ([retention]) are applied to this host's "
        "snapshots, or those\nof --host; --keep-… replaces them.  A snapshot is kept while one of "
        "its types is.  The last complete\none of each type, and what is held, always stay.  Age "
        "is what several snapshots in the repository\nattest, not what the clock says.\n"
        "What is forgotten is no longer listed or mounted; `yester unforget` brings it back until "
        "prune has\nremoved it.  Nothing is deleted here: `yester prune` does that.\n",
    .options = forget_options,
    .most = ANY_NUMBER,
    .run = run_forget,
};

const struct command command_unforget = {
    .name = "unforget",
    .arguments = "SNAP…",
    .summary = "take back that snapshots were forgotten",
    .examples = "  yester list --all\n"
                "  yester unforget 20260204_120000\n",
    .details =
        "Until the grace of prune is nearly over ([prune] grace, 48h); what was taken back is "
        "then looked\nthrough, whether all of it is still there.\n",
    .options = unforget_options,
    .least = 1,
    .most = ANY_NUMBER,
    .run = run_unforget,
};
