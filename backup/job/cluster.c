#include "backup/job/cluster.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/lsn.h"
#include "backup/base/text.h"
#include "backup/job/cluster_internal.h"
#include "backup/source/pgbase.h"
#include "backup/source/pgfiles.h"

enum { PAGED = 16 * 1024, MANIFEST_MAX = 64 * 1024 * 1024 };

/* ---- files ---- */

/* What the server overwrites in place, page by page. */
static bool is_paged(const char *name)
{
    static const char *const tops[] = {"base/",        "global/",      "pg_tblspc/",
                                       "pg_wal/",      "pg_xact/",     "pg_multixact/",
                                       "pg_subtrans/", "pg_commit_ts/"};

    for (size_t i = 0; i < sizeof(tops) / sizeof(tops[0]); i++)
        if (strncmp(name, tops[i], strlen(tops[i])) == 0)
            return true;
    return false;
}

struct gather_attributes cluster_attributes(const struct cluster *cluster,
                                            const struct pgtar_entry *entry)
{
    int64_t now = gather_start_ns(cluster->gather) / NS_PER_SECOND;

    if (entry->mtime == 0) { /* what the server made for this backup */
        struct gather_attributes own = cluster->top;
        own.mode = entry->mode;
        own.mtime_s = now;
        return own;
    }
    return (struct gather_attributes){.mode = entry->mode,
                                      .uid = entry->uid,
                                      .gid = entry->gid,
                                      .mtime_s = (int64_t)entry->mtime};
}

/* The data directory is not in its own tar; its owner and its group's rights are those of its
 * files. */
static void learn_top(struct cluster *cluster, const struct pgtar_entry *entry)
{
    if (cluster->top.mode && strcmp(entry->name, "PG_VERSION") != 0)
        return;
    cluster->top = (struct gather_attributes){
        .mode = entry->mode & 0040 ? 0750 : 0700,
        .uid = entry->uid,
        .gid = entry->gid,
        .mtime_s = gather_start_ns(cluster->gather) / NS_PER_SECOND,
    };
}

int cluster_open(struct cluster *cluster, const struct pgtar_entry *entry, struct gather_file **out,
                 struct err *err)
{
    const struct gather_attributes attributes = cluster_attributes(cluster, entry);
    char path[CLUSTER_PATH_SIZE];

    (void)snprintf(path, sizeof(path), CLUSTER_TOP "/%s", entry->name);
    return gather_open(cluster->gather, path, &attributes,
                       is_paged(entry->name) ? PAGED : GATHER_BY_CONTENT, out, err);
}

int cluster_directory(struct cluster *cluster, const struct pgtar_entry *entry, struct err *err)
{
    const struct gather_attributes attributes = cluster_attributes(cluster, entry);
    char path[CLUSTER_PATH_SIZE];

    (void)snprintf(path, sizeof(path), CLUSTER_TOP "/%s", entry->name);
    return gather_directory(cluster->gather, path, &attributes, err);
}

static int put_symlink(struct cluster *cluster, const struct pgtar_entry *entry, struct err *err)
{
    const struct gather_attributes attributes = cluster_attributes(cluster, entry);
    char path[CLUSTER_PATH_SIZE];

    (void)snprintf(path, sizeof(path), CLUSTER_TOP "/%s", entry->name);
    return gather_symlink(cluster->gather, path, &attributes, entry->target, err);
}

/* ---- what the server sends ---- */

static int begin(void *context, const struct pgtar_entry *entry, struct err *err)
{
    struct cluster *cluster = context;

    if (entry->mtime != 0)
        learn_top(cluster, entry);
    if (entry->kind == PGTAR_DIRECTORY)
        return cluster_directory(cluster, entry, err);
    if (entry->kind == PGTAR_SYMLINK)
        return put_symlink(cluster, entry, err);
    return cluster_open(cluster, entry, &cluster->file, err);
}

static int data(void *context, const void *bytes, size_t size, struct err *err)
{
    struct cluster *cluster = context;

    return gather_push(cluster->file, bytes, size, err);
}

static int end(void *context, struct err *err)
{
    struct cluster *cluster = context;
    struct gather_file *file = STEAL(cluster->file);

    return file ? gather_close(file, err) : 0; /* a directory has nothing to close */
}

void cluster_note(void *context, const char *text)
{
    struct cluster *cluster = context;
    struct err err;

    int r = gather_note(cluster->gather, CLUSTER_TOP, text, &err);
    if (r < 0 && cluster->failed == 0) {
        cluster->failed = r;
        cluster->err = err;
    }
}

/* ---- what is known of it ---- */

static void add_lsn(struct text *text, const char *name, uint64_t lsn)
{
    char shown[LSN_TEXT_SIZE];

    lsn_format(lsn, shown);
    text_format(text, "  \"%s\": \"%s\",\n", name, shown);
}

static void add_tablespaces(struct text *text, const struct pgbase_result *result)
{
    text_add(text, "  \"tablespaces\": [");
    for (size_t i = 0; i < result->tablespace_count; i++) {
        const struct pgbase_tablespace *space = &result->tablespaces[i];

        text_format(text, "%s\n    {\"oid\": %" PRIu32 ", \"location\": ", i > 0 ? "," : "",
                    space->oid);
        text_json(text, space->location);
        text_format(text, ", \"bytes\": %" PRIu64 "}", space->size);
    }
    text_add(text, result->tablespace_count > 0 ? "\n  ],\n" : "],\n");
}

