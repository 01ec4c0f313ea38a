#include "tools/loading.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "catalog/select.h"
#include "fs/view.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/database.h"
#include "tools/dbmanifest.h"
#include "tools/output.h"
#include "tools/session.h"

#define TOP "database/"

enum { PATH_SIZE = 16 * 1024 };

struct loading {
    struct app *app;
    struct session *session;
    const struct loading_request *request;
    struct database database;
    struct pgload_options how;
    char stamp[CLOCK_NAME_SIZE];
    struct dbmanifest manifest;
    struct json_object *loaded; /* names, for --json */
};

static void loading_clear(struct loading *loading)
{
    database_clear(&loading->database);
    dbmanifest_clear(&loading->manifest);
    json_object_put(loading->loaded);
}

/* ---- stored files -------------------------------------------------------------------------- */

struct pgload_file {
    struct blocks *blocks;
    struct view_target target;
};

static void close_file(struct pgload_file *file)
{
    if (file)
        view_target_clear(&file->target);
    free(file);
}

static int open_file(void *context, const char *path, struct pgload_file **out, uint64_t *out_size,
                     struct err *err)
{
    struct loading *loading = context;
    char whole[PATH_SIZE];
    struct pgload_file *file = calloc(1, sizeof(*file));

    if (!file)
        return err_set(err, ERR_NOMEM, "no memory for a file");
    (void)snprintf(whole, sizeof(whole), TOP "%s", path);
    file->blocks = loading->session->blocks;
    int r = view_resolve(file->blocks, loading->request->selection, whole, &file->target, err);
    if (r < 0) {
        free(file);
        return r;
    }
    *out = file;
    *out_size = file->target.held.entry.size;
    return 0;
}

static int read_file(struct pgload_file *file, uint64_t offset, void *out, size_t count,
                     struct err *err)
{
    if (count == 0)
        return 0;
    return content_read(file->blocks, &file->target.held.entry.content, offset, out, count, err);
}

/* ---- what is loaded ------------------------------------------------------------------------ */

static void note(void *context, const char *text)
{
    const struct loading *loading = context;

    if (!loading->app->quiet)
        console_line("%s", text);
}

bool loading_is_possible(struct session *session, const struct selection *selection)
{
    CLEANUP(view_target_clear) struct view_target target = {0};
    struct err err;

    return selection->types[TYPE_DATABASE] &&
           view_resolve(session->blocks, selection, TOP "globals.sql", &target, &err) == 0;
}

static int read_manifest(struct loading *loading, struct err *err)
{
    CLEANUP(buf_clear) struct buf text = {.limit = PGLOAD_FILE_MAX + 1};

    if (!loading_is_possible(loading->session, loading->request->selection))
        return err_set(err, ERR_NOT_FOUND,
                       "the snapshot has no logical backup of a database; a physical one is "
                       "recovered with --data-directory");
    int r = pgload_read(&loading->how, "manifest.json", &text, err);
    return r < 0 ? r : dbmanifest_parse((const char *)text.data, &loading->manifest, err);
}

static int describe(struct loading *loading, const struct dbmanifest_line *line, const char *below,
                    struct dbdescription *out, struct err *err)
{
    CLEANUP(buf_clear) struct buf text = {.limit = PGLOAD_FILE_MAX + 1};
    char path[PATH_SIZE];

    (void)snprintf(path, sizeof(path), "%s/manifest.json", line->directory);
    int r = pgload_read(&loading->how, path, &text, err);
    if (r == 0)
        r = dbdescription_parse((const char *)text.data, line->directory, below, out, err);
    if (r == 0 && !out->complete)
        r = err_set(err, ERR_NOT_FOUND,
                    "not all of the database %.80s could be read when the snapshot was taken; "
                    "restore single tables of it, or another snapshot",
                    line->name);
    return r;
}

/* What PATH names: *out_below is behind the database's directory; "" for all of it. */
static bool is_meant(const struct loading *loading, const struct dbmanifest_line *line,
                     const char **out_below)
{
    const char *path = loading->request->path;
    size_t size = strlen(line->directory);

    *out_below = "";
    if (!path)
        /* The server's own, when it has nothing of a user's, is on every server. */
        return strcmp(line->name, "postgres") != 0 || line->tables > 0;
    path += strlen(TOP);
    if (strncmp(path, line->directory, size) != 0 || (path[size] && path[size] != '/'))
        return false;
    *out_below = path[size] ? path + size + 1 : "";
    return true;
}

