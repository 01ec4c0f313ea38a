#include "tools/sources.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/path.h"
#include "backup/source/pattern.h"
#include "catalog/catalog.h"
#include "tools/command.h"
#include "tools/paths.h"
#include "tools/session.h"

enum { LOOK_BACK = 64 }; /* how many snapshots are asked for their paths */

void sources_clear(struct sources *sources)
{
    strings_clear(&sources->exclusions);
    strings_clear(&sources->given);
    strings_clear(&sources->if_present);
    database_clear(&sources->database);
    for (size_t i = 0; i < SOURCES_MAX; i++) {
        strings_clear(&sources->paths[i]);
        root_clear(&sources->previous[i]);
    }
    patterns_free(sources->excludes);
    patterns_free(sources->only);
    *sources = (struct sources){0};
}

static int add_all(struct strings *to, const struct strings *from, struct err *err)
{
    int r = 0;

    for (size_t i = 0; i < from->count && r == 0; i++)
        r = strings_add(to, from->at[i], strlen(from->at[i]), err);
    return r;
}

static int add_option(struct app *app, const char *name, struct strings *to, struct err *err)
{
    const char **list = NULL;
    size_t count = 0;
    int r = options_list(&app->options, name, &list, &count, err);

    for (size_t i = 0; i < count && r == 0; i++)
        r = strings_add(to, list[i], strlen(list[i]), err);
    free(list);
    return r;
}

static int add_exclude_files(struct app *app, struct sources *sources, struct err *err)
{
    const char **files = NULL;
    size_t count = 0;
    int r = options_list(&app->options, "exclude-file", &files, &count, err);

    for (size_t i = 0; i < count && r == 0; i++) {
        r = patterns_add_file(sources->excludes, AT_FDCWD, files[i], err);
        if (r < 0)
            err_context(err, "--exclude-file %.100s", files[i]);
    }
    if (r == 0)
        r = add_option(app, "exclude-file", &sources->exclusions, err);
    free(files);
    return r;
}

static int add_patterns(struct patterns *patterns, const struct strings *from, struct err *err)
{
    int r = 0;

    for (size_t i = 0; i < from->count && r == 0; i++)
        r = patterns_add_option(patterns, from->at[i], err);
    return r;
}

static int make_patterns(struct app *app, struct sources *sources, struct err *err)
{
    int r = add_all(&sources->exclusions, config_list(&app->config, SET_FILES_EXCLUDE), err);

    sources->excludes = patterns_new();
    sources->only = patterns_new();
    if (!sources->excludes || !sources->only)
        return err_set(err, ERR_NOMEM, "no memory for patterns");
    if (r == 0)
        r = add_option(app, "exclude", &sources->exclusions, err);
    if (r == 0)
        r = add_patterns(sources->excludes, &sources->exclusions, err);
    if (r == 0)
        r = add_exclude_files(app, sources, err);
    if (r == 0)
        r = add_patterns(sources->only, config_list(&app->config, SET_CONFIG_PATTERNS), err);
    if (r == 0)
        r = add_all(&sources->if_present, config_list(&app->config, SET_FILES_EXCLUDE_IF_PRESENT),
                    err);
    return r < 0 ? r : add_option(app, "exclude-if-present", &sources->if_present, err);
}

static void set_rules(struct app *app, struct sources *sources, struct backup_source *source)
{
    const struct strings *whole = config_list(&app->config, SET_CONFIG_PATHS);
    bool usual = config_number(&app->config, SET_FILES_DEFAULT_EXCLUDES) != 0 &&
                 !app_flag(app, "no-default-excludes");

    source->rules = (struct rules){
        .excludes = sources->excludes,
        .if_present = (const char *const *)sources->if_present.at,
        .if_present_count = sources->if_present.count,
        .default_excludes = usual,
        .caches = !usual,
        .one_file_system = app_flag(app, "one-file-system") ||
                           config_number(&app->config, SET_FILES_ONE_FILE_SYSTEM) != 0,
        .never = (const void *)sources->never,
    };
    if (source->type != TYPE_CONFIG)
        return;
    source->rules.only = sources->only;
    source->rules.whole = (const char *const *)whole->at;
    source->rules.whole_count = whole->count;
}

