#include "tools/snapshots.h"

#include <stdio.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "catalog/catalog.h"
#include "tools/command.h"
#include "tools/output.h"
#include "tools/session.h"

const char *snapshot_types(uint8_t types, char out[SNAPSHOT_TYPES_SIZE])
{
    out[0] = '\0';
    if (types == (1 << TYPE_FILES | 1 << TYPE_CONFIG | 1 << TYPE_DATABASE))
        return strcpy(out, "all");
    for (int type = TYPE_FILES; type <= TYPES; type++) {
        size_t used = strlen(out);

        if (types & 1 << type)
            (void)snprintf(out + used, SNAPSHOT_TYPES_SIZE - used, "%s%s", used ? "," : "",
                           snapshot_type_name((enum snapshot_type)type));
    }
    return out;
}

struct json_object *snapshot_json(const struct snapshot_row *row)
{
    struct json_object *object = json_object_new_object();
    char types[SNAPSHOT_TYPES_SIZE];

    json_object_object_add(object, "name", json_object_new_string(row->name));
    json_object_object_add(object, "type",
                           json_object_new_string(snapshot_types(row->types, types)));
    json_object_object_add(object, "host", output_json_text(row->host, strlen(row->host)));
    json_object_object_add(object, "start", output_json_time(row->start_ns));
    json_object_object_add(object, "end", output_json_time(row->end_ns));
    json_object_object_add(object, "complete", json_object_new_boolean(row->complete));
    json_object_object_add(object, "adhoc", json_object_new_boolean(row->adhoc));
    json_object_object_add(object, "files", output_json_number(row->files));
    json_object_object_add(object, "bytes", output_json_number(row->bytes));
    json_object_object_add(object, "new_bytes", output_json_number(row->new_bytes));
    return object;
}

/* What latest means may join several snapshots; then one of them has to be named. */
static int find_latest(struct app *app, struct session *session, const char *text,
                       char out[SNAPSHOT_NAME_SIZE], struct err *err)
{
    CLEANUP(selection_clear) struct selection selection = {0};
    int r = session_select(app, session, text, 0, NULL, &selection, err);

    if (r == 0 && selection.count > 1)
        return err_set(err, ERR_USAGE, "%s is several snapshots (%s, %s); name the one you mean",
                       text, selection.roots[0].name, selection.roots[1].name);
    if (r == 0)
        strcpy(out, selection.roots[0].name);
    return r;
}

static int not_found(struct app *app, const struct snapshot_rows *rows, const char *text,
                     struct err *err)
{
    app_hint(app,
             "`yester list --all` shows the snapshots that there are, and what is forgotten or "
             "held");
    for (size_t i = 0; i < rows->count; i++)
        if (strcmp(rows->at[i].name, text) == 0)
            return err_set(err, ERR_NOT_FOUND, "snapshot %s is %sforgotten and %sheld", text,
                           rows->at[i].forgotten ? "" : "not ", rows->at[i].held ? "" : "not ");
    return err_set(err, ERR_NOT_FOUND, "no such snapshot: %.60s", text);
}

int snapshots_find(struct app *app, struct session *session, const struct snapshot_rows *rows,
                   const char *text, bool (*suits)(const struct snapshot_row *row),
                   size_t *out_index, struct err *err)
{
    const char *host = app_text(app, "host");
    char latest[SNAPSHOT_NAME_SIZE];
    size_t found = 0;

    if (text[0] < '0' || text[0] > '9') {
        int r = find_latest(app, session, text, latest, err);
        if (r < 0)
            return r;
        text = latest;
    }
    for (size_t i = 0; i < rows->count; i++) {
        if (strncmp(rows->at[i].name, text, strlen(text)) != 0 || !suits(&rows->at[i]) ||
            (host && strcmp(rows->at[i].host, host) != 0))
            continue;
        found++;
        *out_index = i;
    }
    if (found > 1)
        return err_set(err, ERR_USAGE, "%.60s can be %zu snapshots, write more of it", text, found);
    return found == 1 ? 0 : not_found(app, rows, text, err);
}

void snapshots_tell(const struct app *app, const struct snapshot_row *row, const char *done)
{
    if (!app->json) {
        if (!app->quiet)
            printf("%s  %s\n", row->name, done);
        return;
    }
    struct json_object *line = json_object_new_object();
    json_object_object_add(line, "snapshot", json_object_new_string(row->name));
    json_object_object_add(line, "host", output_json_text(row->host, strlen(row->host)));
    json_object_object_add(line, "done", json_object_new_string(done));
    output_json(line);
}