static int load_tables(struct loading *loading, const struct dbmanifest_line *line,
                       const char *below, struct err *err)
{
    CLEANUP(dbdescription_clear) struct dbdescription description = {0};
    char file[PATH_SIZE];
    size_t size = strlen(below);
    static const char *const endings[] = {".copy", ".sql", ".csv"};

    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]);
         i++) /* "orders.copy" is the table as well */
        if (size > strlen(endings[i]) && strcmp(below + size - strlen(endings[i]), endings[i]) == 0)
            size -= strlen(endings[i]);
    (void)snprintf(file, sizeof(file), "%.*s", (int)size, below);
    int r = describe(loading, line, file, &description, err);
    if (r == -ERR_NOT_FOUND && description.what.table_count > 0)
        r = 0; /* what is asked for may be whole; a file that is missing is told */
    if (r == 0 && description.what.table_count == 0)
        r = err_set(err, ERR_NOT_FOUND, "no table of %.80s is at %.100s", line->name, below);
    return r < 0 ? r : pgload_tables(&loading->how, &description.what, err);
}

static int load_database(struct loading *loading, const struct dbmanifest_line *line, bool check,
                         struct err *err)
{
    CLEANUP(dbdescription_clear) struct dbdescription description = {0};
    const char *target = loading->request->into ? loading->request->into : line->name;

    int r = describe(loading, line, "", &description, err);
    if (r == 0 && check)
        return pgload_check(&loading->how, &description.what, err);
    if (r == 0 && loading->request->dry_run)
        printf("would load database %s: %llu tables, %llu rows\n", target,
               (unsigned long long)line->tables, (unsigned long long)line->rows);
    else if (r == 0)
        r = pgload_database(&loading->how, &description.what, err);
    if (r == 0)
        json_object_array_add(loading->loaded, output_json_text(target, strlen(target)));
    return r;
}

/* Each database that is meant; with `check` nothing is loaded. */
static int for_each(struct loading *loading, bool check, size_t *out_count, struct err *err)
{
    int r = 0;

    *out_count = 0;
    for (size_t i = 0; r == 0 && i < loading->manifest.count; i++) {
        struct dbmanifest_line line = dbmanifest_line(&loading->manifest, i);
        const char *below;
        if (!is_meant(loading, &line, &below))
            continue;
        ++*out_count;
        if (!*below)
            r = load_database(loading, &line, check, err);
        else if (!check)
            r = load_tables(loading, &line, below, err);
    }
    return r;
}

static int check_all(struct loading *loading, struct err *err)
{
    size_t count;

    int r = for_each(loading, true, &count, err);
    if (r == 0 && count == 0)
        r = err_set(err, ERR_NOT_FOUND, "the snapshot has no database %.100s",
                    loading->request->path ? loading->request->path : "with anything in it");
    if (r == 0 && count > 1 && loading->request->into) {
        app_hint(loading->app, "name one of them as a PATH: database/NAME");
        r = err_set(err, ERR_USAGE, "--into is for one database, and the snapshot has %zu", count);
    }
    return r;
}

static bool of_tables(const struct loading_request *request)
{
    return request->path && strchr(request->path + strlen(TOP), '/');
}

static int prepare(struct loading *loading, struct err *err)
{
    const struct loading_request *request = loading->request;
    const struct root *root = request->selection->types[TYPE_DATABASE];

    if (!root)
        return err_set(err, ERR_NOT_FOUND, "the snapshot has no database");
    int r = database_make(&loading->app->config, &loading->database, err);
    clock_format_name(clock_system()->now_ns(clock_system()), loading->stamp);
    loading->loaded = json_object_new_array();
    loading->how = (struct pgload_options){
        .server = loading->database.server,
        .files = {loading, open_file, read_file, close_file},
        .jobs = loading->database.jobs,
        .into = request->into,
        .stamp = of_tables(request) ? root->name : loading->stamp,
        .replace = request->replace,
        .dry_run = request->dry_run,
        .progress = request->progress,
        .note = note,
        .context = loading,
    };
    loading->how.server.progress = request->progress;
    if (r == 0)
        r = read_manifest(loading, err);
    return r < 0 ? r : check_all(loading, err);
}

int loading_left_out(struct app *app, struct session *session, const struct selection *selection,
                     struct strings *out, struct err *err)
{
    const struct loading_request request = {.selection = selection};
    CLEANUP(loading_clear)
    struct loading loading = {.app = app, .session = session, .request = &request};

    loading.how.files = (struct pgload_files){&loading, open_file, read_file, close_file};
    if (!loading_is_possible(session, selection))
        return 0;
    int r = read_manifest(&loading, err);
    return r < 0 ? r : dbmanifest_left_out(&loading.manifest, out, err);
}

int loading_run(struct app *app, struct session *session, const struct loading_request *request,
                struct err *err)
{
    CLEANUP(loading_clear)
    struct loading loading = {.app = app, .session = session, .request = request};
    size_t count;

    int r = prepare(&loading, err);
    if (r < 0 || request->check_only)
        return r;
    if (!request->dry_run && !of_tables(request))
        r = pgload_globals(&loading.how, err);
    if (r == 0)
        r = for_each(&loading, false, &count, err);
    if (r == 0 && app->json) {
        struct json_object *object = json_object_new_object();
        json_object_object_add(object, "databases", STEAL(loading.loaded));
        output_json(object);
    }
    return r;
}