static int no_paths(struct app *app, struct err *err)
{
    app_hint(app, "name PATHs, or write [files] paths = /srv /home into %s",
             app->config.file ? app->config.file : CONFIG_DEFAULT_FILE);
    return err_set(err, ERR_USAGE, "no paths are configured, and none were given");
}

/* Settings hold paths as somebody wrote them; a relative one would mean another place each time. */
static int add_configured(const struct config *config, enum setting_id id, struct strings *to,
                          struct err *err)
{
    const struct strings *list = config_list(config, id);
    int r = 0;

    for (size_t i = 0; i < list->count && r == 0; i++) {
        if (list->at[i][0] != '/')
            return err_set(err, ERR_USAGE, "[%s] paths: \"%.100s\" does not begin with a slash",
                           setting_specs[id].section, list->at[i]);
        r = paths_add(to, list->at[i], strlen(list->at[i]), err);
    }
    return r;
}

/* One type: the PATHs given, or those of its settings. */
static int add_source(struct app *app, struct sources *sources, enum snapshot_type type,
                      struct err *err)
{
    const struct config *config = &app->config;
    struct backup_source *source = &sources->at[sources->count];
    struct strings *own = &sources->paths[sources->count];
    bool given = sources->given.count > 0;
    bool configured = config_is_set(config, SET_FILES_PATHS) ||
                      (type == TYPE_CONFIG && config_is_set(config, SET_CONFIG_PATHS));
    int r = 0;

    source->type = type;
    source->stdin_name = app_text(app, "stdin");
    if (!given && !source->stdin_name)
        r = add_configured(config, SET_FILES_PATHS, own, err);
    if (!given && !source->stdin_name && type == TYPE_CONFIG && r == 0)
        r = add_configured(config, SET_CONFIG_PATHS, own, err);
    if (r < 0)
        return r;
    if (!given && !source->stdin_name && own->count == 0)
        return no_paths(app, err);
    sources->adhoc = sources->adhoc || (configured && (given || source->stdin_name));
    source->paths = (const char *const *)(given ? sources->given.at : own->at);
    source->path_count = given ? sources->given.count : own->count;
    set_rules(app, sources, source);
    sources->count++;
    return 0;
}

static int parse_type(struct app *app, uint8_t *out, struct err *err)
{
    const char *text = app_text(app, "type");
    int r = types_parse(text, out, err);

    if (r == 0 && app_text(app, "stdin") && text && *out != 1 << TYPE_FILES)
        r = err_set(err, ERR_USAGE, "what comes by --stdin is of type files");
    if (app_text(app, "stdin"))
        *out = 1 << TYPE_FILES;
    return r;
}

static int add_given(struct app *app, struct sources *sources, struct err *err)
{
    const char **lists = NULL;
    size_t count = 0;
    int r = options_list(&app->options, "files-from", &lists, &count, err);

    for (size_t i = 0; i < count && r == 0; i++)
        r = paths_add_from(&sources->given, lists[i], app_flag(app, "from0"), err);
    free(lists);
    if (r == 0 && count > 0 && sources->given.count == 0 && app->options.argument_count == 0)
        return err_set(err, ERR_USAGE, "--files-from names no file at all");
    for (size_t i = 0; i < app->options.argument_count && r == 0; i++)
        r = paths_add(&sources->given, app_argument(app, i), strlen(app_argument(app, i)), err);
    if (r == 0 && app_text(app, "stdin") && sources->given.count > 0)
        r = err_set(err, ERR_USAGE, "--stdin takes no PATH beside it");
    return r;
}

static int check_stdin_name(struct app *app, struct err *err)
{
    const char *name = app_text(app, "stdin");

    if (!name || path_is_name(name, strlen(name)))
        return 0;
    return err_set(err, ERR_USAGE, "--stdin %.100s: it is the name of a file, without a slash",
                   name);
}

/* As trees of files, or as the data directory. */
static int choose_method(struct app *app, struct sources *sources, struct backup_source *out,
                         struct err *err)
{
    const char *method = config_text(&app->config, SET_DATABASE_METHOD);
    bool physical = strcmp(method, "physical") == 0;

    if (!physical && strcmp(method, "logical") != 0)
        return err_set(err, ERR_USAGE, "[database] method: it is logical or physical, not %.40s",
                       method);
    *out = (struct backup_source){.type = TYPE_DATABASE};
    out->produce =
        physical || app_flag(app, "physical") ? database_produce_cluster : database_produce;
    out->produce_context = &sources->database;
    return 0;
}

