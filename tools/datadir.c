#include "tools/datadir.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "fs/view.h"
#include "tools/console.h"
#include "tools/datadir_internal.h"
#include "tools/meter.h"
#include "tools/output.h"
#include "tools/pgserver.h"

enum { OLDER_MAX = 10000 };

static void datadir_clear(struct datadir *run)
{
    pgdata_close(run->data);
    thawing_clear(&run->thawing);
    selection_clear(&run->selection);
    session_close(&run->session);
    strings_clear(&run->map_words);
    text_clear(&run->command);
    free(run->maps);
    free(run->directory);
}

static void trouble(void *context, const char *path, const struct err *err)
{
    (void)context;
    console_say("cannot restore %s: %s", path, err->text);
}

static void note(void *context, const char *text)
{
    const struct datadir *run = context;

    if (app_flag(run->app, "verbose")) /* a line for each file is of use to few */
        console_line("%s", text);
}

/* ---- which backup ---- */

/* All of it is read, and some of it to tell what it is. */
static int thaw_cluster(struct datadir *run, struct err *err)
{
    CLEANUP(view_target_clear) struct view_target target = {0};
    struct thawing *thawing = &run->thawing;
    struct err missing;

    if (view_resolve(run->session.blocks, &run->selection, "database/cluster", &target, &missing) <
        0)
        return 0; /* no physical one, as is told in a moment */
    thawing_clear(thawing);
    int r = thawing_parse(thawing, run->app, err);
    if (r == 0)
        r = thawing_start(thawing, &run->session, &run->progress, err);
    if (r == 0)
        r = thawing_need_databases(thawing, &run->selection, NULL, err);
    return r < 0 ? r : thawing_ready(thawing, err);
}

static int open_one(struct datadir *run, const char *name, struct err *err)
{
    selection_clear(&run->selection);
    run->selection = (struct selection){0};
    int r = session_select(run->app, &run->session, name, 1 << TYPE_DATABASE,
                           app_text(run->app, "before"), &run->selection, err);
    if (r == 0)
        r = thaw_cluster(run, err);
    return r < 0 ? r
                 : pgdata_open(run->session.blocks, &run->selection, &run->how, &run->data, err);
}

/* `latest` is the newest physical one, and for a moment the newest that began before it. */
static bool is_fit(const struct datadir *run)
{
    const struct root *root = run->selection.types[TYPE_DATABASE];
    const struct pgdata_facts *facts = pgdata_facts(run->data);

    if (run->how.recovery.until == UNTIL_TIME)
        return root->end_ns / 1000 <= run->time_us;
    return run->how.recovery.until != UNTIL_LSN || facts->end_lsn <= run->lsn;
}

static int choose(struct datadir *run, struct err *err)
{
    const char *given = app_argument(run->app, 0);
    char name[32];

    if (strcmp(given, "latest") != 0)
        return open_one(run, given, err);
    for (unsigned older = 0; older < OLDER_MAX; older++) {
        struct err missing;

        (void)snprintf(name, sizeof(name), "latest~%u", older);
        int r = open_one(run, name, &missing);
        bool physical = r == 0;
        if (physical && is_fit(run))
            return 0;
        pgdata_close(run->data);
        run->data = NULL;
        if (!physical && !(missing.code == ERR_NOT_FOUND && run->selection.types[TYPE_DATABASE])) {
            *err = missing;
            break;
        }
    }
    if (err->code != ERR_NOT_FOUND && err->code != ERR_NONE)
        return -(int)err->code;
    return err_set(err, ERR_NOT_FOUND, "there is no physical backup %s",
                   run->how.recovery.value ? "that ended before the target"
                                           : "(yester backup --type database --physical)");
}

/* ---- what is said ---- */

static void say_source(const struct datadir *run)
{
    const struct root *root = run->selection.types[TYPE_DATABASE];
    const struct pgdata_facts *facts = pgdata_facts(run->data);

    if (!run->app->quiet)
        console_line("PostgreSQL %d from %s (%s)", facts->major, root->name, run->selection.host);
    if (facts->damaged)
        console_say("this backup has files with damaged pages: its database/manifest.json names "
                    "them");
    if (!run->app->quiet && run->how.dry_run)
        for (size_t i = 0; i < facts->tablespace_count; i++)
            console_line("the tablespace at %s comes to %s", facts->tablespaces[i].location,
                         facts->tablespaces[i].to);
}

static void print_json(const struct datadir *run, const struct extract_result *result)
{
    const struct pgdata_facts *facts = pgdata_facts(run->data);
    struct json_object *object = json_object_new_object();

    json_object_object_add(object, "data_directory",
                           output_json_text(run->directory, strlen(run->directory)));
    json_object_object_add(object, "snapshot",
                           json_object_new_string(run->selection.types[TYPE_DATABASE]->name));
    json_object_object_add(object, "server", json_object_new_int(facts->major));
    json_object_object_add(object, "files", output_json_number(result->files));
    json_object_object_add(object, "bytes", output_json_number(result->bytes));
    json_object_object_add(object, "deleted", output_json_number(result->deleted));
    if (run->how.dry_run) {
        json_object_object_add(object, "room_needed", output_json_number(result->room_needed));
        json_object_object_add(object, "room_free", output_json_number(result->room_free));
    }
    output_json(object);
}

