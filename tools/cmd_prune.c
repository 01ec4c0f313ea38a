/* cmd_prune — give back the room that only forgotten snapshots needed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/progress.h"
#include "backup/job/prune.h"
#include "catalog/catalog.h"
#include "catalog/retention.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/cooling.h"
#include "tools/meter.h"
#include "tools/output.h"
#include "tools/session.h"
#include "tools/walprune.h"

enum { UNTIL_SIZE = CLOCK_TEXT_SIZE + 16 };

static const struct option_spec options[] = {
    {"now", 0, NULL, "free at once, alone in a local repository: no grace"},
    {"grace", 0, "TIME", "how long what was marked stays: 48h ([prune] grace)"},
    {"compact", 0, "SHARE", "move what is needed out of archives that are needed less: 50%"},
    {"wait", 0, "TIME", "how long to wait for who writes, or prunes: 10m"},
    OPTION_DRY_RUN,
    {0},
};

struct pruning {
    struct app *app;
    struct session session;
    struct snapshot_rows rows;
    struct prune_known *known;
    struct progress progress;
    struct prune_options how;
    struct prune_result result;
};

static void pruning_clear(struct pruning *pruning)
{
    free(pruning->known);
    snapshot_rows_clear(&pruning->rows);
    session_close(&pruning->session);
}

/* ---- what is told ------------------------------------------------------------------------ */

/* A legal hold has no end. */
static const char *format_lock(int64_t until_ns, char out[CLOCK_TEXT_SIZE])
{
    if (until_ns == INT64_MAX)
        (void)snprintf(out, CLOCK_TEXT_SIZE, "its legal hold ends");
    else
        clock_format_local(until_ns, out);
    return out;
}

static struct json_object *lock_json(int64_t until_ns)
{
    return until_ns == INT64_MAX ? NULL : output_json_time(until_ns);
}

static const char *until_of(const struct pruning *pruning, enum prune_action action,
                            char out[UNTIL_SIZE])
{
    char date[CLOCK_TEXT_SIZE];

    out[0] = '\0';
    if (action == PRUNE_LOCKED)
        (void)snprintf(out, UNTIL_SIZE, "  until %s", format_lock(pruning->result.locked_ns, date));
    return out;
}

static void tell(void *context, enum prune_action action, const char *object, uint64_t size)
{
    static const char *const words[] = {[PRUNE_DELETE] = "delete",
                                        [PRUNE_MARK] = "mark",
                                        [PRUNE_UNMARK] = "unmark",
                                        [PRUNE_COMPACT] = "compact",
                                        [PRUNE_LOCKED] = "locked"};
    const struct pruning *pruning = context;
    const struct app *app = pruning->app;
    char text[OUTPUT_SIZE], until[UNTIL_SIZE];

    if (!pruning->how.dry_run && !app_flag(app, "verbose"))
        return;
    if (!app->json) {
        printf("%s%-7s  %8s  %s%s\n",
               pruning->how.dry_run && action != PRUNE_LOCKED ? "would " : "", words[action],
               output_size(size, text), object, until_of(pruning, action, until));
        return;
    }
    struct json_object *line = json_object_new_object();
    json_object_object_add(line, "action", json_object_new_string(words[action]));
    json_object_object_add(line, "object", json_object_new_string(object));
    json_object_object_add(line, "bytes", output_json_number(size));
    if (action == PRUNE_LOCKED)
        json_object_object_add(line, "until", lock_json(pruning->result.locked_ns));
    output_json(line);
}

/* When the next prune will find something to free: what waits now, else what was marked now. */
static bool find_next(const struct pruning *pruning, int64_t *out_ns)
{
    const struct prune_result *result = &pruning->result;
    int64_t left = result->waiting > 0 && result->next_ns >= 0 ? result->next_ns : INT64_MAX;

    if (result->marked > 0 && pruning->how.grace_ns < left)
        left = pruning->how.grace_ns;
    *out_ns = pruning->how.now.time_ns + (left == INT64_MAX ? 0 : left);
    return left != INT64_MAX;
}

/* What there is more room by: who deletes at once has also written what he moved. */
static uint64_t room_won(const struct prune_result *result, bool at_once)
{
    uint64_t written = at_once ? result->moved_bytes : 0;

    return result->freed > written ? result->freed - written : 0;
}

static void print_locked(const struct prune_result *result)
{
    char bytes[OUTPUT_SIZE], objects[OUTPUT_SIZE], first[CLOCK_TEXT_SIZE], last[CLOCK_TEXT_SIZE];

    if (result->locked == 0)
        return;
    format_lock(result->locked_first_ns, first);
    format_lock(result->locked_last_ns, last);
    output_count(result->locked, "object", objects);
    output_size(result->locked_bytes, bytes);
    if (strcmp(first, last) == 0)
        console_line("%s in %s: locked until %s", bytes, objects, first);
    else
        console_line("%s in %s: locked, the first until %s, the last until %s", bytes, objects,
                     first, last);
}

