#include "tools/thawing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/repo.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/progress.h"
#include "catalog/select.h"
#include "fs/extract.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/output.h"
#include "tools/session.h"

enum { DAYS = 7, WORDS_SIZE = 160, PATTERN_SIZE = 4096, DATABASE_PATTERNS = 4 };

/* Between two looks: short at first, since expedited may take a minute. */
#define PAUSE_FIRST (1 * NS_PER_SECOND)
#define PAUSE_LAST (60 * NS_PER_SECOND)
#define PAUSE_STEP (NS_PER_SECOND / 5)

/* ---- what was asked for ------------------------------------------------------------------ */

static int parse_days(const char *text, unsigned *out, struct err *err)
{
    char *end = NULL;
    unsigned long days = text ? strtoul(text, &end, 10) : DAYS;

    if (text && (text[0] < '0' || text[0] > '9' || *end || days < 1 || days > COLD_DAYS_MAX))
        return err_set(err, ERR_USAGE, "--thaw-days: \"%.20s\" is not from 1 to %d", text,
                       COLD_DAYS_MAX);
    *out = (unsigned)days;
    return 0;
}

int thawing_parse(struct thawing *thawing, struct app *app, struct err *err)
{
    const char *tier = app_text(app, "thaw"), *wait = app_text(app, "wait");

    thawing->app = app;
    thawing->asks = app_flag(app, "thaw");
    if (!thawing->asks && (wait || app_text(app, "thaw-days")))
        return err_set(err, ERR_USAGE, "--wait and --thaw-days go with --thaw");
    int r = tier ? cold_parse_tier(tier, &thawing->tier, err) : 0;
    if (r < 0)
        return err_context(err, "--thaw");
    r = parse_days(app_text(app, "thaw-days"), &thawing->days, err);
    if (r < 0 || !wait)
        return r;
    r = config_parse_time(wait, &thawing->wait_ns, err);
    return r < 0 ? err_context(err, "--wait") : 0;
}

/* To find out takes a request for each thousand archives. */
static bool is_likely(const struct thawing *thawing)
{
    const struct app *app = thawing->app;
    const struct config_replica *replica = thawing->session->replica;

    return thawing->asks || app_flag(app, "dry-run") ||
           setting_text(config_s3(&app->config, replica, SET_S3_STORAGE_CLASS));
}

int thawing_start(struct thawing *thawing, struct session *session, struct progress *progress,
                  struct err *err)
{
    bool any = false;

    thawing->session = session;
    thawing->progress = progress;
    if (!is_likely(thawing) || !cold_is_possible(session->repo->store))
        return 0;
    int r = thaw_new(session->repo, &thawing->thaw, err);
    if (r == 0)
        r = thaw_list(thawing->thaw, &any, err);
    if (!any) {
        thaw_free(thawing->thaw);
        thawing->thaw = NULL;
    }
    return r;
}

void thawing_clear(struct thawing *thawing)
{
    thaw_free(thawing->thaw);
    *thawing = (struct thawing){0};
}

/* ---- what is said ------------------------------------------------------------------------ */

static const char *amount(const struct thaw_amount *amount, char out[WORDS_SIZE])
{
    char archives[OUTPUT_SIZE], size[OUTPUT_SIZE];

    (void)snprintf(out, WORDS_SIZE, "%s (%s)", output_count(amount->archives, "archive", archives),
                   output_size(amount->bytes, size));
    return out;
}

static struct thaw_amount sum_of(const struct thaw_amount *a, const struct thaw_amount *b)
{
    return (struct thaw_amount){a->archives + b->archives, a->bytes + b->bytes};
}

/* "standard 3 to 5 hours, expedited 1 to 5 minutes, bulk 5 to 12 hours" */
static const char *delays(const char *class, char out[WORDS_SIZE])
{
    size_t used = 0;

    out[0] = '\0';
    for (int tier = 0; tier < COLD_TIERS; tier++) {
        const char *delay = cold_delay(class, (enum cold_tier)tier);

        if (delay && used < WORDS_SIZE)
            used += (size_t)snprintf(out + used, WORDS_SIZE - used, "%s%s %s", used ? ", " : "",
                                     cold_tier_name((enum cold_tier)tier), delay);
    }
    return out;
}

