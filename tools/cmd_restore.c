/* cmd_restore — recovery of one path, one type, or everything. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/progress.h"
#include "fs/extract.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/datadir.h"
#include "tools/loading.h"
#include "tools/meter.h"
#include "tools/output.h"
#include "tools/session.h"
#include "tools/thawing.h"

static const struct option_spec options[] = {
    {"target", 0, "DIR", "where to; / is the place it came from"},
    {"type", 't', "TYPE,…", "only these types (files, config, database)"},
    {"into", 0, "NAME", "load a database under this name, a table into this schema"},
    {"overwrite", 0, "WHEN", "if-changed (default), always, never"},
    {"delete", 0, NULL, "remove what the snapshot does not have; on / this needs --yes"},
    {"include", 0, "PATTERN", "only what matches, as in .gitignore; repeatable"},
    {"exclude", 0, "PATTERN", "not what matches; repeatable"},
    {"verify", 0, NULL, "read back what is there and compare it"},
    {"no-special", 0, NULL, "no devices, fifos, sockets"},
    {"no-setuid", 0, NULL, "no setuid and setgid bits, no file capabilities"},
    {"before", 0, "TIME", "the newest snapshot not after this time"},
    {"yes", 'y', NULL, "yes, delete on /"},
    DATADIR_OPTIONS,
    THAWING_OPTIONS,
    OPTION_DRY_RUN,
    {0},
};

struct recovery {
    struct app *app;
    struct session session;
    struct selection selection;
    struct snapshot_path name;
    struct progress progress;
    struct extract_options how;
    struct extract_result result;
    struct thawing thawing;
    const char **includes, **excludes;
    const char *target;
    char *root; /* where it really is */
    bool whole; /* everything onto the running system, databases included */
};

static void recovery_clear(struct recovery *recovery)
{
    thawing_clear(&recovery->thawing);
    selection_clear(&recovery->selection);
    session_close(&recovery->session);
    snapshot_path_clear(&recovery->name);
    free(recovery->includes);
    free(recovery->excludes);
    free(recovery->root);
}

static void trouble(void *context, const char *path, const struct err *err)
{
    (void)context;
    console_say("cannot restore %s: %s", path, err->text);
}

static void note(void *context, const char *text)
{
    const struct recovery *recovery = context;

    if (recovery->how.dry_run)
        puts(text);
    else if (!recovery->app->quiet)
        console_line("%s", text);
}

static int be_ready(void *context, struct err *err)
{
    struct recovery *recovery = context;

    return thawing_ready(&recovery->thawing, err);
}

static int parse_overwrite(const char *text, enum extract_overwrite *out, struct err *err)
{
    static const char *const words[] = {"if-changed", "always", "never"};

    *out = OVERWRITE_IF_CHANGED;
    if (!text)
        return 0;
    for (size_t i = 0; i < 3; i++)
        if (strcmp(text, words[i]) == 0) {
            *out = (enum extract_overwrite)i;
            return 0;
        }
    return err_set(err, ERR_USAGE, "--overwrite %.40s: it is if-changed, always, or never", text);
}

/* What only a restore onto the running system has to mind. */
static int prepare_root(struct recovery *recovery, struct err *err)
{
    const struct strings *keep = config_list(&recovery->app->config, SET_RESTORE_KEEP);

    recovery->root = realpath(recovery->target, NULL);
    if (!recovery->root || strcmp(recovery->root, "/") != 0)
        return 0;
    /* A database's files have no place on a running system: its server takes them. */
    recovery->whole =
        recovery->how.types == 0 && recovery->how.path_count == 0 && !recovery->how.content_path;
    if (recovery->whole)
        recovery->how.types = 1 << TYPE_FILES | 1 << TYPE_CONFIG;
    recovery->how.keep = (const char *const *)keep->at;
    recovery->how.keep_count = keep->count;
    if (recovery->how.delete_extra && !recovery->how.dry_run && !app_flag(recovery->app, "yes")) {
        app_hint(recovery->app, "look at it with --dry-run first; then add --yes");
        return err_set(err, ERR_USAGE, "--delete on / removes files of the running system");
    }
    return 0;
}