static void print_summary(const struct pruning *pruning)
{
    const struct prune_result *result = &pruning->result;
    bool dry = pruning->how.dry_run;
    char bytes[OUTPUT_SIZE], moved[OUTPUT_SIZE], snapshots[OUTPUT_SIZE], objects[OUTPUT_SIZE],
        date[CLOCK_TEXT_SIZE];
    int64_t next;

    console_line("%s %s: %s, %s", dry ? "would free" : "freed",
                 output_size(room_won(result, pruning->how.at_once), bytes),
                 output_count(result->snapshots, "snapshot", snapshots),
                 output_count(result->deleted, "object", objects));
    if (find_next(pruning, &next)) {
        clock_format_local(next, date);
        console_line("%s more in %s, marked: by the next prune after %s",
                     output_size(result->marked_bytes + result->waiting_bytes, bytes),
                     output_count(result->marked + result->waiting, "object", objects), date);
    }
    print_locked(result);
    if (result->compacted > 0)
        console_line("%s %s of %s to %s", dry ? "would compact" : "compacted",
                     output_count(result->compacted, "archive", objects),
                     output_size(result->compacted_bytes, bytes),
                     output_size(result->moved_bytes, moved));
    if (result->no_room)
        console_say("no room to compact; when what is marked is gone there may be");
    if (result->cold > 0)
        console_line("in cold storage, and not compacted: %s of %s",
                     output_count(result->cold, "archive", objects),
                     output_size(result->cold_bytes, bytes));
    if (result->stuck > 0)
        console_line("%s needed again, under a mark too old to be taken away: kept, and stored "
                     "again by the next backup that has what is in it",
                     output_count(result->stuck, "object", objects));
}

static void print_json(const struct pruning *pruning)
{
    const struct prune_result *result = &pruning->result;
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {
        {"snapshots", result->snapshots},
        {"deleted", result->deleted},
        {"freed", result->freed},
        {"marked", result->marked},
        {"marked_bytes", result->marked_bytes},
        {"waiting", result->waiting},
        {"waiting_bytes", result->waiting_bytes},
        {"unmarked", result->unmarked},
        {"stuck", result->stuck},
        {"locked", result->locked},
        {"locked_bytes", result->locked_bytes},
        {"objects", result->objects},
        {"bytes", result->bytes},
        {"compacted", result->compacted},
        {"compacted_bytes", result->compacted_bytes},
        {"moved_bytes", result->moved_bytes},
        {"cold", result->cold},
        {"cold_bytes", result->cold_bytes},
    };
    struct json_object *object = json_object_new_object();
    int64_t next;

    json_object_object_add(object, "dry_run", json_object_new_boolean(pruning->how.dry_run));
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        json_object_object_add(object, numbers[i].name, output_json_number(numbers[i].value));
    json_object_object_add(object, "next",
                           find_next(pruning, &next) ? output_json_time(next) : NULL);
    json_object_object_add(object, "locked_until",
                           result->locked > 0 ? lock_json(result->locked_last_ns) : NULL);
    output_json(object);
}

/* ---- what this host knows ---------------------------------------------------------------- */

static int64_t believed(void *context, int64_t time_ns)
{
    const struct pruning *pruning = context;

    return retention_since(pruning->rows.at, pruning->rows.count, pruning->how.now.time_ns,
                           time_ns);
}

/* What somebody took away may be put back, and would then need what is deleted now. */
static int check_losses(struct pruning *pruning, struct err *err)
{
    CLEANUP(strings_clear) struct strings losses = {0};
    int r = catalog_losses(pruning->session.catalog, &losses, err);

    if (r < 0 || losses.count == 0)
        return r;
    app_hint(pruning->app, "`yester forget` what is not to come back, or take all as it is: "
                           "`yester catalog rebuild --accept-losses`");
    return err_set(err, ERR_CORRUPT, "nothing is deleted: %s", losses.at[0]);
}

static int look_at_rows(struct pruning *pruning, struct err *err)
{
    int r = catalog_all_snapshots(pruning->session.catalog, NULL, &pruning->rows, err);

    if (r < 0)
        return r;
    pruning->known = calloc(pruning->rows.count + 1, sizeof(*pruning->known));
    if (!pruning->known)
        return err_set(err, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < pruning->rows.count; i++) {
        const struct snapshot_row *row = &pruning->rows.at[i];
        struct prune_known *known = &pruning->known[i];

        memcpy(known->name, row->name, sizeof(known->name));
        known->revision = row->revision;
        known->dead = row->forgotten && !row->held;
    }
    pruning->how.known = pruning->known;
    pruning->how.known_count = pruning->rows.count;
    return 0;
}

/* ---- the command ------------------------------------------------------------------------- */

