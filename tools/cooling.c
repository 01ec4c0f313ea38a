#include "tools/cooling.h"

#include <stdio.h>

#include "backup/archive/repo.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/progress.h"
#include "backup/job/cool.h"
#include "backup/store/cold.h"
#include "backup/store/store.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/meter.h"
#include "tools/output.h"

/* For two clocks that do not quite agree, and a pruner whose remap is not out yet. */
static const int64_t fed_margin_ns = 3600 * NS_PER_SECOND;

static const char *class_of(const struct config *config, const struct config_replica *replica)
{
    return setting_text(config_s3(config, replica, SET_S3_STORAGE_CLASS));
}

static int64_t age_of(const struct config *config, const struct config_replica *replica)
{
    return (int64_t)config_s3(config, replica, SET_S3_COLD_AFTER)->number;
}

const char *cooling_at_once(const struct config *config, const struct config_replica *replica)
{
    bool feeds_others = !replica && config->replica_count > 0;

    return age_of(config, replica) == 0 && !feeds_others ? class_of(config, replica) : NULL;
}

int cooling_check(const struct config *config, const struct config_replica *replica,
                  struct err *err)
{
    const char *class = class_of(config, replica);

    if (class && !cold_is_class(class))
        return err_set(
            err, ERR_USAGE,
            "s3 storage_class: there is no \"%.40s\"; there are STANDARD_IA, GLACIER_IR, "
            "GLACIER, DEEP_ARCHIVE and others, see docs/s3.md",
            class);
    if (class && !cooling_at_once(config, replica) &&
        config_s3(config, replica, SET_S3_LOCK)->values.count > 0)
        return err_set(
            err, ERR_USAGE,
            "s3 lock and storage_class: a locked archive is not moved into another class; %s",
            age_of(config, replica) > 0
                ? "leave out cold_after, storage_class or lock"
                : "where there are replicas, leave out storage_class or lock");
    return 0;
}

bool cooling_moves(const struct config *config, const struct store *store,
                   const struct config_replica *replica)
{
    return class_of(config, replica) && cold_is_possible(store) &&
           !cooling_at_once(config, replica);
}

static void say(struct app *app, const struct store *store, const struct cool_options *how,
                const struct cool_result *result)
{
    char archives[OUTPUT_SIZE], size[OUTPUT_SIZE];

    if (app->quiet)
        return;
    if (result->compacted > 0)
        console_line(
            "%s: %s (%s) stay out of %s: what lay in older ones was put into them (by prune, "
            "or key rotate --reencrypt), and they are read to find it",
            store->location, output_count(result->compacted, "archive", archives),
            output_size(result->compacted_bytes, size), how->class);
    if (result->archives == 0)
        return;
    console_line("%s: %s %s (%s) to %s", store->location, how->dry_run ? "would move" : "moved",
                 output_count(result->archives, "archive", archives),
                 output_size(result->bytes, size), how->class);
}

static int cool_older(struct app *app, struct repo *repo, struct store *store,
                      const struct config_replica *replica, int64_t age_ns, struct err *err)
{
    struct progress progress = {.phase = "moving to cold storage"};
    struct cool_result result;
    const struct cool_options how = {
        .repo = repo,
        .store = store,
        .class = class_of(&app->config, replica),
        .age_ns = age_ns,
        .dry_run = app_flag(app, "dry-run"),
        .progress = &progress,
    };

    if (!cooling_moves(&app->config, store, replica))
        return 0;
    int r = meter_start(&progress, app->quiet, err);
    if (r < 0)
        return r;
    r = cool_run(&how, &result, err);
    meter_stop();
    say(app, store, &how, &result);
    return r < 0 ? err_context(err, "storage class %s", how.class) : 0;
}

int cooling_run(struct app *app, struct repo *repo, struct store *store,
                const struct config_replica *replica, struct err *err)
{
    return cool_older(app, repo, store, replica, age_of(&app->config, replica), err);
}

int cooling_run_fed(struct app *app, struct repo *repo, int64_t since_ns, struct err *err)
{
    int64_t age_ns = age_of(&app->config, NULL);
    int64_t fed_ns = clock_boot_ns() - since_ns + fed_margin_ns;

    if (app->config.replica_count > 0 && fed_ns > age_ns)
        age_ns = fed_ns;
    return cool_older(app, repo, repo->store, NULL, age_ns, err);
}
