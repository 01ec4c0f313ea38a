/* cmd_catalog — make the catalog again from the repository alone. */
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "catalog/catalog.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/output.h"
#include "tools/session.h"

static const struct option_spec options[] = {
    {"accept-losses", 0, NULL, "what is gone from the repository is not missed any more"},
    OPTION_DRY_RUN,
    {0},
};

/* Said before it is not known any more. */
static int accept_losses(struct session *session, struct err *err)
{
    CLEANUP(strings_clear) struct strings losses = {0};
    int r = catalog_losses(session->catalog, &losses, err);

    for (size_t i = 0; i < losses.count && r == 0; i++)
        console_say("not missed any more: %s", losses.at[i]);
    return r < 0 ? r : catalog_accept_losses(session->catalog, err);
}

static int run(struct app *app, struct err *err)
{
    CLEANUP(session_close) struct session session = {0};
    CLEANUP(snapshot_rows_clear) struct snapshot_rows rows = {0};
    char directory[4096], count[OUTPUT_SIZE];
    bool dry_run = app_flag(app, "dry-run");
    int r = session_open(app, dry_run ? SESSION_REPOSITORY : SESSION_CATALOG, &session, err);

    if (r == 0)
        r = session_catalog_directory(app, &session, directory, sizeof(directory), err);
    if (r < 0)
        return r;
    if (dry_run) {
        console_say("would make the catalog below %s again", directory);
        return 0;
    }
    r = catalog_rebuild(session.catalog, err);
    if (r == 0 && app_flag(app, "accept-losses"))
        r = accept_losses(&session, err);
    if (r == 0)
        r = catalog_snapshots(session.catalog, NULL, &rows, err);
    if (r == 0 && !app->quiet)
        console_line("catalog below %s made again: %s", directory,
                     output_count(rows.count, "snapshot", count));
    return r;
}

const struct command command_catalog_rebuild = {
    .name = "catalog rebuild",
    .arguments = "",
    .summary = "make the catalog again from the repository alone",
    .examples = "  yester catalog rebuild\n",
    .details = "Hardly ever needed: a catalog that is missing, old or damaged is made again "
               "without asking.\n",
    .options = options,
    .cache = CACHE_METADATA,
    .run = run,
};