static void set_up(struct pruning *pruning)
{
    struct clock *clock = clock_system();

    pruning->how.blocks = pruning->session.blocks;
    pruning->how.now = (struct marks_moment){
        .time_ns = clock->now_ns(clock), .boot = clock_boot(), .boot_ns = clock_boot_ns()};
    pruning->how.grace_ns = (int64_t)config_number(&pruning->app->config, SET_PRUNE_GRACE);
    pruning->how.compact_percent =
        (unsigned)config_number(&pruning->app->config, SET_PRUNE_COMPACT);
    pruning->how.at_once = app_flag(pruning->app, "now");
    pruning->how.dry_run = app_flag(pruning->app, "dry-run");
    pruning->how.believed = believed;
    pruning->how.tell = tell;
    pruning->how.context = pruning;
    pruning->how.progress = &pruning->progress;
}

static void count_wal(void *context, const char *object, uint64_t size, int64_t locked_ns)
{
    struct pruning *pruning = context;

    if (locked_ns > 0) {
        prune_note_locked(&pruning->result, size, locked_ns);
        tell(pruning, PRUNE_LOCKED, object, size);
        return;
    }
    pruning->result.deleted++;
    pruning->result.freed += size;
    tell(pruning, PRUNE_DELETE, object, size);
}

/* What is gone is gone from the catalog, too; it catches up anyhow. */
static void catch_up(struct pruning *pruning)
{
    struct err err;

    if (pruning->result.deleted > 0 && !pruning->how.dry_run &&
        catalog_sync(pruning->session.catalog, true, &err) < 0)
        console_say("catalog: %s; the next command catches up", err.text);
}

/* What was deleted is told also where the rest failed. */
static int work(struct pruning *pruning, struct err *err)
{
    struct app *app = pruning->app;
    int r = meter_start(&pruning->progress, app->quiet, err);

    if (r < 0)
        return r;
    session_follow(&pruning->session, &pruning->progress);
    r = prune_run(&pruning->how, &pruning->result, err);
    meter_stop();
    catch_up(pruning);
    if (r == 0)
        r = walprune_run(&pruning->session, pruning->how.dry_run, count_wal, pruning, err);
    if (r == 0 || pruning->result.deleted + pruning->result.marked > 0) {
        if (app->json)
            print_json(pruning);
        else if (!app->quiet)
            print_summary(pruning);
    }
    if (r == 0 && app->config.replica_count == 0) /* they come first */
        r = cooling_run(app, pruning->session.repo, pruning->session.repo->store, NULL, err);
    if (r < 0 && (err->cause == ENOSPC || err->cause == EDQUOT))
        app_hint(app, "what may go could not even be marked; `yester prune --now` frees without "
                      "writing");
    return r;
}

static int run(struct app *app, struct err *err)
{
    CLEANUP(pruning_clear)
    struct pruning pruning = {.app = app};
    bool alone = app_flag(app, "now") && !app_flag(app, "dry-run");
    const char *wait = app_text(app, "wait");
    uint64_t patience = 0;
    int r = wait ? config_parse_time(wait, &patience, err) : 0;

    if (r < 0)
        return err_context(err, "--wait");
    pruning.session.locked = alone ? LOCK_ALONE : LOCK_SHARED;
    pruning.session.patience_ns = wait && patience == 0 ? 1 : (int64_t)patience;
    r = session_open(app, SESSION_SNAPSHOTS, &pruning.session, err);
    if (r == 0)
        r = session_blocks(&pruning.session, LOOK_CACHE, err);
    if (r == 0)
        r = check_losses(&pruning, err);
    if (r == 0)
        r = look_at_rows(&pruning, err);
    if (r < 0)
        return r;
    set_up(&pruning);
    return work(&pruning, err);
}

const struct command command_prune = {
    .name = "prune",
    .arguments = "",
    .summary = "give back the room that only forgotten snapshots needed",
    .examples = "  yester prune --dry-run               what would go, and how much it is\n"
                "  yester forget && yester prune        from cron, beside backups and mounts\n"
                "  yester prune --now                   the disk is full\n",
    .details = "What no snapshot needs any more is marked, and deleted by the first prune after "
               "the grace (48h): so a\nbackup that runs meanwhile, on whatever host, is told, "
               "and `yester unforget` still helps.  It may be\ninterrupted at any moment.  Nothing "
               "is deleted while a snapshot that is kept cannot be read (exit status\n4).\n"
               "Archives of which less than half is needed are compacted: "
               "what is needed is moved, and they go with the next grace.\n--now deletes at once "
               "what is forgotten.  It works alone, in a local directory: "
               "it waits until nobody\nwrites (exit status 11: somebody did not end), and who "
               "would write waits for it.  It deletes before it\nwrites anything, so it helps on a "
               "full disk.\n"
               "PostgreSQL's log goes where the server's oldest physical backup begins later.\n",
    .options = options,
    .run = run,
};
