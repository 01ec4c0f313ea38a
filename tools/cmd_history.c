/* cmd_history — the versions of one path over all snapshots. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/tree.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "fs/diff.h"
#include "fs/history.h"
#include "fs/timeline.h"
#include "fs/view.h"
#include "tools/command.h"
#include "tools/entries.h"
#include "tools/output.h"
#include "tools/session.h"

static const struct option_spec options[] = {
    {"type", 't', "TYPE,…", "where a path that begins with / is sought (files, then config)"},
    {0},
};

enum { CHANGES_SIZE = 64 };

struct telling {
    struct app *app;
    struct session session;
    struct selection host;
    struct timeline timeline;
    struct trail trail;
    struct versions versions;
    char *path; /* clean */
};

static void telling_clear(struct telling *telling)
{
    free(telling->path);
    versions_clear(&telling->versions);
    trail_clear(&telling->trail);
    timeline_clear(&telling->timeline);
    selection_clear(&telling->host);
    session_close(&telling->session);
}

static const struct {
    unsigned part;
    const char *word;
} parts[] = {
    {DIFF_PART_TYPE, "type"},   {DIFF_PART_CONTENT, "content"}, {DIFF_PART_MODE, "mode"},
    {DIFF_PART_OWNER, "owner"}, {DIFF_PART_MTIME, "mtime"},     {DIFF_PART_XATTRS, "xattrs"},
};

enum { PARTS = sizeof(parts) / sizeof(parts[0]) };

static const char *changes_text(const struct version *version, char out[CHANGES_SIZE])
{
    (void)snprintf(out, CHANGES_SIZE, "%s",
                   version->again          ? "new again"
                   : version->changes == 0 ? "new"
                                           : "");
    for (size_t i = 0; i < PARTS; i++) {
        size_t used = strlen(out);
        if (version->changes & parts[i].part)
            (void)snprintf(out + used, CHANGES_SIZE - used, "%s%s", used > 0 ? "," : "",
                           parts[i].word);
    }
    return out;
}

/* Whether the newest snapshot still has what the last version is. */
static bool is_present(const struct telling *telling)
{
    const struct versions *versions = &telling->versions;
    uint32_t newest;

    return !timeline_newest(&telling->timeline, telling->trail.type, &newest) ||
           versions->at[versions->count - 1].last >= newest;
}

static void print_version(const struct telling *telling, const struct version *version,
                          const struct entry *entry)
{
    const struct timeline_shot *shots = telling->timeline.at;
    char mode[ENTRIES_MODE_SIZE], time[CLOCK_TEXT_SIZE], changes[CHANGES_SIZE];

    printf("%s  %s  %26s  %12llu  %s  %5u %5u  %s\n", shots[version->first].name,
           shots[version->last].name, entries_time(entry, time),
           (unsigned long long)(entry->type == ENTRY_FILE ? entry->size : 0),
           entries_mode(entry, mode), entry->uid, entry->gid, changes_text(version, changes));
}

static struct json_object *version_json(const struct telling *telling,
                                        const struct version *version, const struct entry *entry)
{
    const struct timeline_shot *shots = telling->timeline.at;
    struct json_object *object = json_object_new_object();
    struct json_object *changes = json_object_new_array();

    json_object_object_add(object, "first", json_object_new_string(shots[version->first].name));
    json_object_object_add(object, "last", json_object_new_string(shots[version->last].name));
    entries_json(object, entry);
    if (version->changes == 0)
        json_object_array_add(changes, json_object_new_string(version->again ? "again" : "new"));
    for (size_t i = 0; i < PARTS; i++)
        if (version->changes & parts[i].part)
            json_object_array_add(changes, json_object_new_string(parts[i].word));
    json_object_object_add(object, "changes", changes);
    return object;
}

/* The frame of the JSON document; *out_list is part of it. */
static struct json_object *document(const struct telling *telling, struct json_object **out_list)
{
    struct json_object *object = json_object_new_object();
    const char *type = snapshot_type_name(telling->trail.type);

