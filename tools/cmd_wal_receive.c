/* cmd_wal_receive — follow a PostgreSQL server's log: a service in the foreground. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/base/lsn.h"
#include "backup/base/progress.h"
#include "backup/job/walreceive.h"
#include "backup/source/pgstream.h"
#include "catalog/catalog.h"
#include "catalog/wal.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/database.h"
#include "tools/output.h"
#include "tools/session.h"

static const struct option_spec receive_options[] = {
    {"slot", 0, "NAME", "the server's replication slot, made if absent (default yester)"},
    {"unlimited-slot", 0, NULL, "also where max_slot_wal_keep_size is not set"},
    OPTION_DRY_RUN,
    {0},
};

static const char *const events[] = {
    [WALRECEIVE_STARTED] = "started",     [WALRECEIVE_SEGMENT] = "segment",
    [WALRECEIVE_TIMELINE] = "timeline",   [WALRECEIVE_GAP] = "gap",
    [WALRECEIVE_UNLIMITED] = "unlimited", [WALRECEIVE_SLOT_MADE] = "slot_made",
    [WALRECEIVE_SLOT_LOST] = "slot_lost", [WALRECEIVE_FAILED] = "failed",
    [WALRECEIVE_ENDED] = "ended",
};

static void add_lsn(struct json_object *object, const char *name, uint64_t lsn)
{
    char text[LSN_TEXT_SIZE];

    lsn_format(lsn, text);
    json_object_object_add(object, name, json_object_new_string(text));
}

static void print_json(const struct walreceive_report *report)
{
    struct json_object *object = json_object_new_object();

    json_object_object_add(object, "event", json_object_new_string(events[report->event]));
    json_object_object_add(object, "system", output_json_number(report->system));
    if (report->timeline > 0) {
        json_object_object_add(object, "timeline", output_json_number(report->timeline));
        add_lsn(object, "lsn", report->lsn);
    }
    if (report->event == WALRECEIVE_GAP)
        add_lsn(object, "end", report->end);
    if (report->err)
        json_object_object_add(object, "error",
                               output_json_text(report->err->text, strlen(report->err->text)));
    output_json(object);
    (void)fflush(stdout);
}

static void say(const struct app *app, const struct walreceive_report *report)
{
    char lsn[LSN_TEXT_SIZE], end[LSN_TEXT_SIZE];

    lsn_format(report->lsn, lsn);
    lsn_format(report->end, end);
    switch (report->event) {
    case WALRECEIVE_STARTED:
        console_say("server %" PRIu64 ": receiving timeline %" PRIu32 " from %s", report->system,
                    report->timeline, lsn);
        break;
    case WALRECEIVE_SEGMENT:
        if (app_flag(app, "verbose"))
            console_say("segment at %s stored", lsn);
        break;
    case WALRECEIVE_TIMELINE:
        console_say("the server left timeline %" PRIu32 " at %s", report->timeline, lsn);
        break;
    case WALRECEIVE_GAP:
        console_say("GAP: the server has nothing any more of its log from %s to %s; recovery from "
                    "older backups ends there. Take a physical backup now",
                    lsn, end);
        break;
    case WALRECEIVE_UNLIMITED:
        console_say("warning: max_slot_wal_keep_size is not set: should this service stop for "
                    "long, the server's log fills its disk");
        break;
    case WALRECEIVE_SLOT_MADE:
        console_say("the server keeps its log for us from now on (slot %s)",
                    app_text(app, "slot") ? app_text(app, "slot") : "yester");
        break;
    case WALRECEIVE_SLOT_LOST:
        console_say("warning: somebody has dropped the slot");
        break;
    case WALRECEIVE_FAILED:
        console_say("%s; again in %u s", report->err->text, report->seconds);
        break;
    case WALRECEIVE_ENDED:
        console_say("ended; all before %s is stored", lsn);
        break;
    }
}

struct receiver {
    struct app *app;
    struct session *session;
};

static void on_report(void *context, const struct walreceive_report *report)
{
    const struct receiver *receiver = context;

    if (receiver->app->json)
        print_json(report);
    if (!receiver->app->quiet || report->event == WALRECEIVE_GAP ||
        report->event == WALRECEIVE_FAILED)
        say(receiver->app, report);
}

static int stored_end(void *context, uint64_t system, uint32_t timeline,
                      struct walreceive_place *out, struct err *err)
{
    CLEANUP(wal_ranges_clear) struct wal_ranges ranges = {0};
    const struct receiver *receiver = context;
    int r = wal_sync(receiver->session->catalog, err);

    *out = (struct walreceive_place){0};
    if (r == 0)
        r = wal_ranges_find(receiver->session->catalog, system, &ranges, err);
    for (size_t i = 0; i < ranges.count; i++)
        if (ranges.at[i].timeline <= timeline) /* the last one of the newest timeline */
            *out = (struct walreceive_place){ranges.at[i].timeline, ranges.at[i].end};
    return r;
}

