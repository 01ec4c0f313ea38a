/* cmd_backup — take a snapshot. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/progress.h"
#include "backup/store/store.h"
#include "catalog/catalog.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/cooling.h"
#include "tools/locks.h"
#include "tools/meter.h"
#include "tools/output.h"
#include "tools/replicas.h"
#include "tools/retain.h"
#include "tools/session.h"
#include "tools/snapshots.h"
#include "tools/sources.h"

enum { NAMED = 3, EXIT_UNREADABLE = 3, EXIT_AFTERWARDS = 5 };

static const struct option_spec options[] = {
    {"type", 't', "TYPE", "all (default), files, config, database"},
    {"exclude", 'e', "PATTERN", "leave out what matches, as in .gitignore; repeatable"},
    {"exclude-file", 0, "FILE", "patterns from a file, one a line; repeatable"},
    {"exclude-if-present", 0, "NAME", "leave out directories that hold NAME; repeatable"},
    {"no-default-excludes", 0, NULL, "also node_modules, build output, caches, .nobackup"},
    {"one-file-system", 'x', NULL, "do not go into other file systems"},
    {"files-from", 0, "FILE", "PATHs from a file (-: stdin), one a line; repeatable"},
    {"from0", '0', NULL, "… each ended by a NUL byte"},
    {"stdin", 0, "NAME", "stdin as a file of this name"},
    {"physical", 0, NULL, "the database server's data directory, by a base backup"},
    {"tag", 0, "TEXT", "keep this word with the snapshot; repeatable"},
    {"compression", 0, "LEVEL", "1 (default, fast) to 19 (small)"},
    {"bwlimit", 0, "RATE", "write at most RATE bytes a second to the repository, as 10M"},
    {"retention", 0, "DAYS", "afterwards forget what is older, of the types of this run"},
    {"force", 0, NULL, "read every file again, changed or not"},
    OPTION_DRY_RUN,
    {0},
};

struct run {
    struct app *app;
    struct session session;
    struct sources sources;
    struct progress progress;
    struct strings tags;
    char parent[SNAPSHOT_NAME_SIZE]; /* the last snapshot of this host; empty: none */
    uint64_t sequence;               /* … and the highest that any had, be it pruned */
    struct backup_result result;
    int64_t took_ns; /* time that the machine slept included */
    uint64_t troubles;
    uint64_t noted;
    char named[512]; /* the first few that were left out */
};

static void run_clear(struct run *run)
{
    backup_result_clear(&run->result);
    strings_clear(&run->tags);
    sources_clear(&run->sources);
    session_close(&run->session);
}

static void trouble(void *context, const char *path, const struct err *err)
{
    struct run *run = context;

    if (run->troubles++ == 0)
        (void)snprintf(run->app->path, sizeof(run->app->path), "%s", path);
    console_say("cannot read %s: %s", path, err->text);
}

static void note(void *context, const char *path, const char *text)
{
    struct run *run = context;
    size_t used = strlen(run->named);

    if (app_flag(run->app, "verbose") || app_flag(run->app, "dry-run"))
        console_line("%s: %s", path, text);
    if (run->noted++ < NAMED)
        (void)snprintf(run->named + used, sizeof(run->named) - used, "%s%.120s (%s)",
                       used ? ", " : "", path, text);
}

/* What the host had before: its last snapshot, and for each type one to compare with. */
static int find_past(struct run *run, const char *host, struct err *err)
{
    CLEANUP(snapshot_rows_clear) struct snapshot_rows rows = {0};
    uint64_t highest = 0;
    int r = catalog_all_snapshots(run->session.catalog, host, &rows, err);

    for (size_t i = 0; i < rows.count && r == 0; i++) {
        if (rows.at[i].sequence < highest)
            continue;
        highest = rows.at[i].sequence;
        strcpy(run->parent, rows.at[i].name);
    }
    if (r == 0)
        r = catalog_sequence(run->session.catalog, host, &run->sequence, err);
    return r < 0 ? r : sources_find_previous(&run->sources, run->session.catalog, host, err);
}

