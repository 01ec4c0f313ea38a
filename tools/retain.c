#include "tools/retain.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "catalog/catalog.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/locks.h"
#include "tools/output.h"
#include "tools/session.h"

#define HOUR (3600 * NS_PER_SECOND)

enum { COUNT_MAX = 1000000, HOURS_MAX = 200 * 365 * 24 };

static const struct {
    const char *name;
    enum retention_period period;
} words[] = {
    {"within", KEEP_LAST},   {"last", KEEP_LAST},     {"hourly", KEEP_HOURLY},
    {"daily", KEEP_DAILY},   {"weekly", KEEP_WEEKLY}, {"monthly", KEEP_MONTHLY},
    {"yearly", KEEP_YEARLY},
};

static void freep(void *pointer)
{
    free(*(void **)pointer);
}

/* ---- words ---- */

/* "14" or "30d". */
static int parse_amount(const char *text, uint64_t *out, bool *out_span, struct err *err)
{
    static const char letters[] = "hdwy";
    static const uint64_t hours[] = {1, 24, 7 * 24, 365 * 24};
    uint64_t value = 0;
    const char *at = text;

    while (*at >= '0' && *at <= '9' && value <= COUNT_MAX)
        value = value * 10 + (uint64_t)(*at++ - '0');
    const char *letter = *at ? strchr(letters, *at) : NULL;
    if (at == text || value > COUNT_MAX || (*at && (!letter || at[1])))
        return err_set(err, ERR_USAGE, "\"%.60s\" is neither a count nor a time, such as 14 or 30d",
                       text);
    *out_span = letter != NULL;
    *out = letter ? value * hours[letter - letters] : value;
    if (letter && *out > HOURS_MAX)
        return err_set(err, ERR_USAGE, "\"%.60s\" is too long a time", text);
    return 0;
}

static int add_period(struct retention_rule *rule, const char *name, enum retention_period period,
                      const char *amount, struct err *err)
{
    uint64_t value;
    bool span;
    int r = parse_amount(amount, &value, &span, err);

    if (r < 0)
        return err_context(err, "%s", name);
    if (strcmp(name, "within") == 0 && !span)
        return err_set(err, ERR_USAGE, "within: \"%.60s\" is no time, such as 30d", amount);
    if (strcmp(name, "last") == 0 && span)
        return err_set(err, ERR_USAGE, "last: \"%.60s\" is no count", amount);
    if (span)
        rule->keep[period].span_ns = (int64_t)value * HOUR;
    else
        rule->keep[period].count = value;
    return 0;
}

int retain_word(struct retention_rule *rule, const char *word, struct err *err)
{
    const char *equals = strchr(word, '=');
    size_t size = equals ? (size_t)(equals - word) : strlen(word);

    rule->given = true;
    if (strcmp(word, "forever") == 0) {
        rule->forever = true;
        return 0;
    }
    if (equals && size == 3 && memcmp(word, "tag", 3) == 0 && equals[1])
        return strings_add(&rule->tags, equals + 1, strlen(equals + 1), err);
    for (size_t i = 0; equals && i < sizeof(words) / sizeof(words[0]); i++)
        if (strlen(words[i].name) == size && memcmp(words[i].name, word, size) == 0)
            return add_period(rule, words[i].name, words[i].period, equals + 1, err);
    return err_set(err, ERR_USAGE,
                   "\"%.60s\" is no rule: within=30d, last=N, hourly=, daily=, weekly=, monthly=, "
                   "yearly= with a count or a time, tag=WORD, forever",
                   word);
}

/* ---- rules ---- */

static bool is_asked(uint8_t types, unsigned type)
{
    return types == 0 || (types & 1U << type) != 0;
}

/* A type without a rule keeps all; `all` without one keeps nothing besides. */
static int rule_set(struct app *app, enum setting_id id, struct retention_rule *out,
                    struct err *err)
{
    const struct strings *set = config_list(&app->config, id);
    char origin[128];
    int r = 0;

