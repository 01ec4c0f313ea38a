/* cluster_internal — shared by cluster.c (the run, and what the server sends), cluster_files.c (the
 * data directory read here) and cluster_manifest.c (its backup_manifest). */
#pragma once

#include "backup/base/err.h"
#include "backup/job/gather.h"
#include "backup/source/pgtar.h"

#define CLUSTER_TOP "cluster"

enum { CLUSTER_PATH_SIZE = 1100 };

struct cluster_manifest;
struct pgbase_result;
struct pgfiles;

struct cluster {
    struct gather *gather;
    struct gather_file *file;     /* that the server is sending */
    struct gather_attributes top; /* of the data directory */
    struct cluster_manifest *manifest;
    const char *read_from; /* for whoever looks at the snapshot */
    int failed;            /* a note that could not be kept */
    struct err err;
};

struct gather_attributes cluster_attributes(const struct cluster *cluster,
                                            const struct pgtar_entry *entry);
int cluster_open(struct cluster *cluster, const struct pgtar_entry *entry, struct gather_file **out,
                 struct err *err);
int cluster_directory(struct cluster *cluster, const struct pgtar_entry *entry, struct err *err);
/* As pgbase and pgfiles tell it; the context is the cluster. */
void cluster_note(void *context, const char *text);

/* ---- cluster_files.c ---- */

int cluster_read(struct cluster *cluster, struct pgfiles *files, unsigned jobs,
                 struct pgbase_result *out, struct err *err);

/* ---- cluster_manifest.c: by any thread ---- */

int cluster_manifest_open(struct gather *gather, const struct gather_attributes *attributes,
                          int version, uint64_t system_id, struct cluster_manifest **out,
                          struct err *err);
/* A file of the backup that is stored. */
int cluster_manifest_add(struct cluster_manifest *manifest, const struct pgtar_entry *entry,
                         int64_t mtime_s, uint32_t crc, struct err *err);
/* The file is closed. */
int cluster_manifest_finish(struct cluster_manifest *manifest, const struct pgbase_result *result,
                            struct err *err);
void cluster_manifest_free(struct cluster_manifest *manifest); /* NULL is allowed */
