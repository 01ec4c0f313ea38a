/*
 * clock — what time it is, in a form that tests can replace, and times as text.
 *
 * A time is a count of nanoseconds since 1970 UTC in an int64_t (the years 1678 to 2261).
 * Snapshots are named in UTC; people are shown local time with its offset; a time that they give
 * without an offset is local.  Times of files have a wider range and do not pass through here.
 *
 * Ownership: clock_system() is static.  A test's clock has a struct clock as its first member.
 * Threads:   any.
 * Errors:    ERR_USAGE for text that is no time.
 */
#pragma once

#include <stdint.h>

struct err;

struct clock {
    int64_t (*now_ns)(struct clock *clock);
    void (*sleep_ns)(struct clock *clock, int64_t duration_ns);
};

enum {
    CLOCK_NAME_SIZE = 16, /* "20260204_123000" */
    CLOCK_TEXT_SIZE = 40, /* the longest of the other forms */
};

#define NS_PER_SECOND INT64_C(1000000000)

struct clock *clock_system(void);

/* For measuring how long something takes. */
int64_t clock_monotonic_ns(void);

/* Since the machine was booted, sleep included, by a clock that nobody sets; and which boot that
 * was (0: not known), so that two such times can be compared. */
int64_t clock_boot_ns(void);
uint64_t clock_boot(void);

/* "YYYYMMDD_HHMMSS" in UTC; fractions of a second are dropped. */
void clock_format_name(int64_t ns, char out[CLOCK_NAME_SIZE]);
int clock_parse_name(const char *name, int64_t *out_ns, struct err *err);

/* "2026-02-04 13:30:00 +01:00" */
void clock_format_local(int64_t ns, char out[CLOCK_TEXT_SIZE]);

/* "2026-02-04T12:30:00Z", with nine digits of a fraction unless it is zero. */
void clock_format_rfc3339_utc(int64_t ns, char out[CLOCK_TEXT_SIZE]);

/* RFC 3339, "YYYY-MM-DD[ HH:MM[:SS]]" in local time, "YYYYMMDD_HHMMSS" in UTC. */
int clock_parse_time(const char *text, int64_t *out_ns, struct err *err);
