/* cmd_diff — what differs between two snapshots, or two places in them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backup/archive/tree.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/path.h"
#include "fs/diff.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/look.h"
#include "tools/output.h"
#include "tools/session.h"
#include "tools/textdiff.h"

static const struct option_spec options[] = {
    {"type", 't', "TYPE,…", "only these types"},
    {"unified", 'u', NULL, "the lines that differ, as diff -u shows them; content only"},
    {"whole", 'w', NULL, "name all that is below an added or removed directory, too"},
    {0},
};

struct comparison {
    const struct app *app;
    struct blocks *blocks;
    const char *prefix;   /* of the paths: "files/srv" */
    struct textdiff text; /* with --unified */
    bool unified;
    bool colour;
    uint64_t count;
};

static void freep(char **text)
{
    free(*text);
}

static void print_json(const struct diff_item *item, const char *path)
{
    static const char *const words[] = {"added", "removed", "content", "metadata", "type"};
    struct json_object *object = json_object_new_object();

    json_object_object_add(object, "change", json_object_new_string(words[item->kind]));
    json_object_object_add(object, "path", output_json_text(path, strlen(path)));
    if (item->before)
        json_object_object_add(object, "size_before", output_json_number(item->before->size));
    if (item->after)
        json_object_object_add(object, "size_after", output_json_number(item->after->size));
    output_json(object);
}

static int print_text(const struct comparison *comparison, const struct diff_item *item,
                      const char *path, struct err *err)
{
    static const char signs[] = "+-MmT";
    static const char *const colours[] = {"\033[32m", "\033[31m", "\033[33m", "\033[36m",
                                          "\033[35m"};
    const struct entry *entry = item->after ? item->after : item->before;
    bool directory = entry->type == ENTRY_DIRECTORY;
    size_t room = 4 * strlen(path) + 1;
    char *text = malloc(room);

    if (!text)
        return err_set(err, ERR_NOMEM, "no memory for a path");
    path_printable(path, strlen(path), text, room);
    printf("%s%c %s%s%s\n", comparison->colour ? colours[item->kind] : "", signs[item->kind], text,
           directory ? "/" : "", comparison->colour ? "\033[0m" : "");
    free(text);
    return 0;
}

static int each(void *context, const struct diff_item *item, struct err *err)
{
    struct comparison *comparison = context;
    CLEANUP(freep) char *path = NULL;
    const char *between = item->path[0] ? "/" : "";

    if (asprintf(&path, "%s%s%s", comparison->prefix, between, item->path) < 0)
        return err_set(err, ERR_NOMEM, "no memory for a path");
    comparison->count++;
    if (comparison->app->json)
        print_json(item, path);
    else if (print_text(comparison, item, path, err) < 0)
        return -ERR_NOMEM;
    return ferror(stdout) ? err_sys(err, "cannot write to stdout") : 0;
}

static bool same_content(const struct entry *before, const struct entry *after)
{
    if (before->type == ENTRY_SYMLINK)
        return before->target_size == after->target_size &&
               memcmp(before->target, after->target, before->target_size) == 0;
    return before->size == after->size && before->rdev == after->rdev &&
           memcmp(before->digest, after->digest, ENTRY_DIGEST_SIZE) == 0;
}

static bool same_metadata(const struct entry *before, const struct entry *after)
{
    return before->mode == after->mode && before->uid == after->uid && before->gid == after->gid &&
           before->mtime_s == after->mtime_s && before->mtime_ns == after->mtime_ns;
}

static int each_of(struct comparison *comparison, const struct diff_item *item, struct err *err)
{
    return comparison->unified ? textdiff_item(&comparison->text, item, err)
                               : each(comparison, item, err);
}

static int compare_trees(struct comparison *comparison, const struct dirref *before,
                         const struct dirref *after, struct err *err)
{
    if (comparison->unified)
        return diff_trees(comparison->blocks, before, after, true, textdiff_item, &comparison->text,
                          err);
    return diff_trees(comparison->blocks, before, after, app_flag(comparison->app, "whole"), each,
                      comparison, err);
}

/* "20260204_120000:files/srv" */
static int text_prefix(const struct root *root, const char *path, char **out, struct err *err)
{
    if (asprintf(out, "%s:%s", root->name, path) >= 0)
        return 0;
    *out = NULL;
    return err_set(err, ERR_NOMEM, "no memory for a path");
}

/* What unified texts are headed with. */
static int text_prefixes(struct comparison *comparison, const struct view_target *a,
                         const struct view_target *b, char **out_before, char **out_after,
                         struct err *err)
{
    CLEANUP(freep) char *before = NULL;
    CLEANUP(freep) char *after = NULL;
    int r = look_path(a, &before, err);

    if (r == 0)
        r = look_path(b, &after, err);
    if (r == 0)
        r = text_prefix(a->root, before, out_before, err);
    if (r == 0)
        r = text_prefix(b->root, after, out_after, err);
    comparison->text.before = *out_before;
    comparison->text.after = *out_after;
    return r;
}

