/* What a rule keeps of the snapshots of its type. */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "backup/base/clock.h"
#include "catalog/retention_internal.h"

enum { HOUR = 3600, DAY = 24 * HOUR };

static const char *const period_names[KEEP_PERIODS] = {"last",   "hourly",  "daily",
                                                       "weekly", "monthly", "yearly"};

static bool is_in(const struct series *series, const struct retention_moment *moment)
{
    return series->decision->out[moment->index].asked && moment->row->adhoc == series->adhoc &&
           retention_has_type(moment->row, series->type);
}

/* The number of the hour, day, week (from Monday), month or year, in UTC. */
static int64_t period_of(int64_t ns, enum retention_period period)
{
    int64_t seconds = ns / NS_PER_SECOND - (ns % NS_PER_SECOND < 0);
    int64_t days = seconds / DAY - (seconds % DAY < 0);
    time_t time = (time_t)seconds;
    struct tm tm = {0};

    if (period == KEEP_HOURLY)
        return seconds / HOUR - (seconds % HOUR < 0);
    if (period == KEEP_DAILY)
        return days;
    if (period == KEEP_WEEKLY) /* 1970 began on a Thursday */
        return (days + 3) / 7 - ((days + 3) % 7 < 0);
    (void)gmtime_r(&time, &tm);
    return period == KEEP_YEARLY ? tm.tm_year : (int64_t)tm.tm_year * 12 + tm.tm_mon;
}

/* The newest of each period, newest period first.  One that begins at a break of time takes no
 * place: it may well be the same as the one on the other side. */
static void keep_periods(const struct series *series, enum retention_period period,
                         const struct retention_keep *how)
{
    const struct decision *decision = series->decision;
    const struct retention_moment *last = NULL;
    uint64_t used = 0;
    char span[SPAN_TEXT_SIZE];

    for (size_t i = decision->count; i-- > 0;) {
        const struct retention_moment *moment = &decision->moments[i];
        struct retention_verdict *verdict = &decision->out[moment->index];

        if (!is_in(series, moment) || !retention_is_complete(moment->row, series->type))
            continue;
        if (last && moment->set_back == last->set_back &&
            period_of(moment->row->start_ns, period) == period_of(last->row->start_ns, period))
            continue;
        used += !last || moment->breaks == last->breaks;
        last = moment;
        if (used <= how->count)
            retention_keep(verdict, series->type, "%s %" PRIu64 " of %" PRIu64,
                           period_names[period], used, how->count);
        else if (moment->age_ns <= how->span_ns)
            retention_keep(verdict, series->type, "%s for %s", period_names[period],
                           retention_span(how->span_ns, span));
    }
}

static void keep_last(const struct series *series, uint64_t count)
{
    const struct decision *decision = series->decision;
    uint64_t used = 0;

    for (size_t i = decision->count; i-- > 0 && used < count;) {
        const struct retention_moment *moment = &decision->moments[i];

        if (!is_in(series, moment) || !retention_is_complete(moment->row, series->type))
            continue;
        used++;
        retention_keep(&decision->out[moment->index], series->type, "last %" PRIu64 " of %" PRIu64,
                       used, count);
    }
}

static void keep_within(const struct series *series, int64_t span_ns)
{
    const struct decision *decision = series->decision;
    int64_t newest = decision->moments[decision->count - 1].row->start_ns;
    char span[SPAN_TEXT_SIZE];

    for (size_t i = 0; i < decision->count && span_ns > 0; i++) {
        const struct retention_moment *moment = &decision->moments[i];
        int64_t claimed;
        bool doubted =
            __builtin_sub_overflow(newest, moment->row->start_ns, &claimed) || claimed > span_ns;

        if (is_in(series, moment) && moment->age_ns <= span_ns)
            retention_keep(&decision->out[moment->index], series->type, "within %s%s",
                           retention_span(span_ns, span),
                           doubted ? ", as far as its age is attested" : "");
    }
}

/* What came after the newest complete one, though it is not complete itself. */
static void keep_incomplete(const struct series *series)
{
    const struct decision *decision = series->decision;

    for (size_t i = decision->count; i-- > 0;) {
        const struct retention_moment *moment = &decision->moments[i];

        if (!is_in(series, moment))
            continue;
        if (retention_is_complete(moment->row, series->type))
            return;
        retention_keep(&decision->out[moment->index], series->type, "no complete one is newer");
    }
}

static void keep_tagged(const struct series *series, const struct strings *tags)
{
    const struct decision *decision = series->decision;

    for (size_t i = 0; i < decision->count; i++) {
        const struct retention_moment *moment = &decision->moments[i];

        for (size_t tag = 0; tag < tags->count && is_in(series, moment); tag++)
            if (retention_has_tag(moment->row, tags->at[tag]))
                retention_keep(&decision->out[moment->index], series->type, "tag %.60s",
                               tags->at[tag]);
    }
}

static void keep_all(const struct series *series, const char *why)
{
    const struct decision *decision = series->decision;

    for (size_t i = 0; i < decision->count; i++)
        if (is_in(series, &decision->moments[i]))
            retention_keep(&decision->out[decision->moments[i].index], series->type, "%s", why);
}

void retention_apply(const struct series *series)
{
    const struct retention_rule *rule = &series->decision->rules->types[series->type];

    if (!rule->given || rule->forever) {
        if (series->type != SEVERAL || rule->given)
            keep_all(series, rule->given ? "for ever" : "not asked about");
        return;
    }
    keep_last(series, rule->keep[KEEP_LAST].count);
    keep_within(series, rule->keep[KEEP_LAST].span_ns);
    for (enum retention_period period = KEEP_HOURLY; period < KEEP_PERIODS; period++) {
        const struct retention_keep *how = &rule->keep[period];
        if (how->count > 0 || how->span_ns > 0)
            keep_periods(series, period, how);
    }
    keep_tagged(series, &rule->tags);
    if (series->type != SEVERAL)
        keep_incomplete(series);
}
