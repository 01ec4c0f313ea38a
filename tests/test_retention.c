#include "catalog/retention.h"

#include "tests/harness/aging.h"

static void assert_reason(const struct world *world, size_t row, bool keep, const char *text)
{
    const struct retention_verdict *verdict = &world->verdicts[row];

    if (verdict->keep != keep || !strstr(verdict->reason, text))
        fail_msg("row %zu: %s: \"%s\", not \"%s\"", row, verdict->keep ? "kept" : "dropped",
                 verdict->reason, text);
}

/* ---- single rules ---- */

static void within_goes_by_the_newest_snapshot(void **state)
{
    struct world *world = *state;
    struct retention_rules rules = {.types[TYPE_FILES] = within(7 * DAY)};

    daily(world, 20, FILES);
    decide(world, &rules, BEGINNING + 400 * DAY); /* no backup for a year, or a wrong clock */
    assert_int_equal(kept(world), 8);
    assert_reason(world, 19, true, "files: within 7 d");
    assert_reason(world, 11, false, "files: 8 d old, and no rule keeps it");
}

static void counts_take_the_newest_of_each_period(void **state)
{
    struct world *world = *state;
    struct retention_rules rules = {.types[TYPE_FILES] = {.given = true,
                                                          .keep[KEEP_DAILY].count = 2,
                                                          .keep[KEEP_MONTHLY].count = 2}};

    for (int i = 0; i < 40 * 4; i++)
        add_at(world, BEGINNING + i * 6 * HOUR, FILES);
    decide(world, &rules, BEGINNING + 40 * DAY);
    assert_int_equal(kept(world), 3); /* 9 and 8 February, 31 January */
    assert_reason(world, 159, true, "daily 1 of 2; files: monthly 1 of 2");
    assert_reason(world, 155, true, "daily 2 of 2");
    assert_reason(world, 31 * 4 - 1, true, "monthly 2 of 2");
    assert_reason(world, 158, false, "no rule keeps it");
}

static void a_snapshot_stays_while_one_of_its_types_does(void **state)
{
    struct world *world = *state;
    struct retention_rules rules = {.types[TYPE_FILES] = within(3 * DAY),
                                    .types[TYPE_CONFIG] = within(9 * DAY)};

    daily(world, 20, FILES | CONFIG);
    decide(world, &rules, BEGINNING + 20 * DAY);
    assert_int_equal(kept(world), 10);
    rules.types[TYPE_CONFIG].given = false; /* only files were asked about */
    decide(world, &rules, BEGINNING + 20 * DAY);
    assert_int_equal(kept(world), 20);
    assert_reason(world, 0, true, "config: not asked about");
}

static void all_is_for_snapshots_of_several_types(void **state)
{
    struct world *world = *state;
    struct retention_rules rules = {
        .types = {{.given = true, .keep[KEEP_WEEKLY].span_ns = 90 * DAY},
                  within(7 * DAY),
                  within(7 * DAY),
                  within(7 * DAY)}};

    daily(world, 120, FILES);
    for (size_t i = 6; i < 120; i += 7)
        world->rows[i].types = world->rows[i].complete_types = ALL;
    decide(world, &rules, BEGINNING + 120 * DAY);
    assert_reason(world, 118, true, "all: weekly for 90 d");
    assert_reason(world, 34, true, "all: weekly for 90 d");
    assert_reason(world, 27, false, "92 d old"); /* of the newest, which is one day younger */
    assert_int_equal(kept(world), 8 + 12);
}

static void the_last_complete_of_a_type_stays(void **state)
{
    struct world *world = *state;
    struct retention_rules rules = {.types[TYPE_FILES] = within(DAY),
                                    .types[TYPE_CONFIG] = within(DAY)};
    bool gone[ROWS_MAX] = {false};
    struct err err;

    daily(world, 30, FILES);
    world->rows[3].types = world->rows[3].complete_types = CONFIG;
    for (size_t i = 10; i < 30; i++) { /* since then there was always something unreadable */
        world->rows[i].complete = false;
        world->rows[i].complete_types = 0;
    }
    decide(world, &rules, BEGINNING + 30 * DAY);
    assert_reason(world, 3, true, "config: the last complete one");
    assert_reason(world, 9, true, "files: the last complete one");
    assert_reason(world, 12, true, "no complete one is newer");
    assert_reason(world, 8, false, "files");
    gone[8] = true;
    assert_int_equal(retention_check_last(world->rows, world->count, gone, &err), 0);
    gone[3] = true;
    assert_int_equal(retention_check_last(world->rows, world->count, gone, &err), -ERR_USAGE);
    assert_non_null(strstr(err.text, "last complete snapshot of the config of here"));
}