static int open_all(struct run *run, struct err *err)
{
    const char *location = config_text(&run->app->config, SET_LOCATION);
    char catalog[4096];
    int r = session_open(run->app, SESSION_ALL, &run->session, err);

    if (r == 0)
        r = session_catalog_directory(run->app, &run->session, catalog, sizeof(catalog), err);
    if (r < 0)
        return r;
    sources_never(&run->sources, location);
    sources_never(&run->sources, catalog);
    return find_past(run, config_text(&run->app->config, SET_BACKUP_HOST), err);
}

static int gather_tags(struct run *run, struct err *err)
{
    const struct strings *set = config_list(&run->app->config, SET_BACKUP_TAGS);
    const char **given = NULL;
    size_t count = 0;
    int r = options_list(&run->app->options, "tag", &given, &count, err);

    for (size_t i = 0; i < set->count && r == 0; i++)
        r = strings_add(&run->tags, set->at[i], strlen(set->at[i]), err);
    for (size_t i = 0; i < count && r == 0; i++)
        r = strings_add(&run->tags, given[i], strlen(given[i]), err);
    free(given);
    return r;
}

static void row_of(const struct root *root, struct snapshot_row *out)
{
    *out = (struct snapshot_row){.start_ns = root->start_ns,
                                 .end_ns = root->end_ns,
                                 .complete = root->complete,
                                 .adhoc = root->adhoc};
    strcpy(out->name, root->name);
    strcpy(out->host, root->host);
    for (int type = TYPE_FILES; type <= TYPES; type++) {
        const struct root_type *part = &root->types[type];

        if (!part->present)
            continue;
        out->types = (uint8_t)(out->types | 1 << type);
        out->files += part->files;
        out->bytes += part->bytes;
        out->new_bytes += part->new_bytes;
        out->unreadable += part->unreadable;
    }
}

static void print_summary(const struct run *run, const struct snapshot_row *row, int64_t took_ns)
{
    const struct backup_result *result = &run->result;
    bool dry = app_flag(run->app, "dry-run");
    char files[OUTPUT_SIZE], size[OUTPUT_SIZE], read[OUTPUT_SIZE], stored[OUTPUT_SIZE];
    char took[OUTPUT_SIZE];

    console_line("%s, %s; %s %llu of them (%s), %llu unchanged; %s %s (%s)",
                 output_count(row->files, "file", files), output_size(row->bytes, size),
                 dry ? "would read" : "read", (unsigned long long)result->files_read,
                 output_size(result->bytes_read, read), (unsigned long long)result->files_unchanged,
                 dry ? "would store about" : "stored", output_size(row->new_bytes, stored),
                 output_duration(took_ns, took));
    if (result->left_out || result->changed || result->vanished)
        console_line("%llu left out by rules, %llu changed while read, %llu vanished: %s%s",
                     (unsigned long long)result->left_out, (unsigned long long)result->changed,
                     (unsigned long long)result->vanished, run->named,
                     run->noted > NAMED ? ", …" : "");
    if (row->unreadable > 0)
        console_line("%llu could not be read; the snapshot is incomplete",
                     (unsigned long long)row->unreadable);
}

static void print_json(const struct run *run, const struct snapshot_row *row)
{
    struct json_object *object = snapshot_json(row);

    json_object_object_add(object, "files_read", output_json_number(run->result.files_read));
    json_object_object_add(object, "bytes_read", output_json_number(run->result.bytes_read));
    json_object_object_add(object, "files_unchanged",
                           output_json_number(run->result.files_unchanged));
    json_object_object_add(object, "left_out", output_json_number(run->result.left_out));
    json_object_object_add(object, "unreadable", output_json_number(row->unreadable));
    output_json(object);
}

