#include "catalog/wal_path.h"

#include <stdlib.h>

#include "backup/archive/walhistory.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "catalog/catalog.h"
#include "catalog/wal.h"

static const struct wal_range *range_at(const struct wal_ranges *ranges, uint32_t timeline,
                                        uint64_t lsn)
{
    for (size_t i = 0; i < ranges->count; i++) {
        const struct wal_range *range = &ranges->at[i];
        if (range->timeline == timeline && range->start <= lsn && lsn < range->end)
            return range;
    }
    return NULL;
}

static bool more_behind(const struct wal_ranges *ranges, uint32_t timeline, uint64_t lsn)
{
    for (size_t i = 0; i < ranges->count; i++)
        if (ranges->at[i].timeline == timeline && ranges->at[i].start > lsn)
            return true;
    return false;
}

/* From one timeline to the next, as long as the log up to the fork is there. */
static void walk(const struct wal_ranges *ranges, const struct walhistory *history,
                 uint32_t timeline, uint64_t from, struct wal_path *out)
{
    const struct wal_range *range;

    while (out->count < WAL_STRETCHES_MAX && (range = range_at(ranges, timeline, from))) {
        uint64_t fork = walhistory_end(history, timeline);
        if (fork == 0 || fork < from) /* another branch: it is only followed to its own end */
            fork = UINT64_MAX;
        uint64_t end = range->end < fork ? range->end : fork;
        if (end > from)
            out->at[out->count++] = (struct wal_stretch){timeline, from, end};
        from = end;
        if (end < fork) {
            out->gap = more_behind(ranges, timeline, end);
            return;
        }
        timeline = walhistory_next(history, timeline);
    }
}

int wal_path_find(struct catalog *catalog, uint64_t system, uint32_t timeline, uint64_t from,
                  uint32_t followed, struct wal_path *out, struct err *err)
{
    CLEANUP(wal_ranges_clear) struct wal_ranges ranges = {0};
    struct repo *repo = catalog_repo(catalog);
    struct walhistory *history = malloc(sizeof(*history));
    int r = history ? 0 : err_set(err, ERR_NOMEM, "out of memory");

    *out = (struct wal_path){.system = system};
    if (r == 0 && followed == 0)
        r = walhistory_newest(repo, system, timeline, &followed, err);
    if (r == 0)
        r = walhistory_read(repo, system, followed, history, err);
    if (r == 0)
        r = wal_ranges_find(catalog, system, &ranges, err);
    if (r == 0)
        walk(&ranges, history, timeline, from, out);
    free(history);
    return r;
}

uint64_t wal_path_end(const struct wal_path *path)
{
    return path->count > 0 ? path->at[path->count - 1].to : 0;
}

/* ---- commits ---- */

struct marks {
    int (*each)(void *context, uint32_t timeline, const struct wal_mark *mark, struct err *err);
    void *context;
    const struct wal_stretch *stretch;
    uint64_t behind; /* marks up to here were given: parts overlap */
    bool any;
};

static int give_mark(void *context, const struct wal_mark *mark, struct err *err)
{
    struct marks *marks = context;

    if (mark->lsn < marks->stretch->from || mark->lsn >= marks->stretch->to ||
        (marks->any && mark->lsn <= marks->behind))
        return 0;
    marks->behind = mark->lsn;
    marks->any = true;
    return marks->each(marks->context, marks->stretch->timeline, mark, err);
}

static int marks_of_part(struct catalog *catalog, const struct wal_part *part, struct marks *marks,
                         struct err *err)
{
    CLEANUP(walreader_closep) struct walreader *reader = NULL;

    if (part->commits == 0)
        return 0;
    int r = walreader_open(catalog_repo(catalog), part->object, &reader, err);
    return r < 0 ? r : walreader_marks(reader, give_mark, marks, err);
}

static int parts_of(struct catalog *catalog, const struct wal_path *path,
                    const struct wal_stretch *stretch, struct wal_parts *out, struct err *err)
{
    return wal_parts_find(catalog, path->system, stretch->timeline, stretch->from, stretch->to, out,
                          err);
}

int wal_path_marks(struct catalog *catalog, const struct wal_path *path,
                   int (*each)(void *context, uint32_t timeline, const struct wal_mark *mark,
                               struct err *err),
                   void *context, struct err *err)
{
    struct marks marks = {.each = each, .context = context};
    int r = 0;

    for (size_t i = 0; r == 0 && i < path->count; i++) {
        CLEANUP(wal_parts_clear) struct wal_parts parts = {0};
        marks.stretch = &path->at[i];
        r = parts_of(catalog, path, marks.stretch, &parts, err);
        for (size_t k = 0; r == 0 && k < parts.count; k++)
            r = marks_of_part(catalog, &parts.at[k], &marks, err);
    }
    return r < 0 ? r : 0;
}

struct last {
    struct wal_mark mark;
    bool found;
};

static int keep_mark(void *context, uint32_t timeline, const struct wal_mark *mark, struct err *err)
{
    struct last *last = context;

    (void)timeline;
    (void)err;
    if (!last->found || mark->lsn > last->mark.lsn)
        last->mark = *mark;
    last->found = true;
    return 0;
}

/* Backwards: one part tells, or a few where pieces overlap. */
int wal_path_last(struct catalog *catalog, const struct wal_path *path, struct wal_mark *out,
                  struct err *err)
{
    struct last last = {0};
    int r = 0;

    for (size_t i = path->count; r == 0 && !last.found && i > 0; i--) {
        CLEANUP(wal_parts_clear) struct wal_parts parts = {0};
        struct marks marks = {.each = keep_mark, .context = &last, .stretch = &path->at[i - 1]};
        r = parts_of(catalog, path, marks.stretch, &parts, err);
        for (size_t k = parts.count; r == 0 && k > 0; k--) {
            const struct wal_part *part = &parts.at[k - 1];
            if (!last.found || part->start + part->length > last.mark.lsn)
                r = marks_of_part(catalog, part, &marks, err);
        }
    }
    if (r == 0 && last.found)
        *out = last.mark;
    return r < 0 ? r : last.found;
}

/* ---- a time ---- */

struct moment {
    int64_t time_us;
    struct wal_mark mark;
    bool found, later;
};

/* Recovery stops at the first commit of a later time, whatever comes behind it. */
static int look_at_time(void *context, uint32_t timeline, const struct wal_mark *mark,
                        struct err *err)
{
    struct moment *moment = context;

    (void)timeline;
    (void)err;
    moment->later = mark->time_us > moment->time_us;
    if (moment->later)
        return 1;
    moment->mark = *mark;
    moment->found = true;
    return 0;
}

int wal_path_at_time(struct catalog *catalog, const struct wal_path *path, int64_t time_us,
                     struct wal_mark *out, bool *out_later, struct err *err)
{
    struct moment moment = {.time_us = time_us};
    int r = wal_path_marks(catalog, path, look_at_time, &moment, err);

    if (r < 0)
        return r;
    *out_later = moment.later;
    if (moment.found)
        *out = moment.mark;
    return moment.found;
}