static void incomplete_and_adhoc_ones_displace_nothing(void **state)
{
    struct world *world = *state;
    struct retention_rules rules = {
        .types[TYPE_FILES] = {.given = true, .keep[KEEP_LAST].count = 2}};

    daily(world, 10, FILES);
    world->rows[9].adhoc = world->rows[8].adhoc = world->rows[7].adhoc = true;
    world->rows[5].complete = false;
    world->rows[5].complete_types = 0;
    decide(world, &rules, BEGINNING + 10 * DAY);
    assert_reason(world, 9, true, "last 1 of 2");
    assert_reason(world, 8, true, "last 2 of 2");
    assert_reason(world, 7, false, "files");
    assert_reason(world, 6, true, "last 1 of 2");
    assert_reason(world, 5, false, "incomplete");
    assert_reason(world, 4, true, "last 2 of 2");
    assert_int_equal(kept(world), 4);
}

static void held_tagged_forgotten_and_foreign_ones(void **state)
{
    struct world *world = *state;
    struct retention_rules rules = {.types[TYPE_FILES] = within(DAY)};
    struct retention_scope scope = {"here", "nightly", BEGINNING + 20 * DAY};
    char *release[] = {(char[]){"release"}}, *nightly[] = {(char[]){"nightly"}};
    struct err err;

    daily(world, 20, FILES);
    rules.types[TYPE_FILES].tags = (struct strings){release, 1};
    world->rows[0].held = true;
    world->rows[1].tags = (struct strings){release, 1};
    world->rows[2].forgotten = true;
    strcpy(world->rows[3].host, "there");
    world->rows[4].tags = (struct strings){nightly, 1};
    decide(world, &rules, BEGINNING + 20 * DAY);
    assert_reason(world, 0, true, "held");
    assert_reason(world, 1, true, "tag release");
    assert_reason(world, 2, true, "forgotten already");
    assert_reason(world, 3, true, "of another host");
    assert_reason(world, 4, false, "files");
    assert_int_equal(kept(world), 6);
    assert_int_equal(retention_decide(world->rows, 20, &rules, &scope, world->verdicts, &err), 0);
    assert_int_equal(kept(world), 19); /* of those with the tag, one */
    assert_reason(world, 4, false, "files");
}

/* ---- the clock ---- */

static void a_leap_of_years_is_one_run(void **state)
{
    struct world *world = *state;
    struct retention_rules rules = {.types[TYPE_FILES] = within(7 * DAY)};
    struct wrong_clock clock = {{wrong_now, NULL}, BEGINNING, 0};

    for (int i = 0; i < 40; i++, clock.true_ns += DAY) {
        clock.offset_ns = i < 30 ? 0 : 3650 * DAY; /* wrong for ten runs */
        add(world, &clock.clock, FILES);
        decide(world, &rules, clock.clock.now_ns(&clock.clock));
        assert_int_equal(kept(world), i < 8 ? i + 1 : 8);
    }
}

static void a_clock_that_went_back_makes_nothing_old(void **state)
{
    struct world *world = *state;
    struct retention_rules rules = {.types[TYPE_FILES] = within(7 * DAY)};
    struct wrong_clock clock = {{wrong_now, NULL}, BEGINNING, 0};

    for (int i = 0; i < 60; i++, clock.true_ns += DAY) {
        clock.offset_ns = i >= 30 && i < 33 ? -BEGINNING : 0; /* 1970, until it is put right */
        add(world, &clock.clock, FILES);
        decide(world, &rules, clock.clock.now_ns(&clock.clock));
        for (int back = 0; back <= 7 && back <= i; back++)
            assert_true(world->verdicts[i - back].keep);
        if (i < 30 || i > 45)
            assert_int_equal(kept(world), i < 8 ? i + 1 : 8);
    }
}

static void few_snapshots_are_no_evidence(void **state)
{
    struct world *world = *state;
    struct retention_rules rules = {.types[TYPE_FILES] = within(HOUR)};

    daily(world, 4, FILES);
    decide(world, &rules, BEGINNING + 4 * DAY);
    assert_int_equal(kept(world), 4);
    assert_reason(world, 0, true, "as far as its age is attested");
    add_at(world, BEGINNING + 4 * DAY, FILES);
    decide(world, &rules, BEGINNING + 5 * DAY);
    assert_int_equal(kept(world), 1);
}