static int prepare(struct recovery *recovery, struct err *err)
{
    struct app *app = recovery->app;
    struct extract_options *how = &recovery->how;
    int r = parse_overwrite(app_text(app, "overwrite"), &how->overwrite, err);

    how->target = recovery->target;
    how->delete_extra = app_flag(app, "delete");
    how->dry_run = app_flag(app, "dry-run");
    how->verify = app_flag(app, "verify");
    how->no_special = app_flag(app, "no-special");
    how->no_setuid = app_flag(app, "no-setuid");
    how->paths = app->options.arguments + 1;
    how->path_count = app->options.argument_count - 1;
    how->content_path = recovery->name.path && recovery->name.path[0] ? recovery->name.path : NULL;
    how->trouble = trouble;
    how->note = note;
    how->context = recovery;
    how->progress = &recovery->progress;
    if (r == 0 && how->content_path && how->path_count > 0)
        r = err_set(err, ERR_USAGE, "SNAP:PATH already says what; it takes no further PATH");
    if (r == 0)
        r = types_parse(app_text(app, "type"), &how->types, err);
    if (r == 0)
        r = options_list(&app->options, "include", &recovery->includes, &how->include_count, err);
    if (r == 0)
        r = options_list(&app->options, "exclude", &recovery->excludes, &how->exclude_count, err);
    how->includes = recovery->includes;
    how->excludes = recovery->excludes;
    return r < 0 ? r : prepare_root(recovery, err);
}

/* Whether a path that begins with a type is of another one. */
static bool is_elsewhere(const char *path, enum snapshot_type type)
{
    const char *name = snapshot_type_name(type);
    size_t size = strlen(name);

    return path && path[0] != '/' &&
           (strncmp(path, name, size) != 0 || (path[size] != '\0' && path[size] != '/'));
}

/* Which snapshots it comes from: `latest` may join several. */
static void name_sources(const struct recovery *recovery)
{
    if (recovery->app->quiet)
        return;
    for (enum snapshot_type type = TYPE_FILES; type <= TYPES; type++)
        if (recovery->selection.types[type] && !is_elsewhere(recovery->how.content_path, type))
            console_line("%s from %s (%s)", snapshot_type_name(type),
                         recovery->selection.types[type]->name, recovery->selection.host);
}

static void print_json(const struct recovery *recovery)
{
    const struct extract_result *result = &recovery->result;
    struct json_object *object = json_object_new_object();
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {
        {"files", result->files},         {"directories", result->directories},
        {"others", result->others},       {"bytes", result->bytes},
        {"unchanged", result->unchanged}, {"deleted", result->deleted},
        {"kept", result->kept},           {"failed", result->failed},
        {"damaged", result->damaged},     {"unread", result->unread},
        {"verified", result->verified},
    };

    json_object_object_add(object, "target",
                           output_json_text(recovery->target, strlen(recovery->target)));
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        json_object_object_add(object, numbers[i].key, output_json_number(numbers[i].value));
    if (recovery->how.dry_run) {
        json_object_object_add(object, "room_needed", output_json_number(result->room_needed));
        json_object_object_add(object, "room_free", output_json_number(result->room_free));
        json_object_object_add(object, "cold", thawing_json(&recovery->thawing));
    }
    output_json(object);
}

static void print_summary(const struct recovery *recovery, int64_t took_ns)
{
    const struct extract_result *result = &recovery->result;
    char size[OUTPUT_SIZE], took[OUTPUT_SIZE], needed[OUTPUT_SIZE], room[OUTPUT_SIZE];
    char files[OUTPUT_SIZE];
    bool dry = recovery->how.dry_run;

    if (recovery->app->json) {
        print_json(recovery);
        return;
    }
    if (recovery->app->quiet)
        return;
    console_line("%s %s, %llu directories, %llu others, %s; %llu were there already (%s)",
                 dry ? "would restore" : "restored", output_count(result->files, "file", files),
                 (unsigned long long)result->directories, (unsigned long long)result->others,
                 output_size(result->bytes, size), (unsigned long long)result->unchanged,
                 output_duration(took_ns, took));
    if (result->deleted || result->kept)
        console_line("%llu %s, %llu kept as they were", (unsigned long long)result->deleted,
                     dry ? "to delete" : "deleted", (unsigned long long)result->kept);
    if (recovery->how.verify && !dry)
        console_line("%llu read back and compared", (unsigned long long)result->verified);
    if (dry)
        console_line("room needed: %s, free: %s", output_size(result->room_needed, needed),
                     output_size(result->room_free, room));
    if (recovery->how.keep_count > 0 && !dry)
        console_line("nothing was run afterwards: dependencies that were left out of the backup "
                     "have to be installed again");
}

/* Without --target: databases, or tables, into the server. */
static bool is_loading(const struct recovery *recovery)
{
    static const char top[] = "database";
    struct app *app = recovery->app;
    const char *path = recovery->name.path ? recovery->name.path : app_argument(app, 1);
    const char *type = app_text(app, "type");
    bool below = path && strncmp(path, top, strlen(top)) == 0 &&
                 (!path[strlen(top)] || path[strlen(top)] == '/');

    if (app_text(app, "target"))
        return false;
    return app_text(app, "into") || below || (!path && type && strcmp(type, top) == 0);
}