static void add_damage(struct text *text, const struct pgbase_result *result)
{
    text_add(text, "  \"damaged\": [");
    for (size_t i = 0; i < result->damaged_count; i++) {
        text_add(text, i > 0 ? ",\n    {\"file\": " : "\n    {\"file\": ");
        text_json(text, result->damaged[i].name);
        text_add(text, ", \"says\": ");
        text_json(text, result->damaged[i].text);
        text_add(text, "}");
    }
    text_format(text, "%s],\n  \"damaged_not_named\": %" PRIu64 "\n}\n",
                result->damaged_count > 0 ? "\n  " : "", result->damaged_more);
}

static int put_manifest(struct cluster *cluster, const struct pgbase_result *result,
                        struct err *err)
{
    CLEANUP(text_clear) struct text text = {.buf.limit = MANIFEST_MAX};
    struct gather_attributes attributes = cluster->top;

    text_format(&text, "{\n  \"method\": \"physical\",\n  \"read_from\": \"%s\",\n",
                cluster->read_from);
    text_add(&text, "  \"server_version\": ");
    text_json(&text, result->version);
    text_format(&text, ",\n  \"server_version_number\": %d,\n", result->version_number);
    text_format(&text, "  \"system_identifier\": \"%" PRIu64 "\",\n", result->system_id);
    add_lsn(&text, "start_lsn", result->start_lsn);
    add_lsn(&text, "end_lsn", result->end_lsn);
    text_format(&text,
                "  \"start_timeline\": %" PRIu32 ",\n  \"end_timeline\": %" PRIu32
                ",\n  \"wal_segment_size\": %" PRIu64 ",\n  \"data_checksums\": %s,\n",
                result->start_timeline, result->end_timeline, result->segment_size,
                result->checksums ? "true" : "false");
    text_format(&text, "  \"bytes\": %" PRIu64 ",\n", result->size);
    add_tablespaces(&text, result);
    add_damage(&text, result);
    int r = text_end(&text, err);
    attributes.mode = 0600;
    return r < 0 ? r
                 : gather_put(cluster->gather, "manifest.json", &attributes, text_of(&text),
                              text_size(&text), err);
}

static int tell_damage(struct cluster *cluster, const struct pgbase_result *result, struct err *err)
{
    char path[CLUSTER_PATH_SIZE];
    struct err damage;
    int r = 0;

    for (size_t i = 0; r == 0 && i < result->damaged_count; i++) {
        (void)snprintf(path, sizeof(path), CLUSTER_TOP "/%s", result->damaged[i].name);
        err_set(&damage, ERR_CORRUPT, "damaged on the server: %s", result->damaged[i].text);
        r = gather_trouble(cluster->gather, path, &damage, err);
    }
    if (r == 0 && result->damaged_more > 0) {
        err_set(&damage, ERR_CORRUPT, "%" PRIu64 " further warnings of damaged pages",
                result->damaged_more);
        r = gather_trouble(cluster->gather, CLUSTER_TOP, &damage, err);
    }
    return r;
}

/* ---- the run ---- */

static int receive(struct cluster *cluster, const struct pg_server *server,
                   struct pgbase_result *out, struct err *err)
{
    CLEANUP(pg_closep) struct pg_conn *conn = NULL;
    const struct pgbase_options options = {
        .label = "yester",
        .sink = {begin, data, end, cluster},
        .progress = gather_progress(cluster->gather),
        .note = cluster_note,
        .context = cluster,
    };

    int r = pg_connect(server, NULL, PG_REPLICATION, &conn, err);
    if (r == 0)
        r = pgbase_run(conn, &options, out, err);
    gather_drop(STEAL(cluster->file));
    return r;
}

/* From the data directory where it is here, else from the server. */
static int back_up(struct cluster *cluster, const struct cluster_options *options,
                   const struct pg_server *server, struct pgbase_result *out, struct err *err)
{
    CLEANUP(pgfiles_closep) struct pgfiles *files = NULL;
    int r = options->local_files ? pgfiles_open(server, &files, err) : 0;

    if (r < 0)
        return r;
    cluster->read_from = files ? "data_directory" : "base_backup";
    return files ? cluster_read(cluster, files, options->jobs, out, err)
                 : receive(cluster, server, out, err);
}

static int finish(struct cluster *cluster, const struct pgbase_result *result, struct err *err)
{
    int r = 0;

    if (cluster->failed) {
        *err = cluster->err;
        r = cluster->failed;
    }
    if (r == 0)
        r = gather_directory(cluster->gather, CLUSTER_TOP, &cluster->top, err);
    if (r == 0)
        r = put_manifest(cluster, result, err);
    return r < 0 ? r : tell_damage(cluster, result, err);
}

int cluster_produce(void *context, struct gather *gather, struct err *err)
{
    CLEANUP(pgbase_result_clear) struct pgbase_result result = {0};
    const struct cluster_options *options = context;
    struct cluster cluster = {.gather = gather};
    struct pg_server server = options->server;

    server.progress = gather_progress(gather);
    int r = back_up(&cluster, options, &server, &result, err);
    return r < 0 ? r : finish(&cluster, &result, err);
}
