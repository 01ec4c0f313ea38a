/* How old snapshots are, by the word of several others: docs/decisions/retention.md. */
#include <stdlib.h>
#include <string.h>

#include "backup/base/err.h"
#include "catalog/catalog.h"
#include "catalog/retention.h"

enum { WITNESSES = 3 };

/* From one snapshot to the next. */
struct gap {
    int64_t length; /* of corrected time: never less than 0 */
    uint64_t runs;  /* in it: what was pruned between is counted */
};

static int by_sequence(const void *left, const void *right)
{
    const struct snapshot_row *a = ((const struct retention_moment *)left)->row;
    const struct snapshot_row *b = ((const struct retention_moment *)right)->row;

    if (a->sequence != b->sequence)
        return a->sequence < b->sequence ? -1 : 1;
    if (a->start_ns != b->start_ns)
        return a->start_ns < b->start_ns ? -1 : 1;
    return strcmp(a->name, b->name);
}

static int64_t difference(int64_t later, int64_t earlier)
{
    int64_t out;

    return __builtin_sub_overflow(later, earlier, &out) ? INT64_MAX : out;
}

static int64_t sum(int64_t a, int64_t b)
{
    int64_t out;

    return __builtin_add_overflow(a, b, &out) ? INT64_MAX : out;
}

/* No snapshot is younger than one that was made after it. */
static void measure(const struct retention_moment *moments, size_t count, int64_t now_ns,
                    struct gap *out)
{
    int64_t next = moments[count - 1].row->start_ns;

    next = next < now_ns ? next : now_ns;
    for (size_t i = count - 1; i-- > 0;) {
        int64_t start = moments[i].row->start_ns;
        uint64_t runs = moments[i + 1].row->sequence - moments[i].row->sequence;

        start = start < next ? start : next;
        out[i] = (struct gap){difference(next, start), runs > 0 ? runs : 1};
        next = start;
    }
}

static int64_t per_run(const struct gap *gap)
{
    return (int64_t)((uint64_t)gap->length / gap->runs);
}

/* The longest time between two runs that WITNESSES others say was as long; 0: too few speak. */
static int64_t usual_gap(const struct gap *gaps, size_t count)
{
    int64_t longest[WITNESSES + 1] = {0}; /* descending */

    for (size_t i = 0; i < count; i++) {
        int64_t length = per_run(&gaps[i]);
        for (size_t at = 0; at <= WITNESSES; at++) {
            int64_t other = longest[at];
            if (length <= other)
                continue;
            longest[at] = length;
            length = other;
        }
    }
    return longest[WITNESSES];
}

/* min(length, usual × runs), without the product where it might be too large. */
static int64_t believed(const struct gap *gap, int64_t usual)
{
    return per_run(gap) <= usual ? gap->length : usual * (int64_t)gap->runs;
}

static void fill(struct retention_moment *moments, size_t count, const struct gap *gaps)
{
    int64_t usual = usual_gap(gaps, count - 1);

    moments[count - 1].age_ns = 0;
    moments[count - 1].breaks = moments[count - 1].set_back = 0;
    for (size_t i = count - 1; i-- > 0;) {
        struct retention_moment *moment = &moments[i], *next = &moments[i + 1];
        bool back = next->row->start_ns < moment->row->start_ns;
        bool leap = usual > 0 && per_run(&gaps[i]) / 2 > usual;

        moment->age_ns = sum(next->age_ns, believed(&gaps[i], usual));
        moment->set_back = next->set_back + back;
        moment->breaks = next->breaks + (back || leap);
    }
}

int retention_date(struct retention_moment *moments, size_t count, int64_t now_ns, struct err *err)
{
    struct gap *gaps = calloc(count + 1, sizeof(*gaps));

    if (!gaps)
        return err_set(err, ERR_NOMEM, "out of memory");
    if (count > 0) {
        qsort(moments, count, sizeof(*moments), by_sequence);
        measure(moments, count, now_ns, gaps);
        fill(moments, count, gaps);
    }
    free(gaps);
    return 0;
}

/* ---- how long ago a moment was ---- */

/* Of one host: the last in a row of snapshots, from the newest on, that began after the moment. */
static int64_t since(const struct retention_moment *moments, size_t count, int64_t moment_ns)
{
    int64_t age = 0;

    for (size_t i = count; i > 0 && moments[i - 1].row->start_ns >= moment_ns; i--)
        age = moments[i - 1].age_ns;
    return age;
}

/* The snapshots of a row's host; none where an earlier row has that host. */
static size_t gather(const struct snapshot_row *rows, size_t count, size_t first,
                     struct retention_moment *out)
{
    size_t found = 0;

    for (size_t i = 0; i < count; i++) {
        if (strcmp(rows[i].host, rows[first].host) != 0)
            continue;
        if (i < first)
            return 0;
        out[found++] = (struct retention_moment){.row = &rows[i], .index = i};
    }
    return found;
}

int64_t retention_since(const struct snapshot_row *rows, size_t count, int64_t now_ns,
                        int64_t moment_ns)
{
    struct retention_moment *moments = calloc(count + 1, sizeof(*moments));
    int64_t longest = 0;
    struct err err;

    for (size_t i = 0; moments && i < count; i++) {
        size_t found = gather(rows, count, i, moments);
        if (found == 0 || retention_date(moments, found, now_ns, &err) < 0)
            continue;
        int64_t age = since(moments, found, moment_ns);
        longest = age > longest ? age : longest;
    }
    free(moments);
    return longest;
}