/* The snapshot is safe from here on; a catalog that did not learn of it catches up later. */
static int tell(struct run *run, int64_t took_ns)
{
    struct snapshot_row row;
    struct err err;
    bool whole = run->troubles == 0;

    row_of(&run->result.root, &row);
    if (!app_flag(run->app, "dry-run") &&
        catalog_commit_run(run->session.catalog, &run->result.root, &err) < 0)
        console_say("catalog: %s; the next run catches up", err.text);
    if (!run->app->quiet)
        print_summary(run, &row, took_ns);
    if (run->app->json)
        print_json(run, &row);
    else if (!app_flag(run->app, "dry-run"))
        printf("%s\n", row.name);
    for (size_t i = 0; i < run->sources.count; i++)
        whole = whole && run->result.root.types[run->sources.at[i].type].present;
    return whole && row.unreadable == 0 ? 0 : EXIT_UNREADABLE;
}

static int forget_old(struct run *run, struct err *err)
{
    CLEANUP(retention_rules_clear) struct retention_rules rules = {0};
    struct clock *clock = clock_system();
    struct retention_scope scope = {config_text(&run->app->config, SET_BACKUP_HOST), NULL,
                                    clock->now_ns(clock)};
    struct retain_result result;
    uint8_t types = 0;
    char forgotten[OUTPUT_SIZE];

    for (size_t i = 0; i < run->sources.count; i++)
        types = (uint8_t)(types | 1 << run->sources.at[i].type);
    int r = retain_rules_days(app_text(run->app, "retention"), types, &rules, err);
    if (r == 0)
        r = catalog_sync(run->session.catalog, false, err);
    if (r == 0)
        r = retain_run(run->app, &run->session, &rules, &scope, RETAIN_SILENT, &result, err);
    if (r == 0 && result.forgotten > 0 && !run->app->quiet)
        console_line("%s forgotten that are older than %s days",
                     output_count(result.forgotten, "snapshot", forgotten),
                     app_text(run->app, "retention"));
    return r;
}

/* The snapshot is safe whatever becomes of this. */
static int retain(struct run *run, int status)
{
    struct err err;

    if (!app_text(run->app, "retention") || app_flag(run->app, "dry-run"))
        return status;
    if (forget_old(run, &err) == 0)
        return status;
    console_say("retention: %s", err.text);
    return status == 0 ? EXIT_AFTERWARDS : status;
}

static bool refers(void *context, uint32_t archive)
{
    const struct run *run = context;

    return references_has(&run->result.references, archive);
}

/* What the run itself wrote is locked for long enough, unless it took long. */
static bool refers_and_is_old(void *context, uint32_t archive)
{
    const struct run *run = context;

    return refers(context, archive) &&
           (run->took_ns > store_retention_spare(run->session.repo->store) ||
            archive < run->result.known_archives);
}

static int lock(struct run *run, int status)
{
    const struct lock_needs needs = {refers_and_is_old, run, run->result.root.name};
    struct err err;

    if (app_flag(run->app, "dry-run") ||
        locks_renew(run->app, &run->session, NULL, run->session.repo->store, &needs, &err) == 0)
        return status;
    console_say("%s", err.text);
    return status == 0 ? EXIT_AFTERWARDS : status;
}

static int bring_along(struct run *run, int status)
{
    const struct lock_needs needs = {refers, run, run->result.root.name};
    struct err err;

    if (app_flag(run->app, "dry-run"))
        return status;
    int64_t since_ns = clock_boot_ns();
    bool failed = replicas_update(run->app, &run->session, &needs) < 0;
    /* What a replica has not yet has to stay readable. */
    if (!failed && cooling_run_fed(run->app, run->session.repo, since_ns, &err) < 0) {
        console_say("%s", err.text);
        failed = true;
    }
    return failed && status == 0 ? EXIT_AFTERWARDS : status;
}

/* The interruption came when the snapshot was being published already: what was to be done
 * afterwards is named; where that is nothing, all is done. */
