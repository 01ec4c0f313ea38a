/* cmd_points — to which moments a database can be recovered. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/lsn.h"
#include "catalog/catalog.h"
#include "catalog/wal.h"
#include "catalog/wal_path.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/output.h"
#include "tools/session.h"
#include "tools/wal.h"
#include "tools/walbackups.h"

static const struct option_spec points_options[] = {
    OPTION_SYSTEM,
    {"commits", 0, NULL, "every commit, one a line"},
    {"at", 0, "TIME", "only where this moment is: the last commit that is not later"},
    {0},
};

/* How far one backup leads. */
struct reach {
    const struct walbackup *backup; /* NULL: the log alone */
    struct wal_path path;
    struct wal_mark last;
    bool has_last;
};

struct points {
    struct app *app;
    struct session session;
    struct wal_ranges ranges;
    struct walbackups backups;
    struct reach reach;
    struct json_object *servers;
    uint64_t system;  /* only this one; 0: all */
    int64_t at_us;    /* --at */
    bool at, commits; /* what is asked for */
};

static void points_clear(struct points *points)
{
    wal_ranges_clear(&points->ranges);
    walbackups_clear(&points->backups);
    session_close(&points->session);
    json_object_put(points->servers);
}

static void add_lsn(struct json_object *object, const char *name, uint64_t lsn)
{
    char text[LSN_TEXT_SIZE];

    lsn_format(lsn, text);
    json_object_object_add(object, name, json_object_new_string(text));
}

static struct json_object *json_of_mark(const struct wal_mark *mark)
{
    struct json_object *object = json_object_new_object();

    add_lsn(object, "lsn", mark->lsn);
    json_object_object_add(object, "xid", output_json_number(mark->xid));
    json_object_object_add(object, "time", output_json_time(mark->time_us * 1000));
    return object;
}

static void print_mark(const char *before, uint32_t timeline, const struct wal_mark *mark)
{
    char lsn[LSN_TEXT_SIZE], time[CLOCK_TEXT_SIZE];

    lsn_format(mark->lsn, lsn);
    wal_format_time(mark->time_us, time);
    printf("%s%s  timeline %" PRIu32 "  %s  transaction %" PRIu32 "\n", before, time, timeline, lsn,
           mark->xid);
}

/* ---- one backup ---- */

static bool is_consistent(const struct reach *reach)
{
    return reach->path.count > 0 &&
           (!reach->backup || wal_path_end(&reach->path) >= reach->backup->consistent);
}

static int find_reach(struct points *points, uint64_t system, uint32_t timeline, uint64_t from,
                      const struct walbackup *backup, struct err *err)
{
    struct reach *reach = &points->reach;
    int r;

    reach->backup = backup;
    reach->has_last = false;
    r = wal_path_find(points->session.catalog, system, timeline, from, 0, &reach->path, err);
    if (r < 0)
        return r;
    r = wal_path_last(points->session.catalog, &reach->path, &reach->last, err);
    reach->has_last = r == 1;
    return r < 0 ? r : 0;
}

static void print_reach(const struct reach *reach)
{
    char time[CLOCK_TEXT_SIZE], lsn[LSN_TEXT_SIZE];

    lsn_format(wal_path_end(&reach->path), lsn);
    if (reach->backup) {
        clock_format_local(reach->backup->end_ns, time);
        printf("  %s, complete at %s: ", reach->backup->snapshot, time);
    } else
        printf("  the log alone (no physical backup is stored): ");
    if (reach->path.count == 0)
        printf("the log behind it is MISSING, it can only be brought back as it was\n");
    else if (!is_consistent(reach))
        printf("the log ends at %s, BEFORE the backup is consistent\n", lsn);
    else
        printf("any moment from then to %s%s\n", lsn,
               reach->path.gap ? ", where a GAP follows" : "");
    if (reach->has_last)
        print_mark("    last commit  ", reach->path.at[reach->path.count - 1].timeline,
                   &reach->last);
}

