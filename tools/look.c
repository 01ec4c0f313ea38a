#include "tools/look.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "tools/command.h"
#include "tools/session.h"

int look_open(struct app *app, struct session *session, const char *text, uint8_t types,
              struct look *out, struct err *err)
{
    CLEANUP(snapshot_path_clear) struct snapshot_path name = {0};
    int r = snapshot_path_parse(text, &name, err);

    if (r == 0)
        r = session_select(app, session, name.snapshot, types, NULL, &out->selection, err);
    out->has_path = name.path && name.path[0] && strcmp(name.path, "/") != 0;
    if (r < 0 || !out->has_path)
        return r;
    r = view_resolve(session->blocks, &out->selection, name.path, &out->target, err);
    if (r < 0) {
        app_hint(app, "`yester ls %.100s` shows what is in it", name.snapshot);
        (void)snprintf(app->path, sizeof(app->path), "%s", name.path);
    }
    return r;
}

void look_clear(struct look *look)
{
    view_target_clear(&look->target);
    selection_clear(&look->selection);
    *look = (struct look){0};
}

int look_path(const struct view_target *target, char **out, struct err *err)
{
    const char *source = target->source_path;

    if (asprintf(out, "%s%s", snapshot_type_name(target->type),
                 strcmp(source, "/") == 0 ? "" : source) < 0)
        return err_set(err, ERR_NOMEM, "no memory for a path");
    return 0;
}
