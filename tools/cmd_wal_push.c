/* cmd_wal_push — store a file of a server's archive: what archive_command calls. */
#include <inttypes.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/job/walpush.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/output.h"
#include "tools/session.h"
#include "tools/wal.h"

static const struct option_spec push_options[] = {
    OPTION_SYSTEM,
    OPTION_DRY_RUN,
    {0},
};

static void print_json(const char *path, const struct walpush_result *result, bool dry_run)
{
    struct json_object *object = json_object_new_object();

    json_object_object_add(object, "file", json_object_new_string(path));
    json_object_object_add(object, "system", output_json_number(result->system));
    json_object_object_add(object, "bytes", output_json_number(result->size));
    json_object_object_add(object, "commits", output_json_number(result->commits));
    json_object_object_add(object, "restore_points", output_json_number(result->points));
    json_object_object_add(object, "already", json_object_new_boolean(result->already));
    json_object_object_add(object, "dry_run", json_object_new_boolean(dry_run));
    output_json(object);
}

static int run_push(struct app *app, struct err *err)
{
    CLEANUP(session_close) struct session session = {.locked = LOCK_SHARED};
    const char *path = app_argument(app, 0);
    struct walpush_settings settings = {
        .level = (int)config_number(&app->config, SET_BACKUP_COMPRESSION),
        .host = config_text(&app->config, SET_BACKUP_HOST),
        .dry_run = app_flag(app, "dry-run"),
    };
    struct walpush_result result;
    int r = wal_number(app, "system", UINT64_MAX, &settings.system, err);

    if (r == 0 && settings.system == 0)
        r = wal_system_here(&settings.system, err);
    if (r == 0)
        r = session_open(app, SESSION_REPOSITORY, &session, err);
    settings.repo = session.repo;
    if (r == 0)
        r = walpush_file(&settings, path, &result, err);
    if (r == -ERR_EXISTS)
        app_hint(app, "two servers with one system identifier? `yester wal status` shows them");
    if (r < 0)
        return r;
    if (result.trouble)
        console_say("%s: stored, but its commits are not listed: %s", path, result.trouble);
    if (app->json)
        print_json(path, &result, settings.dry_run);
    else if (app_flag(app, "verbose") || settings.dry_run)
        console_say("%s: %s", path,
                    result.already     ? "stored already"
                    : settings.dry_run ? "would be stored"
                                       : "stored");
    return 0;
}

const struct command command_wal_push = {
    .name = "wal push",
    .arguments = "FILE",
    .summary = "store a file of PostgreSQL's log (archive_command)",
    .examples = "  archive_command = 'yester wal push %p'        in postgresql.conf\n",
    .details = "Exits 0 only when the file is durable in the repository.  The same file again is "
               "fine; another\ncontent under a stored name is an error and changes nothing.  Run "
               "in the data directory, as the\nserver does; elsewhere --system says whose a "
               "history or .backup file is.\n",
    .options = push_options,
    .least = 1,
    .most = 1,
    .run = run_push,
};