static int check_loading(const struct recovery *recovery, struct err *err)
{
    struct app *app = recovery->app;
    static const char *const not_with[] = {"delete",     "include",   "exclude",
                                           "no-special", "no-setuid", "verify"};

    if (app->options.argument_count > (recovery->name.path ? 1 : 2))
        return err_set(err, ERR_USAGE, "one PATH at a time is loaded");
    for (size_t i = 0; i < sizeof(not_with) / sizeof(not_with[0]); i++)
        if (options_count(&app->options, not_with[i]) > 0)
            return err_set(err, ERR_USAGE, "--%s is for files: it needs --target", not_with[i]);
    return 0;
}

static int thaw_databases(struct recovery *recovery, const char *path, struct err *err)
{
    struct thawing *thawing = &recovery->thawing;
    int r = thawing_start(thawing, &recovery->session, &recovery->progress, err);

    if (r == 0)
        r = thawing_need_databases(thawing, &recovery->selection, path, err);
    return r < 0 ? r : thawing_ready(thawing, err);
}

static int load(struct recovery *recovery, struct err *err)
{
    struct app *app = recovery->app;
    const char *path = recovery->name.path ? recovery->name.path : app_argument(app, 1);
    struct loading_request request = {
        .selection = &recovery->selection,
        .path = path && strchr(path, '/') && *(strchr(path, '/') + 1) ? path : NULL,
        .into = app_text(app, "into"),
        .dry_run = app_flag(app, "dry-run"),
        .progress = &recovery->progress,
    };
    enum extract_overwrite overwrite;

    int r = parse_overwrite(app_text(app, "overwrite"), &overwrite, err);
    if (r == 0)
        r = check_loading(recovery, err);
    request.replace = overwrite == OVERWRITE_ALWAYS;
    if (r == 0)
        r = session_open(app, SESSION_SNAPSHOTS, &recovery->session, err);
    if (r == 0)
        r = session_blocks(&recovery->session, LOOK_CACHE, err);
    if (r == 0)
        r = session_select(app, &recovery->session, recovery->name.snapshot, 1 << TYPE_DATABASE,
                           app_text(app, "before"), &recovery->selection, err);
    if (r == 0)
        r = meter_start(&recovery->progress, app->quiet, err);
    if (r < 0)
        return r;
    session_follow(&recovery->session, &recovery->progress);
    name_sources(recovery);
    r = thaw_databases(recovery, request.path, err);
    if (r == 0 && !thawing_is_missing(&recovery->thawing))
        r = loading_run(app, &recovery->session, &request, err);
    meter_stop();
    return r;
}

static int work(struct recovery *recovery, struct err *err)
{
    int64_t started = clock_monotonic_ns();
    int r = meter_start(&recovery->progress, recovery->app->quiet, err);

    if (r == 0 && !recovery->whole)
        r = thawing_start(&recovery->thawing, &recovery->session, &recovery->progress, err);
    recovery->how.thaw = recovery->whole ? NULL : recovery->thawing.thaw;
    recovery->how.ready = recovery->whole ? NULL : be_ready;
    if (r < 0) {
        meter_stop();
        return r;
    }
    session_follow(&recovery->session, &recovery->progress);
    r = extract_run(recovery->session.blocks, &recovery->selection, &recovery->how,
                    &recovery->result, err);
    meter_stop();
    if (r == 0 || recovery->result.failed || recovery->result.damaged || recovery->result.unread)
        print_summary(recovery, clock_monotonic_ns() - started);
    /* What the database has hinted at says more. */
    if ((r == -ERR_CANCELLED || r == -ERR_REMOTE) && recovery->app->hint[0] == '\0')
        app_hint(recovery->app, "run it again: it goes on where it stopped");
    return r;
}

/* Config is in place, and the files are not yet. */
static int load_between(void *context, struct err *err)
{
    struct recovery *recovery = context;
    const struct loading_request request = {
        .selection = &recovery->selection,
        .replace = recovery->how.overwrite == OVERWRITE_ALWAYS,
        .progress = &recovery->progress,
    };

    int r = loading_run(recovery->app, &recovery->session, &request, err);
    if (r < 0)
        app_hint(recovery->app, "config is restored, files are not; --type files leaves the "
                                "database out");
    return r;
}

