/* A year of schedule, judged by a reckoning of its own. */
#include <time.h>

#include "tests/harness/aging.h"

enum { RECKON_EVERY = 13 };

static void drop(struct world *world)
{
    size_t left = 0;

    for (size_t i = 0; i < world->count; i++) {
        if (!world->verdicts[i].keep)
            continue;
        world->rows[left] = world->rows[i];
        world->true_ns[left++] = world->true_ns[i];
    }
    world->count = left;
}

/* ---- an independent reckoning: docs/decisions/retention.md word by word, as slow as it reads ----
 */

static bool younger(const struct snapshot_row *a, const struct snapshot_row *b)
{
    return a->sequence > b->sequence;
}

static int64_t counted_start(const struct world *world, size_t i, int64_t now_ns)
{
    int64_t earliest = world->rows[i].start_ns < now_ns ? world->rows[i].start_ns : now_ns;

    for (size_t j = 0; j < world->count; j++)
        if (younger(&world->rows[j], &world->rows[i]) && world->rows[j].start_ns < earliest)
            earliest = world->rows[j].start_ns;
    return earliest;
}

/* Rows stand by sequence here: the gap before row i. */
static int64_t time_between(const struct world *world, size_t i, int64_t now_ns)
{
    return counted_start(world, i, now_ns) - counted_start(world, i - 1, now_ns);
}

static int64_t runs_between(const struct world *world, size_t i)
{
    return (int64_t)(world->rows[i].sequence - world->rows[i - 1].sequence);
}

static int descending(const void *left, const void *right)
{
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;

    return a < b ? 1 : a > b ? -1 : 0;
}

/* What three others say: *out for the gap before i; also the longest that is usual at all. */
static int64_t attested(const struct world *world, const int64_t *gap, size_t i)
{
    static int64_t others[ROWS_MAX];
    size_t count = 0;
    int64_t runs = i > 0 ? runs_between(world, i) : 1;

    for (size_t j = 1; j < world->count; j++)
        if (j != i)
            others[count++] = gap[j] / runs_between(world, j);
    qsort(others, count, sizeof(*others), descending);
    int64_t witness = count >= 3 ? others[2] : 0;
    return gap[i] / runs <= witness ? gap[i] : witness * runs;
}

struct reckoning {
    int64_t age[ROWS_MAX];
    bool set_back[ROWS_MAX], broken[ROWS_MAX]; /* between row i - 1 and row i */
};

static void reckon_time(const struct world *world, int64_t now_ns, struct reckoning *out)
{
    static int64_t gap[ROWS_MAX], per_run[ROWS_MAX];
    size_t count = world->count;

    for (size_t i = 1; i < count; i++) {
        gap[i] = time_between(world, i, now_ns);
        per_run[i - 1] = gap[i] / runs_between(world, i);
    }
    if (count > 1)
        qsort(per_run, count - 1, sizeof(*per_run), descending);
    int64_t usual = count > 4 ? per_run[3] : 0;
    for (size_t i = 0; i < count; i++) {
        out->age[i] = 0;
        if (i > 0) {
            out->set_back[i] = world->rows[i].start_ns < world->rows[i - 1].start_ns;
            out->broken[i] =
                out->set_back[i] || (usual > 0 && gap[i] / runs_between(world, i) / 2 > usual);
        }
    }
    for (size_t i = 1; i < count; i++)
        for (size_t j = 0; j < i; j++)
            out->age[j] += attested(world, gap, i);
}

static bool of_kind(const struct snapshot_row *row, unsigned type)
{
    unsigned types = 0;

    for (unsigned t = 1; t <= TYPES; t++)
        types += row->types >> t & 1;
    return type == 0 ? types > 1 : row->types >> type & 1;
}

static void name_period(const struct snapshot_row *row, enum retention_period period, char out[32])
{
    time_t seconds = (time_t)(row->start_ns / NS_PER_SECOND);
    struct tm tm;
    size_t size = 0;

    (void)gmtime_r(&seconds, &tm);
    switch (period) {
    case KEEP_HOURLY:
        size = strftime(out, 32, "%F %H", &tm);
        break;
    case KEEP_DAILY:
        size = strftime(out, 32, "%F", &tm);
        break;
    case KEEP_WEEKLY:
        size = strftime(out, 32, "%G week %V", &tm);
        break;
    case KEEP_MONTHLY:
        size = strftime(out, 32, "%Y-%m", &tm);
        break;
    default:
        size = strftime(out, 32, "%Y", &tm);
    }
    assert_true(size > 0);
}

