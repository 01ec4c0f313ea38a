#include "tools/dbmanifest.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/err.h"

static const char *text_of(struct json_object *object, const char *key)
{
    struct json_object *member = NULL;

    if (!json_object_object_get_ex(object, key, &member) ||
        !json_object_is_type(member, json_type_string))
        return NULL;
    return json_object_get_string(member);
}

static uint64_t number_of(struct json_object *object, const char *key)
{
    struct json_object *member = NULL;
    int64_t value =
        json_object_object_get_ex(object, key, &member) ? json_object_get_int64(member) : 0;

    return value > 0 ? (uint64_t)value : 0;
}

static bool is_true(struct json_object *object, const char *key)
{
    struct json_object *member = NULL;

    return json_object_object_get_ex(object, key, &member) && json_object_get_boolean(member);
}

/* The array of that name; NULL: there is none. */
static struct json_object *array_of(struct json_object *object, const char *key, size_t *out_count)
{
    struct json_object *member = NULL;

    if (!json_object_object_get_ex(object, key, &member) ||
        !json_object_is_type(member, json_type_array))
        return NULL;
    *out_count = json_object_array_length(member);
    return member;
}

static int no_manifest(struct err *err)
{
    return err_set(err, ERR_CORRUPT,
                   "manifest.json of the database is not one of a logical backup");
}

void dbmanifest_clear(struct dbmanifest *manifest)
{
    json_object_put(manifest->json);
    *manifest = (struct dbmanifest){0};
}

struct dbmanifest_line dbmanifest_line(const struct dbmanifest *manifest, size_t index)
{
    size_t count;
    struct json_object *line =
        json_object_array_get_idx(array_of(manifest->json, "databases", &count), index);

    return (struct dbmanifest_line){text_of(line, "name"), text_of(line, "directory"),
                                    number_of(line, "tables"), number_of(line, "rows")};
}

int dbmanifest_left_out(const struct dbmanifest *manifest, struct strings *out, struct err *err)
{
    size_t count = 0;
    struct json_object *names = array_of(manifest->json, "left_out", &count);
    int r = 0;

    for (size_t i = 0; r == 0 && names && i < count; i++) {
        const char *name = json_object_get_string(json_object_array_get_idx(names, i));
        r = name ? strings_add(out, name, strlen(name), err) : no_manifest(err);
    }
    return r;
}

int dbmanifest_parse(const char *text, struct dbmanifest *out, struct err *err)
{
    out->json = json_tokener_parse(text);
    if (!out->json || !array_of(out->json, "databases", &out->count))
        return no_manifest(err);
    for (size_t i = 0; i < out->count; i++) {
        struct dbmanifest_line line = dbmanifest_line(out, i);
        if (!line.name || !line.directory)
            return no_manifest(err);
    }
    return 0;
}

void dbdescription_clear(struct dbdescription *description)
{
    json_object_put(description->json);
    free(description->tables);
    free(description->views);
    *description = (struct dbdescription){0};
}

static bool is_below(const char *file, const char *below)
{
    size_t size = strlen(below);

    return size == 0 || (strncmp(file, below, size) == 0 && (!file[size] || file[size] == '/'));
}

static int take_table(struct dbdescription *out, struct json_object *json, const char *below,
                      struct err *err)
{
    const struct pgload_table table = {
        .schema = text_of(json, "schema"),
        .name = text_of(json, "name"),
        .file = text_of(json, "file"),
        .columns = text_of(json, "columns"),
        .definition = text_of(json, "definition"),
        .keys = text_of(json, "keys"),
        .rows = number_of(json, "rows"),
        .bytes = number_of(json, "bytes"),
        .extension = is_true(json, "extension"),
    };

    if (!table.schema || !table.name || !table.file || !table.columns || !table.definition ||
        !table.keys)
        return no_manifest(err);
    if (is_below(table.file, below))
        out->tables[out->what.table_count++] = table;
    return 0;
}

static int take_tables(struct dbdescription *out, const char *below, struct err *err)
{
    size_t count = 0;
    struct json_object *tables = array_of(out->json, "tables", &count);
    int r = tables ? 0 : no_manifest(err);

    out->tables = calloc(count + 1, sizeof(*out->tables));
    if (!out->tables)
        return err_set(err, ERR_NOMEM, "no memory for tables");
    for (size_t i = 0; r == 0 && i < count; i++)
        r = take_table(out, json_object_array_get_idx(tables, i), below, err);
    out->what.tables = out->tables;
    return r;
}

static int take_views(struct dbdescription *out, struct err *err)
{
    size_t count = 0;
    struct json_object *views = array_of(out->json, "materialized_views", &count);

    out->views = calloc(count + 1, sizeof(*out->views));
    if (!out->views)
        return err_set(err, ERR_NOMEM, "no memory for views");
    for (size_t i = 0; views && i < count; i++)
        out->views[i] = json_object_get_string(json_object_array_get_idx(views, i));
    out->what.views = out->views;
    out->what.view_count = count;
    return 0;
}

int dbdescription_parse(const char *text, const char *directory, const char *below,
                        struct dbdescription *out, struct err *err)
{
    out->json = json_tokener_parse(text);
    if (!out->json)
        return no_manifest(err);
    out->what.name = text_of(out->json, "database");
    out->what.directory = directory;
    out->what.making = text_of(out->json, "create");
    out->complete = is_true(out->json, "complete");
    if (!out->what.name || !out->what.making)
        return no_manifest(err);
    int r = take_tables(out, below, err);
    return r < 0 ? r : take_views(out, err);
}
