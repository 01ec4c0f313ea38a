#include "tools/replicas.h"

#include <stdlib.h>
#include <string.h>

#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/progress.h"
#include "backup/job/replicate.h"
#include "backup/store/store.h"
#include "catalog/catalog.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/cooling.h"
#include "tools/meter.h"
#include "tools/output.h"
#include "tools/relock.h"
#include "tools/session.h"
#include "tools/thawing.h"

/* ---- copying ----------------------------------------------------------------------------- */

static void tell_damage(void *context, const char *object, const struct err *err)
{
    (void)context;
    (void)object; /* stands in the text */
    console_say("not copied: %s", err->text);
}

static void print_json(const char *name, const char *location,
                       const struct replicate_result *result)
{
    struct json_object *object = json_object_new_object();

    json_object_object_add(object, "replica", name ? output_json_text(name, strlen(name)) : NULL);
    json_object_object_add(object, "location", output_json_text(location, strlen(location)));
    json_object_object_add(object, "objects", output_json_number(result->objects));
    json_object_object_add(object, "bytes", output_json_number(result->bytes));
    json_object_object_add(object, "snapshots", output_json_number(result->snapshots));
    json_object_object_add(object, "damaged", output_json_number(result->troubles));
    output_json(object);
}

static void tell(struct app *app, const char *location, const struct replicate_result *result)
{
    char objects[OUTPUT_SIZE], snapshots[OUTPUT_SIZE], size[OUTPUT_SIZE];

    if (app->quiet)
        return;
    if (result->objects == 0) {
        console_line("%s: up to date", location);
        return;
    }
    console_line("%s: %s %s, %s with %s", location,
                 app_flag(app, "dry-run") ? "would copy" : "copied",
                 output_count(result->objects, "object", objects), output_size(result->bytes, size),
                 output_count(result->snapshots, "snapshot", snapshots));
}

static void unlock(struct store_lock **lock)
{
    store_unlock(*lock);
}

/* Who copies writes there.  One that is only about to become a repository has no lock yet. */
static int lock_replica(struct store *store, struct store_lock **out, struct err *err)
{
    int r = session_take_lock(store, false, 0, out, err);

    return r == -ERR_NOT_FOUND ? 0 : r;
}

static bool is_copy(const struct app *app)
{
    return strcmp(app->command->name, "copy") == 0;
}

static int ready_to_copy(void *context, struct err *err)
{
    return thawing_ready(context, err);
}

/* Who only backs up does not pay for a thaw. */
static int prepare_thaw(struct app *app, struct session *session, struct thawing *thawing,
                        struct replicate_options *how, struct err *err)
{
    int r = is_copy(app) ? thawing_parse(thawing, app, err) : 0;

    if (r == 0 && is_copy(app) && (thawing->asks || how->dry_run))
        r = thawing_start(thawing, session, how->progress, err);
    how->thaw = thawing->thaw;
    how->ready = ready_to_copy;
    how->ready_context = thawing;
    return r;
}

int replicas_copy(struct app *app, struct session *session, const struct config_replica *replica,
                  const char *location, const struct lock_needs *needs, struct err *err)
{
    CLEANUP(store_closep) struct store *store = NULL;
    CLEANUP(unlock) struct store_lock *lock = NULL;
    CLEANUP(thawing_clear) struct thawing thawing = {0};
    CLEANUP(relock_clear)
    struct relock relock = {.app = app,
                            .session = session,
                            .replica = replica ? replica->name : NULL,
                            .needs = needs,
                            .began_ns = clock_boot_ns()};
    struct progress progress = {.phase = NULL};
    struct replicate_result result;
    struct replicate_options how = {
        .repo = session->repo,
        .dry_run = app_flag(app, "dry-run"),
        .progress = &progress,
        .trouble = tell_damage,
        .copied = relock_note,
        .before_roots = relock_run,
        .context = &relock,
    };
    int r = session_store_at(app, replica, location, !how.dry_run, &store, err);

    if (r == -ERR_NO_REPOSITORY && how.dry_run)
        r = 0;
    if (r == 0 && store)
        r = session_pace(app, store, err);
    if (r == 0 && store && !how.dry_run)
        r = lock_replica(store, &lock, err);
    if (r == 0)
        r = meter_start(&progress, app->quiet, err);
    if (r < 0)
        return r;
    how.to = relock.store = store;
    session_follow(session, &progress);
    if (store) /* a trial copies to nowhere */
        store_follow(store, &progress);
    r = prepare_thaw(app, session, &thawing, &how, err);
    if (r == 0)
        r = replicate_run(&how, &result, err);
    session_follow(session, NULL);
    meter_stop();
    if (r == -ERR_COLD)
        app_hint(app, "`yester copy --thaw` asks for them; with cold_after = 7d in [s3] a replica "
                      "has them first");
    if (r < 0)
        return r;
    tell(app, location, &result);
    if (app->json && is_copy(app))
        print_json(replica ? replica->name : NULL, location, &result);
    if (result.troubles > 0)
        return err_set(err, ERR_CORRUPT, "objects that could not be copied to %s: %llu", location,
                       (unsigned long long)result.troubles);
    if (relock.is_partial)
        return err_set(err, ERR_CORRUPT, "not all that was to be locked in %s could be", location);
    return store ? cooling_run(app, session->repo, store, replica, err) : 0;
}

