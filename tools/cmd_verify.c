/* cmd_verify — is everything there, whole, and right? */
#include <stdlib.h>
#include <string.h>

#include "backup/archive/idtable.h"
#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/progress.h"
#include "backup/job/verify.h"
#include "catalog/catalog.h"
#include "catalog/wal.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/meter.h"
#include "tools/output.h"
#include "tools/session.h"

static const struct option_spec options[] = {
    {"data", 0, NULL, "decode every block and check every digest"},
    {0},
};

struct check {
    struct app *app;
    struct session session;
    struct strings snapshots;
    struct progress progress;
    struct verify_result result;
};

static void check_clear(struct check *check)
{
    strings_clear(&check->snapshots);
    session_close(&check->session);
}

/* Most errors begin with the object's name, which stands there already. */
static const char *without(const char *object, const char *text)
{
    size_t size = strlen(object);

    return strncmp(text, object, size) == 0 && strncmp(text + size, ": ", 2) == 0 ? text + size + 2
                                                                                  : text;
}

static void damaged(void *context, const char *object, uint32_t archive, const struct err *err)
{
    struct check *check = context;
    struct err ignored; /* what the catalog does not remember is found again */

    if (archive != NO_ARCHIVE)
        (void)catalog_set_damaged(check->session.catalog, archive, true, &ignored);
    const char *reason = without(object, err->text);
    if (!check->app->json) {
        console_say("damaged: %s: %s", object, reason);
        return;
    }
    struct json_object *line = json_object_new_object();
    json_object_object_add(line, "damaged", output_json_text(object, strlen(object)));
    json_object_object_add(line, "reason", output_json_text(reason, strlen(reason)));
    output_json(line);
}

/* What was found damaged once may have been a bad cable: backups may refer to it again. */
static void whole(void *context, uint32_t archive)
{
    struct check *check = context;
    char object[OBJECT_NAME_SIZE];
    struct repo *repo = check->session.repo;
    struct err ignored; /* it is found again */

    if (!catalog_is_damaged(check->session.catalog, archive) ||
        catalog_set_damaged(check->session.catalog, archive, false, &ignored) < 0)
        return;
    repo_object_name(idtable_kind(repo->ids, archive), idtable_id(repo->ids, archive), object);
    console_say("%s was found damaged before, and reads well now", object);
}

static void hurt(void *context, const char *snapshot, const char *path, const struct err *err)
{
    struct check *check = context;

    if (!check->app->json) {
        console_say("hurt: %s:%s: %s", snapshot, path, err->text);
        return;
    }
    struct json_object *line = json_object_new_object();
    json_object_object_add(line, "snapshot", json_object_new_string(snapshot));
    json_object_object_add(line, "path", output_json_text(path, strlen(path)));
    json_object_object_add(line, "reason", output_json_text(err->text, strlen(err->text)));
    output_json(line);
}

/* The names of the snapshots that the arguments mean. */
static int choose(struct check *check, struct err *err)
{
    int r = 0;

    for (size_t i = 0; i < check->app->options.argument_count && r == 0; i++) {
        CLEANUP(selection_clear) struct selection selection = {0};

        r = session_select(check->app, &check->session, app_argument(check->app, i), 0, NULL,
                           &selection, err);
        for (size_t j = 0; j < selection.count && r == 0; j++)
            r = strings_add(&check->snapshots, selection.roots[j].name,
                            strlen(selection.roots[j].name), err);
    }
    return r;
}

static void print_json(const struct verify_result *result)
{
    struct json_object *object = json_object_new_object();
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {
        {"snapshots", result->snapshots},
        {"archives", result->archives},
        {"blocks", result->blocks},
        {"chunks", result->chunks},
        {"entries", result->entries},
        {"bytes", result->bytes},
        {"damaged_archives", result->damaged_archives},
        {"hurt_snapshots", result->hurt_snapshots},
        {"hurt_paths", result->hurt_paths},
        {"cold_archives", result->cold_archives},
    };

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        json_object_object_add(object, numbers[i].key, output_json_number(numbers[i].value));
    output_json(object);
}