    *out_list = json_object_new_array();
    json_object_object_add(object, "host",
                           output_json_text(telling->host.host, strlen(telling->host.host)));
    json_object_object_add(object, "type", json_object_new_string(type));
    json_object_object_add(object, "path", output_json_text(telling->path, strlen(telling->path)));
    json_object_object_add(object, "present", json_object_new_boolean(is_present(telling)));
    json_object_object_add(object, "versions", *out_list);
    return object;
}

static int tell(struct telling *telling, struct err *err)
{
    struct json_object *list, *object = telling->app->json ? document(telling, &list) : NULL;
    int r = 0;

    if (!object)
        printf("%-15s  %-15s  %26s  %12s  %-10s  %5s %5s  %s\n", "FIRST", "LAST", "MODIFIED",
               "SIZE", "MODE", "UID", "GID", "CHANGED");
    for (size_t i = 0; r == 0 && i < telling->versions.count; i++) {
        CLEANUP(held_entry_clear) struct held_entry held = {0};
        const struct version *version = &telling->versions.at[i];
        r = tree_at(telling->session.blocks, version->place, version->shared, &held, err);
        if (r < 0)
            break;
        if (object)
            json_object_array_add(list, version_json(telling, version, &held.entry));
        else
            print_version(telling, version, &held.entry);
    }
    if (object && r == 0)
        output_json(object);
    else
        json_object_put(object);
    if (r == 0 && !object && !is_present(telling))
        printf("(not in the newest snapshot)\n");
    return r;
}

/* Where the path is sought: one type, or for a source path files and config. */
static int seek(struct telling *telling, const char *argument, struct err *err)
{
    enum snapshot_type order[TYPES];
    size_t count = 0;
    uint8_t types;
    int r = types_parse(app_text(telling->app, "type"), &types, err);

    if (r == 0)
        r = view_split(argument, types, order, &count, &telling->path, err);
    if (r == 0 && strcmp(telling->path, "/") == 0)
        r = err_set(err, ERR_USAGE, "%s: a path below a type, please", argument);
    if (r < 0)
        return r;
    uint8_t wanted = 0;
    for (size_t i = 0; i < count; i++)
        wanted = (uint8_t)(wanted | 1U << order[i]);
    r = timeline_load(telling->session.catalog, telling->host.host, wanted, &telling->timeline,
                      err);
    for (size_t i = 0; r == 0 && telling->trail.count == 0 && i < count; i++) {
        trail_clear(&telling->trail);
        r = trail_follow(telling->session.blocks, &telling->timeline, order[i], telling->path,
                         &telling->trail, err);
    }
    if (r == 0 && telling->trail.count == 0) {
        app_hint(telling->app, "`yester find NAME` looks everywhere");
        r = err_set(err, ERR_NOT_FOUND, "%s is in no snapshot of %s", argument, telling->host.host);
    }
    return r;
}

static int run(struct app *app, struct err *err)
{
    CLEANUP(telling_clear) struct telling telling = {.app = app};
    int r = session_open(app, SESSION_SNAPSHOTS, &telling.session, err);

    if (r == 0)
        r = session_blocks(&telling.session, LOOK_CACHE, err);
    if (r == 0)
        r = session_host(app, &telling.session, &telling.host, err);
    if (r == 0)
        r = seek(&telling, app_argument(app, 0), err);
    if (r == 0)
        r = history_versions(telling.session.blocks, &telling.trail, &telling.versions, err);
    return r == 0 ? tell(&telling, err) : r;
}

const struct command command_history = {
    .name = "history",
    .arguments = "PATH",
    .summary = "the versions of a file or directory over all snapshots",
    .examples = "  yester history config/srv/app/.env\n"
                "  yester history /srv/app/package.json\n",
    .details = "One line for each version, the oldest first: the first and the last snapshot that "
               "have it,\nand what changed against the one before: content, mode, owner, mtime, "
               "xattrs, type.\nContent of a directory is all that is below it.\n",
    .options = options,
    .least = 1,
    .most = 1,
    .falls_back = true,
    .cache = CACHE_METADATA,
    .run = run,
};