int replicas_update(struct app *app, struct session *session, const struct lock_needs *needs)
{
    const struct config *config = &app->config;
    struct err err;
    int result = 0;

    for (size_t i = 0; result != -ERR_CANCELLED && i < config->replica_count; i++) {
        const struct config_replica *replica = &config->replicas[i];
        int r = replicas_copy(app, session, replica, replica->location, needs, &err);

        if (r == 0)
            continue;
        result = r;
        console_say("replica %s: %s", replica->name, err.text);
    }
    return result;
}

/* ---- comparing --------------------------------------------------------------------------- */

static int note_snapshot(void *context, const char *name, uint64_t size, struct err *err)
{
    (void)size;
    if (strlen(name) < SNAPSHOT_NAME_SIZE || name[SNAPSHOT_NAME_SIZE - 1] != '/')
        return 0;
    return strings_add(context, name, SNAPSHOT_NAME_SIZE - 1, err);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int replica_lag(struct app *app, struct session *session, const struct config_replica *replica,
                struct replica_lag *out, struct err *err)
{
    CLEANUP(store_closep) struct store *store = NULL;
    CLEANUP(strings_clear) struct strings there = {0};
    CLEANUP(snapshot_rows_clear) struct snapshot_rows rows = {0};
    struct repo_seen seen;
    int r = session_store_at(app, replica, replica->location, false, &store, err);

    *out = (struct replica_lag){0};
    if (r == 0)
        r = repo_probe(store, &seen, err);
    if (r == 0)
        r = store_list(store, "snapshots/", note_snapshot, &there, err);
    if (r == 0)
        r = catalog_snapshots(session->catalog, NULL, &rows, err);
    if (r < 0)
        return r;
    if (there.count > 0)
        qsort(there.at, there.count, sizeof(*there.at), by_name);
    for (size_t i = 0; i < rows.count; i++) {
        const char *name = rows.at[i].name;

        if (there.count > 0 && bsearch(&name, there.at, there.count, sizeof(name), by_name))
            continue;
        if (out->missing++ == 0 || strcmp(name, out->oldest) < 0)
            strcpy(out->oldest, name);
    }
    return 0;
}

/* ---- falling back ------------------------------------------------------------------------ */

int replicas_open(struct app *app, struct store **out, struct repo_seen *out_seen,
                  const struct config_replica **out_replica, struct err *err)
{
    const struct config *config = &app->config;
    struct err why;

    for (size_t i = 0; i < config->replica_count; i++) {
        CLEANUP(store_closep) struct store *store = NULL;

        *out_replica = &config->replicas[i];
        int r = session_store_at(app, *out_replica, (*out_replica)->location, false, &store, &why);
        if (r == 0)
            r = repo_probe(store, out_seen, &why);
        if (r == 0) {
            *out = STEAL(store);
            return 0;
        }
        console_say("replica %s: %s", (*out_replica)->name, why.text);
    }
    return err_set(err, ERR_NO_REPOSITORY, "no replica can be reached");
}