static void add_reach(struct json_object *array, const struct reach *reach)
{
    struct json_object *object = json_object_new_object();

    json_object_object_add(object, "snapshot",
                           reach->backup ? json_object_new_string(reach->backup->snapshot) : NULL);
    if (reach->backup) {
        json_object_object_add(object, "timeline", output_json_number(reach->backup->timeline));
        json_object_object_add(object, "complete", output_json_time(reach->backup->end_ns));
        add_lsn(object, "start", reach->backup->start);
        add_lsn(object, "consistent", reach->backup->consistent);
    }
    json_object_object_add(object, "possible", json_object_new_boolean(is_consistent(reach)));
    add_lsn(object, "end", wal_path_end(&reach->path));
    json_object_object_add(object, "gap", json_object_new_boolean(reach->path.gap));
    json_object_object_add(object, "last_commit",
                           reach->has_last ? json_of_mark(&reach->last) : NULL);
    json_object_array_add(array, object);
}

/* ---- restore points ---- */

static void show_point(struct json_object *array, uint32_t timeline, const struct wal_point *point)
{
    char lsn[LSN_TEXT_SIZE], time[CLOCK_TEXT_SIZE];

    if (!array) {
        lsn_format(point->lsn, lsn);
        wal_format_time(point->time_us, time);
        printf("  restore point  %s  timeline %" PRIu32 "  %s  \"%s\"\n", time, timeline, lsn,
               point->name);
        return;
    }
    struct json_object *object = json_object_new_object();
    json_object_object_add(object, "name", output_json_text(point->name, strlen(point->name)));
    json_object_object_add(object, "timeline", output_json_number(timeline));
    add_lsn(object, "lsn", point->lsn);
    json_object_object_add(object, "time", output_json_time(point->time_us * 1000));
    json_object_array_add(array, object);
}

static int show_points(struct points *points, struct json_object *array, struct err *err)
{
    const struct wal_path *path = &points->reach.path;
    int r = 0;

    for (size_t i = 0; r == 0 && i < path->count; i++) {
        CLEANUP(wal_points_clear) struct wal_points found = {0};
        r = wal_points_find(points->session.catalog, path->system, path->at[i].timeline,
                            path->at[i].from, path->at[i].to, &found, err);
        for (size_t k = 0; r == 0 && k < found.count; k++)
            show_point(array, path->at[i].timeline, &found.at[k]);
    }
    return r;
}

/* ---- commits, and a moment ---- */

static int show_commit(void *context, uint32_t timeline, const struct wal_mark *mark,
                       struct err *err)
{
    const struct points *points = context;

    (void)err;
    if (!points->app->json) {
        print_mark("", timeline, mark);
        return 0;
    }
    struct json_object *object = json_of_mark(mark);
    json_object_object_add(object, "system", output_json_number(points->reach.path.system));
    json_object_object_add(object, "timeline", output_json_number(timeline));
    output_json(object);
    return 0;
}

static uint32_t timeline_of(const struct wal_path *path, uint64_t lsn)
{
    for (size_t i = 0; i < path->count; i++)
        if (path->at[i].from <= lsn && lsn < path->at[i].to)
            return path->at[i].timeline;
    return 0;
}

static int show_moment(struct points *points, struct err *err)
{
    struct wal_mark mark;
    bool later = false;
    int r = wal_path_at_time(points->session.catalog, &points->reach.path, points->at_us, &mark,
                             &later, err);

    if (r < 0)
        return r;
    if (r == 0)
        return err_set(err, ERR_NOT_FOUND, "no commit that is stored is as old as that");
    r = show_commit(points, timeline_of(&points->reach.path, mark.lsn), &mark, err);
    if (r == 0 && !later)
        console_say("nothing is committed later: recover with --to lsn, the server would not find "
                    "this time");
    return r;
}

/* ---- a server ---- */

/* From the oldest backup that leads anywhere, else from the log's own beginning. */
static int reach_all(struct points *points, const struct wal_range *first, struct err *err)
{
    for (size_t i = 0; i < points->backups.count; i++) {
        const struct walbackup *backup = &points->backups.at[i];
        if (backup->system != first->system)
            continue;
        int r = find_reach(points, backup->system, backup->timeline, backup->start, backup, err);
        if (r < 0 || points->reach.path.count > 0)
            return r;
    }
    return find_reach(points, first->system, first->timeline, first->start, NULL, err);
}