static void print_summary(const struct datadir *run, const struct extract_result *result,
                          int64_t took_ns)
{
    char files[OUTPUT_SIZE], size[OUTPUT_SIZE], took[OUTPUT_SIZE], needed[OUTPUT_SIZE];
    char room[OUTPUT_SIZE];

    if (run->app->json) {
        print_json(run, result);
        return;
    }
    if (run->app->quiet)
        return;
    if (run->how.dry_run) {
        console_line("room needed: %s, free: %s", output_size(result->room_needed, needed),
                     output_size(result->room_free, room));
        return;
    }
    console_line("restored %s, %s written (%s)", output_count(result->files, "file", files),
                 output_size(result->bytes, size), output_duration(took_ns, took));
    if (!app_flag(run->app, "verify"))
        console_line("start the server with -D %s: it recovers, and then takes connections",
                     run->directory);
}

/* ---- what PostgreSQL itself says of it ---- */

static void say_found(const char *line)
{
    console_say("amcheck: %s", line);
}

/* Starting it is what brings it to its target. */
static int try_server(struct datadir *run, const char *programs, struct err *err)
{
    CLEANUP(pgserver_stopp) struct pgserver *server = NULL;
    const struct pgserver_settings settings = {
        .programs = programs,
        .directory = run->directory,
        .user = config_text(&run->app->config, SET_DATABASE_USER),
        .progress = &run->progress,
    };
    int64_t started = clock_monotonic_ns();
    char took[OUTPUT_SIZE];

    int r = pgserver_start(&settings, &server, err);
    if (r < 0)
        return err_context(err, "the restored server");
    if (!run->app->quiet)
        console_line("it recovered to its target (%s)",
                     output_duration(clock_monotonic_ns() - started, took));
    r = pgserver_check(server, say_found, err);
    if (r == 0 && !run->app->quiet)
        console_line("amcheck finds nothing wrong; the server is stopped again");
    return r;
}

static int find_programs(struct datadir *run, char programs[PGSERVER_PATH_SIZE], struct err *err)
{
    int r = pgserver_find(pgdata_facts(run->data)->major, programs, err);

    if (r == 0 || app_flag(run->app, "verify"))
        return r;
    console_say("%s: the data directory starts with that version only", err->text);
    return 0;
}

/* ---- the run ---- */

/* Before it is started it can still be put right; with --verify, that is now. */
static int check_fetching(struct datadir *run, struct err *err)
{
    struct err cause;

    if (datadir_server(run, &cause) == 0)
        return 0;
    if (app_flag(run->app, "verify") && !run->how.dry_run) {
        *err = cause;
        return -(int)cause.code;
    }
    console_say("%s: let that user read it before the server is started", cause.text);
    return 0;
}

static int prepare(struct datadir *run, struct err *err)
{
    int r = datadir_parse(run, err);

    run->how.trouble = trouble;
    run->how.note = note;
    run->how.context = run;
    run->how.progress = &run->progress;
    if (r == 0)
        r = session_open(run->app, SESSION_SNAPSHOTS, &run->session, err);
    if (r == 0)
        r = session_blocks(&run->session, LOOK_CACHE, err);
    if (r == 0)
        r = choose(run, err);
    if (r < 0)
        return r;
    say_source(run);
    r = datadir_command(run, err);
    if (r == 0)
        r = datadir_reach(run, err);
    if (r == 0)
        r = pgdata_check(run->data, err);
    return r < 0 ? r : check_fetching(run, err);
}

int datadir_run(struct app *app, struct err *err)
{
    CLEANUP(datadir_clear) struct datadir run = {.app = app};
    struct extract_result result;
    int64_t started = clock_monotonic_ns();
    char programs[PGSERVER_PATH_SIZE];

    *err = (struct err){0};
    signal(SIGPIPE, SIG_IGN);
    int r = prepare(&run, err);
    if (r == -ERR_COLD && run.how.dry_run && thawing_is_missing(&run.thawing))
        return 0; /* it was said, and no more can be seen before the thaw */
    if (r == 0)
        r = find_programs(&run, programs, err);
    if (r == 0)
        r = meter_start(&run.progress, app->quiet, err);
    if (r < 0)
        return r;
    session_follow(&run.session, &run.progress);
    r = pgdata_restore(run.data, &result, err);
    meter_stop();
    if (r < 0) {
        app_hint(app, "run it again: it goes on where it stopped");
        return r;
    }
    print_summary(&run, &result, clock_monotonic_ns() - started);
    return app_flag(app, "verify") && !run.how.dry_run ? try_server(&run, programs, err) : 0;
}
