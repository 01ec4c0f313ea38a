/* cmd_key_rotate — a new epoch, and the end of those before it. */
#include <stdio.h>
#include <string.h>

#include "backup/archive/blocks.h"
#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/progress.h"
#include "backup/job/prune.h"
#include "backup/job/reseal.h"
#include "backup/store/store.h"
#include "catalog/catalog.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/meter.h"
#include "tools/output.h"
#include "tools/session.h"

enum { MOST_ROUNDS = 3 };

static const struct option_spec options[] = {
    {"reencrypt", 0, NULL, "seal all that is there anew, and end the older epochs"},
    {"wait", 0, "TIME", "with --reencrypt: how long to wait for who writes: 10m"},
    OPTION_DRY_RUN,
    {0},
};

struct rotation {
    struct app *app;
    int64_t patience_ns;
    struct progress progress;
    struct prune_result result; /* of all rounds together */
    bool began;                 /* an epoch */
};

static void tell_epoch(const struct rotation *rotation, const struct keyring *keyring)
{
    const struct app *app = rotation->app;
    char bytes[OUTPUT_SIZE];

    if (app->json) {
        struct json_object *object = json_object_new_object();

        json_object_object_add(object, "epoch", output_json_number(keyring_epoch(keyring)));
        json_object_object_add(object, "keys", output_json_number(keyring_slots(keyring)));
        json_object_object_add(object, "older_epochs", output_json_number(keyring_older(keyring)));
        if (app_flag(app, "reencrypt"))
            json_object_object_add(object, "resealed_bytes",
                                   output_json_number(rotation->result.compacted_bytes));
        output_json(object);
        return;
    }
    if (app->quiet)
        return;
    if (rotation->began)
        console_line("epoch %u has begun: what is written from now on has a new master key; keys "
                     "that open it: %zu",
                     keyring_epoch(keyring), keyring_slots(keyring));
    if (app_flag(app, "reencrypt"))
        console_line("%s sealed anew; the older epochs are ended: their keys open nothing here",
                     output_size(rotation->result.compacted_bytes, bytes));
}

static int begin_epoch(struct rotation *rotation, struct repo *repo, struct err *err)
{
    struct key_objects objects = repo_key_objects(repo->store);
    int r = keyring_rotate(repo->keyring, &objects, err);

    rotation->began = r == 0;
    return r;
}

/* ---- sealing anew ------------------------------------------------------------------------ */

/* Nothing that is marked matures here: what time attests is prune's business. */
static int64_t believed(void *context, int64_t time_ns)
{
    (void)context;
    (void)time_ns;
    return 0;
}

/* Each round begins with no archive open: one that the round before deleted would still be read. */
static int move_all(struct rotation *rotation, struct session *session, bool alone, struct err *err)
{
    blocks_freep(&session->blocks);
    int r = session_blocks(session, LOOK_CACHE, err);
    if (r < 0)
        return r;

    struct clock *clock = clock_system();
    struct prune_result result;
    const struct prune_options how = {
        .blocks = session->blocks,
        .now = {.time_ns = clock->now_ns(clock), .boot = clock_boot(), .boot_ns = clock_boot_ns()},
        .grace_ns = (int64_t)config_number(&rotation->app->config, SET_PRUNE_GRACE),
        .at_once = alone,
        .reseal = true,
        .believed = believed,
        .progress = &rotation->progress,
    };
    r = meter_start(&rotation->progress, rotation->app->quiet, err);

    if (r < 0)
        return r;
    session_follow(session, &rotation->progress);
    r = prune_run(&how, &result, err);
    meter_stop();
    rotation->result.compacted += result.compacted;
    rotation->result.compacted_bytes += result.compacted_bytes;
    if (r == 0 && result.no_room)
        r = err_set(err, ERR_SYSTEM, "no room to seal all anew; what is done is done");
    return r;
}

/* What is gone may be put back one day, and would then be needed. */
static int check_losses(struct app *app, struct session *session, struct err *err)
{
    CLEANUP(strings_clear) struct strings losses = {0};
    int r = catalog_losses(session->catalog, &losses, err);

    if (r < 0 || losses.count == 0)
        return r;
    app_hint(app, "`yester forget` what is not to come back, or take all as it is: "
                  "`yester catalog rebuild --accept-losses`");
    return err_set(err, ERR_CORRUPT, "no epoch is ended: %s", losses.at[0]);
}

static int open_session(struct rotation *rotation, enum session_lock lock, struct session *session,
                        struct err *err)
{
    session->locked = lock;
    session->patience_ns = rotation->patience_ns;
    int r = session_open(rotation->app, SESSION_SNAPSHOTS, session, err);

    return r < 0 ? r : check_losses(rotation->app, session, err);
}