static int show_recoveries(struct points *points, const struct wal_range *first,
                           struct json_object *array, struct err *err)
{
    size_t shown = 0;
    int r = 0;

    for (size_t i = 0; r == 0 && i < points->backups.count; i++) {
        const struct walbackup *backup = &points->backups.at[i];
        if (backup->system != first->system)
            continue;
        shown++;
        r = find_reach(points, backup->system, backup->timeline, backup->start, backup, err);
        if (r == 0 && array)
            add_reach(array, &points->reach);
        else if (r == 0)
            print_reach(&points->reach);
    }
    if (r == 0)
        r = reach_all(points, first, err);
    if (r == 0 && shown == 0 && !array)
        print_reach(&points->reach);
    return r;
}

static int show_server(struct points *points, const struct wal_range *first, struct err *err)
{
    struct json_object *recoveries = NULL, *named = NULL;

    if (points->commits || points->at) {
        int r = reach_all(points, first, err);
        if (r < 0)
            return r;
        return points->at ? show_moment(points, err)
                          : wal_path_marks(points->session.catalog, &points->reach.path,
                                           show_commit, points, err);
    }
    if (points->servers) {
        struct json_object *server = json_object_new_object();
        recoveries = json_object_new_array();
        named = json_object_new_array();
        json_object_object_add(server, "system", output_json_number(first->system));
        json_object_object_add(server, "recoveries", recoveries);
        json_object_object_add(server, "restore_points", named);
        json_object_array_add(points->servers, server);
    } else
        printf("server %" PRIu64 "\n", first->system);
    int r = show_recoveries(points, first, recoveries, err);
    return r < 0 ? r : show_points(points, named, err);
}

static int parse_at(struct points *points, struct err *err)
{
    const char *text = app_text(points->app, "at");
    int64_t ns;

    points->at = text != NULL;
    if (!text)
        return 0;
    int r = clock_parse_time(text, &ns, err);
    points->at_us = r == 0 ? ns / 1000 : 0;
    return r < 0 ? err_context(err, "--at") : 0;
}

static int open_all(struct points *points, struct err *err)
{
    int r = wal_number(points->app, "system", UINT64_MAX, &points->system, err);

    if (r == 0)
        r = parse_at(points, err);
    if (r == 0)
        r = session_open(points->app, SESSION_SNAPSHOTS, &points->session, err);
    if (r == 0)
        r = session_blocks(&points->session, LOOK_CACHE, err);
    if (r == 0)
        r = wal_sync(points->session.catalog, err);
    if (r == 0)
        r = wal_ranges_find(points->session.catalog, points->system, &points->ranges, err);
    return r < 0 ? r : walbackups_find(&points->session, false, &points->backups, err);
}

static int run_points(struct app *app, struct err *err)
{
    CLEANUP(points_clear)
    struct points points = {.app = app, .commits = app_flag(app, "commits")};
    int r = open_all(&points, err);

    if (r == 0 && app->json && !points.commits && !points.at)
        points.servers = json_object_new_array();
    for (size_t i = 0; r == 0 && i < points.ranges.count; i++)
        if (i == 0 || points.ranges.at[i - 1].system != points.ranges.at[i].system)
            r = show_server(&points, &points.ranges.at[i], err);
    if (r < 0)
        return r;
    if (points.ranges.count == 0 && !app->json)
        console_say("no server's log is stored: see `yester wal receive`");
    if (!points.servers)
        return 0;
    struct json_object *document = json_object_new_object();
    json_object_object_add(document, "servers", STEAL(points.servers));
    output_json(document);
    return 0;
}

const struct command command_points = {
    .name = "points",
    .arguments = "",
    .summary = "what moments a PostgreSQL database can be recovered to",
    .examples = "  yester points\n"
                "  yester points --at '2026-02-04 12:30'     the last commit that is not later\n"
                "  yester points --commits                   each of them\n",
    .details = "For each physical backup how far the stored log leads from it, along the newest "
               "timeline, and the\nrestore points on the way.  A gap in the log ends it.\n",
    .options = points_options,
    .run = run_points,
};