/* PATHs say what of files and config is read, and nothing of databases. */
static int add_database(struct app *app, struct sources *sources, uint8_t types, struct err *err)
{
    struct backup_source *source = &sources->at[sources->count];
    bool named = types & 1 << TYPE_DATABASE;
    bool given = sources->given.count > 0 || app_text(app, "stdin");

    if (types == 1 << TYPE_DATABASE && given)
        return err_set(err, ERR_USAGE, "a database has no PATHs: POSTGRES_DB says which are kept");
    if (!named && app_flag(app, "physical"))
        return err_set(err, ERR_USAGE, "--physical is about a database: add --type database");
    if (!named && (types != 0 || given || !database_is_configured(&app->config)))
        return 0;
    int r = database_make(&app->config, &sources->database, err);
    if (r == 0)
        r = choose_method(app, sources, source, err);
    sources->count++;
    return r;
}

int sources_make(struct app *app, struct sources *sources, struct err *err)
{
    uint8_t types;
    int r = parse_type(app, &types, err);

    if (r == 0)
        r = check_stdin_name(app, err);
    if (r == 0)
        r = add_given(app, sources, err);
    if (r == 0)
        r = make_patterns(app, sources, err);
    if (r == 0 && (types == 0 || types & 1 << TYPE_FILES))
        r = add_source(app, sources, TYPE_FILES, err);
    if (r == 0 && (types == 0 || types & 1 << TYPE_CONFIG))
        r = add_source(app, sources, TYPE_CONFIG, err);
    return r < 0 ? r : add_database(app, sources, types, err);
}

void sources_never(struct sources *sources, const char *directory)
{
    struct stat st;

    if (sources->never_count == NEVER_MAX || stat(directory, &st) < 0)
        return;
    sources->never[sources->never_count][0] = st.st_dev;
    sources->never[sources->never_count][1] = st.st_ino;
    sources->never_count++;
    for (size_t i = 0; i < sources->count; i++)
        sources->at[i].rules.never_count = sources->never_count;
}

/* Whether `path` is one of these; with `below`, or lies below one. */
static bool is_among(const char *path, const char *const *list, size_t count, bool below)
{
    for (size_t i = 0; i < count; i++) {
        size_t size = strlen(list[i]);

        if (strncmp(path, list[i], size) != 0)
            continue;
        if (!path[size] || (below && (path[size] == '/' || size == 1)))
            return true;
    }
    return false;
}

/* A snapshot keeps its paths without those that lie below others. */
static bool same_paths(const struct backup_source *source, const struct strings *kept)
{
    const char *const *list = (const char *const *)kept->at;
    bool same = kept->count > 0;

    for (size_t i = 0; i < kept->count && same; i++)
        same = is_among(list[i], source->paths, source->path_count, false);
    for (size_t i = 0; i < source->path_count && same; i++)
        same = is_among(source->paths[i], list, kept->count, true);
    return same;
}

/* The newest snapshot that has the type and was made of these paths, else the newest that has it.
 */
static int find_previous(struct backup_source *source, struct root *out, struct catalog *catalog,
                         const struct snapshot_rows *rows, struct err *err)
{
    const char *newest = NULL;
    size_t looked = 0;

    for (size_t i = rows->count; i-- > 0 && looked < LOOK_BACK;) {
        if (!(rows->at[i].types & 1 << source->type))
            continue;
        int r = catalog_root(catalog, rows->at[i].name, out, err);
        if (r < 0)
            return r;
        if (same_paths(source, &out->types[source->type].sources)) {
            source->previous = out;
            return 0;
        }
        root_clear(out);
        newest = newest ? newest : rows->at[i].name;
        looked++;
    }
    if (!newest)
        return 0;
    source->previous = out;
    return catalog_root(catalog, newest, out, err);
}

int sources_find_previous(struct sources *sources, struct catalog *catalog, const char *host,
                          struct err *err)
{
    CLEANUP(snapshot_rows_clear) struct snapshot_rows rows = {0};
    int r = catalog_snapshots(catalog, host, &rows, err);

    for (size_t i = 0; i < sources->count && r == 0; i++)
        r = find_previous(&sources->at[i], &sources->previous[i], catalog, &rows, err);
    return r;
}