/* Whether a row of the kind begins a period, seen from the newest; *out_free: at a break. */
static bool leads(const struct world *world, const struct reckoning *time, size_t row,
                  unsigned type, enum retention_period period, bool *out_free)
{
    char own[32], other[32];
    bool back = false;

    name_period(&world->rows[row], period, own);
    *out_free = false;
    for (size_t next = row + 1; next < world->count; next++) {
        back = back || time->set_back[next];
        if (!of_kind(&world->rows[next], type))
            continue;
        name_period(&world->rows[next], period, other);
        return back || strcmp(own, other) != 0;
    }
    return true;
}

static bool period_keeps(const struct world *world, const struct reckoning *time, size_t row,
                         unsigned type, enum retention_period period,
                         const struct retention_keep *how)
{
    uint64_t rank = 0;
    size_t newer = world->count; /* the leader before */
    bool unused;

    if (!leads(world, time, row, type, period, &unused))
        return false;
    for (size_t i = world->count; i-- > row;) {
        bool broken = false;
        if (!of_kind(&world->rows[i], type) || !leads(world, time, i, type, period, &unused))
            continue;
        for (size_t j = i + 1; j <= newer && j < world->count && newer < world->count; j++)
            broken = broken || time->broken[j];
        rank += !broken;
        newer = i;
    }
    return rank <= how->count || (how->span_ns > 0 && time->age[row] <= how->span_ns);
}

static bool rule_keeps(const struct world *world, const struct reckoning *time, size_t row,
                       unsigned type, const struct retention_rule *rule)
{
    uint64_t newer = 0;

    for (size_t i = row + 1; i < world->count; i++)
        newer += of_kind(&world->rows[i], type);
    if (newer < rule->keep[KEEP_LAST].count || (type > 0 && newer == 0))
        return true;
    if (rule->keep[KEEP_LAST].span_ns > 0 && time->age[row] <= rule->keep[KEEP_LAST].span_ns)
        return true;
    for (enum retention_period period = KEEP_HOURLY; period < KEEP_PERIODS; period++)
        if ((rule->keep[period].count || rule->keep[period].span_ns) &&
            period_keeps(world, time, row, type, period, &rule->keep[period]))
            return true;
    return false;
}

static bool is_called_latest(const struct world *world, size_t row, unsigned type)
{
    for (size_t i = 0; i < world->count; i++)
        if (of_kind(&world->rows[i], type) &&
            strcmp(world->rows[i].name, world->rows[row].name) > 0)
            return false;
    return true;
}

static bool reckon_kept(const struct world *world, const struct reckoning *time, size_t row,
                        const struct retention_rules *rules)
{
    for (unsigned type = 0; type <= TYPES; type++) {
        if (!of_kind(&world->rows[row], type))
            continue;
        if (rule_keeps(world, time, row, type, &rules->types[type]))
            return true;
        if (type > 0 && is_called_latest(world, row, type))
            return true;
    }
    return false;
}

static void compare_with_reckoning(const struct world *world, const struct retention_rules *rules,
                                   int64_t now_ns, int day)
{
    static struct reckoning time;

    reckon_time(world, now_ns, &time);
    for (size_t i = 0; i < world->count; i++) {
        bool expected = reckon_kept(world, &time, i, rules);
        if (world->verdicts[i].age_ns != time.age[i])
            fail_msg("day %d: %s is %lld ns old, not %lld", day, world->rows[i].name,
                     (long long)time.age[i], (long long)world->verdicts[i].age_ns);
        if (world->verdicts[i].keep != expected)
            fail_msg("day %d: %s (%zu of %zu) is to be %s: %s", day, world->rows[i].name, i,
                     world->count, expected ? "kept" : "dropped", world->verdicts[i].reason);
    }
}

/* ---- a year ---- */

struct year {
    uint32_t seed;
    int missed_percent;
    bool leaps;
};

static uint32_t roll(struct year *year, uint32_t below)
{
    year->seed = year->seed * 1664525 + 1013904223;
    return (year->seed >> 8) % below;
}