static void say_dry(const struct thawing *thawing)
{
    const struct thaw_sum *sum = &thawing->sum;
    char words[WORDS_SIZE];

    if (thawing->app->quiet || thawing->app->json)
        return;
    for (size_t i = 0; i < sum->class_count; i++) {
        console_line("to be thawed first: %s in %s", amount(&sum->classes[i].amount, words),
                     sum->classes[i].name);
        console_line("  usually takes: %s", delays(sum->classes[i].name, words));
    }
    if (sum->thawing.archives > 0)
        console_line("asked for already, of these: %s", amount(&sum->thawing, words));
    if (sum->thawed.archives > 0)
        console_line("in cold storage, and thawed: %s", amount(&sum->thawed, words));
}

static void say_asked(const struct thawing *thawing, const struct thaw_amount *asked)
{
    char words[WORDS_SIZE];

    if (thawing->app->quiet)
        return;
    if (asked->archives > 0)
        console_line("asked for %s, to be read for %u days", amount(asked, words), thawing->days);
    for (size_t i = 0; asked->archives > 0 && i < thawing->sum.class_count; i++) {
        const char *class = thawing->sum.classes[i].name;
        const char *delay = cold_delay(class, thawing->tier);

        console_line("%s, %s: usually takes %s", class, cold_tier_name(thawing->tier),
                     delay ? delay : "a while");
    }
    if (thawing->sum.thawing.archives > 0)
        console_line("asked for before: %s", amount(&thawing->sum.thawing, words));
}

static struct json_object *amount_json(const struct thaw_amount *amount)
{
    struct json_object *object = json_object_new_object();

    json_object_object_add(object, "archives", output_json_number(amount->archives));
    json_object_object_add(object, "bytes", output_json_number(amount->bytes));
    return object;
}

struct json_object *thawing_json(const struct thawing *thawing)
{
    const struct thaw_sum *sum = &thawing->sum;

    if (!thawing->thaw)
        return NULL;
    struct json_object *object = json_object_new_object(), *classes = json_object_new_object();
    json_object_object_add(object, "frozen", amount_json(&sum->frozen));
    json_object_object_add(object, "thawing", amount_json(&sum->thawing));
    json_object_object_add(object, "thawed", amount_json(&sum->thawed));
    for (size_t i = 0; i < sum->class_count; i++) {
        struct json_object *class = amount_json(&sum->classes[i].amount);

        for (int tier = 0; tier < COLD_TIERS; tier++) {
            const char *delay = cold_delay(sum->classes[i].name, (enum cold_tier)tier);

            if (delay)
                json_object_object_add(class, cold_tier_name((enum cold_tier)tier),
                                       json_object_new_string(delay));
        }
        json_object_object_add(classes, sum->classes[i].name, class);
    }
    json_object_object_add(object, "classes", classes);
    return object;
}

/* ---- asking and waiting ------------------------------------------------------------------ */

static int look(struct thawing *thawing, struct err *err)
{
    return thaw_look(thawing->thaw, thawing->progress, &thawing->sum, err);
}

static struct thaw_amount missing(const struct thawing *thawing)
{
    return sum_of(&thawing->sum.frozen, &thawing->sum.thawing);
}

static int refuse(const struct thawing *thawing, struct err *err)
{
    const struct thaw_amount left = missing(thawing);
    const char *delay = cold_delay(thawing->sum.classes[0].name, COLD_STANDARD);
    char words[WORDS_SIZE];

    app_hint(thawing->app,
             "--thaw asks for them (%s: usually %s), and the same command later restores; "
             "--dry-run says more",
             thawing->sum.classes[0].name, delay ? delay : "some hours");
    return err_set(err, ERR_COLD,
                   "%s of what is to be restored must be thawed first; nothing was written",
                   amount(&left, words));
}

static int give_up(const struct thawing *thawing, struct err *err)
{
    const struct thaw_amount left = missing(thawing);
    char words[WORDS_SIZE];

    app_hint(thawing->app, "run the same command again later: what is thawed by then is not asked "
                           "for again; --wait 12h waits");
    return err_set(err, ERR_BUSY, "%s not thawed yet; nothing was written", amount(&left, words));
}

