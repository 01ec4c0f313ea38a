/* A data directory that is read here: the sink of pgfiles. */
#include <stdio.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/job/cluster_internal.h"
#include "backup/source/pgfiles.h"

static int put_directory(void *context, const struct pgtar_entry *entry, struct err *err)
{
    struct cluster *cluster = context;

    /* The data directory itself is put when all else is. */
    return entry->name[0] ? cluster_directory(cluster, entry, err) : 0;
}

static int open_file(void *context, const struct pgtar_entry *entry, struct sink_file **out,
                     struct err *err)
{
    return cluster_open(context, entry, (struct gather_file **)out, err);
}

static int file_room(struct sink_file *file, void **out, size_t *out_size, struct err *err)
{
    return gather_room((struct gather_file *)file, out, out_size, err);
}

static int file_filled(struct sink_file *file, size_t size, struct err *err)
{
    return gather_filled((struct gather_file *)file, size, err);
}

static int push_file(struct sink_file *file, const void *bytes, size_t size, struct err *err)
{
    return gather_push((struct gather_file *)file, bytes, size, err);
}

/* The log is not in the manifest: pg_verifybackup reads it by its ranges. */
static int close_file(void *context, struct sink_file *file, const struct pgtar_entry *entry,
                      uint32_t crc, struct err *err)
{
    struct cluster *cluster = context;
    int64_t mtime = cluster_attributes(cluster, entry).mtime_s;
    int r = gather_close((struct gather_file *)file, err);

    if (r < 0 || strncmp(entry->name, "pg_wal/", strlen("pg_wal/")) == 0)
        return r;
    return cluster_manifest_add(cluster->manifest, entry, mtime, crc, err);
}

static void drop_file(struct sink_file *file)
{
    gather_drop((struct gather_file *)file);
}

int cluster_read(struct cluster *cluster, struct pgfiles *files, unsigned jobs,
                 struct pgbase_result *out, struct err *err)
{
    const struct pgfiles_options options = {
        .label = "yester",
        .jobs = jobs,
        .sink = {cluster, put_directory, open_file, file_room, file_filled, push_file, close_file,
                 drop_file},
        .progress = gather_progress(cluster->gather),
        .note = cluster_note,
        .context = cluster,
    };
    const struct pgtar_entry own = {.kind = PGTAR_FILE, .name = "backup_manifest", .mode = 0600};
    struct pgtar_entry top;

    int r = pgfiles_describe(files, &top, out, err);
    if (r < 0)
        return r;
    cluster->top = cluster_attributes(cluster, &top);
    const struct gather_attributes attributes = cluster_attributes(cluster, &own);
    r = cluster_manifest_open(cluster->gather, &attributes, out->version_number, out->system_id,
                              &cluster->manifest, err);
    if (r == 0)
        r = pgfiles_run(files, &options, out, err);
    if (r == 0)
        r = cluster_manifest_finish(cluster->manifest, out, err);
    cluster_manifest_free(STEAL(cluster->manifest));
    return r;
}
