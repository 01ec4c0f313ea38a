/* cmd_list — the snapshots that there are. */
#include <stdio.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "catalog/catalog.h"
#include "tools/command.h"
#include "tools/output.h"
#include "tools/session.h"
#include "tools/snapshots.h"

static const struct option_spec options[] = {
    {"type", 't', "TYPE,…", "only snapshots that have one of these types"},
    {0},
};

static void print_row(const struct snapshot_row *row)
{
    char types[SNAPSHOT_TYPES_SIZE], size[OUTPUT_SIZE], new_bytes[OUTPUT_SIZE], age[OUTPUT_SIZE];

    printf("%-15s  %-12s  %-16s  %9llu  %8s  %8s  %7s%s%s\n", row->name,
           snapshot_types(row->types, types), row->host, (unsigned long long)row->files,
           output_size(row->bytes, size), output_size(row->new_bytes, new_bytes),
           output_age(row->start_ns, age), row->adhoc ? "  adhoc" : "",
           row->complete ? "" : "  incomplete");
}

static void print_json(const struct snapshot_rows *rows, uint8_t types)
{
    struct json_object *list = json_object_new_array();

    for (size_t i = 0; i < rows->count; i++)
        if (!types || (rows->at[i].types & types))
            json_object_array_add(list, snapshot_json(&rows->at[i]));
    output_json(list);
}

static void print_rows(const struct snapshot_rows *rows, uint8_t types)
{
    printf("%-15s  %-12s  %-16s  %9s  %8s  %8s  %7s\n", "SNAPSHOT", "TYPE", "HOST", "FILES", "SIZE",
           "NEW", "AGE");
    for (size_t i = 0; i < rows->count; i++)
        if (!types || (rows->at[i].types & types))
            print_row(&rows->at[i]);
}

static int run(struct app *app, struct err *err)
{
    CLEANUP(session_close) struct session session = {0};
    CLEANUP(snapshot_rows_clear) struct snapshot_rows rows = {0};
    uint8_t types;
    int r = types_parse(app_text(app, "type"), &types, err);

    if (r == 0)
        r = session_open(app, SESSION_SNAPSHOTS, &session, err);
    if (r == 0)
        r = catalog_snapshots(session.catalog, app_text(app, "host"), &rows, err);
    if (r < 0)
        return r;
    if (app->json)
        print_json(&rows, types);
    else
        print_rows(&rows, types);
    return 0;
}

const struct command command_list = {
    .name = "list",
    .arguments = "",
    .summary = "the snapshots that there are",
    .examples = "  yester list\n"
                "  yester --host web1 list --type config\n",
    .details = "Names are times in UTC.  NEW is what a snapshot added to the repository.\n",
    .options = options,
    .run = run,
};
