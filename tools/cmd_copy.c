/* cmd_copy — bring replicas up to date. */
#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "tools/command.h"
#include "tools/cooling.h"
#include "tools/replicas.h"
#include "tools/session.h"
#include "tools/thawing.h"

enum { EXIT_REPLICA = 5, EXIT_BUSY = 11 };

static const struct option_spec options[] = {
    {"to", 0, "LOCATION", "a directory or s3:// location, instead of the replicas of the settings"},
    {"bwlimit", 0, "RATE", "write at most RATE bytes a second, as 10M"},
    THAWING_OPTIONS,
    OPTION_DRY_RUN,
    {0},
};

static int run(struct app *app, struct err *err)
{
    CLEANUP(session_close) struct session session = {0};
    struct thawing wanted = {0};
    const char *to = app_text(app, "to");
    int r = thawing_parse(&wanted, app, err);

    if (r < 0)
        return r;

    if (!to && app->config.replica_count == 0) {
        app_hint(app, "name one with --to, or in the settings: [replica NAME] with location = …");
        return err_set(err, ERR_USAGE, "copy to where?");
    }
    r = session_open(app, SESSION_CATALOG, &session, err);
    if (r < 0)
        return r;
    if (to)
        return replicas_copy(app, &session, NULL, to, NULL, err);
    int64_t since_ns = clock_boot_ns();
    r = replicas_update(app, &session, NULL);
    if (r == -ERR_CANCELLED)
        return err_set(err, ERR_CANCELLED, "interrupted; the next copy goes on");
    if (r < 0)
        return wanted.asks && r == -ERR_BUSY ? EXIT_BUSY : EXIT_REPLICA;
    return cooling_run_fed(app, session.repo, since_ns, err);
}

const struct command command_copy = {
    .name = "copy",
    .arguments = "",
    .summary = "bring a second repository up to date",
    .examples = "  yester copy                          the replicas of the settings\n"
                "  yester copy --to /mnt/second/backups\n"
                "  yester copy --to /mnt/second/backups --thaw=bulk --wait 2d\n",
    .details =
        "Only what is missing there is copied, each archive checked on its way; nothing there is\n"
        "deleted or overwritten.  A replica opens with the same keys, and is mounted, restored "
        "from,\n"
        "verified and pruned as any repository.  What is in cold storage is asked for with "
        "--thaw.\n"
        "Exit status 4: some of it is damaged here, and was not copied; 5: a replica of the "
        "settings\n"
        "could not be brought up to date; 11: what was asked for is not there yet, go on later.\n",
    .options = options,
    .run = run,
};
