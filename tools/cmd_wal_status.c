/* cmd_wal_status — what of servers' logs is stored, what is missing, how far behind it is. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/lsn.h"
#include "backup/source/pg.h"
#include "catalog/catalog.h"
#include "catalog/wal.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/database.h"
#include "tools/output.h"
#include "tools/session.h"
#include "tools/wal.h"

static const struct option_spec status_options[] = {
    OPTION_SYSTEM,
    {"no-server", 0, NULL, "do not ask the server"},
    {0},
};

enum { SLOTS_SHOWN = 16, TEXT_SIZE = 64 };

struct slot {
    char name[TEXT_SIZE], keeps[TEXT_SIZE];
    bool active;
    uint64_t lsn; /* kept from here on; 0: nothing is */
};

/* The server of the settings, as it is now. */
struct asked {
    bool reached;
    struct err why_not;
    uint64_t system, lsn;
    struct slot slots[SLOTS_SHOWN];
    size_t slot_count;
};

static const char server_query[] =
    "SELECT system_identifier, CASE WHEN pg_catalog.pg_is_in_recovery()"
    "   THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_flush_lsn() END"
    " FROM pg_catalog.pg_control_system()";
static const char slots_query[] = "SELECT slot_name, active, restart_lsn, coalesce(wal_status, '')"
                                  " FROM pg_catalog.pg_replication_slots WHERE slot_type = "
                                  "'physical' ORDER BY slot_name LIMIT 16";

static int ask_slots(struct pg_conn *conn, struct asked *out, struct err *err)
{
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;
    int r = pg_query(conn, slots_query, &rows, err);

    for (int i = 0; r == 0 && i < pg_count(rows) && i < SLOTS_SHOWN; i++) {
        struct slot *slot = &out->slots[out->slot_count++];
        (void)snprintf(slot->name, sizeof(slot->name), "%s", pg_text(rows, i, 0));
        slot->active = pg_is_true(rows, i, 1);
        (void)lsn_parse(pg_text(rows, i, 2), &slot->lsn);
        (void)snprintf(slot->keeps, sizeof(slot->keeps), "%s", pg_text(rows, i, 3));
    }
    return r;
}

static int ask(const struct pg_server *server, struct asked *out, struct err *err)
{
    CLEANUP(pg_closep) struct pg_conn *conn = NULL;
    CLEANUP(pg_clearp) struct pg_result *rows = NULL;
    int r = pg_connect(server, "postgres", PG_PLAIN, &conn, err);

    if (r == 0)
        r = pg_query(conn, server_query, &rows, err);
    if (r == 0)
        r = ask_slots(conn, out, err);
    if (r < 0)
        return r;
    out->system = strtoull(pg_text(rows, 0, 0), NULL, 10);
    (void)lsn_parse(pg_text(rows, 0, 1), &out->lsn);
    out->reached = true;
    return 0;
}

static bool gap_before(const struct wal_ranges *ranges, size_t i)
{
    return i > 0 && ranges->at[i - 1].system == ranges->at[i].system &&
           ranges->at[i - 1].timeline == ranges->at[i].timeline;
}

/* How far the stored log is behind the server's: of its newest range. */
static uint64_t behind(const struct wal_ranges *ranges, const struct asked *asked)
{
    uint64_t end = 0;

    for (size_t i = 0; i < ranges->count; i++)
        if (ranges->at[i].system == asked->system && ranges->at[i].end > end)
            end = ranges->at[i].end;
    return asked->lsn > end ? asked->lsn - end : 0;
}

/* ---- for people ---- */

static void print_range(const struct wal_ranges *ranges, size_t i)
{
    const struct wal_range *range = &ranges->at[i];
    char start[LSN_TEXT_SIZE], end[LSN_TEXT_SIZE], stored[OUTPUT_SIZE], age[OUTPUT_SIZE];

    if (i == 0 || ranges->at[i - 1].system != range->system)
        printf("server %" PRIu64 "\n", range->system);
    lsn_format(range->start, start);
    if (gap_before(ranges, i)) {
        lsn_format(ranges->at[i - 1].end, end);
        printf("  GAP: %s to %s is missing\n", end, start);
    }
    lsn_format(range->end, end);
    printf("  timeline %" PRIu32 ": %s to %s, %" PRIu64 " segments, %" PRIu64 " pieces, %s stored, "
           "%" PRIu64 " commits; newest %s ago\n",
           range->timeline, start, end, range->segments, range->tails,
           output_size(range->stored, stored), range->commits, output_age(range->made_ns, age));
}

static void print_server(const struct wal_ranges *ranges, const struct asked *asked)
{
    char lsn[LSN_TEXT_SIZE], size[OUTPUT_SIZE];

    if (!asked->reached) {
        printf("the server was not asked: %s\n", asked->why_not.text);
        return;
    }
    lsn_format(asked->lsn, lsn);
    printf("the server (%" PRIu64 ") is at %s: the repository is %s behind\n", asked->system, lsn,
           output_size(behind(ranges, asked), size));
    for (size_t i = 0; i < asked->slot_count; i++) {
        const struct slot *slot = &asked->slots[i];
        lsn_format(slot->lsn, lsn);
        printf(
            "  slot %s: %s, keeps %s from %s on (%s)\n", slot->name,
            slot->active ? "in use" : "NOT in use",
            output_size(slot->lsn > 0 && asked->lsn > slot->lsn ? asked->lsn - slot->lsn : 0, size),
            lsn, slot->keeps);
    }
    if (asked->slot_count == 0)
        printf("  no slot: nobody receives, or what is missing is not kept\n");
}