/* All that is needed is asked for together: one delay is long enough. */
static int thaw_whole(struct recovery *recovery, struct err *err)
{
    struct thawing *thawing = &recovery->thawing;
    struct extract_options look = recovery->how;
    struct extract_result ignored;
    bool alone = !recovery->selection.types[TYPE_FILES] && !recovery->selection.types[TYPE_CONFIG];

    int r = meter_start(&recovery->progress, recovery->app->quiet, err);
    if (r < 0)
        return r;
    r = thawing_start(thawing, &recovery->session, &recovery->progress, err);
    if (r == 0)
        r = thawing_need_databases(thawing, &recovery->selection, NULL, err);
    look.dry_run = true;
    look.delete_extra = false;
    look.note = NULL;
    look.thaw = thawing->thaw;
    if (r == 0 && thawing->thaw && !alone)
        r = extract_run(recovery->session.blocks, &recovery->selection, &look, &ignored, err);
    if (r == 0)
        r = thawing_ready(thawing, err);
    meter_stop();
    return r;
}

/* What stands against the databases is known before the first file is written. */
static int work_whole(struct recovery *recovery, struct err *err)
{
    struct app *app = recovery->app;
    struct loading_request request = {
        .selection = &recovery->selection,
        .replace = recovery->how.overwrite == OVERWRITE_ALWAYS,
        .dry_run = recovery->how.dry_run,
        .check_only = true,
        .progress = &recovery->progress,
    };

    int r = thaw_whole(recovery, err);
    if (r < 0)
        return r;
    bool frozen = thawing_is_missing(&recovery->thawing); /* in a dry run */
    if (frozen || !loading_is_possible(&recovery->session, &recovery->selection))
        return work(recovery, err);
    r = loading_run(app, &recovery->session, &request, err);
    if (r < 0) {
        app_hint(app, "--type files,config leaves the database out");
        return r;
    }
    bool alone = !recovery->selection.types[TYPE_FILES] && !recovery->selection.types[TYPE_CONFIG];
    recovery->how.after_config = load_between; /* not called by a dry run */
    r = alone ? 0 : work(recovery, err);
    request.check_only = false;
    return r == 0 && (alone || request.dry_run)
               ? loading_run(app, &recovery->session, &request, err)
               : r;
}

static int run(struct app *app, struct err *err)
{
    CLEANUP(recovery_clear) struct recovery recovery = {.app = app};
    int r;

    if (app_text(app, "data-directory"))
        return datadir_run(app, err);
    signal(SIGPIPE, SIG_IGN);
    r = thawing_parse(&recovery.thawing, app, err);
    if (r == 0)
        r = snapshot_path_parse(app_argument(app, 0), &recovery.name, err);
    if (r == 0 && is_loading(&recovery))
        return load(&recovery, err);
    recovery.target = app_text(app, "target");
    if (r == 0 && (!recovery.target || !recovery.target[0]))
        r = err_set(err, ERR_USAGE, "restore needs --target DIR (/ is where it came from)");
    if (r == 0 && app_text(app, "into"))
        r = err_set(err, ERR_USAGE, "--into is for a database, and takes no --target");
    if (r == 0)
        r = prepare(&recovery, err);
    if (r == 0)
        r = session_open(app, SESSION_SNAPSHOTS, &recovery.session, err);
    if (r == 0)
        r = session_blocks(&recovery.session, FETCH_CACHE, err);
    if (r == 0)
        r = session_select(app, &recovery.session, recovery.name.snapshot,
                           recovery.whole ? 0 : recovery.how.types, app_text(app, "before"),
                           &recovery.selection, err);
    if (r < 0)
        return r;
    name_sources(&recovery);
    return recovery.whole ? work_whole(&recovery, err) : work(&recovery, err);
}

const struct command command_restore = {
    .name = "restore",
    .arguments = "SNAP [PATH…] --target DIR",
    .summary = "recover one path, one type, or everything",
    .examples = "  yester restore latest /srv/app/.env --target /tmp/back\n"
                "  yester restore 20260204:files/srv/app --target /srv/app --dry-run\n"
                "  yester restore latest --target /\n"
                "  yester restore latest --type database --into shop_copy\n"
                "  yester restore 20260204 database/shop/public/orders --into rescued\n",
    .details = "Files come below DIR at their absolute source paths; SNAP:PATH puts the content "
               "of PATH straight\ninto DIR. Without --target a database is loaded into the server "
               "of the settings: one that\nis there "
               "and not empty only with --overwrite always, and then it is renamed, not dropped; a "
               "table\ngoes into a new schema.  A restore that was interrupted goes on where it "
               "stopped.\n",
    .options = options,
    .least = 1,
    .most = ANY_NUMBER,
    .falls_back = true,
    .cache = CACHE_METADATA,
    .run = run,
};
