/* cmd_restore — recovery of one path, one type, or everything. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "tools/cmd_restore_internal.h"
#include "tools/console.h"
#include "tools/datadir.h"
#include "tools/meter.h"
#include "tools/output.h"

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

int restore_parse_overwrite(const char *text, enum extract_overwrite *out, struct err *err)
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
    int r = restore_parse_overwrite(app_text(app, "overwrite"), &how->overwrite, err);

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
void restore_name_sources(const struct recovery *recovery)
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

int restore_files(struct recovery *recovery, struct err *err)
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
    if (r == 0 && restore_is_load(&recovery))
        return restore_load(&recovery, err);
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
    restore_name_sources(&recovery);
    return recovery.whole ? restore_whole(&recovery, err) : restore_files(&recovery, err);
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