/* ---- for programs ---- */

static void add_lsn(struct json_object *object, const char *name, uint64_t lsn)
{
    char text[LSN_TEXT_SIZE];

    lsn_format(lsn, text);
    json_object_object_add(object, name, json_object_new_string(text));
}

static struct json_object *json_of_range(const struct wal_range *range)
{
    struct json_object *object = json_object_new_object();

    json_object_object_add(object, "system", output_json_number(range->system));
    json_object_object_add(object, "timeline", output_json_number(range->timeline));
    add_lsn(object, "start", range->start);
    add_lsn(object, "end", range->end);
    json_object_object_add(object, "segments", output_json_number(range->segments));
    json_object_object_add(object, "pieces", output_json_number(range->tails));
    json_object_object_add(object, "stored", output_json_number(range->stored));
    json_object_object_add(object, "commits", output_json_number(range->commits));
    json_object_object_add(object, "newest", output_json_time(range->made_ns));
    return object;
}

static struct json_object *json_of_gaps(const struct wal_ranges *ranges)
{
    struct json_object *gaps = json_object_new_array();

    for (size_t i = 0; i < ranges->count; i++) {
        if (!gap_before(ranges, i))
            continue;
        struct json_object *gap = json_object_new_object();
        json_object_object_add(gap, "system", output_json_number(ranges->at[i].system));
        json_object_object_add(gap, "timeline", output_json_number(ranges->at[i].timeline));
        add_lsn(gap, "start", ranges->at[i - 1].end);
        add_lsn(gap, "end", ranges->at[i].start);
        json_object_array_add(gaps, gap);
    }
    return gaps;
}

static struct json_object *json_of_server(const struct wal_ranges *ranges,
                                          const struct asked *asked)
{
    struct json_object *server = json_object_new_object();
    struct json_object *slots = json_object_new_array();

    json_object_object_add(server, "system", output_json_number(asked->system));
    add_lsn(server, "lsn", asked->lsn);
    json_object_object_add(server, "behind", output_json_number(behind(ranges, asked)));
    for (size_t i = 0; i < asked->slot_count; i++) {
        struct json_object *slot = json_object_new_object();
        json_object_object_add(slot, "name", json_object_new_string(asked->slots[i].name));
        json_object_object_add(slot, "active", json_object_new_boolean(asked->slots[i].active));
        add_lsn(slot, "restart", asked->slots[i].lsn);
        json_object_object_add(slot, "wal_status", json_object_new_string(asked->slots[i].keeps));
        json_object_array_add(slots, slot);
    }
    json_object_object_add(server, "slots", slots);
    return server;
}

static void print_json(const struct wal_ranges *ranges, const struct asked *asked)
{
    struct json_object *object = json_object_new_object();
    struct json_object *all = json_object_new_array();

    for (size_t i = 0; i < ranges->count; i++)
        json_object_array_add(all, json_of_range(&ranges->at[i]));
    json_object_object_add(object, "ranges", all);
    json_object_object_add(object, "gaps", json_of_gaps(ranges));
    json_object_object_add(object, "server", asked->reached ? json_of_server(ranges, asked) : NULL);
    output_json(object);
}

static int ask_settings(struct app *app, struct asked *out, struct err *err)
{
    CLEANUP(database_clear) struct database database = {0};
    int r = database_make(&app->config, &database, err);

    if (r < 0)
        return r;
    if (app_flag(app, "no-server"))
        (void)err_set(&out->why_not, ERR_CANCELLED, "--no-server");
    else
        (void)ask(&database.server, out, &out->why_not);
    return 0;
}

static int run_status(struct app *app, struct err *err)
{
    CLEANUP(session_close) struct session session = {0};
    CLEANUP(wal_ranges_clear) struct wal_ranges ranges = {0};
    struct asked asked = {0};
    uint64_t system;
    int r = wal_number(app, "system", UINT64_MAX, &system, err);

    if (r == 0)
        r = session_open(app, SESSION_CATALOG, &session, err);
    if (r == 0)
        r = wal_sync(session.catalog, err);
    if (r == 0)
        r = wal_ranges_find(session.catalog, system, &ranges, err);
    if (r == 0)
        r = ask_settings(app, &asked, err);
    if (r < 0)
        return r;
    if (app->json) {
        print_json(&ranges, &asked);
        return 0;
    }
    if (ranges.count == 0)
        printf("no server's log is stored\n");
    for (size_t i = 0; i < ranges.count; i++)
        print_range(&ranges, i);
    print_server(&ranges, &asked);
    return 0;
}

const struct command command_wal_status = {
    .name = "wal status",
    .arguments = "",
    .summary = "what of PostgreSQL's log is stored, and what is missing",
    .examples = "  yester wal status\n"
                "  yester --json wal status --no-server\n",
    .details = "For each server and timeline from where to where the log is stored without a gap, "
               "the gaps, and\nhow far behind the server that is, with its slots.\n",
    .options = status_options,
    .run = run_status,
};
