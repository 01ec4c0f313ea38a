/* cmd_mount — every snapshot as read-only directories, and the end of that. */
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "catalog/catalog.h"
#include "fs/mount.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/session.h"

enum { REFRESH_MAX = 24 * 3600 };

static const struct option_spec mount_options[] = {
    {"foreground", 'f', NULL, "stay, until it is unmounted"},
    {"allow-other", 0, NULL, "let other users in, with the permissions of the source"},
    {"no-holes", 0, NULL, "holes of sparse files are zeros like others: saves a request a file"},
    {"refresh", 0, "SECONDS", "how often to look for new snapshots in a bucket (10)"},
    {"cache", 0, "SIZE", "how much decoded content to keep in memory (256M)"},
    OPTION_DRY_RUN,
    {0},
};

static const struct option_spec umount_options[] = {OPTION_DRY_RUN, {0}};

/* Whose snapshots stand at the top: this host's, or those of the only other one. */
static void choose_host(struct app *app, struct session *session, char host[HOST_NAME_MAX_SIZE + 1])
{
    CLEANUP(selection_clear) struct selection selection = {0};
    const char *own = config_text(&app->config, SET_BACKUP_HOST);
    struct select_query query = {.host = own, .host_given = app_text(app, "host") != NULL};
    struct err ignored; /* an empty repository is mounted, too */

    strcpy(host, own);
    if (select_snapshots(session->catalog, &query, &selection, &ignored) < 0)
        return;
    if (selection.other_host) {
        console_say("no snapshot of %s here; showing those of %s", own, selection.host);
        strcpy(host, selection.host);
    }
}

static int run_mount(struct app *app, struct err *err)
{
    CLEANUP(session_close) struct session session = {0};
    uint64_t refresh = config_number(&app->config, SET_MOUNT_REFRESH);
    char directory[4096], host[HOST_NAME_MAX_SIZE + 1];
    struct mount_options options = {
        .directory = app_argument(app, 0),
        .host = host,
        .catalog_directory = directory,
        .foreground = app_flag(app, "foreground"),
        .allow_other = app_flag(app, "allow-other"),
        .no_holes = app_flag(app, "no-holes"),
        .cache_bytes = (size_t)config_number(&app->config, SET_MOUNT_CACHE),
        .refresh_s = refresh < REFRESH_MAX ? (unsigned)refresh : REFRESH_MAX,
    };
    int r = refresh > 0 ? session_open(app, SESSION_SNAPSHOTS, &session, err)
                        : err_set(err, ERR_USAGE, "--refresh takes at least one second");

    if (r == 0)
        r = session_catalog_directory(app, &session, directory, sizeof(directory), err);
    if (r < 0)
        return r;
    choose_host(app, &session, host);
    /* The mount has a catalog of its own: SQLite does not outlive a fork. */
    catalog_close(STEAL(session.catalog));
    if (app_flag(app, "dry-run")) {
        console_say("would mount the snapshots of %s at %s", host, options.directory);
        return 0;
    }
    return mount_run(session.repo, &options, err);
}

static int run_umount(struct app *app, struct err *err)
{
    if (app_flag(app, "dry-run")) {
        console_say("would unmount %s", app_argument(app, 0));
        return 0;
    }
    return mount_undo(app_argument(app, 0), err);
}

const struct command command_mount = {
    .name = "mount",
    .arguments = "DIR",
    .summary = "every snapshot as read-only directories below DIR",
    .examples = "  yester mount /mnt && ls /mnt/latest/files\n"
                "  diff -r /mnt/20260204_120000/config /mnt/20260205_120000/config\n",
    .details = "Snapshots made meanwhile appear by themselves.  `yester umount DIR` ends it.\n",
    .options = mount_options,
    .least = 1,
    .most = 1,
    .falls_back = true,
    .cache = CACHE_ALL,
    .run = run_mount,
};

const struct command command_umount = {
    .name = "umount",
    .arguments = "DIR",
    .summary = "end a mount, also one whose process is gone",
    .examples = "  yester umount /mnt\n",
    .options = umount_options,
    .least = 1,
    .most = 1,
    .run = run_umount,
};