    for (size_t i = 0; r == 0 && i < set->count; i++)
        r = retain_word(out, set->at[i], err);
    if (set->count == 0 && id != SET_RETENTION_ALL)
        out->given = out->forever = true;
    if (r == 0)
        return 0;
    config_origin(&app->config, id, origin, sizeof(origin));
    return err_context(err, "%s", origin);
}

int retain_rules_set(struct app *app, uint8_t types, struct retention_rules *out, struct err *err)
{
    static const enum setting_id ids[] = {
        [0] = SET_RETENTION_ALL,
        [TYPE_FILES] = SET_RETENTION_FILES,
        [TYPE_CONFIG] = SET_RETENTION_CONFIG,
        [TYPE_DATABASE] = SET_RETENTION_DATABASE,
    };
    int r = rule_set(app, ids[0], &out->types[0], err);

    for (unsigned type = 1; r == 0 && type <= TYPES; type++)
        if (is_asked(types, type))
            r = rule_set(app, ids[type], &out->types[type], err);
    return r;
}

static int add_options(struct app *app, const char *name, struct retention_rule *rule,
                       bool *out_given, struct err *err)
{
    CLEANUP(freep) const char **values = NULL;
    char option[32], word[160];
    size_t count = 0;

    (void)snprintf(option, sizeof(option), "keep-%s", name);
    int r = options_list(&app->options, option, &values, &count, err);
    for (size_t i = 0; r == 0 && i < count; i++) {
        if (snprintf(word, sizeof(word), "%s=%s", name, values[i]) >= (int)sizeof(word))
            return err_set(err, ERR_USAGE, "--%s: too long", option);
        r = retain_word(rule, word, err);
        *out_given = true;
    }
    return r;
}

int retain_rules_given(struct app *app, uint8_t types, struct retention_rules *out, bool *out_given,
                       struct err *err)
{
    int r = 0;

    *out_given = false;
    for (unsigned type = 1; r == 0 && type <= TYPES; type++) {
        if (!is_asked(types, type))
            continue;
        for (size_t i = 0; r == 0 && i < sizeof(words) / sizeof(words[0]); i++)
            r = add_options(app, words[i].name, &out->types[type], out_given, err);
        if (r == 0)
            r = add_options(app, "tag", &out->types[type], out_given, err);
    }
    return r;
}

int retain_rules_days(const char *days, uint8_t types, struct retention_rules *out, struct err *err)
{
    uint64_t value;
    bool span;
    int r = parse_amount(days, &value, &span, err);

    if (r < 0 || span || value * 24 > HOURS_MAX)
        return err_set(err, ERR_USAGE, "--retention: \"%.60s\" is no number of days", days);
    for (unsigned type = 1; type <= TYPES; type++) {
        struct retention_rule *rule = &out->types[type];

        rule->given = is_asked(types, type);
        rule->keep[KEEP_LAST].span_ns = (int64_t)value * 24 * HOUR;
    }
    return 0;
}

/* ---- forgetting ---- */

static const struct snapshot_row *find_row(const struct snapshot_rows *rows,
                                           const struct snapshot_row *row)
{
    for (size_t i = 0; i < rows->count; i++)
        if (strcmp(rows->at[i].name, row->name) == 0 && rows->at[i].start_ns == row->start_ns)
            return &rows->at[i];
    return NULL;
}

/* Whether what was dropped leaves no complete snapshot of a type now, or was held meanwhile. */
static int must_return(const struct snapshot_rows *now, const struct snapshot_row *row, bool *out,
                       struct err *err)
{
    CLEANUP(freep) struct snapshot_row *rows = calloc(now->count + 1, sizeof(*rows));
    CLEANUP(freep) bool *drop = calloc(now->count + 1, sizeof(*drop));
    const struct snapshot_row *own = find_row(now, row);
    struct err why;

    if (!rows || !drop)
        return err_set(err, ERR_NOMEM, "out of memory");
    *out = false;
    if (!own) /* pruned, or never there */
        return 0;
    memcpy(rows, now->at, now->count * sizeof(*rows));
    rows[own - now->at].forgotten = false;
    drop[own - now->at] = true;
    *out = own->held || retention_check_last(rows, now->count, drop, &why) < 0;
    return 0;
}

