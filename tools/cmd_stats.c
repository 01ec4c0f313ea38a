/* cmd_stats — what takes the room. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "catalog/catalog.h"
#include "fs/stats.h"
#include "fs/timeline.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/entries.h"
#include "tools/output.h"
#include "tools/session.h"
#include "tools/snapshots.h"

static const struct option_spec options[] = {
    {"depth", 0, "N", "how many names of a path directories are told by (2)"},
    {"all", 'a', NULL, "every directory, not only the twenty largest"},
    {0},
};

enum { DEPTH_DEFAULT = 2, DEPTH_LIMIT = 64, GROUPS_SHOWN = 20 };

struct counting {
    struct app *app;
    struct session session;
    struct snapshot_rows rows;
    struct timeline timeline;
    struct stats stats;
};

static void counting_clear(struct counting *counting)
{
    stats_clear(&counting->stats);
    timeline_clear(&counting->timeline);
    snapshot_rows_clear(&counting->rows);
    session_close(&counting->session);
}

static int parse_depth(const char *text, unsigned *out, struct err *err)
{
    char *end;

    *out = DEPTH_DEFAULT;
    if (!text)
        return 0;
    unsigned long value = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || value > DEPTH_LIMIT)
        return err_set(err, ERR_USAGE, "--depth: \"%.20s\" is no number up to %d", text,
                       DEPTH_LIMIT);
    *out = (unsigned)value;
    return 0;
}

static int by_room(const void *a, const void *b)
{
    const struct stats_group *one = a, *other = b;

    return (one->stored < other->stored) - (one->stored > other->stored);
}

/* The number in the timeline of a snapshot; false: it came or went meanwhile. */
static bool find_shot(const struct counting *counting, const char *name, size_t *out)
{
    const struct timeline *timeline = &counting->timeline;

    for (*out = 0; *out < timeline->count; ++*out)
        if (strcmp(timeline->at[*out].name, name) == 0)
            return true;
    return false;
}

/* Whole bytes, up: what takes room is not nothing. */
static uint64_t whole(double bytes)
{
    uint64_t count = (uint64_t)bytes;

    return count + ((double)count < bytes);
}

static bool is_wanted(const struct counting *counting, const struct snapshot_row *row)
{
    const char *host = app_text(counting->app, "host");

    return !host || strcmp(host, row->host) == 0;
}

/* ---- for people -------------------------------------------------------------------------- */

static void print_snapshots(const struct counting *counting)
{
    char types[SNAPSHOT_TYPES_SIZE], size[OUTPUT_SIZE], brought[OUTPUT_SIZE], frees[OUTPUT_SIZE];
    size_t shot;

    printf("%-15s  %-12s  %-16s  %8s  %8s  %8s\n", "SNAPSHOT", "TYPE", "HOST", "SIZE", "BROUGHT",
           "FREES");
    for (size_t i = 0; i < counting->rows.count; i++) {
        const struct snapshot_row *row = &counting->rows.at[i];
        if (!is_wanted(counting, row) || !find_shot(counting, row->name, &shot))
            continue;
        printf("%-15s  %-12s  %-16s  %8s  %8s  %8s\n", row->name, snapshot_types(row->types, types),
               row->host, output_size(row->bytes, size),
               output_size(whole(counting->stats.brought[shot]), brought),
               output_size(whole(counting->stats.frees[shot]), frees));
    }
}

static void print_groups(const struct counting *counting)
{
    const struct stats *stats = &counting->stats;
    bool all = app_flag(counting->app, "all");
    char size[OUTPUT_SIZE];

    printf("\n%8s  %s\n", "STORED", "WHERE");
    for (int type = TYPE_FILES; type <= TYPES; type++)
        if (stats->types[type] > 0)
            printf("%8s  %s\n", output_size(whole(stats->types[type]), size),
                   snapshot_type_name((enum snapshot_type)type));
    for (size_t i = 0; i < stats->group_count && (all || i < GROUPS_SHOWN); i++) {
        const struct stats_group *group = &stats->groups[i];
        printf("%8s  %s", output_size(whole(group->stored), size), snapshot_type_name(group->type));
        if (group->path)
            entries_print(group->path, strlen(group->path));
        puts(group->path ? "" : " (others)");
    }
    if (!all && stats->group_count > GROUPS_SHOWN)
        printf("%8s  %zu more (--all)\n", "…", stats->group_count - GROUPS_SHOWN);
    printf("%8s  in all\n", output_size(whole(stats->stored), size));
}