/* With up to three leaps of any length, to and fro, never one more goes than without. */
static void leaps_keep_at_least_what_stays_without(void **state)
{
    struct world *world = *state;
    struct world *wrong = calloc(1, sizeof(*wrong));
    struct retention_rules rules = {.types[TYPE_FILES] = within(9 * DAY)};
    uint32_t seed = 4711;

    for (int round = 0; round < 300; round++) {
        struct wrong_clock clock = {{wrong_now, NULL}, BEGINNING, 0};
        int at[3];
        world->count = wrong->count = 0;
        world->sequence = wrong->sequence = 0;
        for (int i = 0; i < 3; i++)
            at[i] = (int)((seed = seed * 1664525 + 1013904223) >> 16) % 40;
        for (int i = 0; i < 40; i++, clock.true_ns += DAY) {
            for (int leap = 0; leap < 3; leap++) {
                seed = seed * 1664525 + 1013904223;
                if (at[leap] == i)
                    clock.offset_ns += ((int64_t)(seed >> 8) - (1 << 23)) * 200 * NS_PER_SECOND;
            }
            add(wrong, &clock.clock, FILES);
            add_at(world, clock.true_ns, FILES);
        }
        decide(world, &rules, world->rows[39].start_ns);
        decide(wrong, &rules, wrong->rows[39].start_ns);
        assert_int_equal(kept(world), 10);
        for (size_t i = 0; i < 40; i++)
            if (world->verdicts[i].keep && !wrong->verdicts[i].keep)
                fail_msg("round %d: row %zu is lost: %s", round, i, wrong->verdicts[i].reason);
    }
    free(wrong);
}

static void starts_from_anywhere_are_bounded(void **state)
{
    struct world *world = *state;
    struct retention_rules rules = {.types[TYPE_FILES] = {.given = true,
                                                          .keep = {{.span_ns = DAY},
                                                                   {.count = 2},
                                                                   {.count = 2},
                                                                   {.count = 2},
                                                                   {.span_ns = INT64_MAX},
                                                                   {.count = UINT64_MAX}}}};

    for (size_t i = 0; i < 12; i++) {
        struct snapshot_row *row = add_at(world, 0, FILES);
        row->start_ns = i % 3 == 0 ? INT64_MIN : i % 3 == 1 ? INT64_MAX : (int64_t)i;
        row->sequence = i % 2 ? UINT64_MAX - i : i + 1;
    }
    decide(world, &rules, INT64_MAX);
    assert_true(kept(world) > 0);
}

/* ---- how long ago ---- */

static void a_moment_is_as_long_ago_as_snapshots_attest(void **state)
{
    const int64_t now = BEGINNING + 9 * DAY + HOUR;
    struct world *world = *state;

    daily(world, 10, FILES); /* the last one at BEGINNING + 9 * DAY */
    assert_int_equal(retention_since(world->rows, world->count, now, BEGINNING + 6 * DAY + HOUR),
                     2 * DAY);
    assert_int_equal(retention_since(world->rows, world->count, now, BEGINNING + 10 * DAY), 0);
    /* A leap of ten years counts as one usual gap. */
    add_at(world, BEGINNING + 3660 * DAY, FILES);
    assert_int_equal(retention_since(world->rows, world->count, BEGINNING + 3660 * DAY,
                                     BEGINNING + 9 * DAY + HOUR),
                     0);
    assert_int_equal(
        retention_since(world->rows, world->count, BEGINNING + 3660 * DAY, BEGINNING + 9 * DAY),
        DAY);
    /* Too few to say anything; and another host that says more. */
    assert_int_equal(retention_since(world->rows, 3, now, BEGINNING), 0);
    for (size_t i = 0; i < 3; i++)
        strcpy(world->rows[i].host, "there");
    assert_int_equal(retention_since(world->rows, world->count, now, BEGINNING + 4 * DAY),
                     5 * DAY + HOUR);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_moment_is_as_long_ago_as_snapshots_attest),
        CASE(within_goes_by_the_newest_snapshot),
        CASE(counts_take_the_newest_of_each_period),
        CASE(a_snapshot_stays_while_one_of_its_types_does),
        CASE(all_is_for_snapshots_of_several_types),
        CASE(the_last_complete_of_a_type_stays),
        CASE(incomplete_and_adhoc_ones_displace_nothing),
        CASE(held_tagged_forgotten_and_foreign_ones),
        CASE(a_leap_of_years_is_one_run),
        CASE(a_clock_that_went_back_makes_nothing_old),
        CASE(few_snapshots_are_no_evidence),
        CASE(leaps_keep_at_least_what_stays_without),
        CASE(starts_from_anywhere_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