static int look_again(struct app *app, struct session *session, const struct snapshot_row *rows,
                      size_t count, const bool *drop, struct err *err)
{
    CLEANUP(snapshot_rows_clear) struct snapshot_rows now = {0};
    const char *host = config_text(&app->config, SET_BACKUP_HOST);
    int r = catalog_sync(session->catalog, false, err);

    if (r == 0)
        r = catalog_all_snapshots(session->catalog, NULL, &now, err);
    for (size_t i = 0; r == 0 && i < count; i++) {
        bool back = false;

        if (drop[i])
            r = must_return(&now, &rows[i], &back, err);
        if (r < 0 || !back)
            continue;
        console_say("%s is the last complete one after all, or held: it stays", rows[i].name);
        r = catalog_unforget(session->catalog, &rows[i], host, "the last complete one", err);
        struct snapshot_row *own = (struct snapshot_row *)find_row(&now, &rows[i]);
        own->forgotten = false; /* the next may go all the more */
    }
    return r;
}

int retain_forget(struct app *app, struct session *session, const struct snapshot_row *rows,
                  size_t count, const bool *drop, const char *reason, struct err *err)
{
    const char *host = config_text(&app->config, SET_BACKUP_HOST);
    bool any = false;
    int r = 0;

    for (size_t i = 0; r == 0 && i < count; i++) {
        if (!drop[i])
            continue;
        r = catalog_forget(session->catalog, &rows[i], host, reason, err);
        any = true;
    }
    if (!any)
        return r;
    struct err later;
    int looked = look_again(app, session, rows, count, drop, r < 0 ? &later : err);
    return r < 0 ? r : looked;
}

static void tell(const struct app *app, const struct snapshot_row *row,
                 const struct retention_verdict *verdict, bool dry_run)
{
    if (!app->json) {
        printf("%-12s  %s  %s\n",
               verdict->keep ? "keep"
               : dry_run     ? "would forget"
                             : "forget",
               row->name, verdict->reason);
        return;
    }
    struct json_object *line = json_object_new_object();
    json_object_object_add(line, "snapshot", json_object_new_string(row->name));
    json_object_object_add(line, "host", output_json_text(row->host, strlen(row->host)));
    json_object_object_add(line, "keep", json_object_new_boolean(verdict->keep));
    json_object_object_add(line, "age_seconds",
                           json_object_new_int64(verdict->age_ns / NS_PER_SECOND));
    json_object_object_add(line, "reason",
                           output_json_text(verdict->reason, strlen(verdict->reason)));
    output_json(line);
}

int retain_run(struct app *app, struct session *session, const struct retention_rules *rules,
               const struct retention_scope *scope, unsigned how, struct retain_result *out,
               struct err *err)
{
    CLEANUP(snapshot_rows_clear) struct snapshot_rows rows = {0};
    int r = catalog_all_snapshots(session->catalog, NULL, &rows, err);

    if (r < 0)
        return r;
    CLEANUP(freep) struct retention_verdict *verdicts = calloc(rows.count + 1, sizeof(*verdicts));
    CLEANUP(freep) bool *drop = calloc(rows.count + 1, sizeof(*drop));
    if (!verdicts || !drop)
        return err_set(err, ERR_NOMEM, "out of memory");
    r = retention_decide(rows.at, rows.count, rules, scope, verdicts, err);
    *out = (struct retain_result){0};
    for (size_t i = 0; r == 0 && i < rows.count; i++) {
        if (!verdicts[i].asked)
            continue;
        drop[i] = !verdicts[i].keep;
        *(drop[i] ? &out->forgotten : &out->kept) += 1;
        if (!(how & RETAIN_SILENT) && (drop[i] || (how & RETAIN_EXPLAIN)))
            tell(app, &rows.at[i], &verdicts[i], how & RETAIN_DRY);
    }
    if (r == 0 && !(how & RETAIN_DRY))
        r = retain_forget(app, session, rows.at, rows.count, drop, "rule", err);
    if (r == 0 && !(how & RETAIN_SILENT))
        locks_tell_dropped(app, session, rows.at, drop, rows.count);
    return r;
}
