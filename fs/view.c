#include "fs/view.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/idtable.h"
#include "backup/archive/repo.h"
#include "backup/base/buf.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/path.h"
#include "catalog/select.h"

enum { PRINTABLE_MAX = 16 * 1024, SOURCE_PATH_MAX = 64 * 1024 };

static void json_putp(json_object **object)
{
    json_object_put(*object);
}

/* ---- the manifest ------------------------------------------------------------------------ */

/* Takes `value` over, also when it fails. */
static int add(json_object *to, const char *key, json_object *value, struct err *err)
{
    if (value && json_object_object_add(to, key, value) == 0)
        return 0;
    json_object_put(value);
    return err_set(err, ERR_NOMEM, "out of memory");
}

/* Bytes that are no UTF-8 as path_printable() shows them: a manifest is always valid JSON. */
static json_object *text(const char *bytes)
{
    char printable[PRINTABLE_MAX];

    path_printable(bytes, strlen(bytes), printable, sizeof(printable));
    return json_object_new_string(printable);
}

static json_object *text_or_null(const char *bytes)
{
    return bytes[0] != '\0' ? text(bytes) : json_object_new_null();
}

static json_object *time_text(int64_t ns)
{
    char out[CLOCK_TEXT_SIZE];

    clock_format_rfc3339_utc(ns, out);
    return json_object_new_string(out);
}

static int add_strings(json_object *to, const char *key, const struct strings *strings,
                       struct err *err)
{
    json_object *array = json_object_new_array();
    int rc = add(to, key, array, err);

    for (size_t i = 0; rc == 0 && i < strings->count; i++) {
        json_object *value = text(strings->at[i]);
        if (!value || json_object_array_add(array, value) < 0) {
            json_object_put(value);
            rc = err_set(err, ERR_NOMEM, "out of memory");
        }
    }
    return rc;
}

struct number {
    const char *key;
    uint64_t value;
};

static int add_numbers(json_object *to, const struct number *numbers, size_t count, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = add(to, numbers[i].key, json_object_new_uint64(numbers[i].value), err);
    return rc;
}

static int add_type(json_object *types, enum snapshot_type number, const struct root_type *type,
                    struct err *err)
{
    const struct number numbers[] = {
        {"files", type->files},         {"directories", type->directories},
        {"others", type->others},       {"bytes", type->bytes},
        {"new_bytes", type->new_bytes}, {"unreadable", type->unreadable},
    };
    json_object *object = json_object_new_object();
    int rc = add(types, snapshot_type_name(number), object, err);

    if (rc == 0)
        rc = add(object, "complete", json_object_new_boolean(type->complete), err);
    if (rc == 0)
        rc = add_numbers(object, numbers, sizeof(numbers) / sizeof(numbers[0]), err);
    if (rc == 0)
        rc = add_strings(object, "sources", &type->sources, err);
    return rc;
}

static int add_types(json_object *to, const struct root *root, struct err *err)
{
    json_object *types = json_object_new_object();
    int rc = add(to, "types", types, err);

    for (size_t i = 1; rc == 0 && i <= TYPES; i++)
        if (root->types[i].present)
            rc = add_type(types, (enum snapshot_type)i, &root->types[i], err);
    return rc;
}

/* "files", or "files,config"; all three are "all". */
static void type_names(const struct root *root, char *out, size_t size)
{
    size_t at = 0, count = 0;

    out[0] = '\0';
    for (size_t i = 1; i <= TYPES; i++) {
        if (!root->types[i].present)
            continue;
        int wrote = snprintf(out + at, size - at, "%s%s", count > 0 ? "," : "",
                             snapshot_type_name((enum snapshot_type)i));
        at += wrote > 0 ? (size_t)wrote : 0;
        count++;
    }
    if (count == TYPES)
        (void)snprintf(out, size, "all");
}

static int add_identity(json_object *to, const struct root *root, struct err *err)
{
    char types[64];
    int rc = add(to, "name", json_object_new_string(root->name), err);

    type_names(root, types, sizeof(types));
    if (rc == 0)
        rc = add(to, "type", json_object_new_string(types), err);
    if (rc == 0)
        rc = add(to, "host", text(root->host), err);
    if (rc == 0)
        rc = add(to, "start", time_text(root->start_ns), err);
    if (rc == 0)
        rc = add(to, "end", time_text(root->end_ns), err);
    if (rc == 0)
        rc = add(to, "complete", json_object_new_boolean(root->complete), err);
    if (rc == 0)
        rc = add(to, "adhoc", json_object_new_boolean(root->adhoc), err);
    return rc;
}