/* ---- for programs ------------------------------------------------------------------------ */

static struct json_object *snapshots_json(const struct counting *counting)
{
    struct json_object *list = json_object_new_array();
    size_t shot;

    for (size_t i = 0; i < counting->rows.count; i++) {
        const struct snapshot_row *row = &counting->rows.at[i];
        if (!is_wanted(counting, row) || !find_shot(counting, row->name, &shot))
            continue;
        struct json_object *object = snapshot_json(row);
        json_object_object_add(object, "brought",
                               output_json_number(whole(counting->stats.brought[shot])));
        json_object_object_add(object, "frees",
                               output_json_number(whole(counting->stats.frees[shot])));
        json_object_array_add(list, object);
    }
    return list;
}

static struct json_object *groups_json(const struct stats *stats)
{
    struct json_object *list = json_object_new_array();

    for (size_t i = 0; i < stats->group_count; i++) {
        const struct stats_group *group = &stats->groups[i];
        struct json_object *object = json_object_new_object();
        json_object_object_add(object, "type",
                               json_object_new_string(snapshot_type_name(group->type)));
        json_object_object_add(object, "path",
                               group->path ? output_json_text(group->path, strlen(group->path))
                                           : NULL);
        json_object_object_add(object, "stored", output_json_number(whole(group->stored)));
        json_object_array_add(list, object);
    }
    return list;
}

static void print_json(const struct counting *counting)
{
    struct json_object *object = json_object_new_object();
    struct json_object *types = json_object_new_object();
    const struct stats *stats = &counting->stats;

    for (int type = TYPE_FILES; type <= TYPES; type++)
        json_object_object_add(types, snapshot_type_name((enum snapshot_type)type),
                               output_json_number(whole(stats->types[type])));
    json_object_object_add(object, "stored", output_json_number(whole(stats->stored)));
    json_object_object_add(object, "chunks", output_json_number(stats->chunks));
    json_object_object_add(object, "archives", output_json_number(stats->archives));
    json_object_object_add(object, "cold_archives", output_json_number(stats->cold));
    json_object_object_add(object, "types", types);
    json_object_object_add(object, "directories", groups_json(stats));
    json_object_object_add(object, "snapshots", snapshots_json(counting));
    output_json(object);
}

static int run(struct app *app, struct err *err)
{
    CLEANUP(counting_clear) struct counting counting = {.app = app};
    struct session *session = &counting.session;
    char cold[OUTPUT_SIZE];
    unsigned depth;
    int r = parse_depth(app_text(app, "depth"), &depth, err);

    if (r == 0)
        r = session_open(app, SESSION_SNAPSHOTS, session, err);
    if (r == 0)
        r = session_blocks(session, LOOK_CACHE, err);
    if (r == 0)
        r = catalog_snapshots(session->catalog, NULL, &counting.rows, err);
    if (r == 0)
        r = timeline_load(session->catalog, NULL, 0, &counting.timeline, err);
    if (r == 0)
        r = stats_run(session->blocks, &counting.timeline, depth, &counting.stats, err);
    if (r < 0 && !counting.stats.frees)
        return r;
    if (counting.stats.group_count > 0)
        qsort(counting.stats.groups, counting.stats.group_count, sizeof(*counting.stats.groups),
              by_room);
    if (app->json) {
        print_json(&counting);
        return r;
    }
    print_snapshots(&counting);
    print_groups(&counting);
    if (counting.stats.cold > 0)
        console_line("in cold storage, and in none of these figures: %s",
                     output_count(counting.stats.cold, "archive", cold));
    return r;
}

const struct command command_stats = {
    .name = "stats",
    .arguments = "",
    .summary = "what takes the room",
    .examples = "  yester stats\n"
                "  yester stats --depth 3 --all\n",
    .details = "BROUGHT is the content that a snapshot was the first to have, of all that are "
               "there; FREES is what\nit alone has: forgetting it, and then pruning, gives so much "
               "back, as far as archives\nare compacted for it ([prune] compact).  A chunk that "
               "several files share\nis counted with the oldest.  Bytes are as "
               "stored, compressed; directories' own room is not in it.\n",
    .options = options,
    .cache = CACHE_METADATA,
    .run = run,
};
