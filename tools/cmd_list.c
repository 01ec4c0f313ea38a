/* cmd_list — the snapshots that there are. */
#include <stdio.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/path.h"
#include "catalog/catalog.h"
#include "tools/command.h"
#include "tools/output.h"
#include "tools/session.h"
#include "tools/snapshots.h"

static const struct option_spec options[] = {
    {"type", 't', "TYPE,…", "only snapshots that have one of these types"},
    {"all", 'a', NULL, "also what is forgotten and not pruned yet"},
    {0},
};

struct list {
    struct snapshot_rows rows;
    struct note_rows holds;
    uint8_t types;
};

static void list_clear(struct list *list)
{
    snapshot_rows_clear(&list->rows);
    note_rows_clear(&list->holds);
}

static bool is_shown(const struct list *list, const struct snapshot_row *row)
{
    return !list->types || (row->types & list->types) != 0;
}

/* "  held (audit, court)" */
static void print_holds(const struct list *list, const struct snapshot_row *row)
{
    const char *before = " (";

    if (!row->held)
        return;
    printf("  held");
    for (size_t i = 0; i < list->holds.count; i++) {
        const struct note *hold = &list->holds.at[i].note;
        char text[4 * NOTE_REASON_SIZE + 1];

        if (strcmp(hold->snapshot, row->name) != 0 || !hold->reason[0])
            continue;
        path_printable(hold->reason, strlen(hold->reason), text, sizeof(text));
        printf("%s%s", before, text);
        before = ", ";
    }
    printf("%s", before[0] == ',' ? ")" : "");
}

static void print_row(const struct list *list, const struct snapshot_row *row)
{
    char types[SNAPSHOT_TYPES_SIZE], size[OUTPUT_SIZE], new_bytes[OUTPUT_SIZE], age[OUTPUT_SIZE];

    printf("%-15s  %-12s  %-16s  %9llu  %8s  %8s  %7s%s%s%s", row->name,
           snapshot_types(row->types, types), row->host, (unsigned long long)row->files,
           output_size(row->bytes, size), output_size(row->new_bytes, new_bytes),
           output_age(row->start_ns, age), row->adhoc ? "  adhoc" : "",
           row->complete ? "" : "  incomplete", row->forgotten ? "  forgotten" : "");
    print_holds(list, row);
    printf("\n");
}

static struct json_object *row_json(const struct list *list, const struct snapshot_row *row)
{
    struct json_object *object = snapshot_json(row);
    struct json_object *tags = json_object_new_array(), *holds = json_object_new_array();

    for (size_t i = 0; i < row->tags.count; i++)
        json_object_array_add(tags, output_json_text(row->tags.at[i], strlen(row->tags.at[i])));
    for (size_t i = 0; row->held && i < list->holds.count; i++) {
        const struct note *hold = &list->holds.at[i].note;

        if (strcmp(hold->snapshot, row->name) == 0)
            json_object_array_add(holds, output_json_text(hold->reason, strlen(hold->reason)));
    }
    json_object_object_add(object, "tags", tags);
    json_object_object_add(object, "held", json_object_new_boolean(row->held));
    json_object_object_add(object, "holds", holds);
    json_object_object_add(object, "forgotten",
                           row->forgotten ? output_json_time(row->forgotten_ns) : NULL);
    return object;
}

static void print_json(const struct list *list)
{
    struct json_object *array = json_object_new_array();

    for (size_t i = 0; i < list->rows.count; i++)
        if (is_shown(list, &list->rows.at[i]))
            json_object_array_add(array, row_json(list, &list->rows.at[i]));
    output_json(array);
}

static void print_rows(const struct list *list)
{
    printf("%-15s  %-12s  %-16s  %9s  %8s  %8s  %7s\n", "SNAPSHOT", "TYPE", "HOST", "FILES", "SIZE",
           "NEW", "AGE");
    for (size_t i = 0; i < list->rows.count; i++)
        if (is_shown(list, &list->rows.at[i]))
            print_row(list, &list->rows.at[i]);
}

static int run(struct app *app, struct err *err)
{
    CLEANUP(session_close) struct session session = {0};
    CLEANUP(list_clear) struct list list = {0};
    const char *host = app_text(app, "host");
    int r = types_parse(app_text(app, "type"), &list.types, err);

    if (r == 0)
        r = session_open(app, SESSION_SNAPSHOTS, &session, err);
    if (r == 0)
        r = app_flag(app, "all") ? catalog_all_snapshots(session.catalog, host, &list.rows, err)
                                 : catalog_snapshots(session.catalog, host, &list.rows, err);
    if (r == 0)
        r = catalog_holds(session.catalog, NULL, &list.holds, err);
    if (r < 0)
        return r;
    if (app->json)
        print_json(&list);
    else
        print_rows(&list);
    return 0;
}

const struct command command_list = {
    .name = "list",
    .arguments = "",
    .summary = "the snapshots that there are",
    .examples = "  yester list\n"
                "  yester --host web1 list --type config\n",
    .details = "Names are times in UTC.  NEW is what a snapshot added to the repository.\n"
               "What is forgotten is shown by --all, until prune removes it.\n",
    .options = options,
    .falls_back = true,
    .cache = CACHE_METADATA,
    .run = run,
};
