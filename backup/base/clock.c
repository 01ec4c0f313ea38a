#include "backup/base/clock.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "backup/base/err.h"

static int64_t read_clock(clockid_t id)
{
    struct timespec now;

    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

static int64_t system_now(struct clock *clock)
{
    (void)clock;
    return read_clock(CLOCK_REALTIME);
}

static void system_sleep(struct clock *clock, int64_t duration_ns)
{
    struct timespec left = {.tv_sec = duration_ns / NS_PER_SECOND,
                            .tv_nsec = duration_ns % NS_PER_SECOND};

    (void)clock;
    /* A signal ends the sleep early: whoever waits looks at what it asked for. */
    if (duration_ns > 0)
        (void)nanosleep(&left, NULL);
}

struct clock *clock_system(void)
{
    static struct clock system = {.now_ns = system_now, .sleep_ns = system_sleep};

    return &system;
}

int64_t clock_monotonic_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

int64_t clock_boot_ns(void)
{
    return read_clock(CLOCK_BOOTTIME);
}

/* A container may have a clock of its own for the same boot. */
uint64_t clock_boot(void)
{
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    unsigned long long high = 0, low = 0;
    struct stat space = {0};

    if (!file)
        return 0;
    int found = fscanf(file, "%8llx-%4llx", &high, &low);
    (void)fclose(file);
    if (found != 2 || (stat("/proc/self/ns/time", &space) < 0 && errno != ENOENT))
        return 0;
    return (high << 32 | low << 16) ^ (uint64_t)space.st_ino;
}

/* Division that rounds down before 1970 too. */
static time_t whole_seconds(int64_t ns)
{
    return ns / NS_PER_SECOND - (ns % NS_PER_SECOND < 0);
}

void clock_format_name(int64_t ns, char out[CLOCK_NAME_SIZE])
{
    time_t seconds = whole_seconds(ns);
    struct tm tm;

    gmtime_r(&seconds, &tm);
    (void)strftime(out, CLOCK_NAME_SIZE, "%Y%m%d_%H%M%S", &tm);
}

void clock_format_local(int64_t ns, char out[CLOCK_TEXT_SIZE])
{
    time_t seconds = whole_seconds(ns);
    struct tm tm;

    localtime_r(&seconds, &tm);
    size_t used = strftime(out, CLOCK_TEXT_SIZE, "%Y-%m-%d %H:%M:%S", &tm);
    long minutes = tm.tm_gmtoff / 60;
    long size = minutes < 0 ? -minutes : minutes;
    (void)snprintf(out + used, CLOCK_TEXT_SIZE - used, " %c%02ld:%02ld", minutes < 0 ? '-' : '+',
                   size / 60 % 100, size % 60);
}

void clock_format_rfc3339_utc(int64_t ns, char out[CLOCK_TEXT_SIZE])
{
    time_t seconds = whole_seconds(ns);
    int64_t fraction = (ns % NS_PER_SECOND + NS_PER_SECOND) % NS_PER_SECOND;
    struct tm tm;

    gmtime_r(&seconds, &tm);
    size_t used = strftime(out, CLOCK_TEXT_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
    if (fraction != 0)
        used +=
            (size_t)snprintf(out + used, CLOCK_TEXT_SIZE - used, ".%09lld", (long long)fraction);
    (void)snprintf(out + used, CLOCK_TEXT_SIZE - used, "Z");
}

/* What has been read of a text so far; NULL once something did not fit. */
struct scan {
    const char *at;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int scan_digits(struct scan *scan, int count)
{
    int value = 0;

    for (int i = 0; scan->at && i < count; i++) {
        if (!is_digit(*scan->at)) {
            scan->at = NULL;
            return 0;
        }
        value = value * 10 + (*scan->at++ - '0');
    }
    return value;
}

/* Takes one character if it is among `set`; 0 if it is not. */
static char scan_any(struct scan *scan, const char *set)
{
    if (!scan->at || *scan->at == '\0' || !strchr(set, *scan->at))
        return '\0';
    return *scan->at++;
}

static void scan_expect(struct scan *scan, const char *set)
{
    if (scan_any(scan, set) == '\0')
        scan->at = NULL;
}

static int days_of_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return days[month] + (month == 1 && leap);
}

/* The years that fit whole into an int64_t of nanoseconds; 60 is the leap second. */
static bool is_date(const struct tm *tm)
{
    int year = tm->tm_year + 1900;

    return year >= 1678 && year <= 2261 && tm->tm_mon >= 0 && tm->tm_mon < 12 && tm->tm_mday > 0 &&
           tm->tm_mday <= days_of_month(year, tm->tm_mon) && tm->tm_hour < 24 && tm->tm_min < 60 &&
           tm->tm_sec <= 60;
}

static void scan_date(struct scan *scan, struct tm *tm, bool dashes)
{
    tm->tm_year = scan_digits(scan, 4) - 1900;
    if (dashes)
        scan_expect(scan, "-");
    tm->tm_mon = scan_digits(scan, 2) - 1;
    if (dashes)
        scan_expect(scan, "-");
    tm->tm_mday = scan_digits(scan, 2);
}

int clock_parse_name(const char *name, int64_t *out_ns, struct err *err)
{
    struct scan scan = {.at = name};
    struct tm tm = {0};

    scan_date(&scan, &tm, false);
    scan_expect(&scan, "_");
    tm.tm_hour = scan_digits(&scan, 2);
    tm.tm_min = scan_digits(&scan, 2);
    tm.tm_sec = scan_digits(&scan, 2);
    if (!scan.at || *scan.at != '\0' || !is_date(&tm) || tm.tm_sec == 60)
        return err_set(err, ERR_USAGE, "'%.60s' is no timestamp (YYYYMMDD_HHMMSS)", name);
    *out_ns = (int64_t)timegm(&tm) * NS_PER_SECOND;
    return 0;
}

/* Digits beyond the ninth are read and dropped. */
static int64_t scan_fraction(struct scan *scan)
{
    int64_t value = 0;
    int64_t unit = NS_PER_SECOND / 10;

    if (!scan_any(scan, "."))
        return 0;
    if (!is_digit(*scan->at))
        scan->at = NULL;
    while (scan->at && is_digit(*scan->at)) {
        value += (*scan->at++ - '0') * unit;
        unit /= 10;
    }
    return value;
}

static int64_t scan_time_of_day(struct scan *scan, struct tm *tm)
{
    tm->tm_hour = scan_digits(scan, 2);
    scan_expect(scan, ":");
    tm->tm_min = scan_digits(scan, 2);
    if (!scan_any(scan, ":"))
        return 0;
    tm->tm_sec = scan_digits(scan, 2);
    return scan_fraction(scan);
}

/* "Z", "+01:00", or as PostgreSQL writes "+01", which a space may set off; true when there is one.
 */
static bool scan_offset(struct scan *scan, int64_t *out_seconds)
{
    *out_seconds = 0;
    (void)scan_any(scan, " ");
    if (scan_any(scan, "Zz"))
        return true;
    char sign = scan_any(scan, "+-");
    if (sign == '\0')
        return false;
    int hours = scan_digits(scan, 2);
    int minutes = scan_any(scan, ":") ? scan_digits(scan, 2) : 0;
    if (hours > 23 || minutes > 59)
        scan->at = NULL;
    *out_seconds = (sign == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
    return true;
}

int clock_parse_time(const char *text, int64_t *out_ns, struct err *err)
{
    struct scan scan = {.at = text};
    struct tm tm = {.tm_isdst = -1};
    int64_t fraction = 0;
    int64_t offset = 0;
    bool is_local = true;

    if (strlen(text) == CLOCK_NAME_SIZE - 1 && text[8] == '_')
        return clock_parse_name(text, out_ns, err);

    scan_date(&scan, &tm, true);
    if (scan_any(&scan, " Tt")) {
        fraction = scan_time_of_day(&scan, &tm);
        is_local = !scan_offset(&scan, &offset);
    }
    if (!scan.at || *scan.at != '\0' || !is_date(&tm))
        return err_set(err, ERR_USAGE,
                       "'%.60s' is no time (YYYY-MM-DD HH:MM:SS, or RFC 3339 with an offset)",
                       text);
    time_t seconds = is_local ? mktime(&tm) : timegm(&tm);
    *out_ns = ((int64_t)seconds - offset) * NS_PER_SECOND + fraction;
    return 0;
}