static void maybe_leap(struct year *year, struct wrong_clock *clock)
{
    static const int64_t lengths[] = {90 * HOUR / 60, 5 * HOUR, 3 * DAY, 40 * DAY, 3650 * DAY};

    if (!year->leaps || roll(year, 400) > 4)
        return;
    if (clock->offset_ns != 0 && roll(year, 3) > 0) {
        clock->offset_ns = 0; /* put right */
        return;
    }
    clock->offset_ns += (roll(year, 2) ? 1 : -1) * lengths[roll(year, 5)];
}

/* Every six hours the database, at night files and config, on Sundays all. */
static void live_through(struct world *world, struct year *year,
                         const struct retention_rules *rules)
{
    struct wrong_clock clock = {{wrong_now, NULL}, BEGINNING, 0};
    uint32_t first = year->seed % RECKON_EVERY;

    for (int slot = 0; slot < 365 * 4; slot++, clock.true_ns = BEGINNING + slot * 6 * HOUR) {
        static const uint8_t nightly[] = {FILES, CONFIG};
        bool night = slot % 4 == 0;
        maybe_leap(year, &clock);
        clock.true_ns += roll(year, 300) * NS_PER_SECOND;
        if ((int)roll(year, 100) >= year->missed_percent)
            add(world, &clock.clock, night && slot / 4 % 7 == 3 ? ALL : DATABASE);
        clock.true_ns += 10 * 60 * NS_PER_SECOND;
        for (size_t i = 0; night && i < 2; i++, clock.true_ns += 10 * 60 * NS_PER_SECOND)
            if ((int)roll(year, 100) >= year->missed_percent)
                add(world, &clock.clock, nightly[i]);
        if (!night || world->count == 0)
            continue;
        int64_t now = clock.clock.now_ns(&clock.clock);
        decide(world, rules, now);
        if ((slot / 4 + (int)first) % RECKON_EVERY == 0) /* it takes its time */
            compare_with_reckoning(world, rules, now, slot / 4);
        drop(world);
    }
}

static struct retention_rules shipped(void)
{
    return (struct retention_rules){
        .types = {{.given = true, .keep[KEEP_WEEKLY].span_ns = 90 * DAY},
                  within(7 * DAY),
                  within(30 * DAY),
                  within(30 * DAY)}};
}

static struct retention_rules thinning(void)
{
    struct retention_rule rule = {.given = true,
                                  .keep = {[KEEP_LAST] = {.count = 3},
                                           [KEEP_HOURLY] = {.count = 9},
                                           [KEEP_DAILY] = {.count = 7},
                                           [KEEP_WEEKLY] = {.span_ns = 60 * DAY},
                                           [KEEP_MONTHLY] = {.count = 6},
                                           [KEEP_YEARLY] = {.count = 2}}};

    return (struct retention_rules){.types = {{.given = true}, rule, rule, rule}};
}

static void a_year_without_trouble_leaves_what_the_rules_say(void **state)
{
    struct world *world = *state;
    struct retention_rules rules = shipped();
    struct year year = {.seed = 1};

    live_through(world, &year, &rules);
    for (size_t i = 0; i < world->count; i++) {
        const struct snapshot_row *row = &world->rows[i];
        int64_t age = BEGINNING + 365 * DAY - world->true_ns[i];
        int64_t most = row->types == FILES ? 7 * DAY : row->types == ALL ? 90 * DAY : 30 * DAY;
        assert_true(age <= most + DAY);
    }
    assert_true(world->count >= 8 + 30 + 119 + 12 && world->count <= 8 + 31 + 125 + 13);
}

static void a_year_of_missed_runs_is_as_reckoned(void **state)
{
    struct retention_rules rules[] = {shipped(), thinning()};

    for (uint32_t i = 0; i < 2; i++) {
        struct world *world = *state;
        struct year year = {.seed = 100 + i, .missed_percent = 20};
        memset(world, 0, sizeof(*world));
        live_through(world, &year, &rules[i]);
        assert_true(world->count > 30);
    }
}

static void a_year_of_missed_runs_and_leaps_is_as_reckoned(void **state)
{
    struct retention_rules rules[] = {shipped(), thinning()};

    for (uint32_t i = 0; i < 4; i++) {
        struct world *world = *state;
        struct year year = {.seed = 1000 + i, .missed_percent = 10, .leaps = true};
        memset(world, 0, sizeof(*world));
        live_through(world, &year, &rules[i % 2]);
        assert_true(world->count > 30);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_year_without_trouble_leaves_what_the_rules_say),
        CASE(a_year_of_missed_runs_is_as_reckoned),
        CASE(a_year_of_missed_runs_and_leaps_is_as_reckoned),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
