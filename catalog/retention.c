#include "catalog/retention.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "catalog/catalog.h"
#include "catalog/retention_internal.h"

void retention_rules_clear(struct retention_rules *rules)
{
    for (size_t i = 0; i <= TYPES; i++)
        strings_clear(&rules->types[i].tags);
}

static void freep(void *pointer)
{
    free(*(void **)pointer);
}

/* ---- reasons ---- */

static const char *type_name(unsigned type)
{
    return type == SEVERAL ? "all" : snapshot_type_name((enum snapshot_type)type);
}

void retention_say(struct retention_verdict *verdict, unsigned type, const char *format, ...)
{
    size_t used = strlen(verdict->reason);
    char text[160];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    (void)snprintf(verdict->reason + used, sizeof(verdict->reason) - used, "%s%s: %s",
                   used ? "; " : "", type_name(type), text);
}

void retention_keep(struct retention_verdict *verdict, unsigned type, const char *format, ...)
{
    char text[160], whole[200];
    va_list args;

    if (!verdict->asked)
        return;
    if (!verdict->keep)
        verdict->reason[0] = '\0';
    verdict->keep = true;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    (void)snprintf(whole, sizeof(whole), "%s: %s", type_name(type), text);
    if (!strstr(verdict->reason, whole)) /* the same snapshot can be the last in two ways */
        retention_say(verdict, type, "%s", text);
}

/* "7 d", "36 h" */
const char *retention_span(int64_t ns, char out[SPAN_TEXT_SIZE])
{
    int64_t minutes = ns / (60 * NS_PER_SECOND), hours = minutes / 60;

    if (hours == 0)
        (void)snprintf(out, SPAN_TEXT_SIZE, "%" PRId64 " min", minutes);
    else if (hours % 24 == 0 || hours > 72)
        (void)snprintf(out, SPAN_TEXT_SIZE, "%" PRId64 " d", hours / 24);
    else
        (void)snprintf(out, SPAN_TEXT_SIZE, "%" PRId64 " h", hours);
    return out;
}

/* ---- rows ---- */

bool retention_has_type(const struct snapshot_row *row, unsigned type)
{
    if (type == SEVERAL)
        return (row->types & (row->types - 1)) != 0;
    return row->types & 1U << type;
}

bool retention_is_complete(const struct snapshot_row *row, unsigned type)
{
    return type == SEVERAL ? row->complete : (row->complete_types & 1U << type) != 0;
}

bool retention_has_tag(const struct snapshot_row *row, const char *tag)
{
    for (size_t i = 0; i < row->tags.count; i++)
        if (strcmp(row->tags.at[i], tag) == 0)
            return true;
    return false;
}

/* ---- the last complete one ---- */

/* As `latest` takes it, or if there is none such, any that has all of the type. */
enum completeness { LATEST, WHOLE_TYPE, ADHOC, COMPLETENESSES };

static bool counts(const struct snapshot_row *row, unsigned type, enum completeness completeness)
{
    if (row->forgotten || !retention_has_type(row, type) || !retention_is_complete(row, type))
        return false;
    return completeness == ADHOC || (!row->adhoc && (completeness == WHOLE_TYPE || row->complete));
}

/* The newest by order of making, and the newest by name, which `latest` goes by. */
static bool keep_newest(const struct decision *decision, unsigned type,
                        enum completeness completeness)
{
    const struct retention_moment *made = NULL, *named = NULL;

    for (size_t i = 0; i < decision->count; i++) {
        const struct retention_moment *moment = &decision->moments[i];

        if (!counts(moment->row, type, completeness))
            continue;
        made = moment;
        if (!named || strcmp(moment->row->name, named->row->name) > 0)
            named = moment;
    }
    if (made)
        retention_keep(&decision->out[made->index], type, "the last complete one");
    if (named && named != made)
        retention_keep(&decision->out[named->index], type,
                       "the complete one that is called latest");
    return made != NULL;
}

static void keep_last_complete(const struct decision *decision, unsigned type)
{
    bool found = keep_newest(decision, type, LATEST);

    /* The last run may have failed for another type only. */
    found = keep_newest(decision, type, WHOLE_TYPE) || found;
    if (!found)
        (void)keep_newest(decision, type, ADHOC);
}

