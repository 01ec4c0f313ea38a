/* cmd_find — names that match, over all snapshots. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "fs/find.h"
#include "fs/timeline.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/entries.h"
#include "tools/output.h"
#include "tools/session.h"

static const struct option_spec options[] = {
    {"regex", 0, NULL, "PATTERN is an extended regular expression, sought in the path"},
    {"type", 't', "f,d,l…", "files, directories, symlinks (b, c, p, s); or TYPEs: files,config"},
    {"size", 0, "[+-]N", "files larger (+) or smaller (-) than N bytes; also 10K, 5M, 1G"},
    {"newer", 0, "TIME", "modified after TIME"},
    {"older", 0, "TIME", "modified before TIME"},
    {"deleted", 0, NULL, "only what is not in the newest snapshot any more"},
    {0},
};

struct finding {
    struct app *app;
    struct session session;
    struct selection host;
    struct timeline timeline;
    struct find_query query;
    uint64_t count;
};

static void finding_clear(struct finding *finding)
{
    timeline_clear(&finding->timeline);
    selection_clear(&finding->host);
    session_close(&finding->session);
}

/* ---- options ----------------------------------------------------------------------------- */

/* One letter is a kind of thing, as find(1) has it; a word is a type of snapshot. */
static int parse_kinds(const char *text, struct find_query *query, struct err *err)
{
    static const char letters[] = "?fdlcbps";
    const char *letter = text && text[0] != '\0' ? strchr(letters + 1, text[0]) : NULL;

    if (!text || !letter || (text[1] != '\0' && text[1] != ','))
        return types_parse(text, &query->types, err);
    for (;; text += 2) {
        letter = text[0] != '\0' ? strchr(letters + 1, text[0]) : NULL;
        if (!letter || (text[1] != '\0' && text[1] != ','))
            return err_set(err, ERR_USAGE, "--type: \"%.20s\" is none of f,d,l,b,c,p,s", text);
        query->kinds = (uint16_t)(query->kinds | 1U << (letter - letters));
        if (text[1] == '\0')
            return 0;
    }
}

static int parse_size(const char *text, struct find_query *query, struct err *err)
{
    if (!text)
        return 0;
    query->size_compare = text[0] == '+' ? FIND_MORE : text[0] == '-' ? FIND_LESS : FIND_EQUAL;
    int r = config_parse_size(text + (query->size_compare != FIND_EQUAL), &query->size, err);
    return r < 0 ? err_context(err, "--size") : 0;
}

static int parse_time(struct app *app, const char *option, bool *out_has, int64_t *out_s,
                      uint32_t *out_ns, struct err *err)
{
    const char *text = app_text(app, option);
    char echoed[CLOCK_TEXT_SIZE];
    int64_t ns;

    if (!text)
        return 0;
    int r = clock_parse_time(text, &ns, err);
    if (r < 0)
        return err_context(err, "--%s", option);
    clock_format_rfc3339_utc(ns, echoed);
    if (!app->quiet)
        console_say("%s than %s", option, echoed);
    int64_t rest = ns % NS_PER_SECOND;
    *out_has = true;
    *out_s = ns / NS_PER_SECOND - (rest < 0);
    *out_ns = (uint32_t)(rest < 0 ? rest + NS_PER_SECOND : rest);
    return 0;
}

static int parse(struct app *app, struct find_query *query, struct err *err)
{
    query->pattern = app_argument(app, 0);
    query->regex = app_flag(app, "regex");
    query->deleted = app_flag(app, "deleted");
    int r = parse_kinds(app_text(app, "type"), query, err);
    if (r == 0)
        r = parse_size(app_text(app, "size"), query, err);
    if (r == 0)
        r = parse_time(app, "newer", &query->has_newer, &query->newer_s, &query->newer_ns, err);
    if (r == 0)
        r = parse_time(app, "older", &query->has_older, &query->older_s, &query->older_ns, err);
    return r;
}

/* ---- matches ----------------------------------------------------------------------------- */

static void print_json(const struct finding *finding, const struct find_match *match)
{
    const struct timeline_shot *shots = finding->timeline.at;
    struct json_object *object = json_object_new_object();
    const char *type = snapshot_type_name((enum snapshot_type)match->type);

    json_object_object_add(object, "path", output_json_text(match->path, strlen(match->path)));
    json_object_object_add(object, "type", json_object_new_string(type));
    json_object_object_add(object, "host",
                           output_json_text(finding->host.host, strlen(finding->host.host)));
    json_object_object_add(object, "first", json_object_new_string(shots[match->first].name));
    json_object_object_add(object, "last", json_object_new_string(shots[match->last].name));
    entries_json(object, &match->entry);
    output_json(object);
}

static int each(void *context, const struct find_match *match, struct err *err)
{
    struct finding *finding = context;
    const struct timeline_shot *shots = finding->timeline.at;
    char time[CLOCK_TEXT_SIZE];

    finding->count++;
    if (finding->app->json) {
        print_json(finding, match);
    } else {
        printf("%s  %s  %26s  %12llu  %s", shots[match->first].name, shots[match->last].name,
               entries_time(&match->entry, time), (unsigned long long)match->entry.size,
               snapshot_type_name((enum snapshot_type)match->type));
        entries_print(match->path, strlen(match->path));
        puts(match->entry.type == ENTRY_DIRECTORY ? "/" : "");
    }
    return ferror(stdout) ? err_sys(err, "cannot write to stdout") : 0;
}

static int run(struct app *app, struct err *err)
{
    CLEANUP(finding_clear) struct finding finding = {.app = app};
    struct session *session = &finding.session;
    int r = parse(app, &finding.query, err);

    if (r == 0)
        r = session_open(app, SESSION_SNAPSHOTS, session, err);
    if (r == 0)
        r = session_blocks(session, LOOK_CACHE, err);
    if (r == 0)
        r = session_host(app, session, &finding.host, err);
    if (r == 0)
        r = timeline_load(session->catalog, finding.host.host, finding.query.types,
                          &finding.timeline, err);
    if (r == 0)
        r = find_run(session->blocks, &finding.timeline, &finding.query, each, &finding, err);
    if (r == 0 && finding.count == 0 && !app->json && !app->quiet)
        console_say("nothing in %zu snapshots of %s matches", finding.timeline.count,
                    finding.host.host);
    return r;
}

const struct command command_find = {
    .name = "find",
    .arguments = "PATTERN",
    .summary = "names that match, over all snapshots",
    .examples = "  yester find '*.sql.gz' --size +10M\n"
                "  yester find package.json --deleted\n"
                "  yester find '/srv/**/*.env' --newer 2026-02-04\n",
    .details = "PATTERN is a glob of the name, or of the whole path where it holds a slash (`**` "
               "stands for any\ndirectories).  Each path is shown once, with the first and the "
               "last snapshot that have it so;\nsize and time are those of the newest.\n",
    .options = options,
    .least = 1,
    .most = 1,
    .falls_back = true,
    .cache = CACHE_METADATA,
    .run = run,
};