static int add_sums(json_object *to, const struct root *root, struct err *err)
{
    uint64_t files = 0, bytes = 0, new_bytes = 0, unreadable = 0;

    for (size_t i = 1; i <= TYPES; i++) {
        files += root->types[i].files;
        bytes += root->types[i].bytes;
        new_bytes += root->types[i].new_bytes;
        unreadable += root->types[i].unreadable;
    }
    const struct number numbers[] = {
        {"files", files},
        {"bytes", bytes},
        {"new_bytes", new_bytes},
        {"unreadable", unreadable},
        {"revision", root->revision},
        {"sequence", root->sequence},
    };
    return add_numbers(to, numbers, sizeof(numbers) / sizeof(numbers[0]), err);
}

static int add_rest(json_object *to, const struct root *root, struct err *err)
{
    const char *parent = root->parent;
    json_object *value = text_or_null(parent);
    int rc = parent[0] != '\0' ? add(to, "parent", value, err) : 0;

    if (rc == 0)
        rc = add(to, "version", text(root->version), err);
    if (rc == 0)
        rc = add_strings(to, "tags", &root->tags, err);
    if (rc == 0)
        rc = add_strings(to, "exclusions", &root->exclusions, err);
    if (rc == 0)
        rc = add_types(to, root, err);
    return rc;
}

int view_manifest(const struct root *root, struct buf *out, struct err *err)
{
    CLEANUP(json_putp) json_object *manifest = json_object_new_object();

    if (!manifest)
        return err_set(err, ERR_NOMEM, "out of memory");
    int rc = add_identity(manifest, root, err);
    if (rc == 0)
        rc = add_sums(manifest, root, err);
    if (rc == 0)
        rc = add_rest(manifest, root, err);
    if (rc < 0)
        return rc;
    size_t size;
    const char *json = json_object_to_json_string_length(
        manifest, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE, &size);
    if (!json)
        return err_set(err, ERR_NOMEM, "out of memory");
    rc = buf_append(out, json, size, err);
    return rc < 0 ? rc : buf_append(out, "\n", 1, err);
}

/* ---- paths ------------------------------------------------------------------------------- */

void view_target_clear(struct view_target *target)
{
    held_entry_clear(&target->held);
    free(target->source_path);
    *target = (struct view_target){0};
}

/* The directory of a type as an entry: nothing is known of it but what is below. */
static void type_entry(const struct root_type *type, struct entry *out)
{
    *out = (struct entry){
        .type = ENTRY_DIRECTORY,
        .name = "",
        .mode = 0755,
        .links = 1,
        .directory = type->directory,
        .below_entries = type->files + type->directories + type->others,
        .below_bytes = type->bytes,
        .place = {.archive = NO_ARCHIVE},
    };
}

static int no_type(const struct selection *selection, enum snapshot_type type, struct err *err)
{
    const char *name = selection->count == 1 ? selection->roots[0].name : "the selection";

    return err_set(err, ERR_NOT_FOUND, "%s holds no %s", name, snapshot_type_name(type));
}

int view_type_root(const struct selection *selection, enum snapshot_type type,
                   struct view_target *out, struct err *err)
{
    const struct root *root = selection->types[type];

    if (!root || !root->types[type].present)
        return no_type(selection, type, err);
    char *path = strdup("/");
    if (!path)
        return err_set(err, ERR_NOMEM, "out of memory");
    *out = (struct view_target){.type = type, .root = root, .source_path = path};
    type_entry(&root->types[type], &out->held.entry);
    return 0;
}

/* Clean and terminated, in `out`. */
static int clean(const char *path, size_t size, struct buf *out, struct err *err)
{
    int rc = path_clean(path, size, out, err);

    return rc < 0 ? rc : buf_append(out, "", 1, err);
}

static int resolve_in(struct blocks *blocks, const struct selection *selection,
                      enum snapshot_type type, const char *path, size_t size,
                      struct view_target *out, struct err *err)
{
    CLEANUP(buf_clear) struct buf source = {.limit = SOURCE_PATH_MAX};
    CLEANUP(view_target_clear) struct view_target target = {0};
    int rc = view_type_root(selection, type, &target, err);

    if (rc == 0)
        rc = clean(path, size, &source, err);
    if (rc < 0)
        return rc;
    free(target.source_path);
    target.source_path = (char *)buf_steal(&source, &size);
    if (size > 2) { /* "/" and its NUL are the type itself */
        struct dirref directory = target.held.entry.directory;
        rc = tree_resolve(blocks, &directory, target.source_path + 1, size - 2, &target.held, err);
    }
    if (rc < 0)
        return err_context(err, "%s:%s%s", target.root->name, snapshot_type_name(type),
                           target.source_path);
    *out = target;
    target = (struct view_target){0};
    return 0;
}

