/* cmd_cat — the content of a file of a snapshot; a directory as a tar stream. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backup/archive/tree.h"
#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "tools/command.h"
#include "tools/look.h"
#include "tools/session.h"
#include "tools/tarball.h"

static const struct option_spec options[] = {{0}};

enum { MANIFEST_MAX = 16 * 1024 * 1024 };

static int print_manifest(struct app *app, struct session *session, const char *snapshot,
                          struct err *err)
{
    CLEANUP(selection_clear) struct selection selection = {0};
    CLEANUP(buf_clear) struct buf text = {.limit = MANIFEST_MAX};
    int r = session_select(app, session, snapshot, 0, NULL, &selection, err);

    for (size_t i = 0; i < selection.count && r == 0; i++)
        r = view_manifest(&selection.roots[i], &text, err);
    return r < 0 ? r : io_write_full(STDOUT_FILENO, text.data, text.size, err);
}

static int print_target(struct app *app, struct session *session, const struct view_target *target,
                        struct err *err)
{
    const struct entry *entry = &target->held.entry;

    if (entry->type == ENTRY_DIRECTORY && isatty(STDOUT_FILENO)) {
        app_hint(app, "send it to a file or to `tar -t`");
        return err_set(err, ERR_USAGE, "a directory comes as a tar stream, not for a terminal");
    }
    if (entry->type == ENTRY_DIRECTORY)
        return tarball_write(session->blocks, entry, STDOUT_FILENO, err);
    if (entry->type == ENTRY_SYMLINK)
        return err_set(err, ERR_USAGE, "%.100s is a symbolic link to %.*s", target->source_path,
                       (int)(entry->target_size < 100 ? entry->target_size : 100), entry->target);
    if (entry->type != ENTRY_FILE)
        return err_set(err, ERR_USAGE, "%.150s has no content", target->source_path);
    return tarball_content(session->blocks, &entry->content, entry->size, STDOUT_FILENO, err);
}

static int run(struct app *app, struct err *err)
{
    CLEANUP(session_close) struct session session = {0};
    CLEANUP(look_clear) struct look look = {0};
    CLEANUP(snapshot_path_clear) struct snapshot_path name = {0};
    int r = snapshot_path_parse(app_argument(app, 0), &name, err);

    if (r == 0 && (!name.path || !name.path[0]))
        r = err_set(err, ERR_USAGE, "cat needs a path: SNAP:PATH");
    if (r == 0)
        r = session_open(app, SESSION_SNAPSHOTS, &session, err);
    if (r == 0)
        r = session_blocks(&session, LOOK_CACHE, err);
    if (r < 0)
        return r;
    if (strcmp(name.path, "manifest.json") == 0)
        return print_manifest(app, &session, name.snapshot, err);
    r = look_open(app, &session, app_argument(app, 0), 0, &look, err);
    if (r == 0 && !look.has_path)
        r = err_set(err, ERR_USAGE, "cat needs a path below a type: SNAP:files");
    return r < 0 ? r : print_target(app, &session, &look.target, err);
}

const struct command command_cat = {
    .name = "cat",
    .arguments = "SNAP:PATH",
    .summary = "the content of a file; of a directory as a tar stream",
    .examples = "  yester cat latest:/srv/app/.env\n"
                "  yester cat 20260204:files/srv/app | tar -x -C /tmp/app\n"
                "  yester cat latest:manifest.json\n",
    .options = options,
    .least = 1,
    .most = 1,
    .falls_back = true,
    .cache = CACHE_METADATA,
    .run = run,
};