static void print_summary(const struct check *check, bool data, bool whole, int64_t took_ns)
{
    const struct verify_result *result = &check->result;
    char size[OUTPUT_SIZE], took[OUTPUT_SIZE], snapshots[OUTPUT_SIZE], archives[OUTPUT_SIZE];

    if (check->app->json) {
        print_json(result);
        return;
    }
    if (check->app->quiet)
        return;
    console_line("%s, %s, %llu entries checked (%s)",
                 output_count(result->snapshots, "snapshot", snapshots),
                 output_count(result->archives, "archive", archives),
                 (unsigned long long)result->entries, output_duration(took_ns, took));
    if (data)
        console_line("%llu blocks decoded, %llu digests compared, %s",
                     (unsigned long long)result->blocks, (unsigned long long)result->chunks,
                     output_size(result->bytes, size));
    if (result->cold_archives > 0)
        console_line("%s in cold storage: there, and not read",
                     output_count(result->cold_archives, "archive", archives));
    if (whole)
        console_line("no damage found%s",
                     result->cold_archives > 0 ? " in what could be read" : "");
}

/* A state that is whole, but older than one that this host has seen, is damage as well. */
static int check_losses(struct check *check, struct err *err)
{
    CLEANUP(strings_clear) struct strings losses = {0};
    int r = catalog_losses(check->session.catalog, &losses, err);

    for (size_t i = 0; i < losses.count && r == 0; i++) {
        if (!check->app->json) {
            console_say("lost: %s", losses.at[i]);
            continue;
        }
        struct json_object *line = json_object_new_object();
        json_object_object_add(line, "lost", output_json_text(losses.at[i], strlen(losses.at[i])));
        output_json(line);
    }
    if (r < 0 || losses.count == 0)
        return r;
    app_hint(check->app, "if you removed it yourself: `yester catalog rebuild --accept-losses`");
    return err_set(err, ERR_CORRUPT, "the repository is not what it was: losses: %zu",
                   losses.count);
}

static void note_damaged(void *context, const char *object, const struct err *err)
{
    damaged(context, object, NO_ARCHIVE, err);
}

static int check_notes(struct check *check, struct err *err)
{
    return catalog_check_notes(check->session.catalog, note_damaged, check, err);
}

static int check_wal(struct check *check, struct err *err)
{
    uint64_t count;

    return wal_check(check->session.catalog, app_flag(check->app, "data"), note_damaged, check,
                     &count, err);
}

/* Damage of one kind keeps none of the others from being told. */
static int check_rest(struct check *check, int r, struct err *err)
{
    static int (*const checks[])(struct check * check, struct err * err) = {check_notes, check_wal,
                                                                            check_losses};

    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]) && (r == 0 || r == -ERR_CORRUPT);
         i++) {
        struct err later;
        int next = checks[i](check, r < 0 ? &later : err);
        r = r < 0 ? r : next;
    }
    return r;
}

static int work(struct check *check, struct err *err)
{
    struct verify_options how = {
        .snapshots = (const char *const *)check->snapshots.at,
        .snapshot_count = check->snapshots.count,
        .data = app_flag(check->app, "data"),
        .progress = &check->progress,
        .damaged = damaged,
        .whole = whole,
        .hurt = hurt,
        .context = check,
    };
    int64_t started = clock_monotonic_ns();
    int r = meter_start(&check->progress, check->app->quiet, err);

    if (r < 0)
        return r;
    session_follow(&check->session, &check->progress);
    r = verify_run(check->session.blocks, &how, &check->result, err);
    meter_stop();
    r = check_rest(check, r, err);
    if (r == 0 || r == -ERR_CORRUPT)
        print_summary(check, how.data, r == 0, clock_monotonic_ns() - started);
    if (r == -ERR_CORRUPT && check->result.damaged_archives > 0)
        app_hint(check->app, "what is still at its source is stored again by the next backup");
    return r;
}

static int run(struct app *app, struct err *err)
{
    CLEANUP(check_clear) struct check check = {.app = app};
    int r = session_open(app, SESSION_ALL, &check.session, err);

    if (r == 0)
        r = session_blocks(&check.session, LOOK_CACHE, err);
    if (r == 0)
        r = choose(&check, err);
    return r < 0 ? r : work(&check, err);
}

const struct command command_verify = {
    .name = "verify",
    .arguments = "[SNAP…]",
    .summary = "read and check what is stored",
    .examples = "  yester verify\n"
                "  yester verify --data\n",
    .details = "Without --data: every object is there and every reference resolves.  Exit status "
               "4: damage was\nfound; it is listed by archive, then by the snapshots and paths "
               "that need it.\n",
    .options = options,
    .most = ANY_NUMBER,
    .run = run,
};