static int refuse_end(struct rotation *rotation, const struct reseal_left *left, struct err *err)
{
    if (left->objects > left->logs) {
        app_hint(rotation->app, "`yester verify --data` tells what is damaged, and who needs it");
        return err_set(err, ERR_CORRUPT,
                       "the older epochs stay: %llu objects cannot be sealed anew, such as %s",
                       (unsigned long long)(left->objects - left->logs), left->first);
    }
    app_hint(rotation->app, "`yester key rotate` alone begins a new epoch for what comes");
    return err_set(err, ERR_SYSTEM,
                   "the older epochs stay: there are %llu pieces of PostgreSQL's log",
                   (unsigned long long)left->logs);
}

/* Beside those who write: most of the work. */
static int move_beside(struct rotation *rotation, struct err *err)
{
    CLEANUP(session_close) struct session session = {0};
    struct reseal_left left = {0};
    int r = open_session(rotation, LOCK_SHARED, &session, err);

    if (r < 0)
        return r;
    if (!session.lock)
        return err_set(err, ERR_USAGE, "%s: epochs are ended in a local repository only",
                       repo_location(session.repo));
    r = reseal_left(session.repo, &left, err);
    if (r == 0 && left.logs > 0)
        r = refuse_end(rotation, &(struct reseal_left){.objects = left.logs, .logs = left.logs},
                       err);
    if (r == 0 && keyring_older(session.repo->keyring) == 0)
        r = begin_epoch(rotation, session.repo, err);
    return r < 0 ? r : move_all(rotation, &session, false, err);
}

/* Alone: who began in an older epoch has ended, so what is sealed anew now is all there will be. */
static int finish_alone(struct rotation *rotation, struct err *err)
{
    CLEANUP(session_close) struct session session = {0};
    struct reseal_left left = {0};
    int r = open_session(rotation, LOCK_ALONE, &session, err);

    for (int round = 0; r == 0 && round < MOST_ROUNDS; round++) {
        r = reseal_small(session.repo, err);
        if (r == 0)
            r = move_all(rotation, &session, true, err);
        if (r == 0)
            r = reseal_left(session.repo, &left, err);
        if (left.objects == left.logs)
            break;
    }
    if (r == 0 && left.objects > 0)
        return refuse_end(rotation, &left, err);
    if (r < 0)
        return r;
    struct key_objects objects = repo_key_objects(session.repo->store);
    r = keyring_drop_older(session.repo->keyring, &objects, err);
    if (r == 0)
        tell_epoch(rotation, session.repo->keyring);
    return r;
}

/* ---- the command ------------------------------------------------------------------------- */

static int try_dry(struct rotation *rotation, struct repo *repo, struct err *err)
{
    struct app *app = rotation->app;
    char objects[OUTPUT_SIZE], bytes[OUTPUT_SIZE];
    struct reseal_left left;
    bool ends = app_flag(app, "reencrypt") && keyring_older(repo->keyring) > 0;
    int r = ends ? reseal_left(repo, &left, err) : 0;

    if (r < 0)
        return r;
    if (ends)
        console_say("would seal %s of older epochs anew (%s), and end those",
                    output_count(left.objects, "object", objects), output_size(left.bytes, bytes));
    else
        console_say("would begin epoch %u%s", keyring_epoch(repo->keyring) + 1,
                    app_flag(app, "reencrypt") ? ", seal all anew, and end the one before" : "");
    return 0;
}

static int rotate(struct rotation *rotation, struct err *err)
{
    CLEANUP(session_close)
    struct session session = {.locked =
                                  app_flag(rotation->app, "dry-run") ? LOCK_NONE : LOCK_SHARED};
    int r = session_open(rotation->app, SESSION_REPOSITORY, &session, err);

    if (r == 0 && app_flag(rotation->app, "dry-run"))
        return try_dry(rotation, session.repo, err);
    if (r == 0)
        r = begin_epoch(rotation, session.repo, err);
    if (r == 0)
        tell_epoch(rotation, session.repo->keyring);
    return r;
}

static int run(struct app *app, struct err *err)
{
    struct rotation rotation = {.app = app};
    const char *wait = app_text(app, "wait");
    uint64_t patience = 0;
    int r = wait ? config_parse_time(wait, &patience, err) : 0;

    if (r < 0)
        return err_context(err, "--wait");
    rotation.patience_ns = wait && patience == 0 ? 1 : (int64_t)patience;
    if (!app_flag(app, "reencrypt") || app_flag(app, "dry-run"))
        return rotate(&rotation, err);
    r = move_beside(&rotation, err);
    return r < 0 ? r : finish_alone(&rotation, err);
}

const struct command command_key_rotate = {
    .name = "key rotate",
    .arguments = "",
    .summary = "write with a new master key from now on",
    .examples = "  yester key rotate\n"
                "  yester key rotate --reencrypt --dry-run      how much that would be\n"
                "  yester key rotate --reencrypt\n",
    .details =
        "All keys in `yester key list` open the new epoch too; one of them is enough to make "
        "it.\n--reencrypt seals what is there anew and ends the epochs before: after it a "
        "key that was taken\nout opens nothing any more.  Where older epochs are left it "
        "begins none, but goes on with those.\nIt works beside backups, waits for them at "
        "the end, and may be interrupted at any moment.\n",
    .options = options,
    .run = run,
};
