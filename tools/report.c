#include "tools/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "backup/base/err.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/output.h"

void app_hint(struct app *app, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(app->hint, sizeof(app->hint), format, args);
    va_end(args);
}

/* The next step that a kind of error suggests, where the command knew no better one. */
static void hint_by_kind(struct app *app, const struct err *err)
{
    const char *location = config_text(&app->config, SET_LOCATION);

    if (app->hint[0])
        return;
    if (err->code == ERR_NO_REPOSITORY)
        app_hint(app, "make one with `yester --repo %.120s init`, or name another with --repo",
                 location ? location : "DIR");
    else if (err->code == ERR_USAGE && app->command)
        app_hint(app, "see `yester %s --help`", app->command->name);
    else if (err->code == ERR_USAGE)
        app_hint(app, "see `yester --help`");
    else if (err->code == ERR_CORRUPT)
        app_hint(app, "`yester verify --data` lists all that is damaged, and who needs it");
    else if (err->code == ERR_COLD)
        app_hint(app,
                 "`yester restore SNAP [PATH] --target DIR --dry-run` says what has to be thawed, "
                 "and how long that takes; --thaw asks for it");
    else if (err->cause == ENOSPC || err->cause == EDQUOT)
        app_hint(app, "nothing that was stored is lost; make room and run it again");
}

/* Whoever calls `wal fetch` takes every status up to this for an answer. */
enum { STATUS_ANSWER_MAX = 125 };

/* diff has one status for all trouble; what is told apart by scripts stays apart. */
static int status_of(const struct app *app, const struct err *err)
{
    int status = err_exit_status(-(int)err->code);

    if (!app->command || app->command->failed == 0)
        return status;
    if (app->command->failed > STATUS_ANSWER_MAX)
        return app->command->failed;
    return status == 10 || status == 11 || status == 12 || status == 130 ? status
                                                                         : app->command->failed;
}

static void print_json(const struct app *app, const struct err *err, int status)
{
    struct json_object *object = json_object_new_object();

    json_object_object_add(object, "error", output_json_text(err->text, strlen(err->text)));
    json_object_object_add(object, "path",
                           app->path[0] ? output_json_text(app->path, strlen(app->path)) : NULL);
    json_object_object_add(object, "hint",
                           app->hint[0] ? output_json_text(app->hint, strlen(app->hint)) : NULL);
    json_object_object_add(object, "exit", json_object_new_int(status));
    output_json(object);
}

int report_error(struct app *app, const struct err *err)
{
    int status = status_of(app, err);

    hint_by_kind(app, err);
    console_say("%s", err->text);
    if (app->hint[0])
        console_line("hint: %s", app->hint);
    if (app->json)
        print_json(app, err, status);
    return status;
}