/* Two entries themselves; directories also below. */
static int compare(struct comparison *comparison, const struct view_target *a,
                   const struct view_target *b, struct err *err)
{
    const struct entry *before = &a->held.entry, *after = &b->held.entry;
    struct diff_item item = {.path = "", .before = before, .after = after};
    CLEANUP(freep) char *prefix = NULL;
    CLEANUP(freep) char *text_before = NULL;
    CLEANUP(freep) char *text_after = NULL;
    int r = look_path(b, &prefix, err);

    if (r == 0)
        r = text_prefixes(comparison, a, b, &text_before, &text_after, err);
    if (r < 0)
        return r;
    comparison->prefix = prefix;
    if (before->type != after->type)
        item.kind = DIFF_TYPE;
    else if (before->type != ENTRY_DIRECTORY && !same_content(before, after))
        item.kind = DIFF_CONTENT;
    else if (!same_metadata(before, after))
        item.kind = DIFF_METADATA;
    else
        item.path = NULL;
    if (item.path)
        r = each_of(comparison, &item, err);
    if (r < 0 || before->type != after->type || before->type != ENTRY_DIRECTORY)
        return r;
    return compare_trees(comparison, &before->directory, &after->directory, err);
}

/* A type that only one of the two has is compared with nothing at all. */
static int compare_types(struct comparison *comparison, const struct selection *a,
                         const struct selection *b, struct err *err)
{
    int r = 0;

    for (enum snapshot_type type = TYPE_FILES; type <= TYPES && r == 0; type++) {
        static const struct dirref nothing = {.place = {.archive = NO_ARCHIVE}};
        const struct root *before = a->types[type], *after = b->types[type];

        if (!before && !after)
            continue;
        comparison->prefix = snapshot_type_name(type);
        if (!before || !after)
            console_say("only %s has %s", before ? before->name : after->name,
                        snapshot_type_name(type));
        CLEANUP(freep) char *text_before = NULL;
        CLEANUP(freep) char *text_after = NULL;
        r = text_prefix(before ? before : after, comparison->prefix, &text_before, err);
        if (r == 0)
            r = text_prefix(after ? after : before, comparison->prefix, &text_after, err);
        comparison->text.before = text_before;
        comparison->text.after = text_after;
        if (r == 0)
            r = compare_trees(comparison, before ? &before->types[type].directory : &nothing,
                              after ? &after->types[type].directory : &nothing, err);
    }
    return r;
}

static int open_both(struct app *app, struct session *session, struct look *a, struct look *b,
                     struct err *err)
{
    uint8_t types;
    int r = types_parse(app_text(app, "type"), &types, err);

    if (r == 0)
        r = session_open(app, SESSION_SNAPSHOTS, session, err);
    if (r == 0)
        r = session_blocks(session, LOOK_CACHE, err);
    if (r == 0)
        r = look_open(app, session, app_argument(app, 0), types, a, err);
    if (r == 0)
        r = look_open(app, session, app_argument(app, 1), types, b, err);
    if (r == 0 && a->has_path != b->has_path)
        r = err_set(err, ERR_USAGE, "both have to name a path, or none of them");
    return r;
}

static int run(struct app *app, struct err *err)
{
    CLEANUP(session_close) struct session session = {0};
    CLEANUP(look_clear) struct look a = {0};
    CLEANUP(look_clear) struct look b = {0};
    bool unified = app_flag(app, "unified");
    int r = unified && app->json ? err_set(err, ERR_USAGE, "--unified is text: not with --json")
                                 : open_both(app, &session, &a, &b, err);

    if (r < 0)
        return r;
    struct comparison comparison = {.app = app,
                                    .blocks = session.blocks,
                                    .text = {.blocks = session.blocks},
                                    .unified = unified,
                                    .colour = !app->json && console_has_colour(STDOUT_FILENO)};
    if (a.has_path)
        r = compare(&comparison, &a.target, &b.target, err);
    else
        r = compare_types(&comparison, &a.selection, &b.selection, err);
    return r < 0 ? r : comparison.count + comparison.text.count > 0;
}

const struct command command_diff = {
    .name = "diff",
    .arguments = "SNAP[:PATH] SNAP[:PATH]",
    .summary = "what differs between two snapshots",
    .examples = "  yester diff latest~1 latest\n"
                "  yester diff 20260204:/srv/app 20260205:/srv/app\n"
                "  yester diff -u latest~1:/srv/app/.env latest:/srv/app/.env\n",
    .details = "One line for each: + added, - removed, M content, m only metadata, T another kind "
               "of thing.\nExit status: 0 same, 1 different, 2 trouble.\n",
    .options = options,
    .least = 2,
    .most = 2,
    .failed = 2,
    .falls_back = true,
    .cache = CACHE_METADATA,
    .run = run,
};