static bool any_counts(const struct snapshot_row *rows, size_t count, const char *host,
                       unsigned type, enum completeness completeness, const bool *drop)
{
    for (size_t i = 0; i < count; i++)
        if (!(drop && drop[i]) && strcmp(rows[i].host, host) == 0 &&
            counts(&rows[i], type, completeness))
            return true;
    return false;
}

int retention_check_last(const struct snapshot_row *rows, size_t count, const bool *drop,
                         struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        for (unsigned type = 1; drop[i] && type <= TYPES; type++) {
            enum completeness level = LATEST;

            while (level < COMPLETENESSES &&
                   !any_counts(rows, count, rows[i].host, type, level, NULL))
                level++;
            if (level < COMPLETENESSES && counts(&rows[i], type, level) &&
                !any_counts(rows, count, rows[i].host, type, level, drop))
                return err_set(err, ERR_USAGE,
                               "%s is the last complete snapshot of the %s of %.60s: it is never "
                               "forgotten",
                               rows[i].name, type_name(type), rows[i].host);
        }
    }
    return 0;
}

/* ---- all together ---- */

static void begin(const struct decision *decision)
{
    const struct retention_scope *scope = decision->scope;

    for (size_t i = 0; i < decision->count; i++) {
        const struct retention_moment *moment = &decision->moments[i];
        struct retention_verdict *verdict = &decision->out[moment->index];
        const char *why = NULL;

        if (moment->row->forgotten)
            why = "forgotten already";
        else if (scope->host && strcmp(scope->host, moment->row->host) != 0)
            why = "of another host";
        else if (scope->tag && !retention_has_tag(moment->row, scope->tag))
            why = "without the tag";
        *verdict = (struct retention_verdict){
            .asked = !why, .keep = why != NULL, .age_ns = moment->age_ns};
        (void)snprintf(verdict->reason, sizeof(verdict->reason), "%s", why ? why : "");
        if (why || !moment->row->held)
            continue;
        verdict->keep = true;
        strcpy(verdict->reason, "held");
    }
}

static void explain_drop(const struct decision *decision, const struct retention_moment *moment)
{
    struct retention_verdict *verdict = &decision->out[moment->index];
    char age[SPAN_TEXT_SIZE];

    for (unsigned type = 1; type <= TYPES && !verdict->keep; type++)
        if (retention_has_type(moment->row, type))
            retention_say(verdict, type, "%s old%s, and no rule keeps it",
                          retention_span(moment->age_ns, age),
                          retention_is_complete(moment->row, type) ? "" : ", incomplete");
}

static int decide_host(struct decision *decision, struct err *err)
{
    int r = retention_date(decision->moments, decision->count, decision->scope->now_ns, err);

    if (r < 0)
        return r;
    begin(decision);
    for (unsigned type = SEVERAL; type <= TYPES; type++) {
        struct series regular = {decision, type, false}, adhoc = {decision, type, true};
        retention_apply(&regular);
        retention_apply(&adhoc);
    }
    for (unsigned type = 1; type <= TYPES; type++)
        keep_last_complete(decision, type);
    for (size_t i = 0; i < decision->count; i++)
        explain_drop(decision, &decision->moments[i]);
    return 0;
}

static int by_host(const void *left, const void *right)
{
    const struct retention_moment *a = left, *b = right;

    return strcmp(a->row->host, b->row->host);
}

int retention_decide(const struct snapshot_row *rows, size_t count,
                     const struct retention_rules *rules, const struct retention_scope *scope,
                     struct retention_verdict *out, struct err *err)
{
    CLEANUP(freep) struct retention_moment *moments = calloc(count + 1, sizeof(*moments));
    int r = moments ? 0 : err_set(err, ERR_NOMEM, "out of memory");

    for (size_t i = 0; r == 0 && i < count; i++)
        moments[i] = (struct retention_moment){.row = &rows[i], .index = i};
    if (r == 0 && count > 0)
        qsort(moments, count, sizeof(*moments), by_host);
    for (size_t first = 0, end; r == 0 && first < count; first = end) {
        end = first + 1;
        while (end < count && strcmp(moments[first].row->host, moments[end].row->host) == 0)
            end++;
        struct decision decision = {rules, scope, moments + first, end - first, out};
        r = decide_host(&decision, err);
    }
    return r;
}
