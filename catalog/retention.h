/*
 * retention — which snapshots the rules keep and which they let go, each with the reason.
 *
 * Pure: rows and rules in, verdicts out.  How old a snapshot is, the repository says and not the
 * clock: docs/decisions/retention.md.
 *
 * Ownership: borrows rows and rules.
 * Threads:   any.
 * Errors:    ERR_NOMEM; ERR_USAGE where the last complete snapshot of a type would go.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/archive/root.h"

struct err;
struct snapshot_row;

enum retention_period {
    KEEP_LAST,
    KEEP_HOURLY,
    KEEP_DAILY,
    KEEP_WEEKLY,
    KEEP_MONTHLY,
    KEEP_YEARLY,
    KEEP_PERIODS,
};

/* The newest complete snapshot of each of so many periods, or of those so long ago at most; for
 * KEEP_LAST each snapshot by itself.  0: not asked for. */
struct retention_keep {
    uint64_t count;
    int64_t span_ns;
};

struct retention_rule {
    bool given; /* else this type is not asked about, so it keeps its snapshots */
    bool forever;
    struct retention_keep keep[KEEP_PERIODS];
    struct strings tags; /* that keep a snapshot */
};

struct retention_rules {
    struct retention_rule types[TYPES + 1]; /* [0]: besides, for snapshots of several types */
};
void retention_rules_clear(struct retention_rules *rules);

struct retention_scope {
    const char *host; /* NULL: of every host */
    const char *tag;  /* only snapshots with this tag; NULL: all */
    int64_t now_ns;   /* nothing is older for its sake, but what began later is no evidence */
};

enum { RETENTION_REASON_SIZE = 256 };

struct retention_verdict {
    bool keep;
    bool asked;     /* it is in the scope, and not forgotten */
    int64_t age_ns; /* before the newest of its host, as far as it is believed */
    char reason[RETENTION_REASON_SIZE];
};

/* `out` has `count` verdicts.  `rows` are all that the repository has, forgotten ones too: they are
 * evidence of age. */
int retention_decide(const struct snapshot_row *rows, size_t count,
                     const struct retention_rules *rules, const struct retention_scope *scope,
                     struct retention_verdict *out, struct err *err);

/* Whether a complete snapshot of each type of each host that has one is left when those with `drop`
 * are forgotten. */
int retention_check_last(const struct snapshot_row *rows, size_t count, const bool *drop,
                         struct err *err);

/* What is believed about time: one host's snapshots, in the order in which they were made. */
struct retention_moment {
    const struct snapshot_row *row;
    size_t index;      /* of the row */
    int64_t age_ns;    /* before the newest */
    uint32_t breaks;   /* of time, from here to the newest */
    uint32_t set_back; /* of these, those where the clock went back */
};
/* `moments` have their rows, of one host; sorts them and fills in the rest. */
int retention_date(struct retention_moment *moments, size_t count, int64_t now_ns, struct err *err);

/* How long ago a moment was, by what the snapshots of some host attest: the believed age of the
 * oldest one that was made after it.  0 where they say nothing. */
int64_t retention_since(const struct snapshot_row *rows, size_t count, int64_t now_ns,
                        int64_t moment_ns);
