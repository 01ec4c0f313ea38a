/* cmd_ls — what is in a directory of a snapshot. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/job/treewalk.h"
#include "tools/command.h"
#include "tools/entries.h"
#include "tools/look.h"
#include "tools/output.h"
#include "tools/session.h"

static const struct option_spec options[] = {
    {"long", 'l', NULL, "mode, owner, size, time"},
    {"recursive", 'R', NULL, "all that is below, too"},
    {"type", 't', "TYPE,…", "only of these types"},
    {0},
};

struct listing {
    const struct app *app;
    bool details, recursive;
};

static void freep(char **text)
{
    free(*text);
}

static void print_details(const struct entry *entry)
{
    char mode[ENTRIES_MODE_SIZE], time[CLOCK_TEXT_SIZE];

    printf("%s  %3llu  %5u %5u", entries_mode(entry, mode), (unsigned long long)entry->links,
           entry->uid, entry->gid);
    if (entry->type == ENTRY_CHARDEV || entry->type == ENTRY_BLOCKDEV)
        printf("  %8u, %3u", major(entry->rdev), minor(entry->rdev));
    else
        printf("  %13llu", (unsigned long long)(entry->type == ENTRY_FILE ? entry->size : 0));
    printf("  %26s  ", entries_time(entry, time));
}

static void print_json(const struct entry *entry, const char *path)
{
    struct json_object *object = json_object_new_object();

    json_object_object_add(object, "path", output_json_text(path, strlen(path)));
    entries_json(object, entry);
    output_json(object);
}

static void print_entry(const struct listing *listing, const struct entry *entry, const char *path)
{
    if (listing->app->json) {
        print_json(entry, path);
        return;
    }
    if (listing->details)
        print_details(entry);
    entries_print(path, strlen(path));
    if (entry->type == ENTRY_DIRECTORY)
        putchar('/');
    if (listing->details && entry->type == ENTRY_SYMLINK) {
        fputs(" -> ", stdout);
        entries_print(entry->target, entry->target_size);
    }
    putchar('\n');
}

/* What is in a directory; with `prefix` in front of each path. */
static int list_directory(const struct listing *listing, struct blocks *blocks,
                          const struct dirref *directory, const char *prefix, struct err *err)
{
    CLEANUP(treewalk_freep) struct treewalk *walk = NULL;
    const struct entry *entry;
    const char *path;
    int r = treewalk_new(blocks, directory, &walk, err);

    while (r == 0 && (r = treewalk_next(walk, &entry, &path, err)) > 0) {
        char *whole = NULL;

        if (asprintf(&whole, "%s%s%s", prefix, prefix[0] ? "/" : "", path) < 0)
            return err_set(err, ERR_NOMEM, "no memory for a path");
        print_entry(listing, entry, whole);
        free(whole);
        if (!listing->recursive)
            treewalk_skip(walk);
        r = ferror(stdout) ? err_sys(err, "cannot write to stdout") : 0;
    }
    return r;
}

static int list_types(const struct listing *listing, struct session *session,
                      const struct selection *selection, struct err *err)
{
    int r = 0;

    for (enum snapshot_type type = TYPE_FILES; type <= TYPES && r == 0; type++) {
        CLEANUP(view_target_clear) struct view_target target = {0};

        if (!selection->types[type])
            continue;
        r = view_type_root(selection, type, &target, err);
        if (r < 0)
            break;
        print_entry(listing, &target.held.entry, snapshot_type_name(type));
        if (listing->recursive)
            r = list_directory(listing, session->blocks, &target.held.entry.directory,
                               snapshot_type_name(type), err);
    }
    return r;
}

static int list_target(const struct listing *listing, struct session *session,
                       const struct view_target *target, struct err *err)
{
    CLEANUP(freep) char *path = NULL;
    int r = look_path(target, &path, err);

    if (r < 0)
        return r;
    if (target->held.entry.type == ENTRY_DIRECTORY)
        return list_directory(listing, session->blocks, &target->held.entry.directory,
                              listing->recursive ? path : "", err);
    print_entry(listing, &target->held.entry, path);
    return 0;
}

static int run(struct app *app, struct err *err)
{
    struct listing listing = {app, app_flag(app, "long"), app_flag(app, "recursive")};
    CLEANUP(session_close) struct session session = {0};
    CLEANUP(look_clear) struct look look = {0};
    const char *what = app_argument(app, 0);
    uint8_t types;
    int r = types_parse(app_text(app, "type"), &types, err);

    if (r == 0)
        r = session_open(app, SESSION_SNAPSHOTS, &session, err);
    if (r == 0)
        r = session_blocks(&session, LOOK_CACHE, err);
    if (r == 0)
        r = look_open(app, &session, what ? what : "latest", types, &look, err);
    if (r < 0)
        return r;
    return look.has_path ? list_target(&listing, &session, &look.target, err)
                         : list_types(&listing, &session, &look.selection, err);
}

const struct command command_ls = {
    .name = "ls",
    .arguments = "[SNAP[:PATH]]",
    .summary = "what is in a directory of a snapshot",
    .examples = "  yester ls latest:config/etc\n"
                "  yester ls -lR 20260204:/srv/app\n",
    .details = "SNAP is a name, a unique beginning of one, latest, or latest~N.  PATH begins with "
               "a type\n(files/srv) or with a slash; then it is sought in files, then config.\n",
    .options = options,
    .most = 1,
    .falls_back = true,
    .cache = CACHE_METADATA,
    .run = run,
};