static int leave_out(const struct run *run, int status)
{
    const struct app *app = run->app;
    const struct store *store = run->session.repo->store;
    const char *const left[] = {
        app_text(app, "retention") ? ", --retention" : "",
        app->config.replica_count > 0 ? ", replicas" : "",
        store->retention_ns > 0 ? ", renewed locks" : "",
        cooling_moves(&app->config, store, NULL) ? ", colder storage" : "",
    };
    char all[sizeof(", --retention, replicas, renewed locks, colder storage")];

    (void)snprintf(all, sizeof(all), "%s%s%s%s", left[0], left[1], left[2], left[3]);
    if (!all[0]) {
        console_say("interrupted: the snapshot is there, and nothing was left to do");
        return status;
    }
    console_say("interrupted: the snapshot is there; left out: %s", all + strlen(", "));
    return status == 0 ? EXIT_AFTERWARDS : status;
}

static int back_up(struct run *run, struct err *err)
{
    struct app *app = run->app;
    struct backup_options how = {
        .repo = run->session.repo,
        .baseline = catalog_baseline(run->session.catalog),
        .host = config_text(&app->config, SET_BACKUP_HOST),
        .sources = run->sources.at,
        .source_count = run->sources.count,
        .tags = (const char *const *)run->tags.at,
        .tag_count = run->tags.count,
        .exclusions = (const char *const *)run->sources.exclusions.at,
        .exclusion_count = run->sources.exclusions.count,
        .sequence = run->sequence,
        .parent = run->parent,
        .adhoc = run->sources.adhoc,
        .force = app_flag(app, "force"),
        .dry_run = app_flag(app, "dry-run"),
        .level = (int)config_number(&app->config, SET_BACKUP_COMPRESSION),
        .progress = &run->progress,
        .trouble = trouble,
        .note = note,
        .context = run,
    };
    int64_t started = clock_boot_ns();
    int r = meter_start(&run->progress, app->quiet, err);

    if (r < 0)
        return r;
    session_follow(&run->session, &run->progress);
    r = backup_run(&how, &run->result, err);
    meter_stop();
    if (r == -ERR_CANCELLED)
        app_hint(app,
                 "no snapshot is finished, unless it was just being published (yester list shows "
                 "it); what was stored so far is used by the next run");
    if (r < 0)
        return r;
    run->took_ns = clock_boot_ns() - started;
    int status = tell(run, run->took_ns);
    if (progress_cancelled(&run->progress) && !how.dry_run)
        return leave_out(run, status);
    status = lock(run, status);
    return bring_along(run, retain(run, status));
}

static int run_backup(struct app *app, struct err *err)
{
    CLEANUP(run_clear) struct run run = {.app = app, .session.locked = LOCK_SHARED};
    const char *type = app_text(app, "type");
    struct retention_rules unused = {0};
    const char *days = app_text(app, "retention");
    int r = days ? retain_rules_days(days, 0, &unused, err) : 0; /* wrong usage is told first */

    if (r == 0)
        r = sources_make(app, &run.sources, err);
    signal(SIGPIPE, SIG_IGN);
    if (r == 0)
        r = gather_tags(&run, err);
    if (r == 0)
        r = open_all(&run, err);
    if (r == 0)
        r = session_pace(app, run.session.repo->store, err);
    if (r < 0)
        return r;
    if (type && strcmp(type, "all") == 0 && !database_is_configured(&app->config) && !app->quiet)
        console_line("no database is configured: all is files and config");
    return back_up(&run, err);
}

const struct command command_backup = {
    .name = "backup",
    .arguments = "[PATH…]",
    .summary = "take a snapshot",
    .examples = "  yester backup                                what the settings name\n"
                "  yester backup --type files --exclude '*.o' /home\n"
                "  yester backup --type database                  the server of POSTGRES_HOST …\n"
                "  yester backup --type database --physical       its data directory as a whole\n"
                "  pg_dump shop | yester backup --stdin shop.sql\n",
    .details = "PATHs are read instead of those of the settings; such a snapshot is marked adhoc "
               "where settings\nname paths for its type.  The last line, alone on stdout, is the "
               "snapshot's name.\nExit status 3: taken, but some of the source could not be read; "
               "each is named.\n",
    .options = options,
    .most = ANY_NUMBER,
    .run = run_backup,
};