static int pause_for(const struct thawing *thawing, int64_t ns, struct err *err)
{
    struct clock *clock = clock_system();

    for (int64_t end = clock_monotonic_ns() + ns; clock_monotonic_ns() < end;) {
        if (progress_cancelled(thawing->progress))
            return err_set(err, ERR_CANCELLED, "interrupted; what was asked for is on its way");
        clock->sleep_ns(clock, PAUSE_STEP);
    }
    return 0;
}

/* What was thawed first may be frozen again before the last has come. */
static int look_and_ask_again(struct thawing *thawing, struct err *err)
{
    struct thaw_amount asked;
    int r = look(thawing, err);

    if (r == 0 && thawing->sum.frozen.archives > 0)
        r = thaw_ask(thawing->thaw, thawing->tier, thawing->days, thawing->progress, &asked, err);
    return r;
}

static int wait_for_it(struct thawing *thawing, struct err *err)
{
    int64_t end = clock_monotonic_ns() + (int64_t)thawing->wait_ns;
    int64_t pause = PAUSE_FIRST;
    int r = look(thawing, err);

    if (r == 0 && thawing->wait_ns > 0 && missing(thawing).archives > 0 && !thawing->app->quiet)
        console_line("waiting for it");
    while (r == 0 && missing(thawing).archives > 0) {
        if (clock_monotonic_ns() + pause > end)
            return give_up(thawing, err);
        r = pause_for(thawing, pause, err);
        if (r == 0)
            r = look_and_ask_again(thawing, err);
        pause = pause * 2 < PAUSE_LAST ? pause * 2 : PAUSE_LAST;
    }
    return r;
}

static int ask(struct thawing *thawing, struct err *err)
{
    struct thaw_amount asked = {0};
    int r = thaw_ask(thawing->thaw, thawing->tier, thawing->days, thawing->progress, &asked, err);

    say_asked(thawing, &asked);
    return r < 0 ? r : wait_for_it(thawing, err);
}

int thawing_ready(struct thawing *thawing, struct err *err)
{
    if (!thawing->thaw)
        return 0;
    int r = look(thawing, err);
    if (r < 0)
        return r;
    if (app_flag(thawing->app, "dry-run")) {
        say_dry(thawing);
        return 0;
    }
    if (missing(thawing).archives == 0)
        return 0;
    return thawing->asks ? ask(thawing, err) : refuse(thawing, err);
}

bool thawing_is_missing(const struct thawing *thawing)
{
    return missing(thawing).archives > 0;
}

/* ---- databases --------------------------------------------------------------------------- */

/* Descriptions are read whatever is asked for; of a table's path the ending may be left out. */
static size_t make_patterns(const char *path, char own[PATTERN_SIZE], char scripts[PATTERN_SIZE],
                            const char *out[DATABASE_PATTERNS])
{
    const char *below = strchr(path, '/');
    const char *table = below && below[1] ? strchr(below + 1, '/') : NULL;
    size_t count = 0;

    if (!below || !below[1])
        return 0;
    (void)snprintf(own, PATTERN_SIZE, table ? "%s*" : "%s", below);
    (void)snprintf(scripts, PATTERN_SIZE, "%.*s/*.sql",
                   table ? (int)(table - below) : (int)strlen(below), below);
    out[count++] = own;
    out[count++] = scripts;
    out[count++] = "manifest.json";
    out[count++] = "/globals.sql";
    return count;
}

int thawing_need_databases(struct thawing *thawing, const struct selection *selection,
                           const char *path, struct err *err)
{
    char own[PATTERN_SIZE], scripts[PATTERN_SIZE];
    const char *patterns[DATABASE_PATTERNS];
    struct extract_result ignored;
    const struct extract_options how = {
        .types = 1 << TYPE_DATABASE,
        .overwrite = OVERWRITE_ALWAYS,
        .includes = patterns,
        .include_count = path ? make_patterns(path, own, scripts, patterns) : 0,
        .dry_run = true,
        .thaw = thawing->thaw,
        .progress = thawing->progress,
    };

    if (!thawing->thaw || !selection->types[TYPE_DATABASE])
        return 0;
    return extract_run(thawing->session->blocks, selection, &how, &ignored, err);
}
