/* What a physical backup says of itself, and where it is to go. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/tree.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/lsn.h"
#include "catalog/select.h"
#include "fs/pgdata_internal.h"
#include "fs/view.h"

enum { SMALL_MAX = 64 * 1024, MAP_MAX = 16 * 1024 * 1024, VERSION_MIN = 10, VERSION_MAX = 1000 };

int pgdata_read(const struct pgdata *data, const char *name, size_t limit, struct buf *out,
                struct err *err)
{
    CLEANUP(view_target_clear) struct view_target target = {0};
    char path[PGDATA_PATH_SIZE];

    (void)snprintf(path, sizeof(path), PGDATA_TOP "/%s", name);
    int r = view_resolve(data->blocks, data->selection, path, &target, err);
    if (r < 0)
        return r;
    const struct entry *entry = &target.held.entry;
    if (entry->type != ENTRY_FILE)
        return err_set(err, ERR_CORRUPT, "%s of the backup is no file", name);
    size_t size = entry->size < limit ? (size_t)entry->size : limit;
    if (size == 0)
        return 0;
    r = buf_reserve(out, size + 1, err);
    if (r == 0)
        r = content_read(data->blocks, &entry->content, entry->size - size, out->data + out->size,
                         size, err);
    if (r < 0)
        return r;
    out->size += size;
    return 0;
}

/* The same as text: terminated, but not counted so. */
static int read_text(const struct pgdata *data, const char *name, struct buf *out, struct err *err)
{
    int r = pgdata_read(data, name, SMALL_MAX, out, err);

    if (r == 0)
        r = buf_append(out, "", 1, err);
    return r;
}

/* ---- backup_label and the manifest ---- */

/* What stands behind `key` as far as the first character of `ends`. */
static bool find_value(const char *text, const char *key, const char *ends, char *out, size_t size)
{
    const char *at = strstr(text, key);

    if (!at)
        return false;
    at += strlen(key);
    size_t length = strcspn(at, ends);
    if (length == 0 || length >= size)
        return false;
    memcpy(out, at, length);
    out[length] = 0;
    return true;
}

static int learn_label(struct pgdata *data, struct err *err)
{
    CLEANUP(buf_clear) struct buf label = {.limit = 2 * SMALL_MAX};
    char value[64];

    int r = read_text(data, "backup_label", &label, err);
    if (r < 0)
        return r;
    const char *text = (const char *)label.data;
    if (!find_value(text, "START WAL LOCATION: ", " \n", value, sizeof(value)) ||
        !lsn_parse(value, &data->facts.start_lsn) ||
        !find_value(text, "START TIMELINE: ", "\n", value, sizeof(value)))
        return err_set(err, ERR_CORRUPT, "backup_label of the backup is not understood");
    data->facts.timeline = (uint32_t)strtoul(value, NULL, 10);
    return 0;
}

/* The log that the backup needs stands at the manifest's end; the last range is the newest. */
static int learn_end(struct pgdata *data, struct err *err)
{
    CLEANUP(buf_clear) struct buf tail = {.limit = 2 * SMALL_MAX};
    char value[64];

    int r = read_text(data, "backup_manifest", &tail, err);
    if (r < 0)
        return r;
    const char *at = (const char *)tail.data, *next = at;
    while ((next = strstr(next, "\"End-LSN\": \"")) != NULL)
        at = next++;
    if (!find_value(at, "\"End-LSN\": \"", "\"", value, sizeof(value)) ||
        !lsn_parse(value, &data->facts.end_lsn))
        return err_set(err, ERR_CORRUPT, "backup_manifest does not say which log it needs");
    return 0;
}

static int learn_system(struct pgdata *data, struct err *err)
{
    CLEANUP(buf_clear) struct buf control = {.limit = 2 * SMALL_MAX};

    int r = pgdata_read(data, PGDATA_CONTROL, SMALL_MAX, &control, err);
    if (r < 0)
        return r;
    if (control.size < sizeof(uint64_t))
        return err_set(err, ERR_CORRUPT, "global/pg_control of the backup is too short");
    data->facts.system = load_le64(control.data);
    return 0;
}

static int learn_version(struct pgdata *data, struct err *err)
{
    CLEANUP(buf_clear) struct buf version = {.limit = 2 * SMALL_MAX};
    CLEANUP(view_target_clear) struct view_target top = {0};

    int r = read_text(data, "PG_VERSION", &version, err);
    if (r == -ERR_NOT_FOUND)
        return err_set(err, ERR_NOT_FOUND, "the snapshot has no physical backup");
    if (r == 0)
        r = view_resolve(data->blocks, data->selection, PGDATA_TOP, &top, err);
    if (r < 0)
        return r;
    long major = strtol((const char *)version.data, NULL, 10);
    if (major < VERSION_MIN || major > VERSION_MAX)
        return err_set(err, ERR_CORRUPT, "PG_VERSION of the backup is not understood");
    data->facts.major = (int)major;
    data->facts.damaged = top.root->types[TYPE_DATABASE].unreadable > 0;
    data->facts.uid = top.held.entry.uid;
    data->facts.gid = top.held.entry.gid;
    data->mode = top.held.entry.mode & 0050 ? 0750 : 0700;
    return 0;
}

/* ---- tablespaces ---- */

static const char *mapped(const struct pgdata_options *options, const char *location)
{
    for (size_t i = 0; i < options->map_count; i++)
        if (strcmp(options->maps[i].from, location) == 0)
            return options->maps[i].to;
    return location;
}

static int map_spaces(struct pgdata *data, struct err *err)
{
    const struct pgdata_options *options = data->options;

    for (size_t i = 0; i < options->map_count; i++) {
        bool used = false;
        for (size_t k = 0; k < data->facts.tablespace_count; k++)
            used = used || strcmp(data->tablespaces[k].location, options->maps[i].from) == 0;
        if (!used)
            return err_set(err, ERR_USAGE, "the backup has no tablespace at %.150s",
                           options->maps[i].from);
    }
    for (size_t k = 0; k < data->facts.tablespace_count; k++)
        data->tablespaces[k].to = mapped(options, data->tablespaces[k].location);
    return 0;
}

int pgdata_learn(struct pgdata *data, struct err *err)
{
    CLEANUP(buf_clear) struct buf map = {.limit = MAP_MAX};

    int r = learn_version(data, err);
    if (r == 0)
        r = learn_system(data, err);
    if (r == 0)
        r = learn_label(data, err);
    if (r == 0)
        r = learn_end(data, err);
    if (r < 0)
        return r;
    r = pgdata_read(data, "tablespace_map", MAP_MAX / 2, &map, err);
    if (r == 0)
        r = buf_append(&map, "", 1, err);
    if (r == 0)
        r = pgdata_parse_map(data, &map, err);
    if (r < 0 && r != -ERR_NOT_FOUND)
        return r;
    data->facts.tablespaces = data->tablespaces;
    return map_spaces(data, err);
}
