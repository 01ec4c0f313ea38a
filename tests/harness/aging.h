/*
 * aging — snapshots made at times that a test chooses, by a clock that may be wrong.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "catalog/catalog.h"
#include "catalog/retention.h"
#include "tests/harness/cmocka.h"

#define HOUR (3600 * NS_PER_SECOND)
#define DAY (24 * HOUR)
#define BEGINNING (INT64_C(1767225600) * NS_PER_SECOND) /* 2026-01-01, a Thursday */

enum { FILES = 1 << TYPE_FILES, CONFIG = 1 << TYPE_CONFIG, DATABASE = 1 << TYPE_DATABASE };
enum { ALL = FILES | CONFIG | DATABASE, ROWS_MAX = 4000 };

struct world {
    struct snapshot_row rows[ROWS_MAX];
    int64_t true_ns[ROWS_MAX]; /* when it really was */
    size_t count;
    uint64_t sequence;
    struct retention_verdict verdicts[ROWS_MAX];
};

/* A clock that tests set. */
struct wrong_clock {
    struct clock clock;
    int64_t true_ns, offset_ns;
};

static inline int64_t wrong_now(struct clock *clock)
{
    const struct wrong_clock *wrong = (const struct wrong_clock *)clock;

    return wrong->true_ns + wrong->offset_ns;
}

static inline struct snapshot_row *add(struct world *world, struct clock *clock, uint8_t types)
{
    struct snapshot_row *row = &world->rows[world->count];

    assert_true(world->count < ROWS_MAX);
    world->true_ns[world->count++] = ((struct wrong_clock *)clock)->true_ns;
    *row = (struct snapshot_row){.sequence = ++world->sequence,
                                 .start_ns = clock->now_ns(clock),
                                 .complete = true,
                                 .types = types,
                                 .complete_types = types};
    clock_format_name(row->start_ns, row->name);
    strcpy(row->host, "here");
    return row;
}

static inline struct snapshot_row *add_at(struct world *world, int64_t at_ns, uint8_t types)
{
    struct wrong_clock clock = {{wrong_now, NULL}, at_ns, 0};

    return add(world, &clock.clock, types);
}

static inline void daily(struct world *world, size_t days, uint8_t types)
{
    for (size_t i = 0; i < days; i++)
        add_at(world, BEGINNING + (int64_t)i * DAY, types);
}

static inline struct retention_rule within(int64_t span_ns)
{
    return (struct retention_rule){.given = true, .keep[KEEP_LAST].span_ns = span_ns};
}

static inline void decide(struct world *world, const struct retention_rules *rules, int64_t now_ns)
{
    struct retention_scope scope = {"here", NULL, now_ns};
    struct err err;

    assert_int_equal(
        retention_decide(world->rows, world->count, rules, &scope, world->verdicts, &err), 0);
}

static inline size_t kept(const struct world *world)
{
    size_t count = 0;

    for (size_t i = 0; i < world->count; i++)
        count += world->verdicts[i].keep;
    return count;
}

static inline int set_up(void **state)
{
    *state = calloc(1, sizeof(struct world));
    return *state ? 0 : -1;
}

static inline int tear_down(void **state)
{
    free(*state);
    return 0;
}
