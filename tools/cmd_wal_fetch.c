/* cmd_wal_fetch — a file of a server's archive out of the repository: what restore_command calls.
 */
#include <inttypes.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/job/walfetch.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/output.h"
#include "tools/session.h"
#include "tools/wal.h"

/* A server takes every other status up to 125 for "there is no more", and would end its recovery
 * early; of 126 and 127 it says that the command was not found or cannot be run. */
enum { STATUS_NOT_THERE = 1, STATUS_FAILED = 255 };

static const struct option_spec fetch_options[] = {
    OPTION_SYSTEM,
    {"timeline", 0, "N", "the timeline that recovery follows; the newest one if not given"},
    OPTION_DRY_RUN,
    {0},
};

static void print_json(const char *name, const struct walfetch_result *result)
{
    struct json_object *object = json_object_new_object();

    json_object_object_add(object, "file", json_object_new_string(name));
    json_object_object_add(object, "bytes", output_json_number(result->size));
    json_object_object_add(object, "known_bytes", output_json_number(result->known));
    json_object_object_add(object, "merged", json_object_new_boolean(result->merged));
    json_object_object_add(object, "cut_at_fork", json_object_new_boolean(result->cut));
    output_json(object);
}

static int run_fetch(struct app *app, struct err *err)
{
    CLEANUP(session_close) struct session session = {0};
    bool dry_run = app_flag(app, "dry-run");
    const char *name = app_argument(app, 0), *target = app_argument(app, 1);
    struct walfetch_settings settings = {0};
    struct walfetch_result result;
    uint64_t timeline;
    int r = wal_number(app, "timeline", UINT32_MAX, &timeline, err);

    if (r == 0)
        r = session_open(app, SESSION_REPOSITORY, &session, err);
    if (r == 0)
        r = wal_system(app, &session, &settings.system, err);
    settings.repo = session.repo;
    settings.timeline = (uint32_t)timeline;
    if (r == 0)
        r = walfetch_file(&settings, name, dry_run ? NULL : target, &result, err);
    if (r == -ERR_NOT_FOUND) {
        console_say("%s", err->text);
        return STATUS_NOT_THERE;
    }
    if (r < 0)
        return r;
    if (app->json)
        print_json(name, &result);
    else if (app_flag(app, "verbose") || dry_run)
        console_say("%s: %" PRIu64 " of %" PRIu64 " bytes%s%s", name, result.known, result.size,
                    result.merged ? ", out of pieces" : "",
                    result.cut ? ", up to where the timeline was left" : "");
    return 0;
}

const struct command command_wal_fetch = {
    .name = "wal fetch",
    .arguments = "NAME FILE",
    .summary = "bring a file of PostgreSQL's log back (restore_command)",
    .examples = "  restore_command = 'yester wal fetch %f %p'    in postgresql.conf\n",
    .details =
        "A segment, complete or as far as it was received (the rest is zeros), or a timeline's "
        "history.\nExits 1 when it is not there; 255 for everything else, so that the server stops "
        "instead of taking\nit for the end of the log.  Of a timeline that was left, nothing "
        "behind "
        "the fork is given out: to\nrecover along an older timeline, name it with --timeline.\n",
    .options = fetch_options,
    .least = 2,
    .most = 2,
    .failed = STATUS_FAILED,
    .run = run_fetch,
};