/* The type that a path begins with, and what follows it. */
static bool split_type(const char *path, enum snapshot_type *out_type, const char **out_rest)
{
    size_t size = strcspn(path, "/");

    for (size_t i = 1; i <= TYPES; i++) {
        const char *name = snapshot_type_name((enum snapshot_type)i);
        if (strlen(name) != size || memcmp(name, path, size) != 0)
            continue;
        *out_type = (enum snapshot_type)i;
        *out_rest = path[size] != '\0' ? path + size : "/";
        return true;
    }
    return false;
}

static int resolve_source(struct blocks *blocks, const struct selection *selection,
                          const char *path, struct view_target *out, struct err *err)
{
    static const enum snapshot_type order[] = {TYPE_FILES, TYPE_CONFIG};
    bool any = false;

    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        if (!selection->types[order[i]])
            continue;
        any = true;
        int rc = resolve_in(blocks, selection, order[i], path, strlen(path), out, err);
        if (rc != -ERR_NOT_FOUND)
            return rc;
    }
    if (!any)
        return no_type(selection, TYPE_FILES, err);
    return err_set(err, ERR_NOT_FOUND, "%s: no such path in %s", path,
                   selection->count == 1 ? selection->roots[0].name : "the snapshots selected");
}

static int no_type_in_front(const char *path, struct err *err)
{
    return err_set(err, ERR_USAGE,
                   "%s: a path begins with files/, config/ or database/, or with a slash", path);
}

int view_resolve(struct blocks *blocks, const struct selection *selection, const char *path,
                 struct view_target *out, struct err *err)
{
    enum snapshot_type type;
    const char *rest;

    if (path[0] == '/')
        return resolve_source(blocks, selection, path, out, err);
    if (!split_type(path, &type, &rest))
        return no_type_in_front(path, err);
    return resolve_in(blocks, selection, type, rest, strlen(rest), out, err);
}

int view_split(const char *path, uint8_t types, enum snapshot_type *out_types, size_t *out_count,
               char **out_path, struct err *err)
{
    CLEANUP(buf_clear) struct buf source = {.limit = SOURCE_PATH_MAX};
    enum snapshot_type order[TYPES] = {TYPE_FILES, TYPE_CONFIG, TYPE_DATABASE};
    const char *rest = path;
    size_t count = types != 0 ? TYPES : 2, size;

    if (path[0] != '/') {
        count = 1;
        if (!split_type(path, &order[0], &rest))
            return no_type_in_front(path, err);
    }
    int rc = clean(rest, strlen(rest), &source, err);
    if (rc < 0)
        return err_context(err, "%s", path);
    *out_count = 0;
    for (size_t i = 0; i < count; i++)
        if (types == 0 || types & 1U << order[i])
            out_types[(*out_count)++] = order[i];
    *out_path = (char *)buf_steal(&source, &size);
    return 0;
}

/* ---- inode numbers ----------------------------------------------------------------------- */

struct hashed {
    uint8_t bytes[8 * 6 + ARCHIVE_ID_SIZE + HOST_NAME_MAX_SIZE + 1];
    size_t size;
};

static void hash_number(struct hashed *hashed, uint64_t number)
{
    store_le64(hashed->bytes + hashed->size, number);
    hashed->size += sizeof(number);
}

static void hash_bytes(struct hashed *hashed, const void *bytes, size_t count)
{
    memcpy(hashed->bytes + hashed->size, bytes, count);
    hashed->size += count;
}

/* What stands for the content: a file's digest, which outlives its place; a directory's place. */
static void hash_reference(struct hashed *hashed, const struct repo *repo,
                           const struct entry *entry)
{
    hash_number(hashed, entry->size);
    if (entry->type == ENTRY_FILE)
        hash_bytes(hashed, entry->digest, sizeof(entry->digest));
    if (entry->type != ENTRY_DIRECTORY || entry->directory.entries == 0)
        return;
    const struct archive_id *id = idtable_id(repo->ids, entry->directory.place.archive);
    hash_bytes(hashed, id->bytes, sizeof(id->bytes));
    hash_number(hashed, entry->directory.place.raw);
}

uint64_t view_inode_number(const struct repo *repo, const char *host, const struct entry *entry)
{
    struct hashed hashed = {0};

    hash_number(&hashed, entry->device);
    hash_number(&hashed, entry->inode);
    hash_number(&hashed, (uint64_t)entry->ctime_s);
    hash_number(&hashed, (uint64_t)entry->type << 32 | entry->ctime_ns);
    hash_reference(&hashed, repo, entry);
    hash_bytes(&hashed, host, strnlen(host, HOST_NAME_MAX_SIZE));
    uint64_t number = digest_hash64(keyring_id_key(repo->keyring), hashed.bytes, hashed.size);
    /* Zero and small numbers have a meaning to some tools. */
    return number > UINT16_MAX ? number : number + UINT16_MAX;
}