/* SIGTERM and SIGINT end it in order: they are read, not delivered. */
static int open_signals(int *out, struct err *err)
{
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
        return err_sys(err, "sigprocmask");
    *out = signalfd(-1, &signals, SFD_CLOEXEC);
    return *out < 0 ? err_sys(err, "signalfd") : 0;
}

static int run_receive(struct app *app, struct err *err)
{
    CLEANUP(session_close) struct session session = {0};
    CLEANUP(closep) int signals = -1;
    struct receiver receiver = {app, &session};
    struct progress progress = {.phase = NULL};
    CLEANUP(database_clear) struct database database = {0};
    const char *slot = app_text(app, "slot") ? app_text(app, "slot") : "yester";
    struct walreceive_settings settings = {
        .server = &database.server,
        .slot = slot,
        .host = config_text(&app->config, SET_BACKUP_HOST),
        .level = (int)config_number(&app->config, SET_BACKUP_COMPRESSION),
        .unlimited = app_flag(app, "unlimited-slot"),
        .dry_run = app_flag(app, "dry-run"),
        .progress = &progress,
        .report = on_report,
        .stored_end = stored_end,
        .context = &receiver,
    };

    if (!pgstream_slot_name_valid(slot))
        return err_set(err, ERR_USAGE, "\"%.70s\" cannot be a slot: letters a to z, digits, \"_\"",
                       slot);
    int r = database_make(&app->config, &database, err);
    if (r == 0)
        r = session_open(app, SESSION_CATALOG, &session, err);
    if (r == 0) /* before, a signal ends it as it would anybody */
        r = open_signals(&signals, err);
    if (r == 0)
        session_follow(&session, &progress);
    database.server.progress = &progress;
    settings.repo = session.repo;
    settings.stop_fd = signals;
    if (r == 0)
        r = walreceive_run(&settings, err);
    if (r == -ERR_USAGE && strstr(err->text, "limits no slot"))
        app_hint(app, "ALTER SYSTEM SET max_slot_wal_keep_size = '10GB' (by the disk's room), "
                      "SELECT pg_reload_conf(); or --unlimited-slot");
    return r;
}

const struct command command_wal_receive = {
    .name = "wal receive",
    .arguments = "",
    .summary = "follow PostgreSQL's log, to recover to any moment (a service)",
    .examples = "  yester wal receive                            runs until it is stopped\n"
                "  yester wal receive --slot yester2 --dry-run   where would it begin?\n",
    .details = "Streams the log from the server (POSTGRES_HOST, …; the role needs REPLICATION) "
               "into the repository:\nwhole segments, and what is open at most a second behind.  "
               "Confirms to the server only what is\ndurable.  When the server or the repository "
               "fails it says so and tries again; SIGTERM makes\nall durable and ends it; while "
               "the store is away it ends all the same (status 130), and the "
               "server\nkeeps what was not confirmed.  "
               "docs/postgres.md has a systemd unit.\n",
    .options = receive_options,
    .run = run_receive,
};
